"""The calibration curve of one group: share of positives against score, in bins of equal mass."""

from __future__ import annotations

import numpy as np

from medimg.evaluation.document_parts import CalibrationCurve, CalibrationPoint
from medimg.evaluation.estimation.protect import enough_of_both, published_digits
from medimg.evaluation.metrics.calibration import why_no_probabilities
from medimg.evaluation.metrics.calibration_bins import BINS, Bins, equal_mass
from medimg.evaluation.metrics.intervals import clustered_rate, count_patients, index_patients, wilson
from medimg.evaluation.metrics.levels import Levels
from medimg.evaluation.protocol import Protocol


def calibration_curve(
    target: str, axis: str, value: str, levels: Levels, protocol: Protocol
) -> CalibrationCurve | None:
    """Return the calibration curve of one group, Wilson's interval at each point.

    Fewer than 15 bins where the protocol suppresses and a bin would hold too few patients. None where the scores are
    no probabilities, or the group holds too few positives or negatives to be published.
    """
    scored = levels.finite()
    if not enough_of_both(scored, protocol) or why_no_probabilities(scored) is not None:
        return None
    bins = _publishable(scored, protocol)
    n_failed = round(float(levels.total.sum() - scored.total.sum()))
    digits = published_digits(protocol)
    points = []
    for k in range(len(bins.n)):
        observed, low, high = _share(scored, bins, k, protocol.confidence)
        numbers = (round(float(number), digits) for number in (bins.score[k], observed, low, high))
        points.append(
            CalibrationPoint(**dict(zip(("score", "observed", "low", "high"), numbers)), n_cases=int(bins.n[k]))
        )
    return CalibrationCurve(
        target=target,
        axis=axis,
        value=value,
        points=points,
        n_patients=scored.n_patients,
        note=f"{len(bins.n)} bins of equal mass" + ("; failed cases are left out" if n_failed else ""),
    )


def _publishable(levels: Levels, protocol: Protocol) -> Bins:
    least = protocol.suppress_below if protocol.suppress else 1
    for wanted in range(min(BINS, max(1, levels.n_patients // least)), 1, -1):
        bins = equal_mass(levels, wanted)
        if _fewest_patients(levels, bins) >= least:
            return bins
    return equal_mass(levels, 1)


def _fewest_patients(levels: Levels, bins: Bins) -> int:
    if not levels.clustered:
        return int(bins.n.min())
    bin_of_case = bins.of_level[levels.level]
    return min(count_patients(levels.patient[bin_of_case == k]) for k in range(len(bins.n)))


def _share(levels: Levels, bins: Bins, k: int, confidence: float) -> tuple[float, float, float]:
    if not levels.clustered:
        return float(bins.observed[k]), *wilson(bins.positives[k], bins.n[k], confidence)
    inside = bins.of_level[levels.level] == k
    codes, inverse = index_patients(levels.patient[inside])
    positives, totals = (
        np.bincount(inverse, part).astype(np.float64) for part in (levels.truth[inside], np.ones(len(inverse)))
    )
    found = clustered_rate(positives, totals, codes, confidence)
    return float(bins.observed[k]), float(found.low or 0.0), float(1.0 if found.high is None else found.high)
