"""Resampling of arrays: separable between parallel grids, general between any two grids.

Rules, the same for training and inference:

* Volumes: the centre of the first voxel stays where it is, and an axis of ``n`` voxels becomes
  ``floor((n - 1) * old / new + 0.5) + 1`` voxels (`resampled_size`), so the new affine is exact: the same
  origin, columns scaled by new / old. Beyond the last centre the edge value holds.
* Pictures: the outer borders stay where they are (sample ``i`` lies at ``(i + 0.5) * n / n' - 0.5``).
* Linear: a triangle kernel of half-width ``max(1, step)`` source voxels, normalised to one. That is plain
  linear interpolation where samples get denser and an antialiasing filter where they get sparser.
* Nearest: ``floor(position + 0.5)``; labels are never mixed.

Legend: C channels, Z Y X volume axes; ``step`` and ``first`` are source indices per sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError

_BLOCK = 16
_SNAP = 1e-6
# Samples within half a voxel of the outermost centre are inside.
_EDGE = 0.5 + 1e-6


def resampled_size(size: int, old_mm: float, new_mm: float) -> int:
    """Return how many voxels of ``new_mm`` an axis of ``size`` voxels of ``old_mm`` becomes.

    >>> resampled_size(300, 1.25, 2.0)
    188
    """
    return math.floor((size - 1) * old_mm / new_mm + 0.5) + 1


def sample_positions(first: float, step: float, count: int) -> NDArray[np.float64]:
    """Return ``first + step * i`` with rounding noise next to whole numbers removed."""
    positions = first + step * np.arange(count, dtype=np.float64)
    whole = np.rint(positions)
    return np.where(np.abs(positions - whole) < _SNAP, whole, positions)


def kernel(size: int, first: float, step: float, count: int) -> NDArray[np.float32]:
    """Return the weights of one axis.

    Returns
    -------
    (count, size) ndarray of float32
        Rows sum to one; samples outside the axis take the edge value.
    """
    positions = sample_positions(first, step, count)
    width = max(1.0, abs(step))
    taps = np.ceil(positions - width).astype(np.int64)[:, None] + np.arange(2 * math.ceil(width) + 1)
    weights = np.clip(1.0 - np.abs(taps - positions[:, None]) / width, 0.0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((count, size))
    rows = np.repeat(np.arange(count), taps.shape[1])
    np.add.at(matrix, (rows, np.clip(taps, 0, size - 1).ravel()), weights.ravel())
    return matrix.astype(np.float32)


class _Band:
    """An axis' weights as dense blocks along the diagonal, so that BLAS skips nearly all the zeros."""

    def __init__(self, matrix: NDArray[np.float32]) -> None:
        self.count = matrix.shape[0]
        self.identity = matrix.shape[0] == matrix.shape[1] and bool((matrix == np.eye(len(matrix))).all())
        self.blocks: list[tuple[slice, slice, NDArray[np.float32]]] = []
        for low in range(0, self.count, _BLOCK):
            rows = slice(low, min(low + _BLOCK, self.count))
            used = np.flatnonzero(matrix[rows].any(axis=0))
            columns = slice(int(used[0]), int(used[-1]) + 1)
            self.blocks.append((rows, columns, np.ascontiguousarray(matrix[rows, columns])))

    def along_rows(self, plane: NDArray[np.float32], out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample axis 0 of a (Y, X) plane."""
        for rows, columns, block in self.blocks:
            np.matmul(block, plane[columns], out=out[rows])
        return out

    def along_columns(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample axis 1 of a (Y, X) plane."""
        out = np.empty((plane.shape[0], self.count), dtype=np.float32)
        for rows, columns, block in self.blocks:
            out[:, rows] = plane[:, columns] @ block.T
        return out


def resample_linear(
    array: NDArray[Any], first: Sequence[float], step: Sequence[float], shape: Sequence[int]
) -> NDArray[np.float32]:
    """Sample an array linearly on a parallel grid, antialiased where samples get sparser.

    Memory beside the result stays at a few slices: slices are combined along Z, then resampled in plane.

    Parameters
    ----------
    array : (C, Z, Y, X) or (C, Y, X) ndarray
        Any numeric type.
    first, step : one number per spatial axis
        Sample ``i`` lies at source index ``first + step * i``.
    shape : one number per spatial axis
        Number of samples.

    Returns
    -------
    (C, *shape) ndarray of float32
    """
    if array.ndim == 3:
        return resample_linear(array[:, None], (0.0, *first), (1.0, *step), (1, *shape))[:, 0]
    along_z = kernel(array.shape[1], first[0], step[0], shape[0])
    along_y, along_x = (_Band(kernel(array.shape[axis + 1], first[axis], step[axis], shape[axis])) for axis in (1, 2))
    out = np.empty((array.shape[0], *shape), dtype=np.float32)
    for channel in range(array.shape[0]):
        slices = _Slices(array[channel])
        for z in range(shape[0]):
            plane = slices.combine(along_z[z])
            if not along_x.identity:
                plane = along_x.along_columns(plane)
            if along_y.identity:
                out[channel, z] = plane
            else:
                along_y.along_rows(plane, out[channel, z])
    return out


class _Slices:
    """Weighted sums of slices in warm buffers; float32 copies of slices that neighbours share are kept."""

    def __init__(self, volume: NDArray[Any]) -> None:
        self.volume = volume
        self.kept: dict[int, NDArray[np.float32]] = {}
        self.spare: list[NDArray[np.float32]] = []
        self.sum, self.term = (np.empty(volume.shape[1:], dtype=np.float32) for _ in range(2))

    def combine(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (Y, X) sum of weights times slices; it is valid until the next call."""
        used = np.flatnonzero(weights).tolist()
        for stale in set(self.kept) - set(used):
            self.spare.append(self.kept.pop(stale))
        for index in used:
            if index not in self.kept:
                self.kept[index] = self.spare.pop() if self.spare else np.empty_like(self.sum)
                self.kept[index][...] = self.volume[index]
        if len(used) == 1:
            return self.kept[used[0]]
        np.multiply(self.kept[used[0]], weights[used[0]], out=self.sum)
        for index in used[1:]:
            np.multiply(self.kept[index], weights[index], out=self.term)
            self.sum += self.term
        return self.sum


def resample_nearest(
    array: NDArray[Any],
    first: Sequence[float],
    step: Sequence[float],
    shape: Sequence[int],
    outside: float = 0,
) -> NDArray[Any]:
    """Sample the last axes of an array at the nearest index; samples outside it become ``outside``.

    Parameters
    ----------
    array : (..., Z, Y, X) or (..., Y, X) ndarray
        Labels; the type is kept.
    first, step, shape : one number per spatial axis
        As in `resample_linear`.
    """
    lead = array.ndim - len(shape)
    covered, indices = [], []
    for axis, (begin, stride, count) in enumerate(zip(first, step, shape)):
        size = array.shape[lead + axis]
        positions = sample_positions(begin, stride, count)
        covered.append((positions > -_EDGE) & (positions < size - 1 + _EDGE))
        indices.append(np.clip(np.floor(positions + 0.5).astype(np.int64), 0, size - 1))
    source = array
    # Axes that grow come last, the slowest one last of all: less to copy, in longer runs.
    for axis in sorted(range(len(shape)), key=lambda k: (shape[k] > source.shape[lead + k], -k)):
        if not np.array_equal(indices[axis], np.arange(source.shape[lead + axis])):
            array = np.take(array, indices[axis], axis=lead + axis)
    if all(inside.all() for inside in covered):
        return array.copy() if array is source else array
    out = np.full(array.shape, outside, dtype=array.dtype)
    slices = tuple(_run(inside) for inside in covered)
    where: tuple[Any, ...] = (Ellipsis, *slices)
    out[where] = array[where]
    return out


def _run(inside: NDArray[np.bool_]) -> slice:
    used = np.flatnonzero(inside)
    return slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 0)


def parallel_axes(matrix: NDArray[np.float64]) -> bool:
    """Return whether an index-to-index map only scales and shifts, so that the separable way is exact."""
    linear = matrix[:3, :3]
    return bool(np.all(np.abs(linear - np.diag(np.diag(linear))) < 1e-4))


def resample_to_grid(
    array: NDArray[Any],
    matrix: NDArray[np.float64],
    shape: Sequence[int],
    *,
    nearest: bool,
    outside: float = 0.0,
) -> tuple[NDArray[Any], float]:
    """Bring a volume onto another grid.

    Parameters
    ----------
    array : (Z, Y, X) ndarray
    matrix : (4, 4) ndarray of float64
        Maps indices of the wanted grid to indices of ``array``.
    shape : (z, y, x)
        Of the wanted grid.
    nearest : bool
        For labels. Otherwise linear, with a triangle filter before it along axes that get sparser.
    outside : float
        Value of voxels that ``array`` does not cover.

    Returns
    -------
    (Z', Y', X') ndarray (type of ``array`` where nearest, else float32), and the share of voxels outside.
    """
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-12:
        raise InputError("A grid has no thickness along one axis.", where="affine", got=matrix.tolist())
    inside = _coverage(matrix, shape, array.shape)
    share_outside = 1.0 - float(inside.mean())
    step, first = np.diag(matrix)[:3].tolist(), matrix[:3, 3].tolist()
    if parallel_axes(matrix):
        if nearest:
            return resample_nearest(array, first, step, shape, outside), share_outside
        out: NDArray[Any] = resample_linear(array[None], first, step, shape)[0]
    else:
        out = _resample_oblique(array, matrix, shape, nearest)
    out[~inside] = outside
    return out, share_outside


def _resample_oblique(
    array: NDArray[Any], matrix: NDArray[np.float64], shape: Sequence[int], nearest: bool
) -> NDArray[Any]:
    from scipy import ndimage

    if not nearest:
        steps = np.maximum(1.0, np.linalg.norm(matrix[:3, :3], axis=1))
        smooth = array.astype(np.float32)
        for axis in np.flatnonzero(steps > 1.0 + _SNAP):
            smooth = _smooth(smooth, int(axis), float(steps[axis]))
        array = smooth
    # grid-wise "nearest" borders: what lies outside is overwritten by the caller, which knows the exact rule.
    result: NDArray[Any] = ndimage.affine_transform(
        array,
        matrix[:3, :3],
        offset=matrix[:3, 3],
        output_shape=tuple(shape),
        order=0 if nearest else 1,
        mode="nearest",
        prefilter=False,
    )
    return result


def _smooth(array: NDArray[np.float32], axis: int, width: float) -> NDArray[np.float32]:
    """Filter one axis by a triangle of half-width ``width`` voxels."""
    size = array.shape[axis]
    taps = np.arange(size)
    weights = np.clip(1.0 - np.abs(taps - taps[:, None]) / width, 0.0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.moveaxis(np.tensordot(weights.astype(np.float32), array, axes=(1, axis)), 0, axis)


def _coverage(matrix: NDArray[np.float64], shape: Sequence[int], source_shape: Sequence[int]) -> NDArray[np.bool_]:
    """Return which voxels of the wanted grid lie within half a voxel of the source's centres."""
    z, y, x = (np.arange(n, dtype=np.float64) for n in shape)
    inside = np.ones(tuple(shape), dtype=bool)
    for axis, size in enumerate(source_shape):
        row = matrix[axis]
        plane = row[1] * y[:, None] + row[2] * x[None, :] + row[3]
        for k in range(len(z)):
            position = plane + row[0] * z[k]
            inside[k] &= (position > -_EDGE) & (position < size - 1 + _EDGE)
    return inside
