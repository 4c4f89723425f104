"""Lies that a NIfTI file can tell: fields of its header, and its compression."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from functools import lru_cache

from fuzzing.damage import ANY, Mutation, Rng, flip

BOMB_BYTES = 2 << 30
INTEGERS = (0, 1, -1, 2, 3, 7, 8, 16, 255, 32767, -32768, 2**31 - 1, -(2**31), 2**62)
FLOATS = (0.0, -0.0, 1.0, -1.0, float("nan"), float("inf"), float("-inf"), 1e30, -1e30, 1e-30, 352.5, 3e38)
# Offset, struct code and count of sizeof_hdr, dim, intent, datatype, bitpix, pixdim, vox_offset, scl_*, units,
# codes, quaternions, srow, magic.
NIFTI_1 = (
    *((0, "i", 1), (40, "h", 8), (40, "h", 8), (40, "h", 8), (56, "f", 3), (68, "h", 1), (70, "h", 1), (72, "h", 1)),
    *((76, "f", 8), (108, "f", 1), (108, "f", 1), (112, "f", 2), (123, "b", 1), (252, "h", 2), (256, "f", 6)),
    *((280, "f", 12), (344, "i", 1), (348, "i", 2)),
)
NIFTI_2 = (
    *((0, "i", 1), (4, "i", 2), (12, "h", 1), (14, "h", 1), (16, "q", 8), (16, "q", 8), (16, "q", 8), (104, "d", 8)),
    *((168, "q", 1), (168, "q", 1), (176, "d", 2), (344, "i", 2), (352, "d", 6), (400, "d", 12), (500, "i", 1)),
)


def header_field(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """Write an absurd value into a field of a NIfTI header."""
    order = "<" if data[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") else ">"
    second = data[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")
    fields = NIFTI_2 if second else NIFTI_1
    at, code, count = fields[int(rng.integers(0, len(fields)))]
    changed = bytearray(data)
    for _ in range(int(rng.choice((1, 1, 2, 4)))):
        place = at + struct.calcsize(code) * int(rng.integers(0, count))
        value = FLOATS[int(rng.integers(0, len(FLOATS)))] if code in "fd" else INTEGERS[int(rng.integers(0, 14))]
        if code not in "fd":
            bits = 8 * struct.calcsize(code)
            value = (int(value) + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))
        if place + struct.calcsize(code) <= len(changed):
            struct.pack_into(order + code, changed, place, value)
    return bytes(changed)


def repack(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """Compress a NIfTI file and damage the compression: cut, junk behind, several members, a bomb, twice packed."""
    packed = gzip.compress(data, 1, mtime=0)
    kind = rng.integers(0, 7)
    if kind == 0:
        return packed + rng.bytes(int(rng.choice((1, 8, 100, 5000))))
    if kind == 1:
        return packed[: int(rng.integers(0, len(packed)))]
    if kind == 2:
        return flip(packed, rng, ())
    if kind == 3:
        at = int(rng.integers(0, len(data)))
        return gzip.compress(data[:at], 1, mtime=0) + gzip.compress(data[at:], 1, mtime=0)
    if kind == 4:
        return gzip.compress(packed, 1, mtime=0)
    if kind == 5:
        return packed + bytes(int(rng.choice((8, 512, 100_000))))
    return gzip.compress(header_field(data, rng, ()), 1, mtime=0)


def gzip_bomb(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """Return a NIfTI header followed by gigabytes of compressed zeros."""
    head = header_field(data, rng, ()) if rng.random() < 0.5 else data
    return gzip.compress(head[: int(rng.choice((352, len(head))))], 1, mtime=0) + _zeros_gzipped()


@lru_cache(maxsize=1)
def _zeros_gzipped() -> bytes:
    return gzip.compress(bytes(4 << 20), 9, mtime=0) * (BOMB_BYTES >> 22)


NIFTI: tuple[tuple[Mutation, float], ...] = (*ANY, (header_field, 8.0), (repack, 2.0), (gzip_bomb, 0.1))
