"""Predictive values at the prevalence of the place where a model is to be used (Mercaldo 2007, Stat Med 26:2170).

Positive and negative predictive values of a test set hold for its own share of positives, which is seldom that of
the clinic. Sensitivity, specificity and the declared prevalence give them by Bayes' rule; the interval stands on the
logit scale, with the covariance of the two rates where one patient has cases of both classes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from medimg.evaluation.metrics.intervals import Estimate, Floats, Found, Ints, clustered_rate, index_patients, quantile

Which = Literal["positive", "negative"]


def predictive_value(
    which: Which,
    prevalence: float,
    truth: NDArray[np.bool_],
    called: NDArray[np.bool_],
    patients: Ints,
    confidence: float = 0.95,
) -> Estimate:
    """Return the predictive value of a positive or negative call at a prevalence.

    Parameters
    ----------
    which : {'positive', 'negative'}
    prevalence : float
        Share of positives to apply, in (0, 1).
    truth, called : (n,) bool
    patients : (n,) int64
        Patient code of each case.
    confidence : float

    Returns
    -------
    Estimate
        Undefined without cases of both classes, or where no such call can occur. Where a rate is 0 or 1, the
        interval is Mercaldo's adjusted one: both rates are moved as in Agresti & Coull's interval.
    """
    if not truth.any() or truth.all():
        return Estimate.undefined("no positive case" if not truth.any() else "no negative case")
    right = called if which == "positive" else ~called
    codes, inverse = index_patients(patients)
    # Of the class that the call names: how often it is called so; of the other class: how often wrongly.
    named = truth if which == "positive" else ~truth
    hit, false = (_rate(right, mask, inverse, codes, confidence) for mask in (named, ~named))
    if hit.value is None or false.value is None or hit.n_effective is None or false.n_effective is None:
        return Estimate.undefined(hit.reason or false.reason or "no case with a call")
    base = prevalence if which == "positive" else 1 - prevalence
    weighted = base * hit.value + (1 - base) * false.value
    if weighted == 0:
        return Estimate.undefined(f"no case was called {which}")
    value = base * hit.value / weighted
    influence = np.zeros(len(codes))
    for rate, sign in ((hit, 1.0), (false, -1.0)):
        if rate.value:
            influence[rate.patients] += sign * rate.influence / rate.value
    centre, error, method = _on_logit_scale(base, hit, false, influence, quantile(confidence))
    bounds = special.expit([centre - quantile(confidence) * error, centre + quantile(confidence) * error])
    low, high = float(min(bounds[0], value)), float(max(bounds[1], value))
    found: Found = {"patients": codes, "influence": influence * value * (1 - value) if 0 < value < 1 else influence}
    return Estimate(value, low, high, method, note=f"at a prevalence of {prevalence:.3g}", **found)


def _rate(
    success: NDArray[np.bool_], mask: NDArray[np.bool_], inverse: Ints, codes: Ints, confidence: float
) -> Estimate:
    """Return the rate of ``success`` in one class; its patients are places in ``codes``."""
    place, m = inverse[mask], len(codes)
    totals = np.bincount(place, minlength=m).astype(np.float64)
    hits = np.bincount(place, success[mask], minlength=m).astype(np.float64)
    return clustered_rate(hits, totals, np.arange(m), confidence)


def _on_logit_scale(
    base: float, hit: Estimate, false: Estimate, influence: Floats, z: float
) -> tuple[float, float, str]:
    """Return centre and standard error of the logit, and the name of the method."""
    rates = [(rate.value or 0.0, rate.n_effective or 1.0) for rate in (hit, false)]
    (p_hit, _), (p_false, _) = rates
    clustered = "patient clusters" if "clusters" in f"{hit.method}{false.method}" else ""
    if all(0 < p < 1 for p, _ in rates):
        error = float(np.sqrt(np.sum(influence**2)))
        method = f"Mercaldo, logit{f' ({clustered})' if clustered else ''}"
    else:
        (p_hit, n_hit), (p_false, n_false) = ((p * n + z**2 / 2, n + z**2) for p, n in rates)
        p_hit, p_false = p_hit / n_hit, p_false / n_false
        error = float(np.sqrt((1 - p_hit) / (p_hit * n_hit) + (1 - p_false) / (p_false * n_false)))
        method = f"Mercaldo, adjusted logit{f' ({clustered})' if clustered else ''}"
    return float(special.logit(base) + np.log(p_hit / p_false)), error, method
