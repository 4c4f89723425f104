"""Put planes that state their own place onto the grid of an image: by geometry, never by index.

Legend: Z Y X of the grid, R rows and K columns of a plane. Lengths in LPS mm, errors in voxels of the grid.

A plane is on the grid where each of its pixel centres is a voxel centre of the grid, in any axis order and
direction; its corners may miss by 0.1 voxel, since headers round and series are not perfectly even.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg import geometry
from medimg.errors import InputError

_TOLERANCE_VOXELS = 0.1
_SAME_MM, _BENT_MM = 0.01, 0.1
_EVEN_PART = 0.02


@dataclass(frozen=True, eq=False)
class Plane:
    """Where one frame lies: centre of its first pixel, and the steps to the next row and the next column."""

    origin_mm: NDArray[np.float64]
    row_step_mm: NDArray[np.float64]
    column_step_mm: NDArray[np.float64]
    shape: tuple[int, int]

    @property
    def normal(self) -> NDArray[np.float64]:
        """(3,) unit normal: row cosine × column cosine."""
        across = np.cross(self.column_step_mm, self.row_step_mm)
        return np.asarray(across / np.linalg.norm(across), dtype=np.float64)


@dataclass(frozen=True)
class Placement:
    """How a plane's pixels go into the grid.

    ``row_axis`` and ``column_axis`` are the grid axes that rows and columns run along (from ``start`` in steps of
    ``row_sign`` and ``column_sign``); ``error_voxels`` is how far the worst corner is off.
    """

    row_axis: int
    column_axis: int
    row_sign: int
    column_sign: int
    start: tuple[int, int, int]
    error_voxels: float

    @property
    def plane_axis(self) -> int:
        """The grid axis across the plane."""
        return 3 - self.row_axis - self.column_axis

    def fit(
        self, pixels: NDArray[Any], shape_zyx: tuple[int, ...]
    ) -> tuple[tuple[int | slice, ...], NDArray[Any], int]:
        """Return the index into the grid, the turned pixels for it, and how many set pixels lie outside."""
        axis = self.plane_axis
        rows, row_range = _range(self.start[self.row_axis], self.row_sign, pixels.shape[0], shape_zyx[self.row_axis])
        columns, column_range = _range(
            self.start[self.column_axis], self.column_sign, pixels.shape[1], shape_zyx[self.column_axis]
        )
        inside = pixels[rows, columns] if 0 <= self.start[axis] < shape_zyx[axis] else pixels[:0, :0]
        outside = int(np.count_nonzero(pixels) - np.count_nonzero(inside))
        index: list[int | slice] = [0, 0, 0]
        index[axis], index[self.row_axis], index[self.column_axis] = self.start[axis], row_range, column_range
        return tuple(index), inside if self.row_axis < self.column_axis else inside.T, outside


def _range(start: int, sign: int, count: int, size: int) -> tuple[slice, slice]:
    """Return which pixels are inside (turned to run upwards) and where they go along one grid axis."""
    low = start if sign > 0 else start - count + 1
    first, stop = max(0, -low), min(count, size - low)
    if stop <= first:
        return slice(0, 0), slice(0, 0)
    target = slice(low + first, low + stop)
    if sign > 0:
        return slice(first, stop), target
    # Pixel number n counts from the upper end here.
    begin, end = count - 1 - first, count - 1 - stop
    return slice(begin, None if end < 0 else end, -1), target


def place(plane: Plane, to_index: NDArray[np.float64]) -> Placement | None:
    """Find how a plane lies in a grid.

    Parameters
    ----------
    plane : Plane
    to_index : (4, 4) ndarray
        LPS mm to (z, y, x) indices of the grid.

    Returns
    -------
    Placement or None
        None where a corner is more than 0.1 voxel off, or the plane is turned or scaled against the grid.
    """
    steps = to_index[:3, :3] @ np.column_stack([plane.row_step_mm, plane.column_step_mm])
    origin = geometry.apply(to_index, plane.origin_mm)
    if not (np.isfinite(steps).all() and np.isfinite(origin).all() and np.abs(origin).max() < 1e9):
        return None
    whole, start = np.rint(steps), np.rint(origin)
    axes = np.abs(whole).argmax(axis=0)
    if not np.array_equal(np.abs(whole), np.eye(3)[:, axes]) or axes[0] == axes[1]:
        return None
    last = np.asarray(plane.shape, dtype=np.float64) - 1
    corners = np.asarray([[0.0, 0.0], [last[0], 0.0], [0.0, last[1]], last])
    error = float(np.abs((origin - start) + corners @ (steps - whole).T).max())
    if error > _TOLERANCE_VOXELS:
        return None
    row, column = int(axes[0]), int(axes[1])
    z, y, x = (int(value) for value in start)
    return Placement(row, column, int(whole[row, 0]), int(whole[column, 1]), (z, y, x), error)


def explain(plane: Plane, affine: NDArray[np.float64]) -> str:
    """Say in words how a plane misses a grid (zyx to LPS mm)."""
    parts = []
    spacing = (float(np.linalg.norm(plane.row_step_mm)), float(np.linalg.norm(plane.column_step_mm)))
    unit = geometry.directions(affine)
    along = [int(np.abs(unit.T @ step).argmax()) for step in (plane.row_step_mm, plane.column_step_mm)]
    grid = [geometry.spacing_mm(affine)[axis] for axis in along]
    if not np.allclose(spacing, grid, rtol=1e-3):
        parts.append(f"pixel spacing {spacing[0]:.4g} × {spacing[1]:.4g} mm against {grid[0]:.4g} × {grid[1]:.4g} mm")
    cosines = [
        abs(float(unit[:, axis] @ step)) / np.linalg.norm(step)
        for axis, step in zip(along, (plane.row_step_mm, plane.column_step_mm), strict=True)
    ]
    angle = float(np.degrees(np.arccos(np.clip(min(cosines), 0.0, 1.0))))
    if angle > 0.01:
        parts.append(f"turned by {angle:.2f} degrees")
    origin = geometry.apply(geometry.inverse(affine), plane.origin_mm)
    off = origin - np.rint(origin)
    parts.append(f"first pixel ({off[0]:+.2f}, {off[1]:+.2f}, {off[2]:+.2f}) voxels (z, y, x) beside a voxel centre")
    return "; ".join(parts)


def own_grid(
    planes: Sequence[Plane], spacing_hint_mm: float | None, thickness_mm: float | None, *, where: Path
) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Find the regular grid that planes lie on; empty ones between them may have been left out.

    Parameters
    ----------
    planes : sequence of Plane
        At least one.
    spacing_hint_mm : float, optional
        SpacingBetweenSlices; taken where every gap is a multiple of it, else the smallest gap is.
    thickness_mm : float, optional
        SliceThickness, for a plane that stands alone.

    Returns
    -------
    shape_zyx : (int, int, int)
    affine : (4, 4) ndarray
        zyx to LPS mm.

    Raises
    ------
    InputError
        Planes of several orientations, sizes or spacings, or unevenly stacked ones.
    """
    first = planes[0]
    for plane in planes[1:]:
        moved = max(
            np.abs(plane.row_step_mm - first.row_step_mm).max(),
            np.abs(plane.column_step_mm - first.column_step_mm).max(),
        )
        if plane.shape != first.shape or moved > 1e-3 * np.linalg.norm(first.row_step_mm):
            raise InputError(
                "The frames differ in orientation, spacing or size: they are not one grid.",
                where=where,
                fix="read it onto its image: read_segmentation(path, like=image)",
            )
    positions = np.asarray([plane.origin_mm for plane in planes])
    positions = positions[np.argsort(positions @ first.normal, kind="stable")]
    along = (positions - positions[0]) @ first.normal
    step, count = _step(positions, along, first.normal, spacing_hint_mm, thickness_mm, where)
    affine = np.eye(4)
    affine[:3] = np.column_stack([step, first.row_step_mm, first.column_step_mm, positions[0]])
    return (count, *first.shape), geometry.check_affine(affine, where=str(where))


def _step(
    positions: NDArray[np.float64],
    along: NDArray[np.float64],
    normal: NDArray[np.float64],
    hint: float | None,
    thickness: float | None,
    where: Path,
) -> tuple[NDArray[np.float64], int]:
    gaps = np.diff(along)
    gaps = gaps[gaps > _SAME_MM]
    usable = [value for value in (hint, thickness) if value is not None and np.isfinite(value) and value > 0]
    if not len(gaps):
        return normal * (usable[0] if usable else 1.0), 1
    candidates = [hint] if hint is not None and hint in usable else []
    for gap in (*candidates, float(gaps.min())):
        times = np.rint(along / gap)
        uneven = np.abs(along - times * gap).max()
        vector = (positions[-1] - positions[0]) / max(times[-1], 1)
        bent = np.abs(positions - positions[0] - np.outer(times, vector)).max()
        if uneven <= max(_SAME_MM, _EVEN_PART * gap) and bent <= _BENT_MM and times[-1] < 1e5:
            return vector, int(times[-1]) + 1
    raise InputError(
        "The frames are unevenly stacked.",
        where=where,
        got=f"gaps from {gaps.min():.3f} to {gaps.max():.3f} mm",
        expected="multiples of one gap, on one line",
        fix="read it onto its image: read_segmentation(path, like=image)",
    )
