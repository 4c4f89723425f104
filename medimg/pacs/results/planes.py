"""From the grid of a volume to the planes of its source files.

The two are the same where the series is regular (also tilted, with a sheared affine). Where the reader filled gaps,
evened or straightened slices, every source plane takes the nearest voxels of the volume.

Legend: Z Y X of the volume; N source planes of R rows and K columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg import geometry
from medimg.errors import InputError
from medimg.io.plane_grid import Plane
from medimg.pacs.results.source import SourceSlice

_STEP = 0.05


@dataclass(frozen=True)
class Spot:
    """Where a source plane lies in a volume: its slice, and the row and column of its first pixel."""

    z: int
    y: int
    x: int


def spots(slices: Sequence[SourceSlice], affine: NDArray[np.float64]) -> list[Spot]:
    """Find every source plane in a volume.

    Parameters
    ----------
    slices : sequence of SourceSlice
    affine : (4, 4) ndarray
        zyx indices of the volume to LPS mm.

    Raises
    ------
    InputError
        A plane does not run along the rows and columns of the volume, or says not where it lies.
    """
    to_index = geometry.inverse(affine)
    return [_spot(one.plane, to_index) for one in slices]


def _spot(plane: Plane | None, to_index: NDArray[np.float64]) -> Spot:
    if plane is not None:
        steps = to_index[:3, :3] @ np.column_stack([plane.row_step_mm, plane.column_step_mm])
        drift = np.abs(steps - np.eye(3)[:, 1:]) * np.asarray(plane.shape, dtype=np.float64)
        if float(drift.max()) <= _STEP * max(plane.shape):
            z, y, x = (int(n) for n in np.rint(geometry.apply(to_index, plane.origin_mm)))
            return Spot(z, y, x)
    raise InputError(
        "The image does not lie on the planes of its source files.",
        expected="an image as medimg.read returns it for these files",
        fix="pass the volume that the prediction was made on, with the files that it was read from",
    )


def on_planes(array: NDArray[Any], places: Sequence[Spot], shape: tuple[int, int]) -> NDArray[Any]:
    """Return an array (Z, Y, X) of a volume on its source planes, (N, R, K); 0 where a plane leaves the volume."""
    z, y, x = (np.asarray([getattr(spot, name) for spot in places]) for name in "zyx")
    whole = array.shape[1:] == shape and not (y.any() or x.any())
    if whole and len(places) == len(array) and np.array_equal(z, np.arange(len(array))):
        return array
    out = np.zeros((len(places), *shape), dtype=array.dtype)
    for target, spot in zip(out, places):
        if not 0 <= spot.z < len(array):
            continue
        rows, source_rows = _overlap(spot.y, shape[0], array.shape[1])
        columns, source_columns = _overlap(spot.x, shape[1], array.shape[2])
        target[rows, columns] = array[spot.z][source_rows, source_columns]
    return out


def _overlap(start: int, count: int, size: int) -> tuple[slice, slice]:
    first, stop = max(0, -start), max(0, min(count, size - start))
    return slice(first, stop), slice(first + start, stop + start)
