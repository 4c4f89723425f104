"""Make a regular grid of slices that do not lie on one: fill, even out, straighten.

Legend: Z slices that were read, N slices of the result, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.io.findings import Finding
from medimg.io.memory import check_allocation

AIR_HU = -1000
# A straightened slice may not become larger than this; more is a damaged position or pixel spacing.
_LARGEST_GROWTH = 4.0


@dataclass(frozen=True, eq=False)
class Regrid:
    """Where the slices of the result come from.

    Attributes
    ----------
    places : (N,) ndarray of float64
        Of every slice of the result, its place between the slices that were read: 3.25 is a quarter of the way
        from slice 3 to slice 4.
    shift_yx : (Z, 2) ndarray of float64 or None
        Rows and columns by which each slice that was read is moved first, none of them negative.
    shape_yx : (int, int)
        Rows and columns of the result.
    """

    places: NDArray[np.float64]
    shift_yx: NDArray[np.float64] | None
    shape_yx: tuple[int, int]


def regrid(
    array: NDArray[Any], plan: Regrid, *, unit: str, where: str | Path, max_bytes: int | None = None
) -> tuple[NDArray[Any], list[Finding]]:
    """Interpolate linearly, along the slices and, where they are moved, within them.

    Parameters
    ----------
    array : (Z, Y, X) ndarray
        Final values; integers stay integers, rounded to the nearest.
    plan : Regrid
        From `medimg.io.dicom.geometry.arrange`.
    unit : str
        Where slices are moved, what no slice covers becomes air (-1000) if this is 'HU' and the type can hold
        it, else the smallest value of the array.
    where : str or Path
        Named in errors.
    max_bytes : int, optional
        Largest result.

    Returns
    -------
    array : (N, Y, X) ndarray
        Of the same type.
    findings : list of Finding
        The padding value, where there is padding.

    Raises
    ------
    InputError
        The result would be too large.
    """
    rows, columns = plan.shape_yx
    if rows * columns > _LARGEST_GROWTH * array.shape[1] * array.shape[2]:
        raise InputError(
            "Straightened slices would become unreasonably large.",
            where=where,
            got=f"{rows}×{columns} from {array.shape[1]}×{array.shape[2]}",
            expected=f"at most {_LARGEST_GROWTH:g} times as many pixels",
            fix="check ImagePositionPatient (0020,0032) and PixelSpacing (0028,0030)",
        )
    shape = (len(plan.places), rows, columns)
    check_allocation(shape, array.dtype.itemsize, where=where, max_bytes=max_bytes)
    fill = None if plan.shift_yx is None else _padding(array, unit)
    out = np.empty(shape, array.dtype)
    whole = array.dtype.kind in "iu"
    for target, plane in zip(out, _planes(array, plan, fill or 0), strict=True):
        np.copyto(target, np.rint(plane) if whole and plane.dtype.kind == "f" else plane, casting="unsafe")
    if fill is None:
        return out, []
    text = "What no slice covers after straightening was filled."
    return out, [Finding("PADDED", "info", text, assumed=f"{fill:g}{' HU' if unit == 'HU' else ''}")]


def _planes(array: NDArray[Any], plan: Regrid, fill: float) -> Iterator[NDArray[Any]]:
    """Yield the slices of the result; those between two slices as float64."""
    kept: dict[int, NDArray[Any]] = {}
    last = len(array) - 1
    for place in plan.places:
        lower = min(int(place), last)
        weight = float(place) - lower
        needed = (lower,) if weight == 0 else (lower, min(lower + 1, last))
        kept = {n: kept[n] if n in kept else _moved(array[n], n, plan, fill) for n in needed}
        if len(kept) == 1:
            yield kept[lower]
        else:
            yield kept[lower] * (1.0 - weight) + kept[lower + 1] * np.float64(weight)


def _moved(plane: NDArray[Any], n: int, plan: Regrid, fill: float) -> NDArray[Any]:
    """Move one slice by a fraction of a pixel, linearly; what it does not cover is ``fill``."""
    if plan.shift_yx is None:
        return plane
    moved = plane.astype(np.float64)
    for axis, (shift, size) in enumerate(zip(plan.shift_yx[n], plan.shape_yx, strict=True)):
        moved = _shifted(moved, axis, float(shift), size, fill)
    return moved


def _shifted(plane: NDArray[np.float64], axis: int, shift: float, size: int, fill: float) -> NDArray[np.float64]:
    whole = int(np.floor(shift))
    part, length = shift - whole, plane.shape[axis]
    turned = np.moveaxis(plane, axis, 0)
    out = np.full((size, turned.shape[1]), fill)
    if part == 0:
        out[whole : whole + length] = turned
    else:
        padded = np.vstack([np.full_like(turned[:1], fill), turned, np.full_like(turned[:1], fill)])
        out[whole : whole + length + 1] = (1.0 - part) * padded[1:] + part * padded[:-1]
    return np.moveaxis(out, 0, axis)


def _padding(array: NDArray[Any], unit: str) -> float:
    holds = array.dtype.kind == "f" or np.iinfo(array.dtype).min <= AIR_HU
    return float(AIR_HU) if unit == "HU" and holds else float(array.min())
