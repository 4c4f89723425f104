"""Integrity of a model package's folder: nothing missing, nothing extra, nothing changed, nothing that carries code."""

from __future__ import annotations

import re
from pathlib import Path

from medimg.data.digest import digest_path
from medimg.errors import InputError

SUMS, SIGNATURE, WARNING, REPORT = "SHA256SUMS", "SIGNATURE", "NOT_VALIDATED", "report"
REQUIRED = ("package.json", "model.onnx", "weights.safetensors", "config.yaml", "MODEL_CARD.md")
REPORT_SUFFIXES = (".json", ".html", ".pdf", ".csv", ".md", ".png", ".svg", ".parquet", ".txt")


def check_folder(folder: Path) -> dict[str, str]:
    """Check every file of a package against its SHA256SUMS.

    Returns
    -------
    dict of str to str
        SHA-256 by file name.

    Raises
    ------
    InputError
        Names the file and what is wrong.
    """
    sums = _read_sums(folder)
    _check_names(folder, sums)
    for name, expected in sums.items():
        _check_file(folder / name, expected)
    return sums


def changed(path: Path, expected: str, found: str) -> InputError:
    """Return the error for a file whose digest is not the stated one."""
    return InputError(
        "A file of the model package was changed.",
        where=path,
        got=f"SHA-256 {found}",
        expected=f"SHA-256 {expected}",
        fix="take the package from its source again; do not use this one",
    )


def _read_sums(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    if path.is_symlink() or not path.is_file():
        raise InputError("The model package has no SHA256SUMS.", where=path, fix="take the package again")
    sums: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        match = re.fullmatch(r"([0-9a-f]{64})  ([A-Za-z0-9_.][A-Za-z0-9_./ -]*)", line)
        if match is None or match[2] in sums or ".." in match[2].split("/"):
            raise InputError("SHA256SUMS is damaged.", where=f"{path}, line {number}", fix="take the package again")
        sums[match[2]] = match[1]
    return sums


def _check_names(folder: Path, sums: dict[str, str]) -> None:
    """Refuse links, extra and missing files, and every file type that is not known to carry no code."""
    present = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise InputError("A model package holds plain files only.", where=path, got="a link or special file")
        if path.is_file():
            present.add(name)
    listed = set(sums) | {SUMS} | ({SIGNATURE} & present)
    for name in sorted(present - listed):
        raise InputError("The model package holds a file that it does not list.", where=folder / name, fix="remove it")
    for name in sorted((set(sums) | set(REQUIRED)) - present):
        raise InputError("The model package lacks a file.", where=folder / name, fix="take the package again")
    for name in sorted(sums):
        known = name in (*REQUIRED, WARNING)
        if not known and not (name.startswith(f"{REPORT}/") and name.lower().endswith(REPORT_SUFFIXES)):
            raise InputError(
                "The model package holds a file that does not belong into one.",
                where=folder / name,
                expected=f"{', '.join(REQUIRED)}, and a report of {', '.join(REPORT_SUFFIXES)}",
                fix="do not use this package: such a file could carry code",
            )


def _check_file(path: Path, expected: str) -> None:
    found = digest_path(path)
    if found != expected:
        raise changed(path, expected, found)
    with path.open("rb") as stream:
        head = stream.read(9)
    if path.suffix == ".safetensors":
        # Eight bytes of length, then a JSON header.
        sound = head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8
    else:
        # Pickle protocols 2 to 5, and ZIP archives, in which torch keeps pickles.
        sound = not (head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"))
        sound = sound and not head.startswith(b"PK\x03\x04")
    if not sound:
        raise InputError(
            "A file of the model package is not what its name says.", where=path, fix="do not use this package"
        )
