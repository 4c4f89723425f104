"""Fundus photographs with diabetic lesions: macula-centred, 45 degrees, one pigment density each.

Legend: H rows, W columns, last axis R, G, B. The eye is drawn on a raster ``FINE`` times finer, then averaged.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medimg.samples.fields import block_mean, gaussian_field, wobbly_radius
from medimg.samples.fundus_optics import (
    BLOOD_TRANSMISSION,
    DISC_PERCENT,
    EXUDATE_PERCENT,
    VESSEL_TRANSMISSION,
    Camera,
    photograph,
    reflectance_percent,
)
from medimg.samples.fundus_vessels import draw_vessels

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

FINE = 2
LESIONS = ("MA", "HE", "EX")
GRADE_EDGES = (-0.45, -0.05, 0.70, 1.25)  # severity at which grades 1 to 4 begin
SEVERE_HAEMORRHAGES = 8


@dataclass(frozen=True)
class Lesion:
    """One lesion; lengths in pixels of the final picture."""

    kind: str
    y: float
    x: float
    radius_px: float
    stretch: float
    angle: float


@dataclass(frozen=True)
class FundusImage:
    """A picture with everything that is known about it."""

    rgb: NDArray[np.uint8]
    masks: dict[str, Mask]
    vessels: Mask
    disc: Mask
    field_of_view: Mask
    lesions: tuple[Lesion, ...]
    dr_grade: int
    latent: dict[str, object] = field(default_factory=dict)


def lesion_counts(severity: float, rng: np.random.Generator) -> dict[str, int]:
    """Draw how many microaneurysms, haemorrhages (of them large preretinal: PRE) and exudates an eye has."""
    level = int(np.searchsorted(GRADE_EDGES, severity))
    ranges = {
        0: {"MA": (0, 0), "HE": (0, 0), "EX": (0, 0), "PRE": (0, 0)},
        1: {"MA": (2, 6), "HE": (0, 0), "EX": (0, 0), "PRE": (0, 0)},
        2: {"MA": (3, 9), "HE": (2, 6), "EX": (0, 7), "PRE": (0, 0)},
        3: {"MA": (5, 11), "HE": (8, 13), "EX": (3, 11), "PRE": (0, 0)},
        4: {"MA": (5, 11), "HE": (6, 12), "EX": (2, 11), "PRE": (1, 2)},
    }[level]
    return {kind: int(rng.integers(low, high + 1)) for kind, (low, high) in ranges.items()}


def grade_from_burden(counts: dict[str, int]) -> int:
    """Return the diabetic retinopathy grade 0 to 4 that the lesions amount to.

    After the international scale (Wilkinson 2003), counts scaled to a small field: 1 microaneurysms only, 2 any
    haemorrhage or exudate, 3 from ``SEVERE_HAEMORRHAGES`` haemorrhages, 4 preretinal haemorrhage.
    """
    if counts["PRE"]:
        return 4
    if counts["HE"] >= SEVERE_HAEMORRHAGES:
        return 3
    if counts["HE"] or counts["EX"]:
        return 2
    return 1 if counts["MA"] else 0


def render_fundus(
    od500: float,
    severity: float,
    camera: Camera,
    rng: np.random.Generator,
    *,
    size_px: int = 96,
    laterality: str = "R",
    lesion_scale: float = 1.0,
) -> FundusImage:
    """Simulate one photograph.

    Parameters
    ----------
    od500 : float
        Melanin optical density of the eye at 500 nm.
    severity : float
        Latent severity of disease, about standard normal.
    camera : Camera
    rng : numpy.random.Generator
    size_px : int
        Side of the picture.
    laterality : {'R', 'L'}
        The disc is on the right of a right eye.
    lesion_scale : float
        Multiplies the radius of every lesion; at 0.6 microaneurysms keep the width of a vein at this resolution.
    """
    nasal = 1.0 if laterality == "R" else -1.0
    centre = (size_px - 1) / 2
    fovea = (centre + rng.normal(0, 0.02) * size_px, centre - nasal * rng.uniform(0.06, 0.10) * size_px)
    disc = (fovea[0] - rng.uniform(0.0, 0.03) * size_px, fovea[1] + nasal * rng.uniform(0.31, 0.35) * size_px)
    grid = (np.arange(size_px * FINE) + 0.5) / FINE - 0.5
    y, x = np.meshgrid(grid, grid, indexing="ij")

    percent, density = _background(od500, y, x, fovea, size_px, rng)
    vessel_cover, points = draw_vessels(size_px, FINE, disc, fovea, rng)
    disc_cover, percent = _paint_disc(percent, y, x, disc, size_px, rng)
    percent = percent * (1 - vessel_cover[..., None] * (1 - VESSEL_TRANSMISSION))
    counts = lesion_counts(severity, rng)
    lesions = _place_lesions(counts, points, fovea, disc, size_px, rng)
    lesions = [replace(lesion, radius_px=lesion.radius_px * lesion_scale) for lesion in lesions]
    percent, covers = _paint_lesions(percent, lesions, y, x, rng)

    blurred = ndimage.gaussian_filter(percent, (camera.blur_px * FINE, camera.blur_px * FINE, 0))
    radius = np.hypot(*np.meshgrid(*[np.arange(size_px) - centre] * 2, indexing="ij")) / (0.485 * size_px)
    rgb = photograph(block_mean(blurred, FINE), radius, camera, rng)
    inside = radius <= 1
    return FundusImage(
        rgb=rgb,
        masks={kind: (block_mean(covers[kind], FINE) >= 0.5) & inside for kind in LESIONS},
        vessels=(block_mean(vessel_cover, FINE) > 0.25) & inside,
        disc=(block_mean(disc_cover, FINE) > 0.25) & inside,
        field_of_view=inside,
        lesions=tuple(lesions),
        dr_grade=grade_from_burden(counts),
        latent={
            "pigment_od500": od500,
            "severity": severity,
            "lesion_counts": counts,
            "fovea_yx": fovea,
            "disc_yx": disc,
            "mean_od500_in_field": float(density.mean()),
        },
    )


def _background(
    od500: float, y: Floats, x: Floats, fovea: tuple[float, float], size_px: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the reflectance (H, W, 3) in percent of an eye without vessels or disc, and its pigment map."""
    scale = size_px / 96
    squared = ((y - fovea[0]) ** 2 + (x - fovea[1]) ** 2) / (size_px / 2) ** 2
    density = od500 * (1 + 0.35 * np.exp(-squared / 0.03))
    density = np.maximum(density + 0.03 * gaussian_field(y.shape, 6 * FINE * scale, rng), 0)
    texture = np.maximum(1 + 0.30 * gaussian_field(y.shape, 1.6 * FINE * scale, rng), 0.1)
    return reflectance_percent(density, texture), density


def _paint_disc(
    percent: Floats, y: Floats, x: Floats, disc: tuple[float, float], size_px: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    radius_px = rng.uniform(0.066, 0.078) * size_px
    tall = rng.uniform(1.0, 1.15)
    distance = np.hypot((y - disc[0]) / tall, x - disc[1])
    cover = np.clip((radius_px - distance) / (0.012 * size_px) + 0.5, 0, 1)
    cup = np.clip((rng.uniform(0.35, 0.55) * radius_px - distance) / (0.015 * size_px) + 0.5, 0, 1)
    light = DISC_PERCENT * (0.92 + 0.30 * cup[..., None])
    return cover, percent * (1 - cover[..., None]) + light * cover[..., None]


def _place_lesions(
    counts: dict[str, int],
    vessels: Floats,
    fovea: tuple[float, float],
    disc: tuple[float, float],
    size_px: int,
    rng: np.random.Generator,
) -> list[Lesion]:
    """Microaneurysms and haemorrhages lie near vessels, exudates cluster about the macula; none on the disc."""
    scale = size_px / 96
    cluster = rng.normal(0, 0.13 * size_px, 2) + fovea
    radii = {"MA": (1.15, 1.60), "HE": (1.9, 3.6), "EX": (1.5, 2.9), "PRE": (4.5, 7.0)}
    placed: list[Lesion] = []
    for kind in ("PRE", "HE", "EX", "MA"):
        for _ in range(counts[kind]):
            radius = rng.uniform(*radii[kind]) * scale
            spot = (0.0, 0.0)
            for _attempt in range(60):
                near = cluster if kind == "EX" else vessels[rng.integers(len(vessels)), :2]
                spread = 0.085 * size_px if kind == "EX" else 0.05 * size_px
                spot = tuple(near + rng.normal(0, spread, 2))
                if _is_free(spot, radius, placed, disc, size_px):
                    break
            else:
                continue
            stretch = rng.uniform(1.0, 1.9) if kind in ("HE", "PRE") else rng.uniform(1.0, 1.25)
            placed.append(Lesion(kind, spot[0], spot[1], radius, stretch, rng.uniform(0, np.pi)))
    return placed


def _is_free(
    spot: tuple[float, ...], radius: float, placed: list[Lesion], disc: tuple[float, float], size_px: int
) -> bool:
    centre = (size_px - 1) / 2
    if np.hypot(spot[0] - centre, spot[1] - centre) > 0.42 * size_px:
        return False
    if np.hypot(spot[0] - disc[0], spot[1] - disc[1]) < 0.095 * size_px + radius:
        return False
    return all(np.hypot(spot[0] - p.y, spot[1] - p.x) > radius + p.radius_px + 1 for p in placed)


def _paint_lesions(
    percent: Floats, lesions: list[Lesion], y: Floats, x: Floats, rng: np.random.Generator
) -> tuple[Floats, dict[str, Floats]]:
    covers = {kind: np.zeros(y.shape) for kind in LESIONS}
    for lesion in lesions:
        kind = "HE" if lesion.kind == "PRE" else lesion.kind
        v, u = y - lesion.y, x - lesion.x
        along = np.cos(lesion.angle) * u + np.sin(lesion.angle) * v
        across = np.cos(lesion.angle) * v - np.sin(lesion.angle) * u
        edge = lesion.radius_px * wobbly_radius(np.arctan2(across, along), 0.05 if kind == "MA" else 0.22, rng)
        distance = np.hypot(along / np.sqrt(lesion.stretch), across * np.sqrt(lesion.stretch))
        covers[kind] = np.maximum(covers[kind], np.clip((edge - distance) / 0.8 + 0.5, 0, 1))
    blood = np.maximum(covers["MA"], covers["HE"])[..., None]
    percent = percent * (1 - blood * (1 - BLOOD_TRANSMISSION))
    fat = covers["EX"][..., None]
    return percent * (1 - fat) + np.maximum(percent, EXUDATE_PERCENT) * fat, covers
