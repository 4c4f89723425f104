"""Small pictures of a case with truth and prediction drawn on it, for the report's worst cases.

Legend: C channels, Z slices, Y rows, X columns (or H, W of a picture), N boxes, D axes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medimg.geometry import Reorientation, apply, inverse, lps_reorientation
from medimg.io.image import Picture, Volume
from medimg.reports.drawing import Colour, draw_boxes, draw_outline

# Okabe & Ito (2008): told apart with every common colour vision deficiency. Truth and prediction also differ in form:
# the truth's line is unbroken, the prediction's is dashed.
TRUTH_COLOUR: Colour = (86, 180, 233)
PREDICTION_COLOUR: Colour = (230, 159, 0)
SIDE_PX = 480
# A stack is shown as it was acquired where its slices are this much thicker than its pixels; else axially.
THICK = 1.5


def overlay_png(
    image: Volume | Picture,
    *,
    truth: NDArray[Any] | None = None,
    predicted: NDArray[Any] | None = None,
    boxes_true: NDArray[Any] | None = None,
    boxes_predicted: NDArray[Any] | None = None,
) -> bytes:
    """Draw truth (blue, unbroken) and prediction (orange, dashed) on an image.

    Parameters
    ----------
    image : Volume or Picture
        Of a volume the slice with the most truth is shown (else the most prediction, else the middle one), the way
        radiologists look at it: the patient's left is on the right, anterior or superior at the top. Of several
        channels the first is shown.
    truth, predicted : (Z, Y, X) or (H, W) ndarray of int, optional
        Any label counts.
    boxes_true, boxes_predicted : (N, 2 D) ndarray, optional
        Half-open boxes in source indices.

    Returns
    -------
    bytes
        PNG, the long side 480 pixels, square pixels in space. The same inputs give the same bytes.
    """
    if isinstance(image, Volume):
        view = _View.of(image)
        array, truth, predicted = view.turn(image.array), view.turn(truth), view.turn(predicted)
        boxes_true, boxes_predicted = view.turn_boxes(boxes_true), view.turn_boxes(boxes_predicted)
        index = _slice_to_show(array.shape[0], truth, predicted, boxes_true, boxes_predicted)
        base, spacing = _grey(array[index]), view.spacing_yx
        truth, predicted = _cut(truth, index), _cut(predicted, index)
        boxes_true, boxes_predicted = _crossing(boxes_true, index), _crossing(boxes_predicted, index)
    else:
        base, spacing = _eight_bit(image.array), (1.0, 1.0)
    scale_y, scale_x = _scales(base.shape[:2], spacing)
    size = (max(1, round(base.shape[1] * scale_x)), max(1, round(base.shape[0] * scale_y)))
    picture = Image.fromarray(base).convert("RGB").resize(size, Image.Resampling.BILINEAR)
    for labels, colour, dashed in ((truth, TRUTH_COLOUR, False), (predicted, PREDICTION_COLOUR, True)):
        if labels is not None:
            draw_outline(picture, labels, colour, dashed=dashed)
    for boxes, colour, dashed in ((boxes_true, TRUTH_COLOUR, False), (boxes_predicted, PREDICTION_COLOUR, True)):
        if boxes is not None:
            draw_boxes(picture, boxes, (scale_y, scale_x), colour, dashed=dashed)
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


@dataclass(frozen=True)
class _View:
    """How a volume is turned for looking: slices first, then rows (down) and columns (to the right)."""

    record: Reorientation
    order: tuple[int, int, int]
    spacing_yx: tuple[float, float]

    @classmethod
    def of(cls, image: Volume) -> _View:
        record = lps_reorientation(image.array.shape, image.affine)
        index_affine = record.index_affine
        spacing = np.linalg.norm((np.asarray(image.affine) @ index_affine)[:3, :3], axis=0)
        thick = int(np.argmax(spacing))
        if spacing[thick] < THICK * float(np.median(spacing)):
            thick = 0
        order = ((0, 1, 2), (1, 0, 2), (2, 0, 1))[thick]
        return cls(record, order, (float(spacing[order[1]]), float(spacing[order[2]])))

    @property
    def upside_down(self) -> bool:
        """Rows run along Z, which rises to the head."""
        return self.order[1] == 0

    def turn(self, array: NDArray[Any] | None) -> Any:
        """Return (slices, rows, columns) of a (C, Z, Y, X) or (Z, Y, X) array."""
        if array is None:
            return None
        turned = self.record.apply(array[0] if array.ndim == 4 else array).transpose(self.order)
        return turned[:, ::-1] if self.upside_down else turned

    def turn_boxes(self, boxes: NDArray[Any] | None) -> NDArray[Any] | None:
        """Return (N, 6) half-open boxes on the turned grid."""
        if boxes is None or not len(boxes):
            return None
        back = inverse(self.record.index_affine)
        edges = np.asarray(boxes, float)
        first, last = apply(back, edges[:, :3]), apply(back, edges[:, 3:] - 1)
        lower, upper = np.minimum(first, last)[:, self.order], np.maximum(first, last)[:, self.order] + 1
        if self.upside_down:
            rows = self.record.shape_zyx[0]
            lower[:, 1], upper[:, 1] = rows - upper[:, 1], rows - lower[:, 1]
        return np.hstack([lower, upper])


def _slice_to_show(
    count: int,
    truth: NDArray[Any] | None,
    predicted: NDArray[Any] | None,
    boxes_true: NDArray[Any] | None,
    boxes_predicted: NDArray[Any] | None,
) -> int:
    for labels in (truth, predicted):
        if labels is not None and labels.any():
            return int(np.argmax(np.count_nonzero(labels, axis=(1, 2))))
    for boxes in (boxes_true, boxes_predicted):
        if boxes is not None:
            return min(max(int((boxes[0, 0] + boxes[0, 3]) // 2), 0), count - 1)
    return count // 2


def _grey(plane: NDArray[Any]) -> NDArray[np.uint8]:
    values = np.nan_to_num(np.asarray(plane, np.float32), posinf=0.0, neginf=0.0)
    low, high = np.percentile(values, [1, 99])
    return (np.clip((values - low) / max(float(high - low), 1e-6), 0, 1) * 255).astype(np.uint8)


def _eight_bit(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array if array.dtype == np.uint8 else (array >> 8).astype(np.uint8)


def _cut(labels: NDArray[Any] | None, index: int) -> NDArray[Any] | None:
    return None if labels is None else labels[index]


def _crossing(boxes: NDArray[Any] | None, index: int) -> NDArray[Any] | None:
    """Return (N, 4) boxes (y0, x0, y1, x1) of those that cross the slice."""
    if boxes is None:
        return None
    return boxes[(boxes[:, 0] <= index) & (index < boxes[:, 3])][:, [1, 2, 4, 5]]


def _scales(shape: tuple[int, ...], spacing: tuple[float, float]) -> tuple[float, float]:
    extent = np.array(shape) * np.array(spacing)
    per_unit = SIDE_PX / float(extent.max())
    return per_unit * spacing[0], per_unit * spacing[1]
