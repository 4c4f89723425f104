"""From the outputs of a detection network to boxes, in numpy alone.

Legend: D spatial axes, N anchors of an image, A anchors per position, K classes, M boxes.

Boxes are half-open, (lower..., upper...) in array order, in index coordinates of the network's input. Anchors, coding
and suppression equal MONAI's (`AnchorGeneratorWithAnchorShape`, `BoxCoder`, `non_max_suppression`), which training
uses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from medimg.errors import InputError

Floats = NDArray[np.float32]

MAX_LOG_GROWTH = math.log(1000.0 / 16)
"""A box grows at most by this logarithm over its anchor; keeps the exponential finite."""


class Anchors(BaseModel):
    """Anchors of a detector and how its answers become boxes.

    Attributes
    ----------
    strides : tuple of tuple of int
        Stride of each detecting level per axis, the finest first.
    scales : tuple of float
        Factor of each level on ``shapes``.
    shapes : tuple of tuple of float
        Base shapes per axis in voxels, A of them. Half sizes are rounded to whole voxels, as in MONAI.
    score_threshold : float
        Boxes with a lower score are not considered.
    nms_iou : float
        Of two boxes of a class that overlap by more, the one with the lower score is dropped.
    max_candidates, max_detections : int
        Highest scores that enter suppression; most boxes an image keeps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    strides: tuple[tuple[int, ...], ...] = Field(min_length=1)
    scales: tuple[float, ...]
    shapes: tuple[tuple[float, ...], ...] = Field(min_length=1)
    score_threshold: float = Field(default=0.02, ge=0, le=1)
    nms_iou: float = Field(default=0.2, ge=0, le=1)
    max_candidates: int = Field(default=1000, ge=1)
    max_detections: int = Field(default=100, ge=1)

    @property
    def spatial_dims(self) -> int:
        """Number of spatial axes."""
        return len(self.shapes[0])

    @model_validator(mode="after")
    def _fits(self) -> Anchors:
        dims = self.spatial_dims
        if dims not in (2, 3) or any(len(each) != dims for each in (*self.strides, *self.shapes)):
            raise ValueError("strides and shapes need two or three numbers each, the same count everywhere")
        if len(self.scales) != len(self.strides):
            raise ValueError("scales needs one number for each level of strides")
        if min(min(each) for each in self.strides) < 1:
            raise ValueError("a stride is 1 or more")
        if min(self.scales) * min(min(each) for each in self.shapes) <= 1.0:
            raise ValueError("the smallest anchor must be larger than one voxel on each side")
        return self


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes of one image, by falling score.

    Attributes
    ----------
    boxes : (M, 2D) ndarray of float32
    scores : (M,) ndarray of float32
        Probabilities.
    labels : (M,) ndarray of int64
        Class of each box, from 0.
    """

    boxes: Floats
    scores: Floats
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Detections:
        """Return some of the boxes."""
        return Detections(self.boxes[index], self.scores[index], self.labels[index])


@lru_cache(maxsize=16)
def anchors_for(shape: tuple[int, ...], spec: Anchors) -> Floats:
    """Return all anchors of an image.

    Parameters
    ----------
    shape : tuple of int
        Spatial size of the network's input.
    spec : Anchors

    Returns
    -------
    (N, 2D) ndarray of float32, not writeable
        Levels, then positions in row-major order, then shapes: the order of the network's outputs.

    Raises
    ------
    InputError
        The size is not a multiple of the strides.
    """
    if len(shape) != spec.spatial_dims or any(n % s for step in spec.strides for n, s in zip(shape, step)):
        raise InputError(
            "the size of an image does not fit the detector",
            where="network input",
            got=tuple(shape),
            expected=f"{spec.spatial_dims} axes, multiples of {spec.strides[-1]}",
        )
    rows = []
    for step, scale in zip(spec.strides, spec.scales, strict=True):
        half = np.round(np.asarray(spec.shapes, np.float32) * np.float32(scale) / 2)
        lines = [np.arange(n // s) * s + s // 2 for n, s in zip(shape, step, strict=True)]
        centres = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 1, len(shape))
        level = np.concatenate((centres - half, centres + half), axis=-1)
        rows.append(level.reshape(-1, 2 * len(shape)))
    anchors = np.concatenate(rows).astype(np.float32)
    anchors.flags.writeable = False
    return anchors


def decode(deltas: Floats, anchors: Floats) -> Floats:
    """Turn deltas (N, 2D) on anchors (N, 2D) into boxes (N, 2D) (Ren et al., "Faster R-CNN", 2015, eq. 2)."""
    dims = anchors.shape[1] // 2
    size = anchors[:, dims:] - anchors[:, :dims]
    centre = (anchors[:, :dims] + anchors[:, dims:]) / 2 + deltas[:, :dims] * size
    half = np.exp(np.minimum(deltas[:, dims:], MAX_LOG_GROWTH)) * size / 2
    return np.concatenate((centre - half, centre + half), axis=1).astype(np.float32)


def nms(boxes: Floats, scores: Floats, iou: float) -> NDArray[np.int64]:
    """Return the indices of the boxes (M, 2D) that greedy suppression keeps, by falling score.

    A box is dropped if it overlaps a kept one of higher score by more than ``iou``. Of equal scores, the first
    counts as higher.
    """
    waiting = np.argsort(-scores, kind="stable")
    kept = []
    while len(waiting):
        kept.append(waiting[0])
        overlap = _overlap(boxes[waiting[0]], boxes[waiting[1:]])
        waiting = waiting[1:][overlap <= iou]
    return np.asarray(kept, np.int64)


def select(class_logits: Floats, box_deltas: Floats, shape: Sequence[int], spec: Anchors) -> Detections:
    """Turn the network's outputs for one image into boxes.

    Parameters
    ----------
    class_logits : (N, K) ndarray
    box_deltas : (N, 2D) ndarray
    shape : sequence of int
        Spatial size of the network's input.
    spec : Anchors

    Returns
    -------
    Detections
        At most ``max_detections``, cut at the borders, suppressed class by class.

    Raises
    ------
    InputError
        The outputs do not have the specification's number of anchors.
    """
    anchors = anchors_for(tuple(int(n) for n in shape), spec)
    if len(class_logits) != len(anchors) or box_deltas.shape != anchors.shape:
        raise InputError(
            "the network's outputs do not fit the anchors",
            got=f"logits {class_logits.shape}, deltas {box_deltas.shape}",
            expected=f"{len(anchors)} anchors of {anchors.shape[1]} numbers",
            fix="strides and number of anchor shapes must be those that the network was trained with",
        )
    scores = (1.0 / (1.0 + np.exp(-class_logits.astype(np.float64)))).astype(np.float32)
    flat = scores.reshape(-1)
    order = np.argsort(-flat, kind="stable")[: spec.max_candidates]
    order = order[flat[order] >= spec.score_threshold]
    places, labels = np.divmod(order, scores.shape[1])
    limit = np.tile(np.asarray(shape, np.float32), 2)
    boxes = np.clip(decode(box_deltas[places].astype(np.float32), anchors[places]), 0, limit)
    found = Detections(boxes, flat[order], labels.astype(np.int64))
    dims = len(shape)
    return suppress(found.take(np.all(boxes[:, dims:] > boxes[:, :dims], axis=1)), spec)


def suppress(found: Detections, spec: Anchors) -> Detections:
    """Suppress overlapping boxes of the same class and keep the ``max_detections`` best."""
    kept = [np.zeros(0, np.int64)]
    for label in np.unique(found.labels):
        mine = np.flatnonzero(found.labels == label)
        kept.append(mine[nms(found.boxes[mine], found.scores[mine], spec.nms_iou)])
    joined = np.concatenate(kept)
    order = joined[np.argsort(-found.scores[joined], kind="stable")]
    return found.take(order[: spec.max_detections])


@dataclass(frozen=True, eq=False)
class Tile:
    """Boxes of one window of a large image.

    Attributes
    ----------
    found : Detections
        In the window's index coordinates.
    start : tuple of int
        First index of the window in the image.
    core : tuple of (int, int)
        First and past-the-last index per axis, in the image, of the part for which this window alone answers.
    """

    found: Detections
    start: tuple[int, ...]
    core: tuple[tuple[int, int], ...]


def merge_tiles(tiles: Sequence[Tile], shape: Sequence[int], spec: Anchors) -> Detections:
    """Join the boxes of windows: each window answers for box centres in its core, then doubles are suppressed.

    Parameters
    ----------
    tiles : sequence of Tile
        Whose cores partition the image.
    shape : sequence of int
        Spatial size of the image; boxes are cut at its borders.
    spec : Anchors
    """
    dims = len(shape)
    parts = []
    for tile in tiles:
        boxes = tile.found.boxes + np.tile(np.asarray(tile.start, np.float32), 2)
        centre = (boxes[:, :dims] + boxes[:, dims:]) / 2
        first, stop = np.asarray(tile.core, np.float32).T
        mine = np.all((centre >= first) & (centre < stop), axis=1)
        parts.append(Detections(boxes, tile.found.scores, tile.found.labels).take(mine))
    limit = np.tile(np.asarray(shape, np.float32), 2)
    joined = Detections(
        np.clip(np.concatenate([p.boxes for p in parts] or [np.zeros((0, 2 * dims), np.float32)]), 0, limit),
        np.concatenate([p.scores for p in parts] or [np.zeros(0, np.float32)]),
        np.concatenate([p.labels for p in parts] or [np.zeros(0, np.int64)]),
    )
    return suppress(joined, spec)


def _overlap(box: Floats, others: Floats) -> NDArray[np.float64]:
    """Return intersection over union of one box (2D,) with boxes (M, 2D)."""
    dims = len(box) // 2
    wide = others.astype(np.float64)
    lower, upper = np.maximum(wide[:, :dims], box[:dims]), np.minimum(wide[:, dims:], box[dims:])
    both = np.prod(np.clip(upper - lower, 0, None), axis=1)
    size = np.prod(wide[:, dims:] - wide[:, :dims], axis=1) + float(np.prod(box[dims:] - box[:dims], dtype=np.float64))
    return both / np.maximum(size - both, 1e-12)
