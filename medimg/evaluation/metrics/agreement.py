"""Limits of agreement of two measurements of the same thing (Bland & Altman 1986, Lancet 327:307)."""

from __future__ import annotations

import numpy as np
from scipy import special

from medimg.evaluation.metrics.intervals import Estimate, Floats, Ints, index_patients, quantile


def agreement_limit(differences: Floats, patients: Ints, side: int, confidence: float = 0.95) -> Estimate:
    """Return the lower or upper limit of agreement with its interval.

    The limit is the mean difference minus or plus 1.96 standard deviations of single differences (for a confidence
    of 0.95): between them lie 95 % of differences that are normally distributed. Its interval rests on the first-order
    change of mean and standard deviation by each patient; with one case a patient and normal differences that is
    Bland & Altman's.

    Parameters
    ----------
    differences : (n,) float64
        First minus second measurement of each case.
    patients : (n,) int64
        Patient code of each case.
    side : {-1, 1}
        Lower or upper limit.
    confidence : float
    """
    n = len(differences)
    codes, inverse = index_patients(patients)
    m = len(codes)
    if m < 2:
        return Estimate.undefined("no case to compare" if n == 0 else "a single patient gives no limits")
    centred = differences - differences.mean()
    # Patients, not cases, are what the spread is estimated from.
    variance = float(np.mean(centred**2)) * m / (m - 1)
    z = side * quantile(confidence)
    value = float(differences.mean() + z * np.sqrt(variance))
    if variance <= (1e-12 * max(1.0, abs(value))) ** 2:
        return Estimate(value, None, None, None, "the value does not vary between patients", patients=codes)
    change = (centred + z * (centred**2 - np.mean(centred**2)) / (2 * np.sqrt(variance))) / n
    influence = np.bincount(inverse, change).astype(np.float64)
    error = float(np.sqrt(m / (m - 1) * np.sum(influence**2)))
    half = float(special.stdtrit(m - 1, 0.5 + confidence / 2)) * error
    method = "linearised, t (patient clusters)" if m < n else "linearised, t"
    return Estimate(value, value - half, value + half, method, patients=codes, influence=influence)
