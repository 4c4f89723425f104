"""Preparation of volumes: LPS axis order, one grid for all channels, spacing, crop.

Legend: C channels, Z Y X axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.data.grid import Grid
from medimg.data.intensity import AIR_HU, OUTLINE_INSIDE, statistics, store
from medimg.data.preparation import Intensity, Preparation
from medimg.data.resample import resample_linear, resample_to_grid, resampled_size
from medimg.errors import InputError
from medimg.geometry import Affine, Reorientation, apply, inverse, spacing_mm, to_lps
from medimg.io.findings import Finding
from medimg.io.image import Volume

# A spacing this near to the wanted one is left alone: resampling would only blur.
_SAME_SPACING = 1e-3


def prepare_volumes(
    volumes: Sequence[Volume], preparation: Preparation, centre_mm: Sequence[float] | None
) -> tuple[NDArray[Any], Grid, dict[str, list[float]], tuple[Finding, ...]]:
    """Prepare the channels of one study; the first one's grid is the study's.

    Parameters
    ----------
    volumes : sequence of Volume
        One (Z, Y, X) volume per channel, in order.
    preparation : Preparation
    centre_mm : (x, y, z) or None
        LPS point that ``size_zyx`` is centred on; None takes the middle of the scan.

    Returns
    -------
    array : (C, Z, Y, X) ndarray
        Stored values.
    grid : Grid
    stats : dict
        Of the covered voxels, where the rule is ``zscore``.
    findings : tuple of Finding

    Raises
    ------
    InputError
        A channel is not one volume, shows another place, has no finite voxel, or the centre is far outside.
    """
    findings: list[Finding] = []
    channels = [turned(volume) for volume in volumes]
    grid = _volume_grid(volumes[0], channels[0], preparation, centre_mm)
    inside = [
        _inside(offset, step, count, size)
        for offset, step, count, size in zip(grid.offset, grid.step, grid.shape, grid.turned_shape)
    ]
    if any(run.stop <= run.start for run in inside):
        raise InputError(
            "The wanted centre is so far outside the scan that nothing of the scan would be seen.",
            where="centre_mm",
            fix="give the centre in patient LPS millimetres (x, y, z)",
        )
    parts, padding = [], []
    for index, (array, affine, _) in enumerate(channels):
        name, unit = preparation.channels[index], volumes[index].unit
        array, found = _finite(array, name)
        findings += found
        if index in preparation.intensity.outlines:
            array, unit = (array > 0).astype(np.float32) * np.float32(OUTLINE_INSIDE), "label"
        fill = _nothing(array, unit, preparation.intensity)
        sampled, found = _sample(array, affine, grid, channels[0][1], inside, fill, name)
        findings += found
        stored, scaled_fill = store(sampled, unit, preparation.intensity, fill)
        parts.append(stored)
        padding.append(scaled_fill)
    array = _stack(parts)
    stats = statistics(array, preparation.intensity)
    if array.shape[1:] != grid.shape:
        array = _pad(array, grid.shape, inside, padding)
    return array, grid, stats, tuple(findings)


def turned(volume: Volume) -> tuple[NDArray[Any], Affine, Reorientation]:
    """Turn a (Z, Y, X) volume to LPS axis order; refuse anything with more axes."""
    if volume.array.ndim != 3:
        raise InputError(
            "A channel is one volume.", got=f"shape {volume.array.shape}", expected="shape (Z, Y, X)",
            fix="give every channel as a volume of its own, or all of them, in order, as (C, Z, Y, X)",
        )  # fmt: skip
    return to_lps(volume.array, volume.affine)


def _volume_grid(
    volume: Volume,
    first: tuple[NDArray[Any], Affine, Reorientation],
    preparation: Preparation,
    centre_mm: Sequence[float] | None,
) -> Grid:
    array, affine, record = first
    spacing = np.asarray(spacing_mm(affine))
    step = np.ones(3)
    if preparation.spacing_mm is not None:
        step = np.asarray(preparation.spacing_mm) / spacing
        step = np.where(np.abs(step - 1.0) < _SAME_SPACING, 1.0, step)
    shape: tuple[int, ...] = tuple(resampled_size(n, 1.0, d) for n, d in zip(array.shape, step.tolist()))
    start: tuple[int, ...] = (0, 0, 0)
    if preparation.size_zyx is not None:
        middle = [(n - 1) / 2 for n in shape]
        if centre_mm is not None:
            middle = (apply(inverse(affine), centre_mm) / step).tolist()
        # A middle between two voxels belongs to the upper one: the same rule for odd and even sizes.
        start = tuple(math.floor(m - (size - 1) / 2 + 0.5) for m, size in zip(middle, preparation.size_zyx))
        shape = preparation.size_zyx
    return Grid(
        kind="volume",
        source_shape=volume.shape_zyx,
        source_affine=tuple(tuple(float(v) for v in row) for row in volume.affine),
        axes=record.permutation,
        flips=record.flipped,
        offset=tuple(float(s * d) for s, d in zip(start, step)),
        step=tuple(float(d) for d in step),
        shape=shape,
    )


def _inside(offset: float, step: float, count: int, size: int) -> slice:
    """Return the prepared indices that the resampled scan covers; the others are padding."""
    start = round(offset / step)
    last = resampled_size(size, 1.0, step)
    low = min(max(0, -start), count)
    return slice(low, max(low, min(count, last - start)))


def _finite(array: NDArray[Any], name: str) -> tuple[NDArray[Any], list[Finding]]:
    """Return the array with NaN and infinity replaced by its smallest finite value."""
    if not np.issubdtype(array.dtype, np.floating):
        return array, []
    good = np.isfinite(array)
    bad = int(array.size - np.count_nonzero(good))
    if bad == 0:
        return array, []
    if bad == array.size:
        raise InputError("A channel has no finite voxel.", where=name)
    low = float(array[good].min())
    finding = Finding(
        "NOT_FINITE",
        "warning",
        f"Channel {name}: {bad} voxels are NaN or infinite.",
        value=str(bad),
        assumed=f"{low:g}, the smallest finite value",
    )
    return np.where(good, array, array.dtype.type(low)), [finding]


def _nothing(array: NDArray[Any], unit: str, intensity: Intensity) -> float:
    """Return the value of padding: air in HU, outside of outlines, else the window's lower end, else the minimum."""
    if unit == "HU":
        return AIR_HU
    if unit == "label":
        return 0.0
    if intensity.rule == "window" and intensity.low is not None:
        return intensity.low
    return float(array.min())


def _sample(
    array: NDArray[Any],
    affine: Affine,
    grid: Grid,
    first_affine: Affine,
    inside: Sequence[slice],
    fill: float,
    name: str,
) -> tuple[NDArray[Any], list[Finding]]:
    """Return the covered part of one channel on the prepared grid; untouched where no sample moves."""
    shape = [run.stop - run.start for run in inside]
    offset = [o + d * run.start for o, d, run in zip(grid.offset, grid.step, inside)]
    if array.shape == grid.turned_shape and same_place(affine, first_affine, array.shape):
        if all(d == 1.0 for d in grid.step):
            begin = [round(o) for o in offset]
            return array[tuple(slice(b, b + n) for b, n in zip(begin, shape))], []
        return resample_linear(array[None], offset, grid.step, shape)[0], []
    to_first = np.diag([*grid.step, 1.0])
    to_first[:3, 3] = offset
    matrix = inverse(affine) @ first_affine @ to_first
    sampled, missing = resample_to_grid(array, matrix, shape, nearest=False, outside=fill)
    if missing > 0.999:
        raise InputError(
            "Two channels show different places.",
            where=name,
            fix="check that both series belong to one examination in one frame of reference",
        )
    found = []
    if missing > 0.01:
        found.append(
            Finding(
                "CHANNEL_COVERAGE",
                "warning",
                f"Channel {name} does not cover {missing:.0%} of the first channel's grid.",
                value=f"{missing:.4f}",
                assumed=f"{fill:g} there",
            )
        )
    return sampled, found


def same_place(a: Affine, b: Affine, shape: Sequence[int]) -> bool:
    """Tell whether no corner of the two grids differs by more than a hundredth of a voxel."""
    corners = np.array([[z, y, x, 1.0] for z in (0, shape[0] - 1) for y in (0, shape[1] - 1)
                        for x in (0, shape[2] - 1)])  # fmt: skip
    moved = inverse(a) @ b @ corners.T - corners.T
    return bool(np.abs(moved).max() < 0.01)


def _stack(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    kind = parts[0].dtype if len({part.dtype for part in parts}) == 1 else np.dtype(np.float32)
    out = np.empty((len(parts), *parts[0].shape), dtype=kind)
    for index, part in enumerate(parts):
        out[index] = part
    return out


def _pad(array: NDArray[Any], shape: Sequence[int], inside: Sequence[slice], fill: Sequence[float]) -> NDArray[Any]:
    out = np.empty((len(array), *shape), dtype=array.dtype)
    for channel, value in enumerate(fill):
        out[channel] = value
    out[(slice(None), *inside)] = array
    return out
