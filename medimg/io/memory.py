"""Sizes are checked before memory is asked for: a damaged header must not take the machine down."""

from __future__ import annotations

import math
from pathlib import Path

import psutil

from medimg.errors import InputError

# What compressed bytes may grow to before their header is disbelieved: real scans stay below 100 times; blank
# ones, which shrink more, are small.
_ALWAYS_BYTES, _MOST_TIMES = 1 << 28, 200


def check_allocation(
    shape: tuple[int, ...], bytes_each: int, *, where: str | Path, max_bytes: int | None = None
) -> int:
    """Return the bytes that an array takes, after checking that they can be had.

    Parameters
    ----------
    shape : tuple of int
    bytes_each : int
        Bytes of one element.
    where : str or Path
        The file that asks for them.
    max_bytes : int, optional
        Largest array that is allowed (`ReadPolicy.max_bytes`); what memory is free limits it always.

    Raises
    ------
    InputError
        A side is not positive, or the array is larger than the limit or than the memory that is free now.
    """
    if not shape or min(shape) < 1:
        raise InputError("The header states an empty image.", where=where, got=shape, expected="every side at least 1")
    n_bytes = math.prod(int(side) for side in shape) * bytes_each
    if max_bytes is not None and n_bytes > max_bytes:
        raise InputError(
            "The image is larger than the limit.",
            where=where,
            got=f"shape {shape}, {n_bytes} bytes",
            expected=f"at most {max_bytes} bytes",
            fix="raise max_bytes of the reading policy if the file is to be trusted",
        )
    free = int(psutil.virtual_memory().available)
    if n_bytes > free:
        raise InputError(
            "The image is larger than the free memory; its header may be damaged.",
            where=where,
            got=f"shape {shape}, {n_bytes / 1e9:.3g} GB",
            expected=f"at most {free / 1e9:.3g} GB",
            fix="check the file with its sender, or read it on a machine with more memory",
        )
    return n_bytes


def check_expansion(n_bytes: int, compressed_bytes: int, *, where: str | Path, max_bytes: int | None = None) -> None:
    """Refuse compressed data that claims to be, or grows, far larger than such data can be.

    Parameters
    ----------
    n_bytes : int
        Bytes after decompression, as far as they are known.
    compressed_bytes : int
        Bytes in the file.
    where : str or Path
    max_bytes : int, optional
        Limit of ``n_bytes`` (`ReadPolicy.max_bytes`).

    Raises
    ------
    InputError
        More than ``max_bytes``; or more than 256 MB and more than 200 times the compressed bytes.
    """
    limit = max(_ALWAYS_BYTES, _MOST_TIMES * compressed_bytes)
    limit = limit if max_bytes is None else min(limit, max_bytes)
    if n_bytes > limit:
        raise InputError(
            "The compressed data would grow beyond all measure; the file may be damaged or made to do harm.",
            where=where,
            got=f"{n_bytes} bytes or more from {compressed_bytes}",
            expected=f"at most {limit} bytes",
            fix="check the file with its sender",
        )
