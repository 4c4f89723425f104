"""Anchors from the sizes of the true boxes. Legend: M boxes, D spatial axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.inference.boxes import Anchors

_MIN_SIDE = 3.0


def fit_anchors(
    extents: NDArray[np.floating], strides: Sequence[Sequence[int]], shapes_per_position: int = 1
) -> Anchors:
    """Choose anchors for the training boxes.

    Levels share the range of sizes from the 5th to the 95th percentile in equal steps of the logarithm. The shapes of
    one level differ by equal steps within its share, all with the boxes' median proportions: enough, since ATSS
    adapts its threshold to the anchors that there are.

    Parameters
    ----------
    extents : (M, D) ndarray
        Sizes of the true boxes of the training split, in prepared voxels.
    strides : sequence of sequence of int
        Of the network's detecting levels, per axis (``RetinaNet.strides``).
    shapes_per_position : int
        The network's ``anchors``.

    Returns
    -------
    Anchors

    Raises
    ------
    InputError
        No box.
    """
    extents = np.asarray(extents, np.float64)
    if extents.ndim != 2 or len(extents) == 0 or extents.shape[1] not in (2, 3):
        raise InputError(
            "anchors need at least one true box", got=tuple(extents.shape), fix="check the boxes of the training split"
        )
    logs = np.log(np.maximum(extents, 1.0))
    size = logs.mean(axis=1)
    proportions = np.exp(np.median(logs - size[:, None], axis=0))
    low, high = np.percentile(size, (5, 95))
    levels = len(strides)
    middle = low + (high - low) * (np.arange(levels) + 0.5) / levels
    within = (np.arange(shapes_per_position) + 0.5) / shapes_per_position - 0.5
    steps = np.exp(within * (high - low) / levels)
    base = np.exp(middle[0])
    shapes = [tuple(float(max(_MIN_SIDE, round(side, 2))) for side in base * step * proportions) for step in steps]
    return Anchors(
        strides=tuple(tuple(int(s) for s in step) for step in strides),
        scales=tuple(float(round(np.exp(m - middle[0]), 4)) for m in middle),
        shapes=tuple(shapes),
    )
