"""A chest and upper abdomen in Hounsfield units, with lung nodules and liver lesions.

Legend: Z slices (index 0, to the head), Y rows (to the back), X columns (to the left), so indices run along LPS.
Organ densities are textbook values, lengths in millimetres, origin in the middle of the field.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medimg.samples.ct_grid import Grid, make_grid
from medimg.samples.ct_lesions import LIVER_LESION, LUNG_NODULE, draw_liver_lesions, draw_nodules, paint_lesion
from medimg.samples.ct_scanner import CtScanner, acquire
from medimg.samples.fields import coverage, gaussian_field

Floats = NDArray[np.float64]

FIELD_MM = 224.0
HEIGHT_MM = 176.0
COLUMNS = 72
LABELS = {"lung_nodule": LUNG_NODULE, "liver_lesion": LIVER_LESION}


@dataclass(frozen=True)
class CtStudy:
    """A scan with its mask and everything that is known about it."""

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    affine: Floats
    lesions: tuple[dict[str, object], ...]
    latent: dict[str, object] = field(default_factory=dict)


@dataclass
class _Canvas:
    grid: Grid
    hu: Floats

    def paint(self, level_mm: Floats, value_hu: Floats | float) -> None:
        cover = coverage(level_mm, self.grid.spacing_mm[2])
        self.hu = self.hu * (1 - cover) + value_hu * cover


def render_ct(severity: float, scanner: CtScanner, rng: np.random.Generator, *, scale: float = 1.0) -> CtStudy:
    """Simulate one scan.

    Parameters
    ----------
    severity : float
        Latent severity of disease, about standard normal: more and larger lesions.
    scanner : CtScanner
        Slice thickness, kernel, noise and calibration of the site.
    rng : numpy.random.Generator
    scale : float
        Enlarges the in-plane matrix (1 = 72 x 72).
    """
    columns = round(COLUMNS * scale)
    in_plane_mm = FIELD_MM / columns
    slices = int(HEIGHT_MM // scanner.slice_mm)
    grid = make_grid(slices, columns, (scanner.slice_mm, in_plane_mm, in_plane_mm))
    portal = bool(rng.random() < 0.5)
    canvas, lung_level, liver_level = _draw_body(grid, portal, rng)

    labels = np.zeros(grid.shape, dtype=np.uint8)
    lesions = draw_nodules(severity, grid, lung_level, rng)
    lesions += draw_liver_lesions(severity, grid, liver_level, 110.0 if portal else 55.0, rng)
    for lesion in lesions:
        canvas.hu, cover = paint_lesion(canvas.hu, lesion, grid, rng)
        inside = lung_level < 1.5 * in_plane_mm if lesion["label"] == LUNG_NODULE else liver_level < 0
        labels[(cover >= 0.5) & inside] = lesion["label"]
    hu = acquire(canvas.hu, grid.spacing_mm, scanner, rng)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = grid.spacing_mm
    affine[:, 3] = [grid.x.min(), grid.y.min(), grid.z.min(), 1.0]
    found = tuple(lesion for lesion in lesions if _is_visible(lesion, labels, grid))
    return CtStudy(hu, labels, affine, found, {"severity": severity, "portal_venous": portal})


def _is_visible(lesion: dict[str, object], labels: NDArray[np.uint8], grid: Grid) -> bool:
    x, y, z = np.array(lesion["centre_lps_mm"], dtype=float)
    index = [int(np.abs(axis.ravel() - value).argmin()) for axis, value in ((grid.z, z), (grid.y, y), (grid.x, x))]
    return bool(labels[index[0], index[1], index[2]] == lesion["label"])


def _draw_body(grid: Grid, portal: bool, rng: np.random.Generator) -> tuple[_Canvas, Floats, Floats]:
    """Draw everything but lesions; return the canvas and the signed distances of lungs and liver."""
    half_x, half_y = rng.normal(102, 3), rng.normal(79, 3)
    fat_mm, wall_mm = rng.uniform(4, 12), rng.uniform(10, 14)
    canvas = _Canvas(grid, np.full(grid.shape, -1000.0))
    tall = (0.0, 0.0, 0.0), 1e4
    canvas.paint(grid.ellipsoid(tall[0], (half_x, half_y, tall[1])), -100 + 8 * gaussian_field(grid.shape, 1.5, rng))
    muscle = 45 + rng.normal(0, 6)
    canvas.paint(grid.ellipsoid(tall[0], (half_x - fat_mm, half_y - fat_mm, tall[1])), muscle)
    inner = half_x - fat_mm - wall_mm, half_y - fat_mm - wall_mm
    cavity = grid.ellipsoid((0, -4, 0), (*inner, 1e4))
    dome_right, dome_left = rng.normal(8, 7), rng.normal(-6, 7)
    dome = np.where(grid.x < 0, dome_right, dome_left) - 38 * (
        ((np.abs(grid.x) - 0.5 * inner[0]) / (0.55 * inner[0])) ** 2 + (grid.y / inner[1]) ** 2
    )
    _draw_abdomen(canvas, cavity, dome, rng)
    liver = _draw_organs(canvas, cavity, dome, inner, portal, rng)
    lung = _draw_lungs(canvas, cavity, dome, inner, portal, rng)
    _draw_bones(canvas, half_y, (half_x - fat_mm - 7, half_y - fat_mm - 7), rng)
    return canvas, lung, liver


def _draw_abdomen(canvas: _Canvas, cavity: Floats, dome: Floats, rng: np.random.Generator) -> None:
    below = np.maximum(cavity, canvas.grid.z - dome + 3)
    bowel = gaussian_field(canvas.grid.shape, (1.6, 3.0, 3.0), rng)
    canvas.paint(below, np.where(bowel > 0.25, 30.0, -95.0))


def _draw_organs(
    canvas: _Canvas, cavity: Floats, dome: Floats, inner: tuple[float, float], portal: bool, rng: np.random.Generator
) -> Floats:
    grid = canvas.grid
    below = np.maximum(cavity + 2, grid.z - dome + 3)
    jitter = rng.normal(0, 3, 6)
    kidney = 170.0 if portal else 32.0
    for side in (-1, 1):
        canvas.paint(grid.ellipsoid((side * 40 + jitter[0], 34, -82), (17, 15, 34)), kidney)
    canvas.paint(np.maximum(below, grid.ellipsoid((56 + jitter[1], 28, -22), (20, 26, 34))), 118.0 if portal else 50.0)
    stomach = np.maximum(below, grid.ellipsoid((36 + jitter[2], -22, -34), (30, 28, 30)))
    canvas.paint(stomach, 38.0)
    canvas.paint(stomach + 4, np.where(grid.y < -34 + jitter[3], -900.0, 12.0))
    right = grid.ellipsoid((-34 + jitter[4], 0, -26 + jitter[5]), (0.62 * inner[0], 1.02 * inner[1], 66))
    left = grid.ellipsoid((6, -22, -12), (44, 26, 26))
    liver = np.maximum(np.minimum(right, left), below)
    density = 110.0 if portal else 55.0
    canvas.paint(liver, density + 3 * gaussian_field(grid.shape, 1.5, rng))
    _draw_liver_vessels(canvas, liver, density + (38 if portal else -10), rng)
    canvas.paint(grid.ellipsoid((-28 + jitter[0], -30, -60), (11, 12, 18)), 8.0)
    return liver


def _draw_liver_vessels(canvas: _Canvas, liver: Floats, value_hu: float, rng: np.random.Generator) -> None:
    root = np.array([-14.0, 2.0, -18.0])
    for _ in range(9):
        direction = rng.normal(size=3) + np.array([-0.6, 0.0, 0.2])
        _draw_branch(canvas, root, direction / np.linalg.norm(direction), 3.4, 22, value_hu, 3, rng, within=liver)


def _draw_lungs(
    canvas: _Canvas, cavity: Floats, dome: Floats, inner: tuple[float, float], portal: bool, rng: np.random.Generator
) -> Floats:
    grid = canvas.grid
    blood = 140.0 if portal else 42.0
    heart = grid.ellipsoid((16 + rng.normal(0, 3), -20, 22), (38, 30, 42))
    middle = np.abs(grid.x) - 12 - 6 * np.exp(-((grid.y + 5) ** 2) / 400) + np.zeros(grid.shape)
    sides = [grid.ellipsoid((s * 0.5 * inner[0], -1, 40), (0.52 * inner[0], 0.98 * inner[1], 128)) for s in (-1, 1)]
    lung = np.maximum(np.minimum(*sides), cavity + 1)
    lung = np.maximum.reduce([lung, dome - grid.z, -heart, -middle])
    canvas.paint(np.maximum(heart, dome - grid.z - 6), blood - 2)
    air = rng.normal(-850, 20)
    canvas.paint(lung, air + 14 * gaussian_field(grid.shape, 1.2, rng))
    for side in (-1.0, 1.0):
        for _ in range(8):
            direction = rng.normal(size=3) * (0.8, 1.0, 1.0) + np.array([side * 0.9, 0.1, 0.15])
            root = np.array([side * 20.0, 4.0, 34.0])
            _draw_branch(canvas, root, direction / np.linalg.norm(direction), 4.2, 20, 40.0, 4, rng, within=lung)
    canvas.paint(np.maximum(np.hypot(grid.x - 12, grid.y - 26) - 10 + 0 * grid.z, -200.0), blood + 5)
    canvas.paint(np.hypot(grid.x - 1, grid.y - 6) - 7 + np.maximum(34 - grid.z, 0), -980.0)
    return lung


def _draw_branch(
    canvas: _Canvas,
    start: Floats,
    direction: Floats,
    radius_mm: float,
    length_mm: float,
    value_hu: float,
    generations: int,
    rng: np.random.Generator,
    *,
    within: Floats,
) -> None:
    """Draw a vessel and its children; Murray's law for equal children: radius x 2^(-1/3) = 0.79."""
    end = start + direction * length_mm * rng.uniform(0.8, 1.2)
    _paint_capsule(canvas, start, end, radius_mm, value_hu, within)
    if generations > 1:
        for _ in range(2):
            turned = direction + 0.55 * rng.normal(size=3)
            _draw_branch(
                canvas,
                end,
                turned / np.linalg.norm(turned),
                0.79 * radius_mm,
                0.85 * length_mm,
                value_hu,
                generations - 1,
                rng,
                within=within,
            )


def _paint_capsule(canvas: _Canvas, start: Floats, end: Floats, radius: float, value_hu: float, within: Floats) -> None:
    grid, margin = canvas.grid, radius + 4
    box = []
    for axis, k in ((grid.z, 2), (grid.y, 1), (grid.x, 0)):
        low, high = min(start[k], end[k]) - margin, max(start[k], end[k]) + margin
        first, last = np.searchsorted(axis.ravel(), [low, high])
        box.append(slice(int(first), int(last)))
    window = tuple(box)
    if any(side.start >= side.stop for side in box):
        return
    points = np.stack(np.broadcast_arrays(grid.x[:, :, box[2]], grid.y[:, box[1]], grid.z[box[0]]), axis=-1)
    axis_vector = end - start
    along = np.clip((points - start) @ axis_vector / (axis_vector @ axis_vector), 0, 1)
    distance = np.linalg.norm(points - start - along[..., None] * axis_vector, axis=-1)
    cover = coverage(np.maximum(distance - radius, within[window]), grid.spacing_mm[2])
    canvas.hu[window] = canvas.hu[window] * (1 - cover) + value_hu * cover


def _draw_bones(canvas: _Canvas, half_y: float, rib_axes: tuple[float, float], rng: np.random.Generator) -> None:
    grid = canvas.grid
    spine_y = 0.58 * half_y
    canvas.paint(np.hypot(grid.x, (grid.y - spine_y) / 0.85) - 17 + 0 * grid.z, 380.0 + rng.normal(0, 30))
    disc_gap = 3 - np.abs((grid.z + 200) % 26 - 13)
    canvas.paint(np.maximum(np.hypot(grid.x, (grid.y - spine_y) / 0.85) - 15, -disc_gap), 170.0)
    canvas.paint(np.maximum(np.hypot(grid.x, (grid.y - spine_y) / 0.85) - 17, disc_gap), 90.0)
    canvas.paint(np.hypot(grid.x / 1.1, grid.y - spine_y - 20) - 8 + 0 * grid.z, 25.0)
    arch = np.abs(np.hypot(grid.x / 1.1, grid.y - spine_y - 20) - 10.5) - 2.2 + 0 * grid.z
    canvas.paint(arch, 420.0)
    ring = np.abs(grid.ellipsoid((0, 0, 0), (*rib_axes, 1e4))) - 3.2
    slanted = np.abs((grid.z + 0.45 * grid.y + 400) % 27 - 13.5) - 4.6
    front = np.where(grid.z + 0.9 * np.abs(grid.x) > -20, -1e3, 1e3)
    ribs = np.maximum(np.maximum(ring, slanted), front)
    canvas.paint(ribs, 520.0)
    sternum = np.maximum(np.hypot(grid.x / 2.2, grid.y + rib_axes[1] + 1) - 6, -(grid.z - 5))
    canvas.paint(sternum, 260.0)
