"""Inflate a gzip file ahead of its reader: one thread inflates the next block while the last one is used.

Where the process has one core alone, no thread is started. Blocks lie in two buffers that are used in turn: memory
that is fresh for every block costs more than to inflate into it.
"""

from __future__ import annotations

import io
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import cast

import numpy as np
from isal import igzip

from medimg.io.cores import available_cores

_FIRST_BYTES = 1 << 14
# Alone, a block stays in the cache; between two threads, the hand-over costs more than the cache gains.
_ALONE_BYTES, _BLOCK_BYTES = 1 << 18, 1 << 20


class Inflated:
    """The uncompressed bytes of a gzip file, from first to last; checksums are verified by the library.

    Parameters
    ----------
    file : FileIO
        Open at its first byte. It is left open.

    Notes
    -----
    Reading raises EOFError where the file ends too early, OSError where a checksum is wrong or something else than
    another gzip member follows a member, and ``isal.igzip_lib.error`` where the data are damaged. Very few such
    bytes count as a member that ends too early.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._stream = cast(io.BufferedReader, igzip.IGzipFile(fileobj=file, mode="rb"))
        self._pool, self._ahead = ThreadPoolExecutor(1), available_cores() > 1
        self._next: Future[memoryview] | None = None
        self._buffers: list[memoryview] = []
        self._block, self._place, self._begun = memoryview(b""), 0, False

    def __enter__(self) -> Inflated:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._stream.close()

    def readinto(self, target: memoryview) -> int:
        """Fill the beginning of ``target``; return how many bytes that were, 0 at the end."""
        if self._place == len(self._block):
            self._advance()
        part = self._block[self._place : self._place + len(target)]
        target[: len(part)] = part
        self._place += len(part)
        return len(part)

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, or fewer at the end."""
        parts: list[bytes] = []
        while size > 0:
            if self._place == len(self._block):
                self._advance()
            part = bytes(self._block[self._place : self._place + size])
            if not part:
                break
            parts.append(part)
            self._place += len(part)
            size -= len(part)
        return b"".join(parts)

    def _advance(self) -> None:
        self._place = 0
        if not self._begun:
            # Often only a header is wanted: no thread for that.
            self._begun, self._block = True, self._inflate(_buffer(_FIRST_BYTES))
            return
        if not self._buffers:
            sizes = [_BLOCK_BYTES] * 2 if self._ahead else [_ALONE_BYTES]
            self._buffers = [_buffer(size) for size in sizes]
        if not self._ahead:
            self._block = self._inflate(self._buffers[0])
            return
        future = self._next if self._next is not None else self._submit()
        self._block = future.result()
        self._next = self._submit() if self._block else future

    def _submit(self) -> Future[memoryview]:
        """Have the buffer filled that was used up before the last one."""
        self._buffers.reverse()
        return self._pool.submit(self._inflate, self._buffers[0])

    def _inflate(self, buffer: memoryview) -> memoryview:
        """Return the part of a buffer that the next bytes fill, empty at the end of the file."""
        return buffer[: self._stream.readinto(buffer)]


def _buffer(size: int) -> memoryview:
    return np.empty(size, np.uint8).data
