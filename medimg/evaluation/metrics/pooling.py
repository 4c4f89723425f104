"""Estimates of the same quantity pooled, and many of them shrunken towards each other.

Random effects: the variance between by DerSimonian & Laird (1986), the interval by Hartung & Knapp (2001) with
Student's t, never narrower than without their correction (Roever, Knapp & Friede 2015, BMC Med Res Methodol 15:99).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from medimg.evaluation.metrics.intervals import Floats, quantile


@dataclass(frozen=True)
class Pooled:
    """A gap pooled over sites. ``heterogeneity``: I^2, the share of the variation that is between sites."""

    gap: float
    low: float
    high: float
    heterogeneity: float | None
    method: str


def between_variance(values: Floats, errors: Floats) -> float:
    """Return by how much the variance of the estimates exceeds that of their errors (DerSimonian & Laird 1986)."""
    weight = 1 / errors**2
    common = np.sum(weight * values) / weight.sum()
    spread = np.sum(weight * (values - common) ** 2)
    room = weight.sum() - np.sum(weight**2) / weight.sum()
    return max(0.0, float((spread - (len(values) - 1)) / room)) if room > 0 else 0.0


def shrunken(values: Floats, errors: Floats) -> Floats:
    """Return estimates moved towards their mean, each the more so the less it is known (empirical Bayes).

    Where they vary no more than their errors explain, all become the mean. The least of them names the worst group with
    less luck in it than the least of the raw ones, which tends to be the smallest group (Efron & Morris 1975, JASA
    70:311).

    >>> shrunken(np.array([0.5, 0.8, 0.9]), np.array([0.2, 0.02, 0.02])).round(2).tolist()
    [0.79, 0.8, 0.9]
    """
    between = between_variance(values, errors)
    weight = 1 / (errors**2 + between)
    mean = np.sum(weight * values) / weight.sum()
    return np.asarray(mean + between / (between + errors**2) * (values - mean))


def pool(gaps: Floats, errors: Floats, confidence: float = 0.95) -> Pooled:
    """Return gaps pooled.

    Parameters
    ----------
    gaps, errors : (k,) float64
        One a site, and its standard error, above 0.
    confidence : float

    Returns
    -------
    Pooled
        One site: its gap. Two: a common gap. More: random effects.

    Notes
    -----
    >>> found = pool(np.array([-0.1, -0.1, -0.1]), np.array([0.05, 0.05, 0.05]))
    >>> round(found.gap, 12), found.heterogeneity
    (-0.1, 0.0)
    """
    k = len(gaps)
    weight = 1 / errors**2
    common = float(np.sum(weight * gaps) / weight.sum())
    spread = float(np.sum(weight * (gaps - common) ** 2))
    heterogeneity = None if k < 2 else max(0.0, (spread - (k - 1)) / spread) if spread > 0 else 0.0
    if k <= 2:
        half = quantile(confidence) / float(np.sqrt(weight.sum()))
        name = "one site" if k == 1 else "common gap of two sites, which cannot show how sites vary"
        return Pooled(common, common - half, common + half, heterogeneity, name)
    weight = 1 / (errors**2 + between_variance(gaps, errors))
    pooled = float(np.sum(weight * gaps) / weight.sum())
    scale = max(1.0, float(np.sum(weight * (gaps - pooled) ** 2)) / (k - 1))
    half = float(special.stdtrit(k - 1, 0.5 + confidence / 2) * np.sqrt(scale / weight.sum()))
    name = "random effects (DerSimonian-Laird), interval of Hartung and Knapp"
    return Pooled(pooled, pooled - half, pooled + half, heterogeneity, name)
