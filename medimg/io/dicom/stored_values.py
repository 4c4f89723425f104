"""Numbers as 16-bit integers with one slope and intercept: exactly where that is possible, else within a bound.

Legend: any shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.valuerep import format_number_as_ds

from medimg.errors import InputError

_LEVELS = 65535


@dataclass(frozen=True, eq=False)
class Stored:
    """int16 or uint16 values with ``value = slope · stored + intercept``; readers are at most ``max_error`` off."""

    array: NDArray[Any]
    slope: float
    intercept: float
    max_error: float


def quantised(array: NDArray[Any], *, where: str | Path) -> Stored:
    """Return values as 16-bit integers.

    Parameters
    ----------
    array : ndarray of bool, int or float
    where : str or Path
        For messages.

    Returns
    -------
    Stored
        Whole numbers whose range fits 16 bits are exact, with slope 1 and (where they lie outside int16 and
        uint16) a whole intercept. Others are rounded to 65,536 levels between their extremes; slope and intercept
        are ones that a DICOM decimal string of 16 characters states exactly.

    Raises
    ------
    InputError
        Not real numbers, or not finite.
    """
    if array.dtype.kind not in "biuf":
        raise InputError("Only real numbers can be written.", where=where, got=array.dtype.name)
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise InputError(
            "Voxels that are not finite numbers cannot be written.",
            where=where,
            fix="replace them first, such as by the smallest value",
        )
    if _is_whole(array) and high - low <= _LEVELS and max(abs(low), abs(high)) < 2**53:
        return _exact(array, int(low), int(high))
    return _rounded(array, low, high)


def _is_whole(array: NDArray[Any]) -> bool:
    return array.dtype.kind != "f" or all(bool((part == np.rint(part)).all()) for part in array)


def _exact(array: NDArray[Any], low: int, high: int) -> Stored:
    if low >= -32768 and high <= 32767:
        return Stored(array.astype(np.int16), 1.0, 0.0, 0.0)
    if low >= 0 and high <= _LEVELS:
        return Stored(array.astype(np.uint16), 1.0, 0.0, 0.0)
    wide = array.astype(np.int64 if array.dtype.kind != "u" else array.dtype)
    return Stored((wide - wide.dtype.type(low)).astype(np.uint16), 1.0, float(low), 0.0)


def _rounded(array: NDArray[Any], low: float, high: float) -> Stored:
    if low == high:
        return Stored(
            np.zeros(array.shape, np.int16), 1.0, _stated(low), _reading_error(low, high) + abs(low - _stated(low))
        )
    middle = _stated((high + low) / 2 if abs(high) < 1e308 and abs(low) < 1e308 else high / 2 + low / 2)
    # One level less on each side: rounding slope and intercept to 16 characters must not push an extreme out.
    slope = _stated(max(high / (_LEVELS - 3) - low / (_LEVELS - 3), np.finfo(np.float64).tiny))
    out = np.empty(array.shape, np.int16)
    for target, part in zip(out, array, strict=True):
        target[...] = np.rint((part.astype(np.float64) - middle) / slope)
    return Stored(out, slope, middle, slope / 2 + _reading_error(low, high))


def _reading_error(low: float, high: float) -> float:
    """Return what a reader that computes in float32 adds: a unit in the last place of the largest value."""
    largest = min(max(abs(low), abs(high)), float(np.finfo(np.float32).max))
    return float(np.spacing(np.float32(largest)))


def _stated(value: float) -> float:
    """Return the nearest number that a decimal string of 16 characters states."""
    return float(format_number_as_ds(float(value)))
