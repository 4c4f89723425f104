"""Confidence intervals of rates, means, medians and differences, with patients as the unit of sampling.

Every estimate carries the influence of each patient on it (``Estimate.influence``), so that the difference of two
groups that share patients gets its covariance without resampling.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SKEWNESS_CORRECTED = "skewness corrected"
"""How the method of a mean's interval ends."""


class Found(TypedDict):
    """The patients behind an estimate: see :class:`Estimate`."""

    patients: Ints
    influence: Floats


@dataclass(frozen=True)
class Estimate:
    """A number with its interval and how it came about.

    Attributes
    ----------
    value, low, high : float or None
        None where undefined; ``reason`` then says why.
    method : str or None
        Name of the interval.
    note : str or None
        What a reader must know beside the interval.
    n_effective : float or None
        Rates only: independent cases that would carry the same information.
    patients, influence : (m,) arrays
        Codes of the contributing patients, rising, and their influence on ``value``.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str | None
    reason: str | None = None
    note: str | None = None
    n_effective: float | None = None
    patients: Ints = field(default_factory=lambda: np.empty(0, np.int64), repr=False, compare=False)
    influence: Floats = field(default_factory=lambda: np.empty(0), repr=False, compare=False)

    @staticmethod
    def undefined(reason: str) -> Estimate:
        """Return an estimate without a number."""
        return Estimate(None, None, None, None, reason)


def index_patients(patients: Ints) -> tuple[Ints, Ints]:
    """Return the distinct codes, rising, and the place of each case among them.

    What ``np.unique`` with its inverse gives, without sorting: codes are small whole numbers.
    """
    if not len(patients):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    present = np.bincount(patients) > 0
    return np.flatnonzero(present).astype(np.int64), (np.cumsum(present) - 1)[patients].astype(np.int64)


def count_patients(patients: Ints) -> int:
    """Return how many distinct codes there are."""
    return int(np.count_nonzero(np.bincount(patients))) if len(patients) else 0


def one_case_each(patient: Ints, *columns: NDArray[Any]) -> bool:
    """Return whether every patient holds one case, or the same number of copies of one case.

    Parameters
    ----------
    patient : (n,) int64
        Place of each case's patient, from :func:`index_patients`.
    *columns : (n,) array
        What copies have in common.
    """
    counts = np.bincount(patient)
    if counts.max() == 1:
        return True
    if counts.min() != counts.max():
        return False
    first = np.empty(len(counts), np.int64)
    first[patient[::-1]] = np.arange(len(patient))[::-1]
    return all(bool(np.array_equal(column, column[first][patient])) for column in columns)


def quantile(confidence: float) -> float:
    """Return the normal quantile of a two-sided interval: 1.96 for 0.95."""
    return float(special.ndtri(0.5 + confidence / 2))


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a rate (Wilson 1927); ``n`` may be an effective number.

    >>> [round(bound, 6) for bound in wilson(3, 17)]
    [0.061911, 0.410295]
    """
    z = quantile(confidence)
    rate = successes / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    low = 0.0 if successes <= 0 else max(0.0, centre - half)
    high = 1.0 if successes >= n else min(1.0, centre + half)
    return float(low), float(high)


def clopper_pearson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a rate (Clopper & Pearson 1934).

    >>> [round(bound, 6) for bound in clopper_pearson(3, 17)]
    [0.037985, 0.434318]
    """
    tail = (1 - confidence) / 2
    low = 0.0 if successes <= 0 else float(stats.beta.ppf(tail, successes, n - successes + 1))
    high = 1.0 if successes >= n else float(stats.beta.ppf(1 - tail, successes + 1, n - successes))
    return low, high


def newcombe(x1: float, n1: float, x2: float, n2: float, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the difference of two independent rates and its interval (Newcombe 1998, method 10).

    >>> [round(value, 6) for value in newcombe(56, 70, 48, 80)]
    [0.2, 0.052431, 0.333873]
    """
    first, second = (Estimate(x / n, *wilson(x, n, confidence), "Wilson") for x, n in ((x1, n1), (x2, n2)))
    return difference(first, second)


def difference(first: Estimate, second: Estimate) -> tuple[float, float, float]:
    """Return first - second with its interval from the two single intervals.

    The method of variance estimates recovery (Zou & Donner 2008, Stat Med 27:1693): asymmetric intervals stay
    asymmetric, and with Wilson intervals it is Newcombe's method 10. Shared patients enter by the correlation of
    the patients' influences.

    Raises
    ------
    ValueError
        Where either has no interval.
    """
    values = (first.value, first.low, first.high, second.value, second.low, second.high)
    if any(value is None for value in values):
        raise ValueError("a difference needs two estimates with intervals")
    v1, l1, h1, v2, l2, h2 = (float(value) for value in values if value is not None)
    rho = shared_correlation(first, second)
    gap = v1 - v2
    below = (v1 - l1) ** 2 + (h2 - v2) ** 2 - 2 * rho * (v1 - l1) * (h2 - v2)
    above = (h1 - v1) ** 2 + (v2 - l2) ** 2 - 2 * rho * (h1 - v1) * (v2 - l2)
    return gap, float(gap - np.sqrt(max(below, 0.0))), float(gap + np.sqrt(max(above, 0.0)))


def shared_correlation(first: Estimate, second: Estimate) -> float:
    """Return the correlation of two estimates that comes from the patients they share (0 where none)."""
    if not len(first.patients) or not len(second.patients):
        return 0.0
    # Codes are small whole numbers: looked up in a table, without sorting.
    place = np.full(int(max(first.patients[-1], second.patients[-1])) + 1, -1)
    place[second.patients] = np.arange(len(second.patients))
    j = place[first.patients]
    i = np.flatnonzero(j >= 0)
    j = j[i]
    if not len(i):
        return 0.0
    scale = np.sqrt(np.sum(first.influence**2) * np.sum(second.influence**2))
    if scale == 0:
        return 0.0
    return float(np.clip(np.sum(first.influence[i] * second.influence[j]) / scale, -1.0, 1.0))


def one_sided_p(value: float, bound: float, limit: float, confidence: float = 0.95) -> float:
    """Return the p-value of 'truly at least ``limit``' that belongs to the upper ``bound`` of ``value``.

    It is below (1 - confidence) / 2 just where ``bound`` lies below ``limit``: the interval and the p-value
    never contradict each other. Mirror the signs to test 'truly at most'.
    """
    width = bound - value
    if width <= 0:
        return 0.0 if value < limit else 1.0
    return float(special.ndtr(quantile(confidence) * (value - limit) / width))


def clustered_rate(successes: Floats, totals: Floats, patients: Ints, confidence: float = 0.95) -> Estimate:
    """Return a rate with Wilson's interval at the effective number of cases.

    The effective number is that of :func:`design_effect`: one case a patient gives exactly Wilson's interval,
    duplicated cases change nothing, and where every patient agrees (rate 0 or 1) each patient counts once.

    Parameters
    ----------
    successes, totals : (m,) float64
        Per patient; patients with a total of 0 are left out.
    patients : (m,) int64
        Their codes.
    """
    keep = totals > 0
    successes, totals, patients = successes[keep], totals[keep], patients[keep]
    n = float(totals.sum())
    if n == 0:
        return Estimate.undefined("no case to count")
    rate = float(successes.sum() / n)
    influence = (successes - rate * totals) / n
    effective = n / design_effect(successes, totals)
    low, high = wilson(rate * effective, effective, confidence)
    # Rounding of rate * effective must not open a bound at 0 or 1.
    low, high = (0.0 if rate == 0 else low), (1.0 if rate == 1 else high)
    method = "Wilson at Rao-Scott effective n (patient clusters)" if np.any(totals > 1) else "Wilson"
    return Estimate(rate, low, high, method, n_effective=effective, patients=patients, influence=influence)


def design_effect(successes: Floats, totals: Floats) -> float:
    """Return by how much the variance of a rate exceeds that of as many independent cases.

    The ratio estimator over patients (Rao & Scott 1992, Biometrics 48:577), with m / (m - 1), and at least 1 (of
    distinct cases: copies aside). Near 0 and 1 it rests on the few patients who show the rarer outcome, and comes out
    too small where each of them happens to show it once (Korn & Graubard 1998, Survey Methodology 24:193). Hence it is
    averaged, by the number of these patients, with one patient's worth of the design effect of patients who always
    agree with themselves, which is also what remains where nobody shows the rarer outcome.

    Parameters
    ----------
    successes, totals : (m,) float64
        Per patient, totals positive.
    """
    copies = _copies(successes, totals)
    hits, cases = successes / copies, totals / copies
    n, m = float(cases.sum()), len(cases)
    rate = float(hits.sum() / n)
    agreeing = float(np.sum(cases**2) / n)
    informative = min(np.count_nonzero(hits > 0), np.count_nonzero(hits < cases))
    if informative == 0 or m == 1:
        return agreeing * copies
    spread = float(np.sum((hits - rate * cases) ** 2))
    seen = max(1.0, spread / (n * rate * (1 - rate)) * m / (m - 1) * (n - 1) / n)
    return (informative * seen + agreeing) / (informative + 1) * copies


def _copies(*counts: NDArray[Any]) -> int:
    """Return how often every case of every patient may be repeated: the common divisor of all counts."""
    return max(1, int(np.gcd.reduce(np.concatenate(counts).astype(np.int64))))


def unseen_bounds(value: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return bounds of a quantity in [0, 1] where all ``n`` patients agree, so that no variance can be seen.

    A share of up to 1 - (tail)^(1/n) of patients could still be any different (Clopper-Pearson at n of n).
    """
    unseen = 1 - ((1 - confidence) / 2) ** (1 / n)
    return value * (1 - unseen), value + (1 - value) * unseen


def clustered_mean(
    sums: Floats, totals: Floats, patients: Ints, confidence: float = 0.95, *, bounded: bool
) -> Estimate:
    """Return the mean over cases with a t interval whose unit is the patient, corrected for skewness.

    The variance is that of the ratio of patient sums to patient counts, with m - 1 degrees of freedom. Outcomes such
    as Dice are skewed, and mean and variance then vary together: the plain t interval misses on one side. Hall's
    transformation (1992, Journal of the Royal Statistical Society B 54:221) takes the skewness out of the t
    statistic; without skewness it is the t interval. ``bounded``: values lie in [0, 1]; the interval is cut there.
    """
    keep = totals > 0
    sums, totals, patients = sums[keep], totals[keep], patients[keep]
    m = len(totals)
    if m == 0:
        return Estimate.undefined("no case to average")
    n = float(totals.sum())
    mean = float(sums.sum() / n)
    influence = (sums - mean * totals) / n
    found: Found = {"patients": patients, "influence": influence}
    spread = float(np.sum(influence**2))
    # Sums of equal numbers differ by rounding; that is no variance.
    if spread <= (1e-12 * max(1.0, abs(mean))) ** 2:
        if not bounded:
            return Estimate(mean, None, None, None, "the value does not vary between patients", **found)
        low, high = unseen_bounds(mean, m, confidence)
        return Estimate(mean, low, high, "bounds for values that do not vary", note="all patients agree", **found)
    low, high = mean_bounds(mean, np.sqrt(m / (m - 1)) * influence, confidence)
    if bounded:
        low, high = max(0.0, low), min(1.0, high)
    method = "t over patient clusters" if np.any(totals > 1) else "t"
    return Estimate(mean, low, high, f"{method}, {SKEWNESS_CORRECTED}", **found)


def mean_bounds(mean: float, influence: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """Return the t interval of a mean, corrected for skewness by Hall's transformation.

    Parameters
    ----------
    mean : float
    influence : (m,) float64
        Of each patient on the mean, scaled so that the sum of squares is the variance of the mean; not all 0.
    confidence : float
    """
    m = len(influence)
    error = float(np.sqrt(np.sum(influence**2)))
    skew = float(np.sum(influence**3)) / error**3
    t = float(special.stdtrit(m - 1, 0.5 + confidence / 2))
    return mean - error * _unskewed(t, skew), mean - error * _unskewed(-t, skew)


def _unskewed(quantile_t: float, skew: float) -> float:
    """Return the quantile of a t statistic whose numerator, a sum over patients, has the skewness ``skew``.

    The inverse of Hall's cubic T + skew (T^2 / 3 + 1 / 6) + skew^2 T^3 / 27, which rises everywhere.
    """
    if abs(skew) < 1e-8:
        return quantile_t
    return float(3 / skew * (np.cbrt(1 + skew * (quantile_t - skew / 6)) - 1))


def clustered_median(values: Floats, patients: Ints, confidence: float = 0.95) -> Estimate:
    """Return the median over cases with an order-statistic interval.

    One case a patient: binomial ranks, exact whatever the distribution. Repeated patients: Woodruff's interval
    (1952), ranks at the effective number of cases and Student's quantile. Bootstrap intervals of medians are not
    used: their coverage can collapse.

    Parameters
    ----------
    values : (n,) float64
        One per case.
    patients : (n,) int64
        Patient code of each case.
    """
    n = len(values)
    if n == 0:
        return Estimate.undefined("no case to take the median of")
    order = np.sort(values)
    median = float(np.median(order))
    codes, inverse = index_patients(patients)
    signs = np.sign(values - median) / 2
    influence = np.bincount(inverse, signs) / n
    found: Found = {"patients": codes, "influence": influence}
    m = len(codes)
    if one_case_each(inverse, values):
        return _binomial_median(median, order[:: n // m], found, confidence)
    variance = float(np.sum(influence**2)) * m / max(m - 1, 1)
    below, above = (np.bincount(inverse, values_on) for values_on in (signs < 0, signs > 0))
    cap = n / _copies(below, above, np.bincount(inverse))
    effective = cap if variance * cap <= 0.25 else 0.25 / variance
    shift = float(special.stdtrit(max(m - 1, 1), 0.5 + confidence / 2)) * 0.5 / np.sqrt(effective)
    if shift >= 0.5:
        return Estimate(median, None, None, None, f"{len(codes)} patients are too few to bound a median", **found)
    low = float(np.quantile(order, 0.5 - shift, method="inverted_cdf"))
    high = float(np.quantile(order, 0.5 + shift, method="inverted_cdf"))
    return Estimate(median, low, high, "order statistics at effective n (Woodruff, patient clusters)", **found)


def _binomial_median(median: float, order: Floats, found: Found, confidence: float) -> Estimate:
    tail, n = (1 - confidence) / 2, len(order)
    rank = int(stats.binom.ppf(tail, n, 0.5))
    if stats.binom.cdf(rank, n, 0.5) > tail:
        rank -= 1
    if rank < 0:
        return Estimate(median, None, None, None, f"{n} cases are too few to bound a median", **found)
    return Estimate(median, float(order[rank]), float(order[n - 1 - rank]), "order statistics (binomial)", **found)
