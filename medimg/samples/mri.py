"""A head with a brain tumour in four MR contrasts.

Legend: T tissues, Z slices (to the head), Y rows (to the back), X columns (to the left): indices run along LPS.
Lengths in millimetres, origin in the middle of the field. The head is drawn twice as fine as it is scanned.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medimg.samples.fields import coverage, gaussian_field, lumpy_radius
from medimg.samples.mri_signal import CONTRASTS, TISSUES, MrScanner, acquire, coil_bias, slice_means

Floats = NDArray[np.float64]

PIXEL_MM = 4.0
FINE_SHAPE = (72, 96, 80)
OEDEMA, CORE = 1, 2
LABELS = {"oedema": OEDEMA, "enhancing_core": CORE}


@dataclass(frozen=True)
class MriStudy:
    """Four aligned contrasts with their mask and everything that is known about it."""

    contrasts: dict[str, NDArray[np.uint8]]
    labels: NDArray[np.uint8]
    affine: Floats
    latent: dict[str, object] = field(default_factory=dict)


@dataclass
class _Head:
    """Tissue shares on the fine grid; painting a tissue takes its share from all others."""

    z: Floats
    y: Floats
    x: Floats
    step_mm: float
    shares: Floats

    def paint(self, tissue: str, level_mm: Floats) -> None:
        self.blend(tissue, coverage(np.broadcast_to(level_mm, self.shares.shape[1:]), self.step_mm))

    def blend(self, tissue: str, cover: Floats) -> None:
        self.shares *= 1 - cover
        self.shares[TISSUES.index(tissue)] += cover

    def ellipsoid(self, centre_xyz: tuple[float, ...], axes_xyz: tuple[float, ...]) -> Floats:
        (a, b, c), (x, y, z) = axes_xyz, centre_xyz
        q = np.sqrt(((self.x - x) / a) ** 2 + ((self.y - y) / b) ** 2 + ((self.z - z) / c) ** 2)
        return np.asarray((q - 1) * min(axes_xyz))


def render_mri(
    severity: float, age: int, scanner: MrScanner, rng: np.random.Generator, *, scale: float = 1.0
) -> MriStudy:
    """Simulate one session: T1w, T2w, FLAIR and T1 after contrast medium, one grid.

    Parameters
    ----------
    severity : float
        Latent severity, about standard normal: size of the tumour and whether its core enhances.
    age : int
        Years; widens the ventricles and adds white-matter hyperintensities (not part of the mask).
    scanner : MrScanner
    rng : numpy.random.Generator
    scale : float
        Enlarges the matrix (1 = 40 columns, 48 rows).
    """
    # Slices divide by 2 and 3 (thin and thick protocols), rows and columns by 2.
    fine_shape = tuple(round(n * scale / m) * m for n, m in zip(FINE_SHAPE, (6, 2, 2)))
    step = PIXEL_MM / 2 * FINE_SHAPE[2] / fine_shape[2]
    axes: list[Floats] = [(np.arange(n, dtype=np.float64) - (n - 1) / 2) * step for n in fine_shape]
    head = _Head(
        axes[0][:, None, None],
        axes[1][None, :, None],
        axes[2][None, None, :],
        step,
        np.zeros((len(TISSUES), *fine_shape)),
    )
    white = _draw_brain(head, age, rng)
    tumour = _draw_tumour(head, severity, white, rng)

    thick = scanner.fine_slices
    shares = np.stack([slice_means(share, thick) for share in head.shares])
    bias = coil_bias(shares.shape[1:], scanner, rng)
    contrasts = {name: acquire(shares, name, scanner, bias, rng) for name in CONTRASTS}
    slices, rows, columns = shares.shape[1], fine_shape[1] // 2, fine_shape[2] // 2
    blocks = shares.reshape(len(TISSUES), slices, rows, 2, columns, 2).mean(axis=(3, 5))
    oedema, core = blocks[TISSUES.index("oedema")], blocks[TISSUES.index("core")]
    labels = np.zeros((slices, rows, columns), dtype=np.uint8)
    labels[oedema + core >= 0.5] = OEDEMA
    labels[(oedema + core >= 0.5) & (core > oedema)] = CORE
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = step * thick, 2 * step, 2 * step
    affine[:, 3] = [axes[2][0] + step / 2, axes[1][0] + step / 2, axes[0][0] + step * (thick - 1) / 2, 1.0]
    return MriStudy(contrasts, labels, affine, {"severity": severity, "age": age, **tumour})


def _draw_brain(head: _Head, age: int, rng: np.random.Generator) -> Floats:
    """Draw the healthy head; return the share of white matter."""
    size = rng.normal(1.0, 0.025)
    a, b, c = 62 * size, 78 * size, 60 * size
    centre = (0.0, 0.0, -6.0)
    shape = head.shares.shape[1:]
    skull = head.ellipsoid(centre, (a, b, c))
    head.paint("fat", skull - 13)
    head.paint("bone", skull - 9)
    head.paint("csf", skull - 3)
    atrophy = 0.5 + 0.03 * max(age - 40, 0)
    folds = gaussian_field(shape, 3.4, rng)
    shallow = np.clip(1 + skull / 36, 0, 1)
    sulci = np.exp(-((folds / 0.16) ** 2)) * shallow  # thin sheets where the field crosses zero
    fissure = np.minimum(2.0 + 0.25 * atrophy - np.abs(head.x), np.maximum(head.z - 12, np.abs(head.y) - 42))
    head.paint("gm", np.maximum(skull + 0.8 + 20 * (0.7 + 0.3 * atrophy) * sulci, fissure))
    ribbon = np.exp(-((folds / 0.62) ** 2)) * shallow
    head.paint("wm", np.maximum(skull + 5.5 + 26 * ribbon, fissure + 4.0))
    _draw_deep(head, atrophy, rng)
    return np.asarray(head.shares[TISSUES.index("wm")].copy())


def _draw_deep(head: _Head, atrophy: float, rng: np.random.Generator) -> None:
    """Deep grey matter, ventricles, white-matter hyperintensities, cerebellum, the sagittal sinus."""
    cerebellum = np.maximum(head.ellipsoid((0, 42, -44), (38, 24, 20)), 0.0 * head.x - 50)
    head.paint("csf", cerebellum - 2.0)
    head.paint("gm", cerebellum)
    head.paint("wm", cerebellum + 7 + 3 * np.sin(head.z * 0.9) * np.ones_like(head.x))
    for side in (-1.0, 1.0):
        head.paint("gm", head.ellipsoid((side * 11, 8, -4), (8.5, 13, 8)))
        head.paint("gm", head.ellipsoid((side * 25, -8, -2), (6, 16, 9)))
        head.paint("gm", head.ellipsoid((side * 11, -20, 8), (5, 9, 9)))
        wide = 1 + 0.35 * (atrophy - 1)
        arch = head.z - 12 + 0.012 * (head.y - 2) ** 2
        horn = np.sqrt(
            ((head.x - side * (5 + 0.08 * np.abs(head.y))) / (4.6 * wide)) ** 2
            + (arch / (6.5 * wide)) ** 2
            + ((head.y - 2) / 36) ** 2
        )
        rim = coverage((horn - 1) * 4.6 - 2.0, head.step_mm) * np.clip((np.abs(head.y - 2) - 22) / 6, 0, 1)
        head.blend("wmh", rim * min(1.0, 0.35 * atrophy))
        head.paint("csf", (horn - 1) * 4.6)
    head.paint("csf", head.ellipsoid((0, 4, -6), (2.4 * (0.7 + 0.3 * atrophy), 13, 9)))
    for _ in range(int(rng.poisson(1.8 * atrophy))):
        spot = (rng.choice([-1.0, 1.0]) * rng.uniform(18, 30), rng.uniform(-32, 32), rng.uniform(10, 24))
        radius = rng.uniform(2.2, 3.8)
        head.paint("wmh", head.ellipsoid(spot, (radius, 1.5 * radius, radius)))
    back = 0.97 * 78
    ring = np.hypot((head.y) / back, (head.z + 6) / 59) - 1
    head.paint("sinus", np.maximum(np.hypot(ring * 60, head.x) - 3.2, -head.z - 10))


def _draw_tumour(head: _Head, severity: float, white: Floats, rng: np.random.Generator) -> dict[str, object]:
    """Draw a lumpy oedema that spares ventricles, and inside it an enhancing core in high-grade tumours."""
    if rng.random() < 0.15:
        return {"tumour": False, "high_grade": False}
    high_grade = bool(rng.random() < 1 / (1 + np.exp(-1.2 * severity - 0.4)))
    radius = float(np.clip(rng.normal(20 + 3.0 * severity, 3.0), 12.5, 29.0))
    candidates = np.argwhere(white > 0.8)
    while True:
        z, y, x = candidates[rng.integers(len(candidates))]
        spot = np.array([head.x.ravel()[x], head.y.ravel()[y], head.z.ravel()[z]])
        if abs(spot[0]) > 16 and -28 < spot[2] < 36:
            break
    offset = np.stack(np.broadcast_arrays(head.x - spot[0], head.y - spot[1], head.z - spot[2]), axis=-1)
    distance = np.linalg.norm(offset, axis=-1)
    directions = offset / np.maximum(distance, 1e-6)[..., None]
    brain = head.shares[[TISSUES.index(name) for name in ("gm", "wm", "wmh")]].sum(axis=0)
    spread = 0.75 + 0.25 * (white > 0.5)  # oedema follows white matter and thins out in the cortex
    outer = radius * lumpy_radius(directions, 0.24, (2, 3, 4, 5), rng)
    head.blend("oedema", coverage(distance - outer * spread, 2 * head.step_mm) * brain)
    core_radius = radius * rng.uniform(0.42, 0.58) if high_grade else 0.0
    if high_grade:
        inner = core_radius * lumpy_radius(directions, 0.22, (2, 3, 4), rng)
        solid = brain + head.shares[TISSUES.index("oedema")]
        head.blend("core", coverage(distance - inner, head.step_mm) * np.clip(solid, 0, 1))
    return {
        "tumour": True,
        "high_grade": high_grade,
        "centre_lps_mm": spot,
        "radius_mm": radius,
        "core_radius_mm": core_radius,
    }
