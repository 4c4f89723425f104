"""Lung nodules and liver lesions of the CT phantom: where, how large, what shape, benign or malignant.

Legend: Z slices, Y rows, X columns; points as (x, y, z) in LPS millimetres.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medimg.samples.ct_grid import Grid
from medimg.samples.fields import coverage, lumpy_radius

Floats = NDArray[np.float64]
Lesion = dict[str, Any]

LUNG_NODULE, LIVER_LESION = 1, 2


def draw_nodules(severity: float, grid: Grid, lung_level: Floats, rng: np.random.Generator) -> list[Lesion]:
    """Draw 0 to 3 lung nodules; a fifth of them touch the pleura.

    Malignant nodules tend to be larger and spiculated, benign ones smooth, some calcified; one in six is ground glass.
    """
    lesions: list[Lesion] = []
    count = int(rng.choice([0, 1, 2, 3], p=[0.12, 0.48, 0.25, 0.15]))
    for _ in range(count):
        malignant = bool(rng.random() < 1 / (1 + np.exp(-0.9 * severity)))
        diameter = float(np.clip(rng.lognormal(np.log(20.0 if malignant else 15.0), 0.20), 11.0, 28.0))
        ground_glass = bool(rng.random() < 0.16)
        calcified = bool(not malignant and not ground_glass and rng.random() < 0.3)
        pleural = bool(rng.random() < 0.2)
        depth = 0.30 * diameter if pleural else 0.55 * diameter + 3
        centre = _find_spot(lung_level, depth, pleural, diameter, lesions, grid, rng)
        if centre is None:
            continue
        density = rng.normal(-600, 40) if ground_glass else rng.normal(30, 15)
        spiculation = rng.uniform(0.16, 0.32) if malignant else rng.uniform(0, 0.05)
        lesions.append(
            {
                "kind": "lung_nodule",
                "label": LUNG_NODULE,
                "centre_lps_mm": centre,
                "diameter_mm": diameter,
                "malignant": malignant,
                "spiculation": float(spiculation),
                "ground_glass": ground_glass,
                "calcified": calcified,
                "pleural": pleural,
                "density_hu": float(260.0 if calcified else density),
                "rim_mm": 0.0,
            }
        )
    return lesions


def draw_liver_lesions(
    severity: float, grid: Grid, liver_level: Floats, liver_hu: float, rng: np.random.Generator
) -> list[Lesion]:
    """Draw 0 to 4 metastases about 40 HU darker than the liver, with a blurred rim."""
    lesions: list[Lesion] = []
    count = min(int(rng.poisson(np.exp(0.35 + 0.45 * severity))), 4)
    for _ in range(count):
        diameter = float(np.clip(rng.lognormal(np.log(19.0), 0.3), 11.0, 36.0))
        centre = _find_spot(liver_level, 0.45 * diameter, False, diameter, lesions, grid, rng)
        if centre is None:
            continue
        lesions.append(
            {
                "kind": "liver_lesion",
                "label": LIVER_LESION,
                "centre_lps_mm": centre,
                "diameter_mm": diameter,
                "malignant": True,
                "spiculation": float(rng.uniform(0.03, 0.10)),
                "ground_glass": False,
                "calcified": False,
                "pleural": False,
                "density_hu": float(liver_hu - rng.normal(40, 5)),
                "rim_mm": float(rng.uniform(2, 5)),
            }
        )
    return lesions


def _find_spot(
    level: Floats,
    depth_mm: float,
    at_wall: bool,
    diameter: float,
    others: list[Lesion],
    grid: Grid,
    rng: np.random.Generator,
) -> list[float] | None:
    """Choose a voxel deep enough inside the organ, clear of other lesions and of the ends of the scan."""
    inside = level < 0
    distance = ndimage.distance_transform_edt(np.pad(inside, 1, constant_values=False), sampling=grid.spacing_mm)
    distance = distance[1:-1, 1:-1, 1:-1]
    fits = np.abs(distance - depth_mm) < 2.5 if at_wall else distance > depth_mm
    candidates = np.argwhere(fits)
    for _ in range(30):
        if not len(candidates):
            return None
        z, y, x = candidates[rng.integers(len(candidates))]
        spot = [float(grid.x.ravel()[x]), float(grid.y.ravel()[y]), float(grid.z.ravel()[z])]
        gaps = [
            np.linalg.norm(np.subtract(spot, other["centre_lps_mm"])) - (diameter + other["diameter_mm"]) / 2
            for other in others
        ]
        if min(gaps, default=np.inf) > 5:
            return spot
    return None


def paint_lesion(hu: Floats, lesion: Lesion, grid: Grid, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Blend one lesion into the scan.

    Returns
    -------
    hu, cover : (Z, Y, X) ndarray
        The scan with the lesion, and how much of each voxel the lesion fills.
    """
    x, y, z = lesion["centre_lps_mm"]
    offset = np.stack(np.broadcast_arrays(grid.x - x, grid.y - y, grid.z - z), axis=-1)
    distance = np.linalg.norm(offset, axis=-1)
    near = distance < 1.2 * lesion["diameter_mm"] + 6
    cover, blend = np.zeros(hu.shape), np.zeros(hu.shape)
    directions = offset[near] / np.maximum(distance[near], 1e-6)[:, None]
    degrees = (2, 3, 7, 9, 11) if lesion["spiculation"] > 0.12 else (2, 3, 4)
    edge = lesion["diameter_mm"] / 2 * lumpy_radius(directions, lesion["spiculation"], degrees, rng)
    level = distance[near] - edge
    cover[near] = coverage(level, grid.spacing_mm[2])
    blend[near] = np.clip(0.5 - level / (grid.spacing_mm[2] + lesion["rim_mm"]), 0, 1)
    return hu * (1 - blend) + lesion["density_hu"] * blend, cover
