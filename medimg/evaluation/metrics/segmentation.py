"""Overlap, surface distance and volume of one structure in one case.

Surfaces are voxel surfaces: the voxels of a mask with a face neighbour outside it (beyond the image counts as
outside), each counted once, distances between voxel centres. The 95th percentile is linearly interpolated, taken in
each direction, and the greater one is HD95. That is the rule of MONAI's metrics without subvoxels.

Empty masks: both empty is a full success (Dice 1, NSD 1, HD95 0); one empty is a full failure (Dice 0, NSD 0, HD95
the image diagonal, or excluded where the protocol says so).

Legend: S spatial axes, (Z, Y, X) or (Y, X).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medimg.errors import InputError
from medimg.evaluation.metrics.intervals import Floats

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Overlap:
    """Scores of one structure. Distances in the unit of the spacing (mm; pixels where spacing is 1).

    ``hd95`` is None where excluded by the empty rule. ``n_true`` and ``n_predicted`` count voxels.
    """

    dice: float
    nsd: float
    hd95: float | None
    n_true: int
    n_predicted: int


def overlap(
    truth: Mask,
    predicted: Mask,
    spacing: Sequence[float],
    *,
    tolerance: float,
    hd95_empty: Literal["diagonal", "exclude"] = "diagonal",
) -> Overlap:
    """Compare two masks on the same grid.

    Parameters
    ----------
    truth, predicted : (*S) bool
    spacing : sequence of float
        Per axis, in mm, or 1 per axis for pixels.
    tolerance : float
        Of the normalised surface Dice, in the unit of ``spacing``.
    hd95_empty : {'diagonal', 'exclude'}
        HD95 where just one mask is empty.

    Raises
    ------
    InputError
        Where shapes or spacing do not agree.
    """
    truth, predicted = np.asarray(truth, bool), np.asarray(predicted, bool)
    if truth.shape != predicted.shape or len(spacing) != truth.ndim:
        raise InputError(
            "Truth and prediction are not on the same grid.",
            got=f"truth {truth.shape}, prediction {predicted.shape}, spacing of {len(spacing)} axes",
            expected="equal shapes and one spacing an axis",
            fix="bring the prediction back to the source grid before it is compared",
        )
    n_true, n_predicted = int(np.count_nonzero(truth)), int(np.count_nonzero(predicted))
    if n_true == 0 and n_predicted == 0:
        return Overlap(1.0, 1.0, 0.0, 0, 0)
    if n_true == 0 or n_predicted == 0:
        worst = diagonal(truth.shape, spacing) if hd95_empty == "diagonal" else None
        return Overlap(0.0, 0.0, worst, n_true, n_predicted)
    shared = int(np.count_nonzero(truth & predicted))
    to_predicted, to_truth = surface_distances(truth, predicted, spacing)
    near = np.count_nonzero(to_predicted <= tolerance) + np.count_nonzero(to_truth <= tolerance)
    hd95 = max(np.percentile(to_predicted, 95), np.percentile(to_truth, 95))
    return Overlap(
        2 * shared / (n_true + n_predicted),
        float(near / (len(to_predicted) + len(to_truth))),
        float(hd95),
        n_true,
        n_predicted,
    )


def diagonal(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """Return the length of the image's diagonal: the worst HD95 there can be."""
    return float(np.linalg.norm(np.asarray(shape) * np.asarray(spacing)))


def surface(mask: Mask) -> Mask:
    """Return the voxels of a mask that have a face neighbour outside it."""
    return mask & ~ndimage.binary_erosion(mask)


def surface_distances(truth: Mask, predicted: Mask, spacing: Sequence[float]) -> tuple[Floats, Floats]:
    """Return distances from the true to the predicted surface and back, one per surface voxel.

    Work is limited to the box that holds both masks.
    """
    box = _bounding_box(truth, predicted)
    # Beyond its box a mask is empty, so the crop's edge is a surface in the crop as in the image.
    first, second = surface(truth[box]), surface(predicted[box])
    return _distance_to(second, spacing)[first], _distance_to(first, spacing)[second]


def _distance_to(target: Mask, spacing: Sequence[float]) -> Floats:
    away = np.ascontiguousarray(~target)
    return np.asarray(edt.edt(away, anisotropy=tuple(map(float, spacing)), black_border=False), np.float64)


def _bounding_box(truth: Mask, predicted: Mask) -> tuple[slice, ...]:
    slices = []
    for axis in range(truth.ndim):
        others = tuple(a for a in range(truth.ndim) if a != axis)
        filled = np.flatnonzero(truth.any(axis=others) | predicted.any(axis=others))
        slices.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(slices)
