"""Adjusted p-values for many groups and endpoints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medimg.evaluation.metrics.intervals import Floats


def holm(p_values: Sequence[float]) -> Floats:
    """Return p-values adjusted for the familywise error (Holm 1979).

    >>> holm([0.01, 0.04, 0.03, 0.005]).round(6).tolist()
    [0.03, 0.06, 0.06, 0.02]
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)) if len(p) else p
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> Floats:
    """Return p-values adjusted for the false discovery rate (Benjamini & Hochberg 1995).

    >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.005]).round(6).tolist()
    [0.02, 0.04, 0.04, 0.02]
    """
    p = np.asarray(p_values, float)
    n = len(p)
    order = np.argsort(p, kind="stable")[::-1]
    stepped = np.minimum.accumulate(p[order] * n / np.arange(n, 0, -1)) if n else p
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
