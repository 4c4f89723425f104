"""Quick figures of a detector for validation during training; the report's figures come from `medimg.evaluation`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Froc:
    """Sensitivity per lesion at fixed rates of false marks per image; NaN where there are no lesions.

    Attributes
    ----------
    mean : float
        Over `FROC_RATES`.
    at_one : float
        At one false mark per image.
    """

    mean: float
    at_one: float


def froc(scores: NDArray[Any], hits: NDArray[np.bool_], lesions: float, images: int) -> Froc:
    """Return points of the free-response curve.

    Parameters
    ----------
    scores : (M,) ndarray
        Of all marks, ignored ones left out.
    hits : (M,) ndarray of bool
        Mark hits a lesion; every lesion is hit once at most.
    lesions : float
        True lesions, found or not.
    images : int
        Images, with or without lesions.
    """
    if lesions <= 0 or images <= 0:
        return Froc(math.nan, math.nan)
    true, false = _running_counts(scores, hits)
    sensitivity = [true[false <= rate * images].max() / lesions for rate in FROC_RATES]
    return Froc(float(np.mean(sensitivity)), float(sensitivity[FROC_RATES.index(1.0)]))


def average_precision(scores: NDArray[Any], hits: NDArray[np.bool_], lesions: float) -> float:
    """Return the area under the precision-recall curve, precision made monotone (Everingham et al., VOC, 2010)."""
    if lesions <= 0:
        return math.nan
    true, false = _running_counts(scores, hits)
    precision = true[1:] / np.maximum(true[1:] + false[1:], 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(true) * envelope).sum() / lesions)


def _running_counts(scores: NDArray[Any], hits: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return hits and false marks above each threshold, from none on; equal scores count together."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    ranked = np.asarray(scores)[order]
    last = np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)]
    true = np.cumsum(np.asarray(hits)[order])[last]
    false = np.cumsum(~np.asarray(hits)[order])[last]
    return np.concatenate(([0], true)), np.concatenate(([0], false))
