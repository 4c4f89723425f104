"""From tissue to MR image: signal equations, coil bias, k-space sampling, Rician noise.

Legend: T tissues, Z slices, Y rows, X columns. Times in milliseconds; relaxation values are textbook values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from medimg.samples.fields import polynomial_field

Floats = NDArray[np.float64]

TISSUES = ("fat", "bone", "csf", "gm", "wm", "oedema", "core", "wmh", "sinus")
PROTON_DENSITY = np.array([0.60, 0.06, 1.00, 0.82, 0.70, 0.84, 0.84, 0.80, 0.85])
T1_MS = {
    1.5: np.array([260.0, 400.0, 4000.0, 1100.0, 650.0, 1150.0, 1150.0, 1000.0, 1400.0]),
    3.0: np.array([380.0, 500.0, 4000.0, 1400.0, 850.0, 1450.0, 1450.0, 1250.0, 1650.0]),
}
T2_MS = np.array([100.0, 5.0, 1500.0, 95.0, 75.0, 122.0, 116.0, 122.0, 150.0])
# Longitudinal relaxivity x concentration after contrast medium, 1/ms: only where the blood-brain barrier is open.
ENHANCEMENT = {"core": 0.0011, "sinus": 0.0016}
CONTRASTS = ("T1w", "T2w", "FLAIR", "T1ce")


@dataclass(frozen=True)
class Sequence:
    """A spin-echo sequence, with inversion where ``ti_ms`` is given."""

    tr_ms: float
    te_ms: float
    ti_ms: float | None = None


@dataclass(frozen=True)
class MrScanner:
    """A scanner and protocol of one site."""

    manufacturer: str
    model: str
    field_t: float
    snr: float
    bias: float
    fine_slices: int
    unit_scale: int
    sequences: dict[str, Sequence]


def _protocol(t1: Sequence, t2: Sequence, flair: Sequence) -> dict[str, Sequence]:
    return {"T1w": t1, "T2w": t2, "FLAIR": flair, "T1ce": t1}


SCANNERS = {
    "site-1": MrScanner(
        "Simulated Medical",
        "SMR-30",
        3.0,
        30.0,
        0.20,
        2,
        5,
        _protocol(Sequence(620, 11), Sequence(4200, 95), Sequence(9000, 110, 2500)),
    ),
    "site-2": MrScanner(
        "Example Imaging",
        "EMR-15",
        1.5,
        20.0,
        0.12,
        3,
        1,
        _protocol(Sequence(480, 14), Sequence(3800, 88), Sequence(8500, 100, 2300)),
    ),
    "site-3": MrScanner(
        "Simulated Medical",
        "SMR-15",
        1.5,
        24.0,
        0.16,
        2,
        12,
        _protocol(Sequence(560, 10), Sequence(5000, 105), Sequence(9500, 125, 2450)),
    ),
}


def tissue_signal(sequence: Sequence, field_t: float, *, contrast_medium: bool = False) -> Floats:
    """Return the (T,) signal of each tissue relative to a proton density of 1.

    ``S = PD (1 - exp(-TR/T1)) exp(-TE/T2)``; with inversion
    ``S = PD |1 - 2 exp(-TI/T1) + exp(-TR/T1)| exp(-TE/T2)``.
    """
    rate = 1 / T1_MS[field_t]
    if contrast_medium:
        for name, gain in ENHANCEMENT.items():
            rate[TISSUES.index(name)] += gain
    recovered = 1 - np.exp(-sequence.tr_ms * rate)
    if sequence.ti_ms is not None:
        recovered = np.abs(1 - 2 * np.exp(-sequence.ti_ms * rate) + np.exp(-sequence.tr_ms * rate))
    return np.asarray(PROTON_DENSITY * recovered * np.exp(-sequence.te_ms / T2_MS))


def sample_k_space(fine: Floats, factor: int) -> NDArray[np.complex128]:
    """Keep the central ``1/factor`` of k-space in the plane: coarser pixels, with Gibbs ringing.

    Parameters
    ----------
    fine : (Z, Y * factor, X * factor) ndarray
    """
    n_y, n_x = fine.shape[1] // factor, fine.shape[2] // factor
    spectrum = fft.fftshift(fft.fft2(fine, axes=(1, 2)), axes=(1, 2))
    y0, x0 = (fine.shape[1] - n_y) // 2, (fine.shape[2] - n_x) // 2
    cropped = spectrum[:, y0 : y0 + n_y, x0 : x0 + n_x]
    # Averaging blocks of pixels puts the coarse centres half a fine pixel further: the shift theorem aligns them.
    shift_y = np.exp(1j * np.pi * (factor - 1) / factor * np.arange(-(n_y // 2), n_y - n_y // 2) / n_y)
    shift_x = np.exp(1j * np.pi * (factor - 1) / factor * np.arange(-(n_x // 2), n_x - n_x // 2) / n_x)
    cropped = cropped * shift_y[:, None] * shift_x[None, :]
    image = fft.ifft2(fft.ifftshift(cropped, axes=(1, 2)), axes=(1, 2)) / factor**2
    return np.asarray(image, dtype=np.complex128)


def slice_means(fine: Floats, count: int) -> Floats:
    """Average every ``count`` neighbouring slices of (Z, Y, X); slices left over at the top are dropped."""
    slices = fine.shape[0] // count
    return np.asarray(fine[: slices * count].reshape(slices, count, *fine.shape[1:]).mean(axis=1))


def acquire(
    fractions: Floats, contrast: str, scanner: MrScanner, bias: Floats, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return one contrast as the scanner would store it; times ``scanner.unit_scale`` it is in the site's units.

    Parameters
    ----------
    fractions : (T, Z, 2Y, 2X) ndarray
        Share of each tissue, slices already at their final thickness, in-plane twice as fine.
    contrast : {'T1w', 'T2w', 'FLAIR', 'T1ce'}
    bias : (Z, 2Y, 2X) ndarray
        Sensitivity of the coil.
    """
    signal = tissue_signal(scanner.sequences[contrast], scanner.field_t, contrast_medium=contrast == "T1ce")
    image = sample_k_space(np.tensordot(signal, fractions, axes=1) * bias, 2)
    white = signal[TISSUES.index("wm")]
    sigma = white / scanner.snr
    noisy = np.abs(image + sigma * (rng.standard_normal(image.shape) + 1j * rng.standard_normal(image.shape)))
    head = sample_k_space((fractions.sum(axis=0) > 0.01).astype(float), 2).real > 0.1
    levels = np.clip(np.round(1.2 * noisy / sigma), 0, 255)  # noise of 1.2 levels: rounding hides nothing
    return np.where(head, levels, 0).astype(np.uint8)


def coil_bias(shape: tuple[int, int, int], scanner: MrScanner, rng: np.random.Generator) -> Floats:
    """Return the receive-coil sensitivity, ``exp`` of a random cubic polynomial of amplitude ``scanner.bias``."""
    return polynomial_field(shape, 3, scanner.bias, rng)
