"""Sizes are checked before memory is asked for: a damaged header must not take the machine down."""

from __future__ import annotations

import math
from pathlib import Path

import psutil

from medimg.errors import InputError


def check_allocation(shape: tuple[int, ...], bytes_each: int, *, where: str | Path) -> int:
    """Return the bytes that an array takes, after checking that they can be had.

    Raises
    ------
    InputError
        A side is not positive, or the array is larger than the memory that is free now.
    """
    if not shape or min(shape) < 1:
        raise InputError("The header states an empty image.", where=where, got=shape, expected="every side at least 1")
    n_bytes = math.prod(int(side) for side in shape) * bytes_each
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
