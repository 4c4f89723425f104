"""Random fields and shapes that the four simulators share.

Legend: Z slices, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, special
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]


def gaussian_field(
    shape: Sequence[int], sigma_px: float | Sequence[float], rng: np.random.Generator, mode: str | list[str] = "wrap"
) -> Floats:
    """Return white noise smoothed by a Gaussian, scaled to mean 0 and standard deviation 1.

    Parameters
    ----------
    shape : sequence of int
        Shape of the field.
    sigma_px : float or sequence of float
        Standard deviation of the smoothing kernel in pixels, one number or one per axis.
    rng : numpy.random.Generator
        Source of randomness.
    mode : str or list of str
        Border handling as in ``scipy.ndimage.gaussian_filter``; ``wrap`` makes the field periodic.
    """
    field: Floats = ndimage.gaussian_filter(rng.standard_normal(tuple(shape)), sigma_px, mode=mode)
    field -= field.mean()
    return field / field.std()


def ct_noise(shape: tuple[int, int, int], peak_per_px: float, rng: np.random.Generator) -> Floats:
    """Return (Z, Y, X) noise of standard deviation 1 with the noise power spectrum of filtered back-projection.

    In-plane power rises in proportion to the spatial frequency and is rolled off by the reconstruction kernel:
    ``NPS(f) = f exp(-(f / peak)^2)`` with ``peak_per_px`` in cycles per pixel. Slices are independent.
    """
    _, n_y, n_x = shape
    frequency = np.hypot(fft.fftfreq(n_y)[:, None], fft.rfftfreq(n_x)[None, :])
    amplitude = np.sqrt(frequency * np.exp(-((frequency / peak_per_px) ** 2)))
    spectrum = fft.rfft2(rng.standard_normal(shape), axes=(1, 2)) * amplitude
    noise: Floats = fft.irfft2(spectrum, s=(n_y, n_x), axes=(1, 2))
    return noise / noise.std()


def polynomial_field(shape: Sequence[int], order: int, amplitude: float, rng: np.random.Generator) -> Floats:
    """Return a smooth multiplicative field ``exp(p)``, ``p`` a random polynomial with ``|p| <= amplitude``.

    The form of an MR receive-coil bias field (Van Leemput et al., IEEE Trans Med Imaging 1999).
    """
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij", sparse=True)
    total = np.zeros(tuple(shape))
    for powers in np.ndindex(*[order + 1] * len(shape)):
        if 0 < sum(powers) <= order:
            term: Floats = np.ones(1)
            for axis, power in zip(axes, powers):
                term = term * axis**power
            total += rng.normal() * term
    total -= total.mean()
    return np.exp(amplitude * total / np.abs(total).max())


def worley_distance(points: Floats, positions: Floats) -> Floats:
    """Return the distance of each position (..., 2) to the nearest feature point (N, 2): cellular noise."""
    distance, _ = cKDTree(points).query(positions.reshape(-1, 2))
    return np.asarray(distance, dtype=np.float64).reshape(positions.shape[:-1])


def lumpy_radius(directions: Floats, amplitude: float, degrees: Sequence[int], rng: np.random.Generator) -> Floats:
    """Return the relative radius of a lumpy ball along unit ``directions`` (..., 3).

    ``1 + amplitude * sum of Legendre polynomials about random axes``, which spans the spherical harmonics of the
    given degrees: low degrees make lobes, high degrees make spicules. Never below 0.3.
    """
    total = np.zeros(directions.shape[:-1])
    for degree in degrees:
        axis = rng.standard_normal(3)
        cosine = np.clip(directions @ (axis / np.linalg.norm(axis)), -1, 1)
        total += rng.uniform(0.5, 1.0) * special.eval_legendre(degree, cosine)
    return np.maximum(1 + amplitude * total / np.sqrt(len(degrees)), 0.3)


def wobbly_radius(angle: Floats, amplitude: float, rng: np.random.Generator) -> Floats:
    """Return the relative radius of a lumpy disc at each ``angle`` (rad): harmonics 2 to 5, random phases."""
    total = np.zeros_like(angle)
    for harmonic in range(2, 6):
        total += rng.normal() / harmonic * np.cos(harmonic * angle + rng.uniform(0, 2 * np.pi))
    return np.maximum(1 + amplitude * total, 0.4)


def coverage(level_mm: Floats, width_mm: float) -> Floats:
    """Return how much of a voxel lies inside a surface, from its signed distance (negative inside)."""
    return np.clip(0.5 - level_mm / width_mm, 0.0, 1.0)


def block_mean(array: Floats, factor: int) -> Floats:
    """Average (H, W, ...) over ``factor`` x ``factor`` blocks."""
    height, width = array.shape[0] // factor, array.shape[1] // factor
    blocks = array.reshape(height, factor, width, factor, *array.shape[2:])
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float64)
