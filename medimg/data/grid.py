"""The record of how a prepared array lies in its source, and the ways back.

Three steps lead from a source array to a prepared one, each exactly invertible per axis: axes are permuted and
flipped (``axes``, ``flips``), samples are taken at ``offset + step * index`` along every turned axis, and samples
that lie outside the source are padding.

Legend: K classes, D spatial axes, Z Y X (volumes) or Y X (pictures), N boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.data.resample import resample_linear, resample_nearest, sample_positions
from medimg.errors import InputError

_EDGE = 0.5 + 1e-6


@dataclass(frozen=True)
class Grid:
    """How prepared indices map to source indices.

    Attributes
    ----------
    kind : {'volume', 'picture'}
    source_shape : (Z, Y, X) or (H, W)
        In the axis order of the file.
    source_affine : 4 x 4 nested tuples or None
        Source indices to LPS mm; None for pictures.
    axes : tuple of int
        Turned axis ``k`` is source axis ``axes[k]``.
    flips : tuple of bool
        Whether turned axis ``k`` runs against its source axis.
    offset, step : tuple of float
        Prepared index ``q`` lies at turned index ``offset + step * q``.
    shape : tuple of int
        Spatial shape of the prepared array.
    """

    kind: str
    source_shape: tuple[int, ...]
    source_affine: tuple[tuple[float, ...], ...] | None
    axes: tuple[int, ...]
    flips: tuple[bool, ...]
    offset: tuple[float, ...]
    step: tuple[float, ...]
    shape: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return a mapping that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Grid:
        """Read what `as_dict` wrote, also after a round trip through JSON."""
        affine = record["source_affine"]
        return cls(
            kind=record["kind"],
            source_shape=tuple(record["source_shape"]),
            source_affine=None if affine is None else tuple(tuple(row) for row in affine),
            axes=tuple(record["axes"]),
            flips=tuple(bool(flip) for flip in record["flips"]),
            offset=tuple(record["offset"]),
            step=tuple(record["step"]),
            shape=tuple(record["shape"]),
        )

    @property
    def turned_shape(self) -> tuple[int, ...]:
        """Source shape in prepared axis order."""
        return tuple(self.source_shape[axis] for axis in self.axes)

    @property
    def is_identity(self) -> bool:
        """Whether prepared and turned indices are the same."""
        same = self.shape == self.turned_shape and not any(self.offset)
        return same and all(step == 1.0 for step in self.step)

    @property
    def affine(self) -> NDArray[np.float64] | None:
        """Prepared indices to LPS mm, (4, 4); None for pictures."""
        if self.source_affine is None:
            return None
        corners = self.to_source(np.concatenate((np.zeros((1, 3)), np.eye(3))))
        matrix = np.eye(4)
        matrix[:3, 3] = corners[0]
        matrix[:3, :3] = (corners[1:] - corners[0]).T
        affine: NDArray[np.float64] = np.asarray(self.source_affine) @ matrix
        return affine

    def to_source(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Map (N, D) prepared indices (voxel centres are whole numbers) to source indices."""
        turned = np.asarray(self.offset) + np.asarray(self.step) * np.asarray(points, dtype=np.float64)
        last = np.asarray(self.turned_shape) - 1
        turned = np.where(self.flips, last - turned, turned)
        out = np.empty_like(turned)
        out[:, list(self.axes)] = turned
        return out

    def to_prepared(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Map (N, D) source indices to prepared indices."""
        turned = np.asarray(points, dtype=np.float64)[:, list(self.axes)]
        last = np.asarray(self.turned_shape) - 1
        turned = np.where(self.flips, last - turned, turned)
        return (turned - np.asarray(self.offset)) / np.asarray(self.step)

    def turn(self, array: NDArray[Any]) -> NDArray[Any]:
        """View a (..., *source) array in prepared axis order."""
        lead = array.ndim - len(self.axes)
        turned = np.transpose(array, (*range(lead), *(lead + axis for axis in self.axes)))
        return turned[self._steps()]

    def unturn(self, array: NDArray[Any]) -> NDArray[Any]:
        """Bring a (..., *turned) array to the source's axis order."""
        lead = array.ndim - len(self.axes)
        array = array[self._steps()]
        back = np.argsort(self.axes)
        return np.ascontiguousarray(np.transpose(array, (*range(lead), *(lead + int(axis) for axis in back))))

    def _steps(self) -> tuple[Any, ...]:
        return (Ellipsis, *(slice(None, None, -1 if flip else 1) for flip in self.flips))


def restore_labels(labels: NDArray[Any], grid: Grid, order: int = 0, *, bitmask: bool = False) -> NDArray[Any]:
    """Bring labels back to the source grid and axis order; voxels that were cropped away become 0.

    Parameters
    ----------
    labels : (*shape) ndarray of int
        Class indices, or bit masks where ``bitmask``.
    grid : Grid
    order : {0, 1}
        0 takes the nearest voxel. 1 interpolates each label's membership linearly and takes the largest (a bit
        is set from one half upwards): smoother borders where the source is finer. Both return the labels
        bit for bit where nothing was resampled.
    bitmask : bool
        Bit ``l`` of a voxel says whether label ``l`` is present.

    Returns
    -------
    (*source) ndarray of the same type
    """
    _check_shape(labels.shape, grid)
    first, step = _backwards(grid)
    whole_steps = all(value == 1.0 for value in step) and all(value.is_integer() for value in first)
    if grid.is_identity or order == 0 or whole_steps:
        return grid.unturn(resample_nearest(labels, first, step, grid.turned_shape))
    out = np.zeros(grid.turned_shape, dtype=labels.dtype)
    present = labels != 0
    if present.any():
        window = _window(present, grid)
        out[window] = _vote(labels, [f + s.start * d for f, s, d in zip(first, window, step)], step,
                            [s.stop - s.start for s in window], bitmask)  # fmt: skip
    return grid.unturn(out)


def _vote(
    labels: NDArray[Any], first: Sequence[float], step: Sequence[float], shape: Sequence[int], bitmask: bool
) -> NDArray[Any]:
    """Return the label with the largest interpolated membership at every sample."""
    out = np.zeros(tuple(shape), dtype=labels.dtype)
    if bitmask:
        used = int(np.bitwise_or.reduce(labels, axis=None))
        for bit in range(used.bit_length()):
            if used >> bit & 1:
                member = resample_linear((labels >> bit & 1).astype(np.uint8)[None], first, step, shape)[0]
                out |= (member >= 0.5).astype(labels.dtype) << np.asarray(bit, dtype=labels.dtype)
        return out
    best = np.zeros(tuple(shape), dtype=np.float32)
    background = np.ones(tuple(shape), dtype=np.float32)
    for value in np.unique(labels):
        if value == 0:
            continue
        member = resample_linear((labels == value).astype(np.uint8)[None], first, step, shape)[0]
        background -= member
        larger = member > best
        out[larger] = value
        best = np.maximum(best, member)
    out[background > best] = 0
    return out


def _window(present: NDArray[np.bool_], grid: Grid) -> tuple[slice, ...]:
    """Return the turned indices that labelled voxels can reach, within what the prepared array covers."""
    covered = _covered(grid)
    slices = []
    for axis, run in enumerate(covered):
        others = tuple(k for k in range(present.ndim) if k != axis)
        used = np.flatnonzero(present.any(axis=others))
        margin = max(1.0, 1.0 / grid.step[axis])
        low = int(np.floor(grid.offset[axis] + grid.step[axis] * (used[0] - margin)))
        high = int(np.ceil(grid.offset[axis] + grid.step[axis] * (used[-1] + margin))) + 1
        start = min(max(low, run.start), run.stop)
        slices.append(slice(start, min(max(high, start), run.stop)))
    return tuple(slices)


def restore_probabilities(
    probabilities: NDArray[Any], grid: Grid, outside: float | Sequence[float] = 0.0
) -> NDArray[np.float32]:
    """Bring probabilities back to the source grid and axis order by linear interpolation.

    Parameters
    ----------
    probabilities : (K, *shape) ndarray
    grid : Grid
    outside : float or one per class
        Value of voxels that were cropped away.

    Returns
    -------
    (K, *source) ndarray of float32
    """
    _check_shape(probabilities.shape[1:], grid)
    if grid.is_identity:
        return grid.unturn(probabilities.astype(np.float32, copy=False))
    first, step = _backwards(grid)
    run = _covered(grid)
    out = np.empty((len(probabilities), *grid.turned_shape), dtype=np.float32)
    out[...] = np.broadcast_to(outside, (len(probabilities),)).reshape(-1, *(1,) * len(grid.shape))
    begin = [f + s.start * d for f, s, d in zip(first, run, step)]
    out[(slice(None), *run)] = resample_linear(probabilities, begin, step, [s.stop - s.start for s in run])
    return grid.unturn(out)


def restore_boxes(boxes: NDArray[Any], grid: Grid) -> NDArray[np.float32]:
    """Map boxes to source indices, clipped to the source.

    Parameters
    ----------
    boxes : (N, 2 * D) ndarray
        Lower then upper corner in prepared indices, half-open: voxel ``i`` spans ``i`` to ``i + 1``.
    grid : Grid

    Returns
    -------
    (N, 2 * D) ndarray of float32
        The same, in source indices and source axis order.
    """
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 2, len(grid.shape))
    ends = [grid.to_source(corners[:, side] - 0.5) + 0.5 for side in (0, 1)]
    return _join(ends, grid.source_shape)


def prepare_boxes(boxes: NDArray[Any], grid: Grid) -> NDArray[np.float32]:
    """Map boxes from source indices to prepared indices, clipped to the prepared array.

    Boxes that lie wholly outside come back with no extent. Layout as in `restore_boxes`.
    """
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 2, len(grid.shape))
    ends = [grid.to_prepared(corners[:, side] - 0.5) + 0.5 for side in (0, 1)]
    return _join(ends, grid.shape)


def _join(ends: list[NDArray[np.float64]], shape: Sequence[int]) -> NDArray[np.float32]:
    lower, upper = np.minimum(*ends), np.maximum(*ends)
    limit = np.asarray(shape, dtype=np.float64)
    return np.concatenate((np.clip(lower, 0, limit), np.clip(upper, 0, limit)), axis=1).astype(np.float32)


def _backwards(grid: Grid) -> tuple[list[float], list[float]]:
    """Return where turned voxels lie in prepared indices: ``first + step * i``."""
    return [0.0 - o / s for o, s in zip(grid.offset, grid.step)], [1.0 / s for s in grid.step]


def _covered(grid: Grid) -> tuple[slice, ...]:
    """Return the turned indices whose centres lie within half a voxel of the prepared array."""
    slices = []
    for first, step, count, size in zip(*_backwards(grid), grid.turned_shape, grid.shape):
        position = sample_positions(first, step, count)
        used = np.flatnonzero((position > -_EDGE) & (position < size - 1 + _EDGE))
        slices.append(slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 0))
    return tuple(slices)


def _check_shape(shape: Sequence[int], grid: Grid) -> None:
    if tuple(shape) != grid.shape:
        raise InputError("The array does not lie on the prepared grid.", got=tuple(shape), expected=grid.shape)
