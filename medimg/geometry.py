"""Patient geometry: affines from array indices to LPS millimetres, axis order, grids.

Legend: Z Y X array axes (slices, rows, columns), any leading axes (C) are left alone. An affine maps
``(z, y, x, 1)`` to patient LPS millimetres (left, posterior, superior are positive) unless its name says
``ras_ijk``: then it maps ``(i, j, k, 1) = (x, y, z, 1)`` to RAS millimetres, as NIfTI does.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medimg.errors import InputError

Affine = NDArray[np.float64]

_RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_REVERSE = np.eye(4)[[2, 1, 0, 3]]
# World axis (row of the affine) that array axes Z, Y, X run along in LPS order: S, P, L.
_WORLD_OF_AXIS = (2, 1, 0)


def check_affine(affine: ArrayLike, *, where: str | None = None) -> Affine:
    """Return ``affine`` as (4, 4) float64 after checking that it can be inverted.

    Raises
    ------
    InputError
        Wrong shape, non-finite, last row not (0, 0, 0, 1), or axes that do not span space.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise InputError("The affine is not a finite 4×4 matrix.", where=where, got=matrix.tolist())
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    volume = abs(np.linalg.det(matrix[:3, :3]))
    if not np.array_equal(matrix[3], [0, 0, 0, 1]) or lengths.min() <= 0 or volume <= 1e-4 * lengths.prod():
        raise InputError(
            "The affine cannot be inverted: its axes do not span space.",
            where=where,
            got=matrix.tolist(),
            expected="three independent axes of non-zero length and the last row 0 0 0 1",
            fix="correct the orientation in the file's header (NIfTI: sform/qform)",
        )
    return matrix


def spacing_mm(affine: ArrayLike) -> tuple[float, float, float]:
    """Return the distance between neighbouring voxel centres along Z, Y, X in millimetres."""
    lengths = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)
    return float(lengths[0]), float(lengths[1]), float(lengths[2])


def directions(affine: ArrayLike) -> Affine:
    """Return the (3, 3) unit vectors (columns: Z, Y, X axis; rows: world axes) of an affine."""
    linear = np.asarray(affine, dtype=np.float64)[:3, :3]
    return linear / np.linalg.norm(linear, axis=0)


def is_oblique(affine: ArrayLike, tolerance_deg: float = 0.1) -> bool:
    """Tell whether an array axis leaves its nearest patient axis by more than ``tolerance_deg``."""
    nearest = np.abs(directions(affine)).max(axis=0)
    return bool(np.degrees(np.arccos(np.clip(nearest, -1.0, 1.0))).max() > tolerance_deg)


def shear_deg(affine: ArrayLike) -> float:
    """Return by how many degrees the worst pair of array axes misses a right angle."""
    unit = directions(affine)
    cosines = np.abs((unit.T @ unit)[np.triu_indices(3, k=1)])
    return float(np.degrees(np.arcsin(np.clip(cosines.max(), 0.0, 1.0))))


def from_ras_ijk(affine_ras_ijk: ArrayLike) -> Affine:
    """Turn a NIfTI affine (ijk to RAS mm) into the affine of the transposed array (zyx to LPS mm)."""
    return _RAS_LPS @ np.asarray(affine_ras_ijk, dtype=np.float64) @ _REVERSE


def to_ras_ijk(affine: ArrayLike) -> Affine:
    """Turn an affine (zyx to LPS mm) into NIfTI's (ijk to RAS mm); the inverse of `from_ras_ijk`."""
    return _RAS_LPS @ np.asarray(affine, dtype=np.float64) @ _REVERSE


def apply(affine: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Map points (..., 3) through an affine: indices (z, y, x) to LPS mm, or back with its inverse."""
    matrix = np.asarray(affine, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def inverse(affine: ArrayLike) -> Affine:
    """Return the affine that maps LPS millimetres to (z, y, x) indices.

    Raises
    ------
    InputError
        The affine cannot be inverted.
    """
    return np.asarray(np.linalg.inv(check_affine(affine)), dtype=np.float64)


@dataclass(frozen=True)
class Reorientation:
    """Record of an axis permutation with flips, and the way back.

    Attributes
    ----------
    permutation : tuple of int
        Source axis (0, 1, 2 = Z, Y, X of the source) that became axis Z, Y, X.
    flipped : tuple of bool
        Whether axis Z, Y, X of the result runs against its source axis.
    source_shape_zyx : tuple of int
        Shape of the source, without leading axes.
    """

    permutation: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    source_shape_zyx: tuple[int, int, int]

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Shape of the result, without leading axes."""
        a, b, c = (self.source_shape_zyx[axis] for axis in self.permutation)
        return a, b, c

    @property
    def index_affine(self) -> Affine:
        """(4, 4) map from indices of the result to indices of the source."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1.0
        for axis, source in enumerate(self.permutation):
            matrix[source, axis] = -1.0 if self.flipped[axis] else 1.0
            matrix[source, 3] = self.source_shape_zyx[source] - 1 if self.flipped[axis] else 0.0
        return matrix

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn an array (..., Z, Y, X) on the source grid; a view, nothing is copied."""
        self._check(array, self.source_shape_zyx)
        lead = array.ndim - 3
        turned = array.transpose(*range(lead), *(lead + axis for axis in self.permutation))
        return turned[(..., *self._steps())]

    def invert(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn an array (..., Z, Y, X) back to the source's axis order; a view, nothing is copied."""
        self._check(array, self.shape_zyx)
        lead = array.ndim - 3
        back = np.argsort(self.permutation)
        return array[(..., *self._steps())].transpose(*range(lead), *(lead + int(axis) for axis in back))

    def _steps(self) -> tuple[slice, slice, slice]:
        a, b, c = (slice(None, None, -1 if flip else 1) for flip in self.flipped)
        return a, b, c

    @staticmethod
    def _check(array: NDArray[Any], shape_zyx: tuple[int, int, int]) -> None:
        if array.shape[-3:] != shape_zyx:
            raise InputError(
                "The array does not lie on the grid that was turned.",
                got=tuple(array.shape),
                expected=f"(..., {', '.join(map(str, shape_zyx))})",
            )


def lps_reorientation(shape: tuple[int, ...], affine: ArrayLike) -> Reorientation:
    """Find the permutation and flips that bring array axes Z, Y, X nearest to S, P, L.

    Parameters
    ----------
    shape : tuple of int
        Shape (..., Z, Y, X) of the array.
    affine : (4, 4) array_like
        zyx indices to LPS mm.

    Notes
    -----
    Of the six assignments the one with the largest sum of absolute cosines is taken (ties: the one
    nearest to the present order), which is unique for every grid but exact diagonals.
    """
    unit = directions(check_affine(affine))
    rows = np.asarray(_WORLD_OF_AXIS)
    orders = list(itertools.permutations(range(3)))
    scores = [round(float(np.abs(unit[rows, order]).sum()), 9) for order in orders]
    best = orders[int(np.argmax(scores))]
    a, b, c = (bool(unit[_WORLD_OF_AXIS[axis], best[axis]] < 0) for axis in range(3))
    z, y, x = (int(n) for n in shape[-3:])
    return Reorientation((best[0], best[1], best[2]), (a, b, c), (z, y, x))


def to_lps(array: NDArray[Any], affine: ArrayLike) -> tuple[NDArray[Any], Affine, Reorientation]:
    """Permute and flip axes so that Z, Y, X run to S, P, L as near as possible; no resampling.

    Parameters
    ----------
    array : (..., Z, Y, X) ndarray
        Any dtype; leading axes (channels) stay in front.
    affine : (4, 4) array_like
        zyx indices to LPS mm.

    Returns
    -------
    array : (..., Z, Y, X) ndarray
        A view of the input.
    affine : (4, 4) ndarray
        Affine of the turned array: every voxel keeps its place in the patient.
    record : Reorientation
        ``record.invert(result)`` goes back.

    Raises
    ------
    InputError
        The affine is not invertible, or the array has fewer than three axes.
    """
    if array.ndim < 3:
        raise InputError("Only volumes can be turned to LPS order.", got=array.shape, expected="(..., Z, Y, X)")
    record = lps_reorientation(array.shape, affine)
    return record.apply(array), np.asarray(affine, dtype=np.float64) @ record.index_affine, record


def corners_mm(shape: tuple[int, ...], affine: ArrayLike) -> NDArray[np.float64]:
    """Return the (8, 3) LPS positions of the outermost voxel centres of a (..., Z, Y, X) grid."""
    last = np.asarray(shape[-3:], dtype=np.float64) - 1
    return apply(affine, np.asarray(list(itertools.product((0.0, 1.0), repeat=3))) * last)


@dataclass(frozen=True)
class GridComparison:
    """Answer of `same_grid`; true where the grids agree."""

    same: bool
    explanation: str
    max_distance_mm: float

    def __bool__(self) -> bool:
        return self.same


def same_grid(
    shape_a: tuple[int, ...],
    affine_a: ArrayLike,
    shape_b: tuple[int, ...],
    affine_b: ArrayLike,
    tolerance_mm: float = 1e-2,
) -> GridComparison:
    """Tell whether two arrays (..., Z, Y, X) lie voxel by voxel at the same place, and if not, why.

    Leading axes are ignored. The distance is the largest one between equal corners, which bounds that of
    every voxel because affines are linear.
    """
    zyx_a, zyx_b = tuple(shape_a[-3:]), tuple(shape_b[-3:])
    if zyx_a != zyx_b:
        text = f"shapes (Z, Y, X) differ: {zyx_a} and {zyx_b}"
        return GridComparison(False, text, float("inf"))
    gap = np.linalg.norm(corners_mm(zyx_a, affine_a) - corners_mm(zyx_b, affine_b), axis=1)
    worst = float(gap.max())
    if worst <= tolerance_mm:
        return GridComparison(True, f"same grid (corners within {worst:.3g} mm)", worst)
    return GridComparison(False, _difference(affine_a, affine_b, worst, tolerance_mm), worst)


def _difference(affine_a: ArrayLike, affine_b: ArrayLike, worst_mm: float, tolerance_mm: float) -> str:
    parts = [f"voxels lie up to {worst_mm:.3g} mm apart (tolerance {tolerance_mm:g} mm)"]
    spacing_a, spacing_b = spacing_mm(affine_a), spacing_mm(affine_b)
    if not np.allclose(spacing_a, spacing_b, rtol=1e-4):
        parts.append(f"spacing (z, y, x) mm {_short(spacing_a)} and {_short(spacing_b)}")
    cosines = (directions(affine_a) * directions(affine_b)).sum(axis=0)
    angle = float(np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0))).max())
    if angle > 0.01:
        parts.append(f"axes up to {angle:.3g}° apart")
    origin_a, origin_b = np.asarray(affine_a)[:3, 3], np.asarray(affine_b)[:3, 3]
    if np.linalg.norm(origin_a - origin_b) > tolerance_mm:
        parts.append(f"first voxel at LPS {_short(origin_a)} and {_short(origin_b)} mm")
    return "; ".join(parts)


def _short(values: ArrayLike) -> str:
    return "(" + ", ".join(f"{float(value):.6g}" for value in np.asarray(values)) + ")"
