"""Damage that any file may suffer: cut, changed, overwritten, mixed up with another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fuzzing.elements import header_end

Rng = np.random.Generator
Mutation = Callable[[bytes, Rng, Sequence[bytes]], bytes]


def truncate(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """Cut the end off, often inside the header."""
    limit = header_end(data) if rng.random() < 0.6 else len(data)
    return data[: int(rng.integers(0, max(1, limit)))]


def flip(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """Change some bytes, in the header mostly."""
    limit = header_end(data) if rng.random() < 0.8 else len(data)
    changed = bytearray(data)
    for place in rng.integers(0, max(1, min(limit, len(data))), rng.choice((1, 2, 4, 16, 64))):
        if place < len(changed):
            changed[place] = rng.choice((0, 0xFF, 0x7F, 0x80, changed[place] ^ 1 << rng.integers(0, 8)))
    return bytes(changed)


def smear(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """Overwrite, insert, remove or repeat a run of bytes."""
    at = int(rng.integers(0, max(1, header_end(data) if rng.random() < 0.7 else len(data))))
    size = int(rng.choice((1, 2, 4, 8, 64, 512, 4096)))
    kind = rng.integers(0, 5)
    run = data[at : at + size]
    if kind == 0:
        return data[:at] + rng.bytes(size) + data[at + size :]
    if kind == 1:
        return data[:at] + bytes([rng.choice((0, 0xFF))]) * size + data[at + size :]
    if kind == 2:
        return data[:at] + rng.bytes(size) + data[at:]
    if kind == 3:
        return data[:at] + data[at + size :]
    return data[:at] + run * int(rng.choice((2, 3, 50))) + data[at + size :]


def splice(data: bytes, rng: Rng, others: Sequence[bytes]) -> bytes:
    """Continue with the end of another file."""
    other = others[int(rng.integers(0, len(others)))]
    return data[: int(rng.integers(0, len(data)))] + other[int(rng.integers(0, len(other))) :]


ANY: tuple[tuple[Mutation, float], ...] = ((truncate, 2.0), (flip, 3.0), (smear, 2.0), (splice, 0.5))
