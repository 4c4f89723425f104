"""Colonoscopy frames with and without polyps.

Legend: H rows, W columns, last axis R, G, B. The scene is lit by the headlight of the endoscope alone.
The mucosa does not depend on the population: no dependence on skin ancestry is documented. Sites differ in device,
preparation and prevalence.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medimg.samples.endoscopy_scene import Colon, Polyp, draw_colon, march, polyp_coordinate, sample_wall
from medimg.samples.fields import block_mean, gaussian_field, worley_distance

Floats = NDArray[np.float64]

FINE = 2
_ATTEMPTS = 4
_SMALLEST_SHARE = 0.004  # a polyp hidden behind a fold is drawn again
MUCOSA = np.array([0.78, 0.42, 0.36])
BLOOD_DENSITY = np.array([0.08, 0.55, 0.50])  # optical density of blood in R, G, B, relative
ADENOMA = np.array([1.05, 0.66, 0.62])
_GLYPHS = {
    "S": "111100111001111",
    "I": "111010010010111",
    "M": "101111111101101",
    "0": "111101101101111",
    "1": "010110010010111",
    "2": "111001111100111",
    "3": "111001111001111",
    "4": "101101111001001",
    "5": "111100111001111",
    "6": "111100111101111",
    "7": "111001010010010",
    "8": "111101111101111",
    "9": "111101111001111",
    " ": "000000000000000",
}


@dataclass(frozen=True)
class Endoscope:
    """Device and habits of one site."""

    manufacturer: str
    model: str
    white_balance: tuple[float, float, float]
    corner_cut: float
    focal: float
    vignette: float
    blur_px: float
    residue: float
    polyp_prevalence: float
    narrow_band_share: float


DEVICES = {
    "site-1": Endoscope("Simulated Optics", "SE-290", (1.00, 1.00, 1.00), 0.22, 0.92, 0.30, 0.45, 0.10, 0.70, 0.0),
    "site-2": Endoscope("Example Imaging", "EE-760", (1.06, 0.98, 0.90), 0.30, 0.85, 0.40, 0.60, 0.35, 0.60, 0.0),
    "site-3": Endoscope("Simulated Optics", "SE-180", (0.94, 1.02, 1.06), 0.16, 1.00, 0.35, 0.75, 0.25, 0.80, 0.15),
}


@dataclass(frozen=True)
class EndoscopyFrame:
    """A frame with its mask and everything that is known about it."""

    rgb: NDArray[np.uint8]
    polyp: NDArray[np.bool_]
    field_of_view: NDArray[np.bool_]
    polyps: tuple[Polyp, ...]
    narrow_band: bool
    latent: dict[str, object] = field(default_factory=dict)


def render_endoscopy(
    device: Endoscope, rng: np.random.Generator, *, size_px: int = 128, number: int = 0, with_polyp: bool | None = None
) -> EndoscopyFrame:
    """Simulate one frame.

    Parameters
    ----------
    device : Endoscope
    rng : numpy.random.Generator
    size_px : int
        Side of the frame.
    number : int
        Shown in the corner, as consoles do.
    with_polyp : bool, optional
        Ask for a frame with or without polyps; drawn by the site's prevalence when not given.
    """
    wanted = bool(rng.random() < device.polyp_prevalence) if with_polyp is None else with_polyp
    axis = (np.arange(size_px * FINE) + 0.5) / (size_px * FINE) * 2 - 1
    tilt = rng.normal(0, 0.16, 2)
    v, u = np.meshgrid(axis / device.focal + tilt[0], axis / device.focal + tilt[1], indexing="ij")
    for _ in range(_ATTEMPTS):
        polyps = _draw_polyps(tilt, device.focal, rng) if wanted else ()
        colon = draw_colon(polyps, rng)
        z, angle = march(colon, u, v)
        polyp_map = _polyp_map(colon, angle, z)
        if not wanted or (polyp_map >= 0).mean() >= _SMALLEST_SHARE:
            break
    light, facing = _shade(u, v, z)
    colour, wetness = _wall_colour(colon, device, angle, z, polyp_map, rng)
    image = colour * light[..., None]
    image = _add_specular(image, light, facing, wetness)
    narrow_band = bool(rng.random() < device.narrow_band_share)
    if narrow_band:
        image = np.stack([image[..., 1] * 1.30, image[..., 2] * 1.10, image[..., 2] * 0.95], axis=-1)
    motion = float(rng.uniform(0, 2.0) * size_px / 128)
    rgb, inside = _camera(image, device, motion, size_px, rng)
    _write_corner(rgb, f"SIM {number % 1000:03d}", size_px)
    mask = (block_mean((polyp_map >= 0).astype(float), FINE) >= 0.5) & inside
    return EndoscopyFrame(
        rgb,
        mask,
        inside,
        polyps,
        narrow_band,
        {
            "polyps": [vars(p) for p in polyps],
            "narrow_band": narrow_band,
            "motion_px": motion,
            "mask_pixels": int(mask.sum()),
        },
    )


def _draw_polyps(tilt: Floats, focal: float, rng: np.random.Generator) -> tuple[Polyp, ...]:
    """Draw one or two polyps whose centres the camera sees."""
    polyps = []
    for _ in range(2 if rng.random() < 0.15 else 1):
        paris = str(rng.choice(["Is", "IIa"], p=[0.6, 0.4]))
        z, angle = float(rng.uniform(1.2, 2.8)), float(rng.uniform(-np.pi, np.pi))
        while np.abs((np.array([np.sin(angle), np.cos(angle)]) / z - tilt) * focal).sum() > 1.05:
            z, angle = float(rng.uniform(1.2, 2.8)), float(rng.uniform(-np.pi, np.pi))
        radius = float(rng.uniform(0.22, 0.40) * (0.6 + 0.3 * z))
        height = radius * float(rng.uniform(0.7, 1.0) if paris == "Is" else rng.uniform(0.32, 0.45))
        power = 2.2 if paris == "Is" else 4.0
        polyps.append(Polyp(angle, z, radius, height, paris, power))
    return tuple(polyps)


def _polyp_map(colon: Colon, angle: Floats, z: Floats) -> NDArray[np.int64]:
    """Return the index of the polyp that each pixel shows, or -1."""
    shown = np.full(z.shape, -1)
    for index, polyp in enumerate(colon.polyps):
        shown[polyp_coordinate(polyp, angle, z) < 0.97] = index
    return shown


def _shade(u: Floats, v: Floats, z: Floats) -> tuple[Floats, Floats]:
    """Return headlight illumination ``cos / distance^2`` and the cosine between wall normal and view."""
    points = np.stack([u * z, v * z, z], axis=-1)
    along_v, along_u = np.gradient(points, axis=(0, 1))
    normal = np.cross(along_u, along_v)
    length = np.linalg.norm(points, axis=-1)
    facing = np.abs((normal * points).sum(axis=-1)) / np.maximum(np.linalg.norm(normal, axis=-1) * length, 1e-12)
    facing = ndimage.gaussian_filter(facing, 0.8)
    light = (0.25 + 0.75 * facing) / length**2
    return light, facing


def _wall_colour(
    colon: Colon, device: Endoscope, angle: Floats, z: Floats, polyp_map: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Colour of the wall: mucosa, blood, vessels, pits on polyps, residue; and a field that makes the gloss patchy."""
    blood = 0.40 + 0.07 * sample_wall(gaussian_field((256, 256), 9, rng), angle, z)
    crossing = sample_wall(gaussian_field((256, 256), 6, rng), angle, z)
    finer = sample_wall(gaussian_field((256, 256), 3, rng), angle, z)
    vessels = 0.30 * np.exp(-((crossing / 0.07) ** 2)) + 0.14 * np.exp(-((finer / 0.09) ** 2))
    on_polyp = polyp_map >= 0
    density = np.maximum(blood + np.where(on_polyp, 0.04, vessels), 0)
    colour = MUCOSA * 10 ** (-density[..., None] * BLOOD_DENSITY)
    for index, polyp in enumerate(colon.polyps):
        here = polyp_map == index
        if here.any():
            where = np.stack([np.angle(np.exp(1j * (angle[here] - polyp.angle))), z[here] - polyp.z], axis=-1)
            pits = worley_distance(rng.uniform(-1, 1, (90, 2)) * polyp.radius, where) / polyp.radius
            tint = 1 + rng.uniform(0.55, 1.0) * (ADENOMA - 1)
            colour[here] *= tint * (0.90 + 0.7 * np.minimum(pits, 0.22))[:, None]
    patches = sample_wall(gaussian_field((256, 256), 7, rng), angle, z)
    dirt = np.clip((patches - (2.2 - 1.6 * device.residue)) * 3, 0, 0.85)[..., None]
    colour = colour * (1 - dirt) + np.array([0.62, 0.50, 0.16]) * dirt
    return colour, sample_wall(gaussian_field((256, 256), 1.6, rng), angle, z)


def _add_specular(image: Floats, light: Floats, facing: Floats, wetness: Floats) -> Floats:
    """Add the mirror-like reflections of a wet wall: Phong ``cos^40``, clipped to white where they are strong."""
    tilted = np.clip(facing + 0.055 * wetness - 0.065, 0, 1)
    gloss = 2.2 * tilted**40 * np.clip(light, 0, 1.2)
    return image + gloss[..., None]


def _camera(
    image: Floats, device: Endoscope, motion_px: float, size_px: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    exposed = image * (0.30 / np.median(image[..., 0])) * np.array(device.white_balance)
    blurred = ndimage.gaussian_filter(exposed, (device.blur_px * FINE, device.blur_px * FINE + motion_px * 0.5, 0))
    coarse = block_mean(blurred, FINE)
    axis = (np.arange(size_px) + 0.5) / size_px * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    coarse = coarse * (1 - device.vignette * (x**2 + y**2) / 2)[..., None]
    noisy = coarse + rng.standard_normal(coarse.shape) * np.sqrt(0.0004 * np.maximum(coarse, 0) + 0.004**2)
    encoded = np.clip(noisy / (1 + 0.25 * np.maximum(noisy, 0)), 0, 1) ** (1 / 2.2)
    inside = (np.maximum(np.abs(x), np.abs(y)) < 0.965) & (np.abs(x) + np.abs(y) < 1.93 - device.corner_cut * 1.6)
    encoded[~inside] = 0.012
    return np.round(255 * encoded).astype(np.uint8), inside


def _write_corner(rgb: NDArray[np.uint8], text: str, size_px: int) -> None:
    """Burn a frame number into the lower left corner, three by five dots a character."""
    dot = max(1, size_px // 128)
    row, column = size_px - 7 * dot, 2 * dot
    for letter in text:
        bits = np.array([int(bit) for bit in _GLYPHS[letter]], dtype=bool).reshape(5, 3)
        big = np.kron(bits, np.ones((dot, dot), dtype=bool)).astype(bool)
        rgb[row : row + 5 * dot, column : column + 3 * dot][big] = 205
        column += 4 * dot
