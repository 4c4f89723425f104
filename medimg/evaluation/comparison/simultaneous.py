"""Intervals at another confidence, made from an estimate's own interval, and those that hold for a whole axis.

Simultaneous intervals are Bonferroni's: of m groups, each at confidence 1 - (1 - confidence) / m. Nothing is measured
or drawn again: Wilson's interval is computed anew at its effective number and that of a mean from its influences, an
interval that is symmetric is widened by the ratio of Student's quantiles, and every other one is widened side by side
by the ratio of normal quantiles, on the logit scale where the number is a fraction (exact for logit intervals; the
bootstrap and order statistics are approximated by it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import special

from medimg.evaluation.comparison.cells import Cell
from medimg.evaluation.comparison.verdicts import is_small
from medimg.evaluation.endpoints import LOWEST, METRICS
from medimg.evaluation.metrics.intervals import SKEWNESS_CORRECTED, Estimate, mean_bounds, quantile, wilson
from medimg.evaluation.protocol import EndpointRule, Protocol

WORDS = (
    "Bonferroni over the groups of the axis: Wilson and means anew, logit intervals widened exactly, bootstrap "
    "and order-statistic intervals widened by normal quantiles (on the logit scale for fractions)"
)
"""How simultaneous intervals are made, for the report's reader."""

_SAME = 1e-9


def restated(
    estimate: Estimate, rule: EndpointRule, confidence: float, wanted: float
) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of an estimate at another confidence.

    Parameters
    ----------
    estimate : Estimate
        With its interval at ``confidence``.
    rule : EndpointRule
        Says whether the metric is a fraction.
    confidence, wanted : float
        Of two-sided intervals.

    Returns
    -------
    low, high : float
        None where the estimate has no interval.
    """
    value, low, high = estimate.value, estimate.low, estimate.high
    if value is None or low is None or high is None:
        return None, None
    effective = estimate.n_effective
    if effective and np.allclose(wilson(value * effective, effective, confidence), (low, high), rtol=0, atol=_SAME):
        again = wilson(value * effective, effective, wanted)
        return (0.0 if value == 0 else again[0]), (1.0 if value == 1 else again[1])
    fraction = METRICS[rule.metric].unit == "fraction"
    bottom = LOWEST.get(rule.metric, 0.0) if fraction else -np.inf
    top = 1.0 if fraction else np.inf
    if (estimate.method or "").endswith(SKEWNESS_CORRECTED):
        m = len(estimate.patients)
        bounds = mean_bounds(value, np.sqrt(m / (m - 1)) * estimate.influence, wanted)
        return float(max(bottom, bounds[0])), float(min(top, bounds[1]))
    symmetric = abs((high - value) - (value - low)) <= _SAME * max(1.0, abs(value))
    inside = -_SAME <= value <= 1 + _SAME
    if symmetric or not fraction or bottom != 0.0 or not inside:
        ratio = _t_ratio(len(estimate.patients), confidence, wanted)
        return float(max(bottom, value - ratio * (value - low))), float(min(top, value + ratio * (high - value)))
    return _fraction(value, low, high, confidence, wanted)


def _t_ratio(n_patients: int, confidence: float, wanted: float) -> float:
    if n_patients < 2:
        return quantile(wanted) / quantile(confidence)
    tails = special.stdtrit(n_patients - 1, 0.5 + np.array([wanted, confidence]) / 2)
    return float(tails[0] / tails[1])


def _fraction(value: float, low: float, high: float, confidence: float, wanted: float) -> tuple[float, float]:
    value, low, high = (min(1.0, max(0.0, number)) for number in (value, low, high))
    if min(value, 1 - value) <= _SAME:
        # A bound tail^(1/n) of n patients who all agree (Clopper-Pearson at n of n).
        power = np.log((1 - wanted) / 2) / np.log((1 - confidence) / 2)
        return (low**power, 1.0) if value > 0.5 else (0.0, float(1 - (1 - high) ** power))
    ratio = quantile(wanted) / quantile(confidence)
    centre = special.logit(value)
    below = float(special.expit(centre - ratio * (centre - special.logit(low)))) if low > 0 else 0.0
    above = float(special.expit(centre + ratio * (special.logit(high) - centre))) if high < 1 else 1.0
    return below, above


def bonferroni(confidence: float, m: int) -> float:
    """Return the confidence of each of ``m`` intervals that hold together.

    >>> round(bonferroni(0.95, 5), 12)
    0.99
    """
    return 1 - (1 - confidence) / max(1, m)


def simultaneous(cells: Sequence[Cell], protocol: Protocol) -> list[Cell]:
    """Return the cells with intervals that hold for all published groups of their axis together.

    The axis 'overall' holds one group and gets none.
    """
    members: dict[tuple[str, str], int] = {}
    for cell in cells:
        if _counts(cell, protocol):
            key = (cell.axis, cell.rule.id)
            members[key] = members.get(key, 0) + 1
    found = []
    for cell in cells:
        if cell.axis != "overall" and _counts(cell, protocol):
            wanted = bonferroni(protocol.confidence, members[cell.axis, cell.rule.id])
            low, high = restated(cell.measured.estimate, cell.rule, protocol.confidence, wanted)
            cell = replace(cell, simultaneous=None if low is None or high is None else (low, high))
        found.append(cell)
    return found


def _counts(cell: Cell, protocol: Protocol) -> bool:
    return cell.measured.estimate.low is not None and not is_small(cell.measured.n_patients, protocol)
