"""Whether a curve of a group may be published, and how finely."""

from __future__ import annotations

import numpy as np

from medimg.evaluation.metrics.intervals import count_patients
from medimg.evaluation.metrics.levels import Levels
from medimg.evaluation.protocol import Protocol


def enough_of_both(levels: Levels, protocol: Protocol) -> bool:
    """Return whether a curve of scores may be drawn: patients of both classes, and not few of either.

    A curve of a few positives tells their scores.
    """
    least = protocol.suppress_below if protocol.suppress else 1
    if not len(levels.level):
        return min(levels.positive.sum(), levels.negative.sum()) >= least
    return min(count_patients(levels.patient[mask]) for mask in (levels.truth, ~levels.truth)) >= least


def published_digits(protocol: Protocol) -> int:
    """Return to how many decimals the points of curves are rounded."""
    return 3 if protocol.suppress else 6


def published_threshold(value: float | None, protocol: Protocol) -> float | None:
    """Return a score of one case as published: rounded, None where it is infinite."""
    if value is None or not np.isfinite(value):
        return None
    return round(float(value), published_digits(protocol))
