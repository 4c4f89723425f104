"""Boxes under the same transforms as their image.

Legend: N boxes, D axes. A box is (lower..., upper...) in voxel edges (half-open, upper = last index + 1); further
columns, such as a class, are carried along.

Flips, quarter turns, scale and translation are exact. Under rotation and shear the box of the moved corners is
returned, which grows with the angle (a square turned by 10 degrees grows by 16 %): keep angles small for detection.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor


def mirror_boxes(boxes: Tensor, axes: Sequence[bool], size: Sequence[int]) -> Tensor:
    """Mirror boxes (N, 2D + E) along the axes marked True."""
    dims = len(size)
    result = boxes.clone()
    for axis, (flipped, length) in enumerate(zip(axes, size, strict=True)):
        if flipped:
            result[:, axis] = length - boxes[:, dims + axis]
            result[:, dims + axis] = length - boxes[:, axis]
    return result


def quarter_turn_boxes(boxes: Tensor, turns: int, size: Sequence[int]) -> Tensor:
    """Turn boxes (N, 2D + E) by quarters in the plane of the last two axes, as `torch.rot90` turns the image."""
    dims = len(size)
    y, x = dims - 2, dims - 1
    sides = [size[y], size[x]]
    for _ in range(turns % 4):
        result = boxes.clone()
        result[:, y], result[:, dims + y] = sides[1] - boxes[:, dims + x], sides[1] - boxes[:, x]
        result[:, x], result[:, dims + x] = boxes[:, y], boxes[:, dims + y]
        boxes = result
        sides.reverse()
    return boxes


def map_boxes(boxes: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """Return the boxes (N, 2D + E) around the moved corners.

    `matrix` (D, D) and `offset` (D,) map the result to the source; the inverse moves boxes.
    """
    dims = len(offset)
    inverse = torch.linalg.inv(matrix.double()).to(boxes)
    corners = torch.stack(
        [
            torch.stack([boxes[:, axis + dims * side] for axis, side in enumerate(sides)], dim=1)
            for sides in product((0, 1), repeat=dims)
        ]
    )
    moved = (corners - offset.to(boxes)) @ inverse.T
    return torch.cat((moved.amin(0), moved.amax(0), boxes[:, 2 * dims :]), dim=1)


def clip_boxes(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Cut boxes (N, 2D + E) at the borders of the image; those whose centre lies outside become empty (all zero)."""
    dims = len(size)
    limit = torch.tensor(list(size), dtype=boxes.dtype, device=boxes.device)
    centre = (boxes[:, :dims] + boxes[:, dims : 2 * dims]) / 2
    inside = ((centre >= 0) & (centre < limit)).all(1, keepdim=True)
    cut = boxes[:, : 2 * dims].clamp(min=0).minimum(torch.cat((limit, limit))) * inside
    return torch.cat((cut, boxes[:, 2 * dims :]), dim=1)
