"""What a CT scanner adds: slice profile, kernel, noise with its texture, calibration offsets.

Legend: Z slices, Y rows, X columns. Ranges are textbook values; differences between vendors are real.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medimg.samples.fields import ct_noise

Floats = NDArray[np.float64]

_FWHM_TO_SIGMA = 1 / 2.3548
_STEP_HU = 6  # half of the noise: rounding to it halves the compressed size and hides nothing
AIR_HU = -1000


@dataclass(frozen=True)
class CtScanner:
    """A scanner and protocol of one site."""

    manufacturer: str
    model: str
    kernel: str
    kvp: float
    slice_mm: float
    psf_fwhm_mm: float
    noise_hu: float
    noise_peak_per_px: float
    offset_hu: float
    gain: float


SCANNERS = {
    "site-1": CtScanner("Simulated Medical", "SCT-64", "SOFT", 120.0, 4.5, 1.6, 8.0, 0.22, 0.0, 1.000),
    "site-2": CtScanner("Example Imaging", "ECT-128", "STANDARD", 110.0, 5.0, 1.2, 10.0, 0.26, 4.0, 1.008),
    "site-3": CtScanner("Simulated Medical", "SCT-16", "SHARP", 120.0, 5.5, 0.8, 12.0, 0.34, -4.0, 0.992),
}


def acquire(
    hu: Floats, spacing_mm: tuple[float, float, float], scanner: CtScanner, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Return the (Z, Y, X) scan in HU as the scanner would deliver it, int16.

    Noise is a tenth as strong in the air around the patient, where few photons are lost.
    """
    sigma_px = scanner.psf_fwhm_mm * _FWHM_TO_SIGMA / np.array(spacing_mm)
    sigma_px[0] = 0.35  # neighbouring slices overlap a little
    blurred = ndimage.gaussian_filter(hu, sigma_px, mode="nearest")
    body = ndimage.gaussian_filter((hu > -950).astype(float), (0, 2, 2))
    noise = scanner.noise_hu * ct_noise(hu.shape, scanner.noise_peak_per_px, rng) * (0.1 + 0.9 * body)
    measured = (blurred + 1000) * scanner.gain - 1000 + scanner.offset_hu * body + noise
    stepped = AIR_HU + np.round((np.clip(measured, AIR_HU, 3000) - AIR_HU) / _STEP_HU) * _STEP_HU
    return stepped.astype(np.int16)
