"""Cases by distinct score: what every metric of scores is computed from, and its linear variance.

A metric of scores is a function of how many positives and negatives stand at each score. Its first-order change by one
case more (the influence of that case) sums up to patients, so that repeated patients widen every interval and two
groups that share patients get their covariance, without resampling. The counts alone are enough where every case is
another patient.

Legend: n cases, T levels (distinct scores, rising), m patients.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from medimg.evaluation.metrics.intervals import Estimate, Floats, Found, Ints, index_patients, quantile, unseen_bounds


@dataclass(frozen=True)
class Levels:
    """The scored cases of one target in one group.

    Attributes
    ----------
    score : (T,) float64
        Rising; -inf and inf are failed cases at the wrong end.
    positive, negative : (T,) float64
        Cases at each level.
    level : (n,) int64
        Level of each case; empty where only counts are known.
    truth : (n,) bool
    codes : (m,) int64
        Patient codes, rising.
    patient : (n,) int64
        Place of each case's patient in ``codes``.
    memo : dict
        What several metrics of the same levels share.
    """

    score: Floats
    positive: Floats
    negative: Floats
    level: Ints
    truth: NDArray[np.bool_]
    codes: Ints
    patient: Ints
    memo: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, truth: NDArray[np.bool_], score: Floats, patients: Ints) -> Levels:
        """Return the levels of cases; ``truth``, ``score``, ``patients`` are (n,)."""
        levels, place = np.unique(score, return_inverse=True)
        place = place.reshape(-1).astype(np.int64)
        codes, patient = index_patients(patients)
        positive = np.bincount(place[truth], minlength=len(levels)).astype(np.float64)
        both = np.bincount(place, minlength=len(levels))
        return cls(levels, positive, both - positive, place, truth, codes, patient)

    @classmethod
    def of_counts(cls, score: Floats, positive: Floats, negative: Floats) -> Levels:
        """Return levels known by their counts (T,) alone; every case counts as another patient."""
        filled = (positive + negative) > 0
        none = np.empty(0, np.int64)
        return cls(score[filled], positive[filled], negative[filled], none, np.empty(0, bool), none, none)

    @property
    def total(self) -> Floats:
        """Cases at each level."""
        return self.positive + self.negative

    @property
    def n_patients(self) -> int:
        """Patients; cases where only counts are known."""
        return len(self.codes) if len(self.codes) else round(float(self.total.sum()))

    @property
    def clustered(self) -> bool:
        """Whether a patient has several cases."""
        return len(self.level) > len(self.codes)

    def finite(self) -> Levels:
        """Return the levels without those of failed cases."""
        good = np.isfinite(self.score)
        if good.all():
            return self
        if not len(self.level):
            return Levels.of_counts(self.score[good], self.positive[good], self.negative[good])
        kept = good[self.level]
        return Levels.of(self.truth[kept], self.score[self.level[kept]], self.codes[self.patient[kept]])


@dataclass(frozen=True)
class Linear:
    """A statistic with the influence (T,) of one positive and of one negative case at each level.

    Influences sum to 0 over all cases; a case's influence is the first-order change of the statistic by it.
    """

    value: float
    positive: Floats
    negative: Floats

    def scaled(self, factor: float, shift: float = 0.0) -> Linear:
        """Return ``factor * statistic + shift``."""
        return Linear(factor * self.value + shift, factor * self.positive, factor * self.negative)


def influences(levels: Levels, statistic: Linear) -> Floats:
    """Return the influence of each patient (m,); empty where only counts are known."""
    if not len(levels.level):
        return np.empty(0)
    of_case = np.where(levels.truth, statistic.positive[levels.level], statistic.negative[levels.level])
    return np.bincount(levels.patient, of_case, minlength=len(levels.codes)).astype(np.float64)


def standard_error(levels: Levels, statistic: Linear, influence: Floats) -> float:
    """Return the standard error, with patients as the unit; NaN for a single patient.

    ``influence`` may be empty where no patient has several cases: the counts at each level tell the same.
    """
    m = levels.n_patients
    if m < 2:
        return float("nan")
    if len(influence):
        squares = float(np.sum(influence**2))
    else:
        squares = float(levels.positive @ statistic.positive**2 + levels.negative @ statistic.negative**2)
    return float(np.sqrt(m / (m - 1) * squares))


def linear_estimate(
    levels: Levels,
    statistic: Linear,
    confidence: float,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    note: str | None = None,
) -> Estimate:
    """Return a statistic with its t interval over patients, cut at ``low`` and ``high``."""
    return _estimate(levels, statistic, confidence, logit=False, low=low, high=high, note=note)


def t_bounds(levels: Levels, statistic: Linear, confidence: float) -> tuple[float, float] | None:
    """Return the t interval of a statistic alone, without the patients behind it; None where nothing varies."""
    influence = influences(levels, statistic) if levels.clustered else np.empty(0)
    error = standard_error(levels, statistic, influence)
    if not error > 1e-12 * max(1.0, abs(statistic.value)):
        return None
    half = float(special.stdtrit(levels.n_patients - 1, 0.5 + confidence / 2)) * error
    return statistic.value - half, statistic.value + half


def logit_estimate(levels: Levels, statistic: Linear, confidence: float, *, note: str | None = None) -> Estimate:
    """Return a statistic between 0 and 1 with its interval on the logit scale.

    Where no variance can be seen (0, 1, or a statistic that no patient moves) the bounds are those of
    :func:`medimg.evaluation.metrics.intervals.unseen_bounds`.
    """
    return _estimate(levels, statistic, confidence, logit=True, low=0.0, high=1.0, note=note)


def _estimate(
    levels: Levels, statistic: Linear, confidence: float, *, logit: bool, low: float, high: float, note: str | None
) -> Estimate:
    influence = influences(levels, statistic)
    found: Found = {"patients": levels.codes, "influence": influence}
    error = standard_error(levels, statistic, influence)
    m, clusters = levels.n_patients, " (patient clusters)" if levels.clustered else ""
    if logit:
        return _on_logit_scale(statistic.value, error, quantile(confidence), m, found, confidence, clusters, note)
    value = statistic.value
    if np.isnan(error):
        return Estimate(value, None, None, None, "a single patient gives no interval", note=note, **found)
    if error <= 1e-12 * max(1.0, abs(value)):
        if (low, high) != (0.0, 1.0):
            return Estimate(value, None, None, None, "the value does not vary between patients", note=note, **found)
        bounds = unseen_bounds(value, m, confidence)
        return Estimate(value, *bounds, "bounds for values that do not vary", note=note, **found)
    half = float(special.stdtrit(m - 1, 0.5 + confidence / 2)) * error
    bounds = max(low, value - half), min(high, value + half)
    return Estimate(value, *bounds, f"linearised, t{clusters}", note=note, **found)


def _on_logit_scale(
    value: float, error: float, times: float, m: int, found: Found, confidence: float, clusters: str, note: str | None
) -> Estimate:
    """Return a value between 0 and 1 plus and minus ``times`` its standard error on the logit scale."""
    # A perfect score is 1, not 1 and the rounding of a sum.
    value = float(np.clip(round(value, 13), 0.0, 1.0))
    if np.isnan(error):
        return Estimate(value, None, None, None, "a single patient gives no interval", note=note, **found)
    if error <= 1e-12 or not 0 < value < 1:
        bounds = unseen_bounds(value, m, confidence)
        return Estimate(value, *bounds, "bounds for values that do not vary", note=note, **found)
    centre, half = special.logit(value), times * error / (value * (1 - value))
    bounds = float(special.expit(centre - half)), float(special.expit(centre + half))
    return Estimate(value, *bounds, f"linearised, logit{clusters}", note=note, **found)


def pooled_estimate(statistic: Linear, positive: Floats, negative: Floats, codes: Ints, confidence: float) -> Estimate:
    """Return a statistic between 0 and 1 of everything that patients hold, such as all their pixels together.

    Parameters
    ----------
    statistic : Linear
        Of the pooled counts (T,).
    positive, negative : (m, T) float64
        Counts of each patient.
    codes : (m,) int64
        Patient codes, rising.
    confidence : float

    Returns
    -------
    Estimate
        With an interval on the logit scale, Student's t with patients as the unit.
    """
    influence = positive @ statistic.positive + negative @ statistic.negative
    m = len(codes)
    error = float(np.sqrt(m / (m - 1) * np.sum(influence**2))) if m > 1 else float("nan")
    times = float(special.stdtrit(max(m - 1, 1), 0.5 + confidence / 2))
    found: Found = {"patients": codes, "influence": influence}
    return _on_logit_scale(statistic.value, error, times, m, found, confidence, ", t (patient clusters)", None)
