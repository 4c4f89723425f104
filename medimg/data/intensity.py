"""Intensities: how prepared values are stored, and how stored values become network input.

* HU: int16, rounded and clipped to the type's range;
* other volumes under the ``zscore`` rule: int16, each channel scaled to the type's range where one stored step is
  below 1/256 of the channel's standard deviation (the rule does not see the scale), else float32;
* other volumes: float32;
* pictures: uint8;
* drawn outlines: int16 from 0 (outside) to 255 (inside), between them at resampled borders.

Legend: C channels, Z Y X (volumes) or Y X (pictures).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.data.preparation import Intensity
from medimg.errors import InputError

AIR_HU = -1024.0
_INT16 = np.iinfo(np.int16)
_STEPS_PER_SD = 256.0
OUTLINE_INSIDE = 255.0


def store(array: NDArray[Any], unit: str, intensity: Intensity, fill: float) -> tuple[NDArray[Any], float]:
    """Return one channel in its storage type, and the padding value in the same units."""
    if unit in ("HU", "label"):
        if array.dtype == np.int16:
            return array, fill
        out = np.empty(array.shape, dtype=np.int16)
        # Slice by slice: no second float volume.
        for target, plane in zip(out, array):
            target[...] = np.clip(np.rint(plane), _INT16.min, _INT16.max)
        return out, fill
    low, high = float(array.min()), float(array.max())
    if intensity.rule == "zscore":
        if np.issubdtype(array.dtype, np.integer) and _INT16.min <= low and high <= _INT16.max:
            return array.astype(np.int16), min(max(fill, _INT16.min), _INT16.max)
        step = (high - low) / (2 * _INT16.max)
        if step > 0 and step * _STEPS_PER_SD <= float(array.std(dtype=np.float64)):
            scaled = np.rint((array.astype(np.float32) - np.float32(low)) / np.float32(step))
            scaled_fill = min(max((fill - low) / step - _INT16.max, _INT16.min), _INT16.max)
            return (scaled - _INT16.max).astype(np.int16), scaled_fill
    return array.astype(np.float32), fill


def statistics(array: NDArray[Any], intensity: Intensity) -> dict[str, list[float]]:
    """Return ``mean`` and ``std`` of every channel of a (C, ...) array where the rule is ``zscore``."""
    if intensity.rule != "zscore":
        return {}
    return {
        "mean": [float(channel.mean(dtype=np.float64)) for channel in array],
        "std": [float(channel.std(dtype=np.float64)) for channel in array],
    }


def normalise(
    array: NDArray[Any], intensity: Intensity, stats: Mapping[str, Sequence[float]] | None = None
) -> NDArray[np.float32]:
    """Turn stored values into network input.

    Parameters
    ----------
    array : (C, ...) ndarray
        Stored values of one study, or of a part of it.
    intensity : Intensity
    stats : mapping, optional
        ``Prepared.stats``. Needed for a part of a study under ``zscore``; computed from ``array`` otherwise.

    Returns
    -------
    (C, ...) ndarray of float32

    Raises
    ------
    InputError
        The rule names another number of channels, or ``rgb`` meets values that are not 8 or 16 bit.
    """
    if intensity.rule == "zscore":
        found = stats if stats else statistics(array, intensity)
        mean, std, unit = found["mean"], found["std"], 1.0
    else:
        mean, std, unit = intensity.mean, intensity.std, 1.0
    if intensity.rule == "rgb":
        if array.dtype not in (np.uint8, np.uint16):
            raise InputError("Pictures are stored in 8 or 16 bits.", got=array.dtype, expected="uint8, uint16")
        unit = float(np.iinfo(array.dtype).max)
    for values in (mean, std):
        if len(values) not in (1, len(array)):
            raise InputError(
                "The intensity rule is for another number of channels.",
                where="intensity", got=len(values), expected=len(array),
            )  # fmt: skip
    shape = (-1, *(1,) * (array.ndim - 1))
    scale = 1.0 / np.maximum(np.asarray(std, dtype=np.float64), 1e-8)
    shift = (-np.asarray(mean, dtype=np.float64) * scale).reshape(shape).astype(np.float32)
    factor = (scale / unit).reshape(shape).astype(np.float32)
    out = array.astype(np.float32)
    if intensity.rule == "window" and (intensity.low is not None or intensity.high is not None):
        np.clip(out, intensity.low, intensity.high, out=out)
    out *= factor
    out += shift
    for index in intensity.outlines:
        half = np.float32(OUTLINE_INSIDE / 2)
        out[index] = array[index] / half - np.float32(1)
    return out
