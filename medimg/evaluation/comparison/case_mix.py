"""Direct standardisation: some cases weighted to a given mix of strata, with patients as the unit of sampling.

The weights are fixed by the mix. The variance is that of the residuals of the cases within their strata, weighted and
summed over a patient. Areas under the ROC curve take weighted placements for the values of the cases: the influence of
a case on a weighted area is its weight times its placement less the mean of its stratum (the weighted form of
Obuchowski 1997, Biometrics 53:567).

Legend: n cases, S strata (of either outcome class, the negative one's first, for areas).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from medimg.evaluation.comparison.contributions import SUMS
from medimg.evaluation.metrics.intervals import (
    SKEWNESS_CORRECTED,
    Estimate,
    Floats,
    Found,
    Ints,
    count_patients,
    index_patients,
    mean_bounds,
    quantile,
    wilson,
)
from medimg.evaluation.protocol import EndpointRule
from medimg.evaluation.selection import Rows

MIN_PATIENTS = 2
"""Patients from which a stratum supports a group: one alone shows no variance."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class MixedCases:
    """Everyone's cases that enter one metric.

    Attributes
    ----------
    row, patient, stratum : (n,) int64
        Row of the case table, patient code, and stratum.
    mass : (n,) float64
        What a case counts in its stratum: 1, or its lesions.
    value : (n,) float64
        Its part of the numerator; not used for areas.
    n_strata : int
        S.
    kind : {'rate', 'mean', 'area'}
    highest : float
        Upper end of the metric's range; the lower end is 0.
    code : (n,) int64 or None
        Rank of the score among the distinct ones; areas only.
    """

    row: Ints
    patient: Ints
    stratum: Ints
    mass: Floats
    value: Floats
    n_strata: int
    kind: str
    highest: float = 1.0
    code: Ints | None = None

    @cached_property
    def one_each(self) -> bool:
        """Whether no patient has two cases."""
        return count_patients(self.patient) == len(self.patient)

    @property
    def positive(self) -> Mask:
        """Which cases are positive; areas only."""
        return self.stratum >= self.n_strata // 2


def mixed_sum(rule: EndpointRule, cases: Rows, stratum: Ints, n_strata: int) -> MixedCases:
    """Return the cases of a metric of ``SUMS``; ``stratum`` is that of every row of the case table."""
    kind = SUMS[rule.metric]
    rows, numerator, denominator = kind.of(rule, cases)
    return MixedCases(
        rows.index,
        rows["patient"],
        stratum[rows.index],
        denominator,
        numerator,
        n_strata,
        "rate" if kind.rate else "mean",
        highest=kind.highest,
    )


def mixed_area(cases: Rows, stratum: Ints, n_strata: int) -> MixedCases:
    """Return the cases of an area under the ROC curve: the strata of the positives follow those of the negatives."""
    rows = cases.known("truth", "score")
    code = np.unique(rows["score"], return_inverse=True)[1].reshape(-1)
    of_class = stratum[rows.index] + n_strata * (rows["truth"] == 1)
    ones = np.ones(len(rows))
    return MixedCases(rows.index, rows["patient"], of_class, ones, ones, 2 * n_strata, "area", code=code)


def patients_held(cases: MixedCases, mask: Mask) -> Ints:
    """Return how many patients some of the cases hold in each stratum, (S,)."""
    if cases.one_each:
        return np.bincount(cases.stratum[mask], minlength=cases.n_strata)
    m = int(cases.patient.max()) + 1
    pairs = pd.unique(cases.stratum[mask] * m + cases.patient[mask])
    return np.bincount(pairs // m, minlength=cases.n_strata)


def everyone(cases: MixedCases) -> Floats:
    """Return the mass of everyone's cases in each stratum, (S,)."""
    return np.bincount(cases.stratum, cases.mass, minlength=cases.n_strata).astype(np.float64)


def shares(cases: MixedCases, kept: Floats) -> tuple[Floats, float]:
    """Return the share of each stratum where only some are kept, and how much of everyone's cases these hold.

    Parameters
    ----------
    cases : MixedCases
    kept : (S,) float64
        From :func:`everyone`, 0 in the strata that are left out.

    Returns
    -------
    share : (S,) float64
        They sum to 1, for areas over the strata of either class.
    covered : float
        Share of everyone's cases in the strata that are kept; of the worse class for areas.
    """
    shape = (2 if cases.kind == "area" else 1, -1)
    parts, whole = kept.reshape(shape), everyone(cases).reshape(shape).sum(axis=1)
    total = parts.sum(axis=1)
    covered = np.divide(total, whole, out=np.zeros(len(whole)), where=whole > 0)
    return (parts / np.where(total > 0, total, 1.0)[:, None]).reshape(-1), float(covered.min())


def weighted(
    cases: MixedCases, mask: Mask, share: Floats, held: Ints, confidence: float
) -> tuple[Estimate, float | None]:
    """Return the estimate of some cases at the mix ``share``.

    Parameters
    ----------
    cases : MixedCases
        Everyone's.
    mask : (n,) bool
        The cases that are meant; those in strata without a share are left out.
    share : (S,) float64
        From :func:`shares`; every stratum with a share must hold a case.
    held : (S,) int64
        From :func:`patients_held`, of the same cases.
    confidence : float

    Returns
    -------
    Estimate
    n_effective : float or None
        (sum w)^2 / sum w^2; of the smaller class for areas.
    """
    mask = mask & (share[cases.stratum] > 0)
    stratum, mass = cases.stratum[mask], cases.mass[mask]
    own = np.bincount(stratum, mass, minlength=len(share))
    own = np.where(own > 0, own, 1.0)
    weight, value = (share / own)[stratum], cases.value[mask]
    if not len(stratum):
        return Estimate.undefined("no case in a supported stratum"), None
    if cases.kind == "area":
        positive = cases.positive[mask]
        if not positive.any() or positive.all():
            return Estimate.undefined("no supported stratum of one of the classes"), None
        value = _placements(positive, np.asarray(cases.code)[mask], weight)
        total = float(np.sum((weight * value)[positive]))
        n_effective = min(_kish(weight[rows], mass[rows]) for rows in (positive, ~positive))
    else:
        total, n_effective = float(np.sum(weight * value)), _kish(weight, mass)
    within = np.bincount(stratum, value, minlength=len(share)) / own
    # A stratum's own mean hides part of its variance, the more so the fewer its patients.
    correction = np.sqrt(held / np.maximum(held - 1, 1))[stratum]
    codes, inverse = index_patients(cases.patient[mask])
    influence = np.bincount(inverse, weight * (value - within[stratum] * mass) * correction).astype(np.float64)
    found: Found = {"patients": codes, "influence": influence}
    if cases.kind == "area":
        return _area(total, found, confidence), n_effective
    if cases.kind == "rate":
        hits, totals = np.bincount(inverse, value), np.bincount(inverse, mass)
        informative = int(min(np.count_nonzero(hits > 0), np.count_nonzero(hits < totals)))
        n_patients = 1 / float(np.sum(np.bincount(inverse, weight * mass) ** 2))
        return _rate(total, found, n_effective, n_patients, informative, confidence), n_effective
    return _mean(total, found, cases, confidence), n_effective


def _kish(weight: Floats, mass: Floats) -> float:
    return float(np.sum(weight * mass) ** 2 / np.sum(weight**2 * mass))


def _placements(positive: Mask, code: Ints, weight: Floats) -> Floats:
    """Return of each case the weight of the other class's cases that it is ranked right against; ties count half."""
    size = int(code.max()) + 1
    positives, negatives = (np.bincount(code[rows], weight[rows], minlength=size) for rows in (positive, ~positive))
    above = positives.sum() - np.cumsum(positives) + positives / 2
    below = np.cumsum(negatives) - negatives / 2
    return np.where(positive, below[code], above[code])


def _area(value: float, found: Found, confidence: float) -> Estimate:
    variance = float(np.sum(found["influence"] ** 2))
    if not 1e-12 < value < 1 - 1e-12 or variance <= 1e-15:
        return Estimate(value, None, None, None, "the classes are perfectly separated", **found)
    half = quantile(confidence) * np.sqrt(variance) / (value * (1 - value))
    low, high = (float(special.expit(special.logit(value) + side * half)) for side in (-1, 1))
    return Estimate(value, low, high, "weighted placements, patient clusters, logit", **found)


def _rate(
    value: float, found: Found, n_cases: float, n_patients: float, informative: int, confidence: float
) -> Estimate:
    """Return a rate with Wilson's interval at its effective number of cases.

    The design effect is that of :func:`medimg.evaluation.metrics.intervals.design_effect`, with weights: what is seen,
    averaged with that of patients who always agree with themselves by the number of those who show the rarer outcome.
    """
    value = min(1.0, max(0.0, value))
    variance = float(np.sum(found["influence"] ** 2))
    effective = n_patients
    if informative and 1e-12 < value < 1 - 1e-12:
        seen = max(1.0, variance * n_cases / (value * (1 - value)))
        effective = n_cases * (informative + 1) / (informative * seen + n_cases / n_patients)
    low, high = wilson(value * effective, effective, confidence)
    return Estimate(value, low, high, "Wilson at effective n, patient clusters", n_effective=effective, **found)


def _mean(value: float, found: Found, cases: MixedCases, confidence: float) -> Estimate:
    error = float(np.sqrt(np.sum(found["influence"] ** 2)))
    m = len(found["patients"])
    if m < 2 or error <= 1e-12 * max(1.0, abs(value)):
        return Estimate(value, None, None, None, "the value does not vary between patients", **found)
    low, high = mean_bounds(value, found["influence"], confidence)
    low, high = max(0.0, low), min(cases.highest, high)
    return Estimate(value, low, high, f"t over patient clusters, {SKEWNESS_CORRECTED}", **found)
