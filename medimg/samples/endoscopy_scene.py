"""The colon seen from inside: a tube with folds and polyps, found by marching rays to its wall.

Legend: H rows, W columns. Lengths in units of the tube's radius; the camera sits on the axis and looks along +z.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg.samples.fields import gaussian_field

Floats = NDArray[np.float64]

_STEPS = 80
_FOLD_WIDTH = 0.13
_NEAR, _FAR = 0.45, 12.0


@dataclass(frozen=True)
class Polyp:
    """A bump on the wall: sessile (Is) or flat (IIa) in the Paris classification."""

    angle: float
    z: float
    radius: float
    height: float
    paris: str
    power: float


@dataclass(frozen=True)
class Colon:
    """Shape of one colon segment."""

    fold_z: Floats
    fold_depth: Floats
    fold_tilt: Floats
    fold_phase: float
    lobes: int
    relief: Floats
    polyps: tuple[Polyp, ...]
    bend: tuple[float, float]


def draw_colon(polyps: tuple[Polyp, ...], rng: np.random.Generator) -> Colon:
    """Draw folds (deeper at three sides, as the taeniae make them) and a fine relief of the wall."""
    gaps = rng.uniform(0.75, 1.5, 10)
    fold_z = rng.uniform(0.9, 1.8) + np.cumsum(gaps)
    return Colon(
        fold_z=fold_z,
        fold_depth=rng.uniform(0.15, 0.50, fold_z.size),
        fold_tilt=rng.normal(0, 0.16, (fold_z.size, 2)),
        fold_phase=float(rng.uniform(0, 2 * np.pi)),
        lobes=3,
        relief=gaussian_field((256, 256), 5, rng),
        polyps=polyps,
        bend=(float(rng.normal(0, 0.05)), float(rng.normal(0, 0.05))),
    )


def sample_wall(texture: Floats, angle: Floats, z: Floats) -> Floats:
    """Look up a periodic texture at an angle (rad) and a depth, bilinear; it repeats every six units of depth."""
    rows = (angle / (2 * np.pi)) % 1.0 * texture.shape[0]
    columns = (z / 6.0) % 1.0 * texture.shape[1]
    r0, c0 = np.floor(rows).astype(int), np.floor(columns).astype(int)
    fr, fc = rows - r0, columns - c0
    r0, c0 = r0 % texture.shape[0], c0 % texture.shape[1]
    r1, c1 = (r0 + 1) % texture.shape[0], (c0 + 1) % texture.shape[1]
    top = texture[r0, c0] * (1 - fc) + texture[r0, c1] * fc
    bottom = texture[r1, c0] * (1 - fc) + texture[r1, c1] * fc
    return np.asarray(top * (1 - fr) + bottom * fr)


def polyp_coordinate(polyp: Polyp, angle: Floats, z: Floats) -> Floats:
    """Return the distance from the polyp's centre along the wall in units of its radius (1 = its foot)."""
    around = np.angle(np.exp(1j * (angle - polyp.angle)))
    return np.asarray(np.hypot(around, z - polyp.z) / polyp.radius)


def wall_height(colon: Colon, angle: Floats, z: Floats) -> Floats:
    """Return how far the wall stands into the tube at an angle (rad) and a depth."""
    height = 0.022 * sample_wall(colon.relief, angle, z)
    lobed = 0.55 + 0.45 * np.cos(colon.lobes * angle + colon.fold_phase)
    near, far = float(np.min(z)) - 3 * _FOLD_WIDTH, float(np.max(z)) + 3 * _FOLD_WIDTH
    for place, depth, tilt in zip(colon.fold_z, colon.fold_depth, colon.fold_tilt):
        if near - np.abs(tilt).sum() < place < far + np.abs(tilt).sum():
            centre = place + tilt[0] * np.cos(angle) + tilt[1] * np.sin(angle)
            height = height + depth * (0.35 + 0.65 * lobed) * np.exp(-(((z - centre) / _FOLD_WIDTH) ** 2))
    for polyp in colon.polyps:
        if near < polyp.z + polyp.radius and polyp.z - polyp.radius < far:
            s = np.minimum(polyp_coordinate(polyp, angle, z), 1.0)
            height = height + polyp.height * (1 - s**polyp.power) ** 0.6
    return np.asarray(height)


def march(colon: Colon, u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Follow each ray ``(u, v, 1)`` until it meets the wall.

    Parameters
    ----------
    u, v : (H, W) ndarray
        Slope of the ray to the right and downwards.

    Returns
    -------
    z, angle : (H, W) ndarray
        Where it meets the wall: depth and angle round the axis. Rays that meet nothing end far off.
    """
    depths = np.geomspace(_NEAR, _FAR, _STEPS)
    hit_z = np.full(u.shape, _FAR)
    open_before = np.full(u.shape, -1.0)
    searching = np.ones(u.shape, dtype=bool)
    previous = _NEAR
    for depth in depths:
        gap = _gap(colon, u[searching], v[searching], depth)
        met = gap >= 0
        before = open_before[searching]
        share = np.clip(before / np.minimum(before - gap, -1e-9), 0, 1)
        found = hit_z[searching]
        found[met] = (previous + (depth - previous) * share)[met]
        hit_z[searching] = found
        open_before[searching] = gap
        searching[searching] = ~met
        previous = depth
        if not searching.any():
            break
    x, y = _offset(colon, u, v, hit_z)
    return hit_z, np.arctan2(y, x)


def _offset(colon: Colon, u: Floats, v: Floats, z: Floats | float) -> tuple[Floats, Floats]:
    """Position relative to the tube's axis, which bends away as a parabola."""
    return u * z - colon.bend[0] * np.square(z), v * z - colon.bend[1] * np.square(z)


def _gap(colon: Colon, u: Floats, v: Floats, depth: float) -> Floats:
    x, y = _offset(colon, u, v, depth)
    angle = np.arctan2(y, x)
    return np.hypot(x, y) - 1 + wall_height(colon, angle, np.full(angle.shape, depth))
