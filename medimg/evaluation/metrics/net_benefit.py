"""Net benefit of acting on a score: decision curves (Vickers & Elkin 2006, Med Decis Making 26:565).

At the threshold probability t a false alarm weighs t / (1 - t) as much as a found case. A failed case counts as the
wrong call.
"""

from __future__ import annotations

import numpy as np

from medimg.evaluation.document_parts import DecisionCurve
from medimg.evaluation.estimation.protect import enough_of_both, published_digits
from medimg.evaluation.metrics.calibration import why_no_probabilities
from medimg.evaluation.metrics.intervals import Estimate, unseen_bounds
from medimg.evaluation.metrics.levels import Levels, Linear, linear_estimate, t_bounds
from medimg.evaluation.protocol import Protocol


def net_benefit(levels: Levels, threshold: float) -> Linear:
    """Return found cases minus weighted false alarms, per case, where scores from ``threshold`` up are acted on."""
    odds, n = threshold / (1 - threshold), levels.total.sum()
    called = levels.score >= threshold
    value = float((levels.positive[called].sum() - odds * levels.negative[called].sum()) / n)
    return Linear(value, (called - value) / n, (-odds * called - value) / n)


def net_benefit_of_all(levels: Levels, threshold: float) -> float:
    """Return the net benefit of acting on every case."""
    share = float(levels.positive.sum() / levels.total.sum())
    return share - (1 - share) * threshold / (1 - threshold)


def net_benefit_estimate(levels: Levels, threshold: float, confidence: float) -> Estimate:
    """Return the net benefit at one threshold with its interval; bounded also where nobody or everybody is called."""
    found = linear_estimate(levels, net_benefit(levels, threshold), confidence)
    if found.value is None or found.low is not None or levels.n_patients < 2:
        return found
    low, high = _unseen(levels, found.value, threshold, confidence)
    return Estimate(found.value, low, high, "bounds for values that do not vary", note="all patients agree")


def _unseen(levels: Levels, value: float, threshold: float, confidence: float) -> tuple[float, float]:
    """Return bounds where all patients agree: a share of them could still be found cases or false alarms."""
    seen, _ = unseen_bounds(1.0, levels.n_patients, confidence)
    return seen * value - (1 - seen) * threshold / (1 - threshold), seen * value + (1 - seen)


def decision_curve(target: str, axis: str, value: str, levels: Levels, protocol: Protocol) -> DecisionCurve | None:
    """Return the decision curve of one group over the declared thresholds.

    None where the scores are no probabilities, no threshold is declared, or the group holds too few positives or
    negatives to be published.
    """
    if not protocol.benefit_thresholds or not enough_of_both(levels, protocol):
        return None
    if why_no_probabilities(levels.finite()) is not None:
        return None
    digits = published_digits(protocol)
    rows = []
    for threshold in protocol.benefit_thresholds:
        found = net_benefit(levels, threshold)
        bounds = t_bounds(levels, found, protocol.confidence)
        rows.append((found.value, *(bounds or _unseen(levels, found.value, threshold, protocol.confidence))))
    values, lows, highs = (np.round(column, digits).tolist() for column in zip(*rows))
    return DecisionCurve(
        target=target,
        axis=axis,
        value=value,
        thresholds=list(protocol.benefit_thresholds),
        net_benefit=values,
        low=lows,
        high=highs,
        treat_all=[round(net_benefit_of_all(levels, t), digits) for t in protocol.benefit_thresholds],
        n_patients=levels.n_patients,
    )
