"""Content digests of files, series folders and plain values."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def digest_path(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder in name order."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    whole = hashlib.sha256()
    for file in sorted(entry for entry in path.rglob("*") if entry.is_file()):
        whole.update(file.relative_to(path).as_posix().encode())
        whole.update(bytes.fromhex(digest_path(file)))
    return whole.hexdigest()


def digest_value(value: Any) -> str:
    """Return the SHA-256 of a JSON-able value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
