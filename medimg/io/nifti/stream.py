"""Bytes of a NIfTI file: plain or gzip, streamed straight into the array's own memory.

Legend: N voxels in the order of the file. Nothing is ever held twice: what is converted passes through a buffer
that stays in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.io.nifti.inflate import Inflated
from medimg.io.sniff import open_regular

# The stubs declare this exception class as an instance.
_DEFLATE_ERROR = cast(type[Exception], isal_zlib.error)
_CHUNK_BYTES = 1 << 20
# Measured fastest of 64 KB to 1 MB: it stays in the second-level cache between inflating and converting.
_CONVERT_BYTES = 1 << 18
# DEFLATE cannot shrink by more than about 1032 to 1: a header that asks for more is lying.
_MAX_RATIO = 1100
# How much behind the voxels is read on, to verify a checksum that comes after it.
_SURPLUS_BYTES = 1 << 26

Convert = Callable[[NDArray[Any], NDArray[Any]], None]


@contextmanager
def open_stream(path: Path) -> Iterator[tuple[BinaryIO, bool]]:
    """Open a plain or gzip-compressed file at its first (uncompressed) byte; tell whether it is compressed.

    What the file starts with decides, whatever its name says.
    """
    with open_regular(path) as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            yield cast(BinaryIO, file), False
            return
        with Inflated(file) as stream:
            yield cast(BinaryIO, stream), True


def read_head(path: Path, size: int) -> bytes:
    """Return the first ``size`` uncompressed bytes, or what there is of them.

    Raises
    ------
    InputError
        The file cannot be read or is damaged.
    """
    try:
        with open_stream(path) as (stream, _):
            return stream.read(size)
    except (EOFError, OSError, _DEFLATE_ERROR) as error:
        raise _damaged(path, error) from error


def read_exactly(path: Path, offset: int, array: NDArray[Any]) -> int:
    """Fill a C-contiguous ``array`` with the bytes from ``offset`` on.

    The end of a compressed file is read too, so that its checksum is verified.

    Returns
    -------
    int
        How many bytes the file holds behind them (of a compressed file at most 64 MB are counted).

    Raises
    ------
    InputError
        The file is damaged, or holds fewer bytes than the array.
    """
    return _read(path, offset, array.nbytes, lambda stream: _fill(stream, _bytes(array)))


def read_converted(path: Path, offset: int, stored: np.dtype[Any], out: NDArray[Any], convert: Convert) -> int:
    """Fill a C-contiguous ``out`` from stored voxels of another type, piece by piece.

    Parameters
    ----------
    path : Path
    offset : int
        Where the voxels begin, in uncompressed bytes.
    stored : dtype
        Of the voxels in the file, in the file's byte order.
    out : ndarray
        As many elements as the file has voxels.
    convert : callable
        ``convert(stored piece, piece of out)`` writes the second; both are one-dimensional.

    Returns
    -------
    int
        As `read_exactly`.

    Raises
    ------
    InputError
        As `read_exactly`.
    """
    flat = out.reshape(-1)
    piece = np.empty(min(flat.size, max(1, _CONVERT_BYTES // stored.itemsize)), stored)

    def work(stream: BinaryIO) -> int:
        for start in range(0, flat.size, piece.size):
            target = flat[start : start + piece.size]
            part = piece[: target.size]
            done = _fill(stream, _bytes(part))
            if done < part.nbytes:
                return start * stored.itemsize + done
            convert(part, target)
        return flat.size * stored.itemsize

    return _read(path, offset, flat.size * stored.itemsize, work)


def _read(path: Path, offset: int, wanted: int, work: Callable[[BinaryIO], int]) -> int:
    """Run ``work`` on the stream at ``offset``; it returns how many of the ``wanted`` bytes it got."""
    try:
        with open_stream(path) as (stream, compressed):
            on_disk = path.stat().st_size
            if offset + wanted > (on_disk * _MAX_RATIO if compressed else on_disk):
                raise _too_short(path, on_disk, offset + wanted, compressed)
            surplus = on_disk - offset - wanted
            _skip(stream, offset)
            done = work(stream)
            if compressed:
                surplus = _drain(stream)
    except (EOFError, OSError, _DEFLATE_ERROR) as error:
        raise _damaged(path, error) from error
    if done < wanted:
        raise _too_short(path, offset + done, offset + wanted, False)
    return surplus


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


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


def _drain(stream: BinaryIO) -> int:
    total = 0
    while total < _SURPLUS_BYTES and (chunk := stream.read(_CHUNK_BYTES)):
        total += len(chunk)
    return total


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        "The compressed file is damaged or cut short.",
        where=path,
        got=str(error) or type(error).__name__,
        expected="a complete gzip file",
        fix="copy it again; `gzip -t FILE` must pass",
    )


def _too_short(path: Path, got: int, expected: int, compressed: bool) -> InputError:
    return InputError(
        "The file is shorter than its header says.",
        where=path,
        got=f"{got} {'compressed ' if compressed else ''}bytes",
        expected=f"{expected} bytes",
        fix="copy it again; the transfer did not finish, or the header is damaged",
    )
