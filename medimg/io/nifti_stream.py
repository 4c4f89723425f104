"""Bytes of a NIfTI file: plain or gzip, streamed straight into the array's own memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from medimg.errors import InputError

# The stubs declare this exception class as an instance.
_DEFLATE_ERROR = cast(type[Exception], isal_zlib.error)
_CHUNK_BYTES = 1 << 20
# DEFLATE cannot shrink by more than about 1032 to 1: a header that asks for more is lying.
_MAX_RATIO = 1100


def is_gzip(path: Path) -> bool:
    """Tell whether the file starts as gzip does, whatever its name says."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def open_stream(path: Path) -> BinaryIO:
    """Open a plain or gzip-compressed file for reading from its first (uncompressed) byte."""
    if is_gzip(path):
        return cast(BinaryIO, igzip.open(path, "rb"))
    return path.open("rb")


def read_exactly(path: Path, offset: int, array: NDArray[Any]) -> None:
    """Fill a C-contiguous ``array`` with the bytes from ``offset`` on.

    The end of a compressed file is read too, so that its checksum is verified.

    Raises
    ------
    InputError
        The file is damaged, or holds fewer bytes than the array.
    """
    target = array.reshape(-1).view(np.uint8).data
    compressed = is_gzip(path)
    on_disk = path.stat().st_size
    limit = on_disk * _MAX_RATIO if compressed else on_disk
    if offset + len(target) > limit:
        raise _too_short(path, on_disk, offset + len(target), compressed)
    try:
        with open_stream(path) as stream:
            _skip(stream, offset)
            done = _fill(stream, target)
            while compressed and stream.read(_CHUNK_BYTES):
                pass
    except (EOFError, OSError, _DEFLATE_ERROR) as error:
        raise InputError(
            "The compressed file is damaged or cut short.",
            where=path,
            got=str(error) or type(error).__name__,
            expected="a complete gzip file",
            fix="copy it again; `gzip -t FILE` must pass",
        ) from error
    if done < len(target):
        raise _too_short(path, offset + done, offset + len(target), False)


def _skip(stream: BinaryIO, offset: int) -> None:
    while offset > 0 and (chunk := stream.read(min(offset, _CHUNK_BYTES))):
        offset -= len(chunk)


def _fill(stream: BinaryIO, target: memoryview) -> int:
    done = 0
    while done < len(target):
        count = stream.readinto(target[done : done + _CHUNK_BYTES])  # type: ignore[attr-defined]
        if not count:
            break
        done += count
    return done


def _too_short(path: Path, got: int, expected: int, compressed: bool) -> InputError:
    return InputError(
        "The file is shorter than its header says.",
        where=path,
        got=f"{got} {'compressed ' if compressed else ''}bytes",
        expected=f"{expected} bytes",
        fix="copy it again; the transfer did not finish, or the header is damaged",
    )
