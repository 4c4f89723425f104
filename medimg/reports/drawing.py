"""Outlines and boxes on a picture: unbroken or dashed, so that they are told apart without colours too.

Legend: H rows, W columns of the picture; N boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage.measure import find_contours

Colour = tuple[int, int, int]
Point = tuple[float, float]
LINE_PX, DASH_PX, GAP_PX = 2, 6.0, 5.0


def draw_outline(picture: Image.Image, mask: NDArray[Any], colour: Colour, *, dashed: bool) -> None:
    """Draw the outline of a (H', W') mask, stretched to the picture's size."""
    if not mask.any():
        return
    # A border of background, so that a structure cut off by the image's edge has a closed outline.
    padded = np.pad((mask != 0).astype(float), 1)
    scale_y, scale_x = picture.height / mask.shape[0], picture.width / mask.shape[1]
    for contour in find_contours(padded, 0.5):
        points = [((x - 0.5) * scale_x, (y - 0.5) * scale_y) for y, x in contour]
        draw_line(picture, points, colour, dashed=dashed)


def draw_boxes(
    picture: Image.Image, boxes: NDArray[Any], scale_yx: tuple[float, float], colour: Colour, *, dashed: bool
) -> None:
    """Draw (N, 4) half-open boxes (y0, x0, y1, x1), in index units of ``scale_yx`` pixels each."""
    for y0, x0, y1, x1 in np.asarray(boxes, float) * [*scale_yx, *scale_yx]:
        draw_line(picture, [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], colour, dashed=dashed)


def draw_line(picture: Image.Image, points: Sequence[Point], colour: Colour, *, dashed: bool) -> None:
    """Draw a line through ``points`` (x, y)."""
    draw = ImageDraw.Draw(picture)
    for piece in _dashes(points) if dashed else [list(points)]:
        draw.line(piece, fill=colour, width=LINE_PX, joint="curve")


def _dashes(points: Sequence[Point]) -> list[list[Point]]:
    """Return the dashes of a line, measured along it, so that no direction loses them."""
    corners = np.asarray(points, float)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    starts = np.arange(0.0, along[-1], DASH_PX + GAP_PX)
    found = []
    for start in starts:
        end = min(start + DASH_PX, along[-1])
        inner = along[(along > start) & (along < end)]
        stops = np.concatenate([[start], inner, [end]])
        xs, ys = (np.interp(stops, along, corners[:, axis]) for axis in (0, 1))
        found.append([(float(x), float(y)) for x, y in zip(xs, ys)])
    return found
