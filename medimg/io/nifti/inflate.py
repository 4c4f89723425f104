"""Inflate a gzip file ahead of its reader: one thread inflates the next block while the last one is used.

Where the process has one core alone, no thread is started.
"""

from __future__ import annotations

import io
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from isal import igzip_lib

from medimg.io.cores import available_cores

_MAGIC = b"\x1f\x8b"
_READ_BYTES, _FIRST_BYTES = 1 << 18, 1 << 14
# Alone, a block stays in the cache; between two threads, the hand-over costs more than the cache gains.
_ALONE_BYTES, _BLOCK_BYTES = 1 << 18, 1 << 21


class Inflated:
    """The uncompressed bytes of a gzip file, from first to last; checksums are verified by the library.

    Parameters
    ----------
    file : FileIO
        Open at its first byte. It is left open.

    Notes
    -----
    Reading raises EOFError where the file ends too early, OSError where something else than another gzip member
    follows a member, and ``isal.igzip_lib.error`` where the data are damaged.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file, self._member, self._input = file, _new_member(), b""
        self._pool, self._ahead = ThreadPoolExecutor(1), available_cores() > 1
        self._next: Future[bytes] | None = None
        self._block, self._place, self._begun = memoryview(b""), 0, False

    def __enter__(self) -> Inflated:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

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
        if not self._begun or not self._ahead:
            # Often only a header is wanted: no thread for that.
            self._block = memoryview(self._inflate(_ALONE_BYTES if self._begun else _FIRST_BYTES))
            self._begun = True
            return
        future = self._next if self._next is not None else self._pool.submit(self._inflate, _BLOCK_BYTES)
        self._block = memoryview(future.result())
        self._next = self._pool.submit(self._inflate, _BLOCK_BYTES) if self._block else future

    def _inflate(self, size: int) -> bytes:
        """Return the next block of at most ``size`` bytes, empty at the end of the file."""
        while True:
            if self._member.eof:
                self._input = self._member.unused_data.lstrip(b"\0") or self._read().lstrip(b"\0")
                if not self._input:
                    return b""
                self._input += b"" if len(self._input) > 1 else self._read()
                if not self._input.startswith(_MAGIC):
                    raise OSError("other bytes follow the compressed ones")
                self._member = _new_member()
            elif self._member.needs_input:
                self._input = self._read()
                if not self._input:
                    raise EOFError("the compressed file ends too early")
            block = self._member.decompress(self._input, size)
            self._input = b""
            if block:
                return block

    def _read(self) -> bytes:
        return self._file.read(_READ_BYTES) or b""


def _new_member() -> igzip_lib.IgzipDecompressor:
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
