"""Ed25519 signatures over a package's SHA256SUMS, so that a hospital knows whose package it runs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from medimg.errors import InputError

_ALGORITHM = "ed25519"


def generate_keys(private: Path, public: Path) -> str:
    """Write a new pair of keys as PEM; the private one is readable by its owner alone.

    Returns
    -------
    str
        Fingerprint of the public key.

    Raises
    ------
    InputError
        One of the files is there already: a key is never overwritten.
    """
    for path in (private, public):
        if path.exists():
            raise InputError("A key is already there.", where=path, fix="choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(pem)
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return fingerprint(key.public_key())


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the SHA-256 (hexadecimal) of a public key's 32 bytes."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()


def sign(content: bytes, private: Path) -> str:
    """Return the text of a SIGNATURE file for ``content``, made with the key in a PEM file."""
    try:
        key = serialization.load_pem_private_key(private.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad_key(private, "private") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _bad_key(private, "private")
    record = {
        "algorithm": _ALGORITHM,
        "public_key_sha256": fingerprint(key.public_key()),
        "signature": base64.b64encode(key.sign(content)).decode(),
    }
    return json.dumps(record, indent=2) + "\n"


def verify(content: bytes, signature: str, public: Path, *, where: Path) -> None:
    """Check a SIGNATURE file's text against the content and the public key that is trusted.

    Raises
    ------
    InputError
        The signature is damaged, was made with another key, or does not belong to the content.
    """
    try:
        key = serialization.load_pem_public_key(public.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise _bad_key(public, "public") from error
    if not isinstance(key, Ed25519PublicKey):
        raise _bad_key(public, "public")
    try:
        record = json.loads(signature)
        algorithm, signer = record["algorithm"], record["public_key_sha256"]
        raw = base64.b64decode(record["signature"], validate=True)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("The signature file is damaged.", where=where, fix="take the package again") from error
    if algorithm != _ALGORITHM or signer != fingerprint(key):
        raise InputError(
            "The package was signed with another key.",
            where=where,
            got=f"{algorithm} key {signer}",
            expected=f"{_ALGORITHM} key {fingerprint(key)}",
            fix="ask the package's authors for their public key, over another way than the package came",
        )
    try:
        key.verify(raw, content)
    except InvalidSignature as error:
        raise InputError(
            "The signature does not belong to these files: they were changed after signing.",
            where=where,
            fix="take the package from its source again; do not use it",
        ) from error


def _bad_key(path: Path, kind: str) -> InputError:
    return InputError(
        f"This is no usable {kind} key.", where=path, expected=f"an unencrypted Ed25519 {kind} key as PEM"
    )
