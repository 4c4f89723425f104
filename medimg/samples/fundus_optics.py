"""How much light the fundus sends back, from published spectroscopy, and what the camera makes of it.

Legend: H rows, W columns, last axis the bands R 620 nm, G 550 nm, B 475 nm.

Sources: Delori & Pflibsen 1989 (Appl Opt 28:1061), reflectance of the nasal fundus (mean and between-person
coefficient of variation in each band) and melanin optical densities, ten subjects aged 22 to 38, bands interpolated;
eumelanin extinction proportional to wavelength^-3.48 (Jacques).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

WAVELENGTH_NM = np.array([620.0, 550.0, 475.0])
MEAN_REFLECTANCE_PERCENT = np.array([7.0, 2.05, 1.38])
DEEP_SHARE = np.array([0.717, 0.212, 0.078])  # solved so that the variation between people is as published
EXTINCTION = (WAVELENGTH_NM / 500.0) ** -3.48  # relative to 500 nm
REFERENCE_OD500 = (0.64, 0.365)  # mean and SD of melanin density, truncated to [0, 1.24]
REFERENCE_RANGE = (0.0, 1.24)

DISC_PERCENT = np.array([13.0, 7.5, 4.2])
EXUDATE_PERCENT = np.array([11.0, 6.0, 2.6])
VESSEL_TRANSMISSION = np.array([0.80, 0.45, 0.50])
BLOOD_TRANSMISSION = np.array([0.75, 0.22, 0.25])
FULL_SCALE_PERCENT = 18.0  # reflectance that fills the sensor at exposure 1


@dataclass(frozen=True)
class Camera:
    """A fundus camera as one site has set it up."""

    manufacturer: str
    model: str
    white_balance: tuple[float, float, float]
    exposure: float
    blur_px: float
    auto_exposure: bool = False


CAMERAS = {
    "site-1": Camera("Simulated Optics", "SF-100", (1.00, 1.00, 1.00), 1.00, 0.45),
    "site-2": Camera("Simulated Optics", "SF-200", (1.05, 1.00, 0.90), 1.06, 0.55),
    "site-3": Camera("Example Imaging", "EF-7", (0.95, 1.02, 1.10), 0.94, 0.65),
}


@cache
def _mean_transmission() -> tuple[float, float, float]:
    low, high = ((edge - REFERENCE_OD500[0]) / REFERENCE_OD500[1] for edge in REFERENCE_RANGE)
    density = np.linspace(*REFERENCE_RANGE, 4001)
    weight = stats.truncnorm.pdf(density, low, high, *REFERENCE_OD500)
    means = [np.average(10 ** (-2 * e * density), weights=weight) for e in EXTINCTION]
    return float(means[0]), float(means[1]), float(means[2])


def reflectance_percent(od500: Floats, texture: Floats) -> Floats:
    """Return the fundus reflectance in percent.

    Light from the deep layers (choroid, sclera) passes the pigment twice; the rest returns from in front of it. So
    pigment changes red most, and the choroid's texture is seen only where there is little of it.

    Parameters
    ----------
    od500 : (...) ndarray
        Melanin optical density at 500 nm.
    texture : (...) ndarray
        Relative brightness of the choroid, mean 1.

    Returns
    -------
    (..., 3) ndarray
        ``M [(1 - f) + f T 10^(-2 e D) / E[10^(-2 e D)]]`` in each band.
    """
    passed = 10 ** (-2 * EXTINCTION * od500[..., None]) / np.array(_mean_transmission())
    return MEAN_REFLECTANCE_PERCENT * ((1 - DEEP_SHARE) + DEEP_SHARE * texture[..., None] * passed)


def photograph(percent: Floats, radius: Floats, camera: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return what the camera records.

    Vignetting ``1 - 0.45 r^2``, white balance, shot noise of variance ``0.0008 E`` and read noise of standard
    deviation 0.006, gamma 1/2.2. The exposure is fixed unless the camera has automatic exposure.

    Parameters
    ----------
    percent : (H, W, 3) ndarray
        Reflectance in percent, already blurred.
    radius : (H, W) ndarray
        Distance from the optical axis in units of the field's radius; beyond 1 is black.
    """
    inside = radius <= 1
    light = percent / FULL_SCALE_PERCENT * (1 - 0.45 * np.minimum(radius, 1) ** 2)[..., None]
    exposure = camera.exposure
    if camera.auto_exposure:
        exposure *= 0.16 / float(np.median(light[inside].mean(axis=-1)))
    light = light * exposure * np.array(camera.white_balance)
    noise = rng.standard_normal(light.shape) * np.sqrt(0.0008 * np.maximum(light, 0) + 0.006**2)
    encoded = np.clip(light + noise, 0, 1) ** (1 / 2.2)
    encoded[~inside] = 0
    return np.round(255 * encoded).astype(np.uint8)
