"""How well scores rank cases, beside the area under the ROC curve: average precision and the partial area.

Legend: T levels (distinct scores, rising).
"""

from __future__ import annotations

import numpy as np

from medimg.evaluation.metrics.intervals import Floats
from medimg.evaluation.metrics.levels import Levels, Linear


def average_precision(levels: Levels) -> Linear:
    """Return the area under the precision-recall curve, as average precision: not interpolated, ties together.

    Its value for a score that says nothing is the share of positives, so that groups of different prevalence cannot
    be compared by it alone. Needs a positive.
    """
    n = levels.positive.sum()
    above = np.cumsum(levels.total[::-1])[::-1]
    precision = np.cumsum(levels.positive[::-1])[::-1] / above
    value = float(levels.positive @ precision / n)
    gained = np.cumsum(levels.positive / above)
    lost = np.cumsum(levels.positive * precision / above)
    return Linear(value, (precision - value + gained - lost) / n, -lost / n)


def area_influence(levels: Levels) -> Linear:
    """Return the area under the ROC curve with its influences. Needs both classes."""
    area = whole_area(levels)
    n_positive, n_negative = levels.positive.sum(), levels.negative.sum()
    return Linear(area.value, (area.positive - area.value) / n_positive, (area.negative - area.value) / n_negative)


def whole_area(levels: Levels) -> Linear:
    """Return the area under the ROC curve; in place of influences, the placements of each level's cases.

    The same as :func:`medimg.evaluation.metrics.auc.placements`, from the counts of each level. Needs both classes.
    """
    n_positive, n_negative = levels.positive.sum(), levels.negative.sum()
    below = np.cumsum(levels.negative) - levels.negative / 2
    above = np.cumsum(levels.positive[::-1])[::-1] - levels.positive / 2
    # Halves of whole numbers sum up without rounding.
    area = float(levels.positive @ below / (n_positive * n_negative))
    return Linear(area, below / n_negative, above / n_positive)


def partial_area(levels: Levels, max_fpr: float) -> Linear:
    """Return the area under the ROC curve up to a false positive rate, standardised by McClish (1989).

    Medical Decision Making 9:190: 0.5 for a score that says nothing, 1 for a perfect one. Between the points of the
    curve it is linear. The influence is that of Dodd & Pepe 2003 (Biometrics 59:614). Needs both classes.
    """
    n_positive, n_negative = levels.positive.sum(), levels.negative.sum()
    upto = np.cumsum(levels.negative[::-1])[::-1] / n_negative
    before = upto - levels.negative / n_negative
    hits = np.cumsum(levels.positive[::-1])[::-1] / n_positive
    hits_before = hits - levels.positive / n_positive
    width = np.maximum(upto - before, 1e-300)
    part = np.clip((max_fpr - before) / width, 0.0, 1.0)
    inside, beyond = upto <= max_fpr, before >= max_fpr
    gained = np.where(inside, max_fpr - (before + upto) / 2, part * (max_fpr - before) / 2)
    gained[beyond] = 0.0
    area = float(levels.positive @ gained / n_positive)
    at_limit = _at(max_fpr, before, upto, hits_before, hits)
    middle = np.where(inside, (hits_before + hits) / 2, (hits_before + at_limit) / 2)
    share = np.where(inside, 1.0, part)
    share[beyond & ~inside] = 0.0
    lost = share * (middle - at_limit)
    raw = Linear(area, (gained - area) / n_positive, (lost - (area - max_fpr * at_limit)) / n_negative)
    lowest, highest = max_fpr**2 / 2, max_fpr
    factor = 1 / (2 * (highest - lowest))
    return raw.scaled(factor, 0.5 - factor * lowest)


def _at(rate: float, before: Floats, upto: Floats, hits_before: Floats, hits: Floats) -> float:
    """Return the sensitivity at a false positive rate; the upper end where the curve rises straight up there."""
    reached = np.flatnonzero(upto <= rate)
    best = float(hits[reached[0]]) if len(reached) else 0.0
    crossing = np.flatnonzero((before < rate) & (upto > rate))
    if not len(crossing):
        return best
    k = crossing[0]
    return float(hits_before[k] + (hits[k] - hits_before[k]) * (rate - before[k]) / (upto[k] - before[k]))
