"""Pseudonyms, UIDs and date shifts from a secret key: the same again in every run, meaningless without the key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from medimg.errors import ConfigError, InputError

KEY_BYTES = 32


@dataclass(frozen=True)
class Key:
    """A secret of at least 32 bytes; HMAC-SHA256 (RFC 2104) with one prefix for each purpose."""

    secret: bytes = field(repr=False)

    def uid(self, original: str) -> str:
        """Return the UID that stands for another: ``2.25.`` and 128 bits (PS3.5 B.2)."""
        return f"2.25.{int.from_bytes(self._digest('uid', original)[:16], 'big')}"

    def pseudonym(self, patient: str) -> str:
        """Return a patient's pseudonym: ``P`` and 80 bits in base32."""
        return "P" + base64.b32encode(self._digest("patient", patient)[:10]).decode()

    def days(self, patient: str, largest: int) -> int:
        """Return by how many days a patient's dates move back, 1 to ``largest``."""
        return 1 + int.from_bytes(self._digest("days", patient)[:8], "big") % largest

    def _digest(self, purpose: str, value: str) -> bytes:
        return hmac.new(self.secret, f"{purpose}\0{value}".encode(), hashlib.sha256).digest()


def read_key(path: Path, *apart_from: Path) -> Key:
    """Read the secret key.

    Parameters
    ----------
    path : Path
        The file; its bytes are the key.
    *apart_from : Path
        Folders in which the key must not lie: whoever gets the data must not get the key.

    Raises
    ------
    ConfigError
        The file lies beside the data.
    InputError
        It is missing, too short, or others may read it.
    """
    _apart(path, apart_from)
    try:
        secret = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(
            "The key cannot be read.",
            where=path,
            got=error.strerror,
            fix="new_key=true makes one; keep it, and keep it secret",
        ) from error
    if len(secret) < KEY_BYTES:
        raise InputError(
            "The key is too short.", where=path, got=f"{len(secret)} bytes", expected=f"at least {KEY_BYTES} bytes"
        )
    if os.name == "posix" and mode & 0o077:
        raise InputError(
            "Others on this machine may read the key.",
            where=path,
            got=oct(mode & 0o777),
            expected="0o600",
            fix=f"chmod 600 {path}",
        )
    return Key(secret)


def write_key(path: Path, *apart_from: Path) -> None:
    """Make a new random key that only its owner may read; a file that is there already is never overwritten.

    Raises
    ------
    ConfigError
        The file would lie beside the data.
    InputError
        There is one already, or the folder cannot be written to.
    """
    _apart(path, apart_from)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InputError(
            "The key cannot be made here.",
            where=path,
            got=error.strerror,
            fix="leave new_key out to use the one that is there",
        ) from error
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))


def _apart(path: Path, folders: tuple[Path, ...]) -> None:
    for folder in folders:
        if path.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(
                "the key must not lie beside the data",
                where=path,
                expected=f"outside {folder}",
                fix="choose a folder that nobody hands on",
            )
