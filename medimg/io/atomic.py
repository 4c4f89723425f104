"""Nothing half-written is ever left under a final name: write beside, then rename."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medimg.errors import InputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its name when the block succeeds.

    The file's folder is made where it is missing. When the block fails, the temporary file is removed and
    what stood at ``path`` before stays as it was.

    Raises
    ------
    InputError
        The folder cannot be made or written to.
    """
    final = Path(path)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=final.parent, prefix=".part-", suffix="".join(final.suffixes[-2:]))
        os.close(handle)
    except OSError as error:
        raise InputError(
            "Cannot write here.", where=final, got=error.strerror, fix="choose a folder that can be written to"
        ) from error
    part = Path(name)
    try:
        yield part
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o666 & ~mask)
        os.replace(part, final)
    finally:
        part.unlink(missing_ok=True)
