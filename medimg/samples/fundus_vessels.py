"""Retinal vessels: four arcades of an artery and a vein that leave the disc, wander and branch.

Legend: H rows, W columns. Lengths in pixels of the final picture; the raster may be finer by ``factor``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]

_BRANCH_PROBABILITY = 0.035  # per step
_CHILD_RADIUS = 0.7
_THINNEST_PX = 0.28


@dataclass
class _Tip:
    y: float
    x: float
    heading: float
    bend: float
    radius: float
    steps: int


def _trunks(disc_yx: tuple[float, float], toward_fovea: float, scale: float, rng: np.random.Generator) -> list[_Tip]:
    """Start an artery and a vein in each quadrant; temporal arcades bend round the macula."""
    tips = []
    for up in (-1.0, 1.0):
        for temporal in (True, False):
            for is_vein in (True, False):
                from_axis = rng.normal(1.25 if temporal else 2.35, 0.10) + (0.14 if is_vein else -0.14)
                turn = rng.normal(0.023, 0.003) if temporal else rng.normal(0.0, 0.006)
                away = toward_fovea * up * from_axis
                heading = (0.0 if toward_fovea > 0 else np.pi) + away
                radius = rng.uniform(1.25, 1.55) if is_vein else rng.uniform(0.90, 1.15)
                bend = -toward_fovea * up * turn / scale
                tips.append(_Tip(*disc_yx, heading, bend, radius * scale, int(70 * scale)))
    return tips


def _walk(
    tip: _Tip, fovea_yx: tuple[float, float], keep_out: float, rng: np.random.Generator
) -> tuple[Floats, list[_Tip]]:
    points, children = [], []
    y, x, heading, radius = tip.y, tip.x, tip.heading, tip.radius
    first = radius
    for step in range(tip.steps):
        heading += tip.bend + rng.normal(0, 0.055)
        y, x = y + np.sin(heading), x + np.cos(heading)
        if np.hypot(y - fovea_yx[0], x - fovea_yx[1]) < keep_out:
            break
        radius = max(first * (1 - 0.007 * step), _THINNEST_PX)
        points.append((y, x, radius))
        if step > 5 and rng.random() < _BRANCH_PROBABILITY and radius * _CHILD_RADIUS > _THINNEST_PX:
            side = rng.choice([-1.0, 1.0])
            children.append(
                _Tip(
                    y,
                    x,
                    heading + side * rng.uniform(0.5, 0.95),
                    -side * 0.008,
                    radius * _CHILD_RADIUS,
                    int(0.7 * (tip.steps - step)),
                )
            )
    return np.array(points).reshape(-1, 3), children


def draw_vessels(
    size_px: int,
    factor: int,
    disc_yx: tuple[float, float],
    fovea_yx: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Grow the vessels and return how much of each fine pixel they cover, and their centre line points.

    Parameters
    ----------
    size_px, factor : int
        Side of the final picture and refinement of the raster.
    disc_yx, fovea_yx : (float, float)
        Centres in final pixels.

    Returns
    -------
    coverage : (H * factor, W * factor) ndarray in [0, 1]
    points : (N, 3) ndarray
        y, x and radius of every step, final pixels.
    """
    scale = size_px / 96
    toward_fovea = 1.0 if fovea_yx[1] > disc_yx[1] else -1.0
    tips, walked = _trunks(disc_yx, toward_fovea, scale, rng), []
    while tips:
        points, children = _walk(tips.pop(), fovea_yx, 0.10 * size_px, rng)
        walked.append(points)
        tips.extend(children)
    points = np.concatenate(walked)
    return _rasterise(points, size_px * factor, factor), points


def _rasterise(points: Floats, side: int, factor: int) -> Floats:
    """Splat discs of each radius: distance to the centre line, one transform for each width class."""
    covered = np.zeros((side, side))
    classes = np.round(points[:, 2] * factor * 4) / 4
    for radius in np.unique(classes):
        chosen = points[classes == radius]
        rows, columns = np.round(chosen[:, :2].T * factor).astype(int)
        inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
        if inside.any():
            empty = np.ones((side, side), dtype=bool)
            empty[rows[inside], columns[inside]] = False
            distance = ndimage.distance_transform_edt(empty)
            covered = np.maximum(covered, np.clip(radius + 0.5 - distance, 0, 1) * min(1.0, 0.45 + 0.3 * radius))
    return covered
