"""Small pictures of a case with truth and prediction drawn on it, for the report's worst cases.

Legend: Z slices, Y rows, X columns (or H, W of a picture), N boxes.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage.segmentation import find_boundaries

from medimg.io.image import Picture, Volume

# Okabe & Ito (2008): told apart with every common colour vision deficiency. Truth and prediction also differ in form:
# the truth's line is unbroken, the prediction's is dashed.
TRUTH_COLOUR, PREDICTION_COLOUR = (86, 180, 233), (230, 159, 0)
SIDE_PX = 480
DASH_PX = 4


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
        Of a volume the slice with the most truth is shown (else the most prediction, else the middle one).
    truth, predicted : (Z, Y, X) or (H, W) ndarray of int, optional
        Any label counts.
    boxes_true, boxes_predicted : (N, 2 D) ndarray, optional
        Half-open boxes in source indices.

    Returns
    -------
    bytes
        PNG, the long side at most 480 pixels, square pixels in space.
    """
    if isinstance(image, Volume):
        index = _slice_to_show(image, truth, predicted, boxes_true, boxes_predicted)
        base = _grey(image.array[0] if image.array.ndim == 4 else image.array, index)
        spacing = image.spacing_mm[1:]
        truth, predicted = _cut(truth, index), _cut(predicted, index)
        boxes_true, boxes_predicted = _boxes_in(boxes_true, index), _boxes_in(boxes_predicted, index)
    else:
        base, spacing = _eight_bit(image.array), (1.0, 1.0)
    scale_y, scale_x = _scales(base.shape[:2], spacing)
    size = (max(1, round(base.shape[1] * scale_x)), max(1, round(base.shape[0] * scale_y)))
    canvas = np.array(Image.fromarray(base).convert("RGB").resize(size, Image.Resampling.BILINEAR))
    for labels, colour, dashed in ((truth, TRUTH_COLOUR, False), (predicted, PREDICTION_COLOUR, True)):
        if labels is not None:
            _outline(canvas, labels, size, colour, dashed)
    picture = Image.fromarray(canvas)
    for boxes, colour, dashed in ((boxes_true, TRUTH_COLOUR, False), (boxes_predicted, PREDICTION_COLOUR, True)):
        if boxes is not None:
            _rectangles(picture, boxes, (scale_y, scale_x), colour, dashed)
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _slice_to_show(
    image: Volume,
    truth: NDArray[Any] | None,
    predicted: NDArray[Any] | None,
    boxes_true: NDArray[Any] | None,
    boxes_predicted: NDArray[Any] | None,
) -> int:
    for labels in (truth, predicted):
        if labels is not None and labels.any():
            return int(np.argmax(np.count_nonzero(labels, axis=(1, 2))))
    for boxes in (boxes_true, boxes_predicted):
        if boxes is not None and len(boxes):
            return int((boxes[0, 0] + boxes[0, 3]) // 2)
    return image.shape_zyx[0] // 2


def _grey(array: NDArray[Any], index: int) -> NDArray[np.uint8]:
    plane = np.asarray(array[index], np.float32)
    low, high = np.percentile(plane, [1, 99])
    return (np.clip((plane - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def _eight_bit(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array if array.dtype == np.uint8 else (array >> 8).astype(np.uint8)


def _cut(labels: NDArray[Any] | None, index: int) -> NDArray[Any] | None:
    return None if labels is None else labels[index]


def _boxes_in(boxes: NDArray[Any] | None, index: int) -> NDArray[Any] | None:
    """Return (N, 4) boxes (y0, x0, y1, x1) of those that cross the slice."""
    if boxes is None or not len(boxes):
        return None
    crossing = (boxes[:, 0] <= index) & (index < boxes[:, 3])
    return boxes[crossing][:, [1, 2, 4, 5]]


def _scales(shape: tuple[int, ...], spacing: tuple[float, float]) -> tuple[float, float]:
    extent = np.array(shape) * np.array(spacing)
    per_unit = SIDE_PX / float(extent.max())
    return per_unit * spacing[0], per_unit * spacing[1]


def _outline(
    canvas: NDArray[np.uint8], labels: NDArray[Any], size: tuple[int, int], colour: tuple[int, int, int], dashed: bool
) -> None:
    drawn = Image.fromarray((labels != 0).astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)
    edge = find_boundaries(np.array(drawn) > 0, mode="inner")
    if dashed:
        rows, columns = np.indices(edge.shape)
        edge &= ((rows + columns) // DASH_PX) % 2 == 0
    canvas[edge] = colour


def _rectangles(
    picture: Image.Image,
    boxes: NDArray[Any],
    scale: tuple[float, float],
    colour: tuple[int, int, int],
    dashed: bool,
) -> None:
    draw = ImageDraw.Draw(picture)
    for y0, x0, y1, x1 in np.asarray(boxes, float) * [scale[0], scale[1], scale[0], scale[1]]:
        corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
        for start, end in zip(corners, corners[1:]):
            _line(draw, start, end, colour, dashed)


def _line(
    draw: ImageDraw.ImageDraw,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: tuple[int, int, int],
    dashed: bool,
) -> None:
    if not dashed:
        draw.line([start, end], fill=colour, width=2)
        return
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    steps = max(1, int(length // (2 * DASH_PX)))
    for step in range(steps):
        a, b = step / steps, (step + 0.5) / steps
        piece = [tuple(s + t * (e - s) for s, e in zip(start, end)) for t in (a, b)]
        draw.line(piece, fill=colour, width=2)
