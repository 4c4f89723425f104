"""Calibration in bins of equal mass: the expected calibration error, Murphy's parts of the Brier score, the curve.

The error of binned calibration is biased upwards: bins of a perfectly calibrated model differ from their scores by
chance, the more so the fewer cases there are. Estimate and interval therefore come from test inversion: the smoothed
deviations, scaled by a common factor, are the truth under which the observed error is the median (estimate) or at
the edge of what is likely (interval). At the factor 0 that is the test of perfect calibration, whose expected error
is told beside the estimate.

Legend: T levels, K bins, R draws, m patients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from medimg.evaluation.metrics.intervals import Floats, Ints
from medimg.evaluation.metrics.levels import Levels, Linear

BINS = 15
_HALVINGS = 20
_FARTHEST = 64.0


@dataclass(frozen=True)
class Bins:
    """Cases by bins of equal mass.

    Attributes
    ----------
    of_level : (T,) int64
        Bin of each level: equal scores are never torn apart.
    n, positives : (K,) float64
        Cases and positives of each bin; none is empty.
    score : (K,) float64
        Mean score.
    spread : (K,) float64
        Mean of score * (1 - score).
    """

    of_level: Ints
    n: Floats
    positives: Floats
    score: Floats
    spread: Floats

    @property
    def observed(self) -> Floats:
        """Share of positives in each bin."""
        return self.positives / self.n

    @property
    def weight(self) -> Floats:
        """Share of the cases in each bin."""
        return self.n / self.n.sum()


def equal_mass(levels: Levels, bins: int = BINS) -> Bins:
    """Return at most ``bins`` bins of as equal a number of cases as ties allow. Needs finite scores and a case."""
    known: Bins | None = levels.memo.get(f"{bins} bins")
    if known is not None:
        return known
    upto = np.cumsum(levels.total)
    # The middle of a tie, in whole numbers, decides its bin: copies of all cases change nothing.
    place = (bins * (2 * upto - levels.total)) // (2 * upto[-1])
    used, of_level = np.unique(place, return_inverse=True)
    of_level = of_level.reshape(-1).astype(np.int64)

    def summed(values: Floats) -> Floats:
        return np.bincount(of_level, values, minlength=len(used)).astype(np.float64)

    n = summed(levels.total)
    score = summed(levels.total * levels.score) / n
    spread = summed(levels.total * levels.score * (1 - levels.score)) / n
    found = Bins(of_level, n, summed(levels.positive), score, spread)
    levels.memo[f"{bins} bins"] = found
    return found


def murphy_parts(bins: Bins) -> tuple[float, float, float]:
    """Return reliability, resolution and uncertainty (Murphy 1973, J Appl Meteorol 12:595) as they stand in the bins.

    Brier = reliability - resolution + uncertainty + what scores of one bin differ by.
    """
    overall = float(bins.positives.sum() / bins.n.sum())
    reliability = float(bins.weight @ (bins.score - bins.observed) ** 2)
    return reliability, float(bins.weight @ (bins.observed - overall) ** 2), overall * (1 - overall)


def resolution(bins: Bins) -> Linear:
    """Return how far the bins' shares of positives lie from the overall one (mean square)."""
    n = bins.n.sum()
    overall = float(bins.positives.sum() / n)
    squares = float(bins.weight @ bins.observed**2)
    observed = bins.observed[bins.of_level]
    negative = (2 * overall**2 - squares - observed**2) / n
    # A single bin resolves nothing; rounding must not make that less than nothing.
    return Linear(max(0.0, squares - overall**2), negative + 2 * (observed - overall) / n, negative)


def uncertainty(levels: Levels) -> Linear:
    """Return p (1 - p) of the overall share p of positives: the Brier score of always saying p."""
    n = levels.total.sum()
    p = float(levels.positive.sum() / n)
    ones = np.ones(len(levels.score))
    return Linear(p * (1 - p), (1 - 2 * p) * (1 - p) / n * ones, (1 - 2 * p) * -p / n * ones)


def expected_error(weight: Floats, deviation: Floats) -> Floats:
    """Return the expected calibration error (R,) of deviations (R, K)."""
    return np.abs(deviation) @ weight


def reliability(weight: Floats, deviation: Floats) -> Floats:
    """Return Murphy's reliability (R,) of deviations (R, K)."""
    return deviation**2 @ weight


@dataclass(frozen=True)
class Inverted:
    """A calibration error by test inversion.

    ``raw`` is the plug-in value; ``by_chance`` and ``by_chance_95`` are mean and 95th percentile of the plug-in value
    that a perfectly calibrated model with these scores would show.
    """

    value: float
    low: float
    high: float
    raw: float
    by_chance: float
    by_chance_95: float


def invert(
    measure: Callable[[Floats, Floats], Floats],
    levels: Levels,
    bins: Bins,
    rng: np.random.Generator,
    *,
    draws: int,
    confidence: float = 0.95,
) -> Inverted:
    """Return a calibration error with its interval.

    Parameters
    ----------
    measure : callable
        :func:`expected_error` or :func:`reliability`.
    levels, bins : Levels, Bins
    rng : numpy.random.Generator
        From :func:`medimg.evaluation.metrics.bootstrap.stream`.
    draws : int
    confidence : float
    """
    raw = float(measure(bins.weight, (bins.observed - bins.score)[None])[0])
    shape = _smooth(bins)
    noise = rng.standard_normal((draws, len(shape))) @ _clustering(levels, bins)

    def truth(factor: float) -> Floats:
        return np.clip(factor * shape, -bins.score, 1 - bins.score)

    def simulated(factor: float) -> Floats:
        assumed = truth(factor)
        variance = bins.spread + assumed * (1 - 2 * bins.score) - assumed**2
        return measure(bins.weight, assumed + noise * np.sqrt(np.maximum(variance, 0.0) / bins.n))

    chance = simulated(0.0)
    tail = (1 - confidence) / 2
    factors = [_solve(simulated, raw, level) for level in (1 - tail, 0.5, tail)]
    low, middle, high = (float(measure(bins.weight, truth(factor)[None])[0]) for factor in factors)
    return Inverted(middle, low, max(high, raw), raw, float(chance.mean()), float(np.quantile(chance, 0.95)))


def _smooth(bins: Bins) -> Floats:
    """Return the deviations (K,) averaged with their neighbours': true ones change slowly with the score."""
    ones = np.ones(min(3, len(bins.n)))
    return np.convolve(bins.positives - bins.n * bins.score, ones, "same") / np.convolve(bins.n, ones, "same")


def _solve(simulated: Callable[[float], Floats], observed: float, level: float) -> float:
    """Return the factor at which ``observed`` is the quantile ``level`` of the simulated values; at least 0."""
    if np.quantile(simulated(0.0), level) >= observed:
        return 0.0
    low, high = 0.0, 1.0
    while np.quantile(simulated(high), level) < observed and high < _FARTHEST:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if np.quantile(simulated(middle), level) < observed else (low, middle)
    return (low + high) / 2


def _clustering(levels: Levels, bins: Bins) -> Floats:
    """Return the factor (K, K) that gives independent noise the design effects of repeated patients."""
    k = len(bins.n)
    if not levels.clustered:
        return np.eye(k)
    bin_of_case = bins.of_level[levels.level]
    left = levels.truth - levels.score[levels.level] - (bins.observed - bins.score)[bin_of_case]
    sums = sparse.csr_matrix((left, (levels.patient, bin_of_case)), shape=(len(levels.codes), k))
    clustered = (sums.T @ sums).toarray()
    independent = np.bincount(bin_of_case, left**2, minlength=k)
    scale = 1 / np.sqrt(np.where(independent > 0, independent, np.inf))
    relative = clustered * scale[:, None] * scale
    known = independent > 0
    relative[~known, ~known] = float(np.diag(relative)[known].mean()) if known.any() else 1.0
    values, vectors = np.linalg.eigh(relative)
    return np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T


def error_influence(bins: Bins, levels: Levels, power: int) -> Linear:
    """Return the influences of the plug-in expected error (``power`` 1) or reliability (2)."""
    deviation, n = bins.observed - bins.score, bins.n.sum()
    value = float(bins.weight @ np.abs(deviation) ** power)
    pull = (np.sign(deviation) if power == 1 else 2 * deviation)[bins.of_level] / n
    constant = (value + (power - 1) * deviation[bins.of_level] ** 2) / n
    return Linear(value, pull * (1 - levels.score) - constant, -pull * levels.score - constant)
