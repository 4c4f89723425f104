"""What one threshold for everyone does in a group, and the threshold that the group itself would have needed.

It tells apart the two causes of a gap in sensitivity: scores that rank this group's cases less well (the area under
the ROC curve shows that), and scores that rank them well, but lie lower or higher than elsewhere.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from medimg.evaluation.document_parts import ThresholdShift
from medimg.evaluation.estimation.protect import published_threshold
from medimg.evaluation.metrics.intervals import Floats, Ints, clustered_rate, count_patients, index_patients, wilson
from medimg.evaluation.protocol import FrozenProtocol
from medimg.evaluation.selection import Selection

_TOO_FEW = "too few patients with a positive or with a negative case to be published"


def needed_threshold(
    score: Floats, patients: Ints, sensitivity: float, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return the highest threshold that finds at least a share of the positives, with an order-statistic interval.

    Parameters
    ----------
    score : (n,) float64
        Of the positive cases; -inf where a case failed.
    patients : (n,) int64
        Patient code of each case.
    sensitivity : float
        The share, in (0, 1].
    confidence : float

    Returns
    -------
    value, low, high : float
        -inf and inf where no order statistic bounds it. One case a patient: binomial ranks. Repeated patients:
        Woodruff's interval (1952), ranks at the effective number of cases.
    """
    n = len(score)
    rising = np.sort(score)
    below = 1 - sensitivity
    # The share is reached from the k-th score up; rounding of 1 - sensitivity must not move k.
    rank = min(n - 1, int(np.floor(n * below + 1e-9)))
    value = float(rising[rank])
    padded = np.concatenate([[-np.inf], rising, [np.inf]])
    codes, inverse = index_patients(patients)
    if len(codes) == n:
        tail = (1 - confidence) / 2
        low = int(stats.binom.ppf(tail, n, below))
        high = int(stats.binom.ppf(1 - tail, n, below)) + 1
        if stats.binom.cdf(low, n, below) > tail:
            low -= 1
    else:
        under, totals = (np.bincount(inverse, part).astype(np.float64) for part in (score < value, np.ones(n)))
        share = clustered_rate(under, totals, codes)
        effective = share.n_effective or 1.0
        bounds = wilson(below * effective, effective, confidence)
        low, high = int(np.floor(n * bounds[0])) - 1, int(np.ceil(n * bounds[1]))
    return value, float(padded[max(0, low + 1)]), float(padded[min(n + 1, high)])


def sensitivity_aim(protocol: FrozenProtocol, everyone: Selection) -> float | None:
    """Return the sensitivity that groups are asked for: the protocol's, or the one reached by everyone together."""
    declared = protocol.declared
    if declared.threshold_rule == "sensitivity":
        return 0.9 if declared.threshold_target is None else declared.threshold_target
    rows = everyone.cases.known("truth", "predicted")
    found = rows["predicted"][rows["truth"] == 1] == 1
    return float(found.mean()) if len(found) and found.any() else None


def threshold_shift(
    target: str, axis: str, value: str, selection: Selection, protocol: FrozenProtocol, aim: float | None
) -> ThresholdShift | None:
    """Return the threshold shift of one group; None where the target has no threshold, or nobody could be found."""
    threshold, declared = protocol.thresholds.get(target), protocol.declared
    if threshold is None or aim is None:
        return None
    rows = selection.cases.known("truth", "score", "predicted")
    truth = rows["truth"] == 1
    least = declared.suppress_below if declared.suppress else 1
    counts = [count_patients(rows["patient"][mask]) for mask in (truth, ~truth)]
    needed: tuple[float | None, ...] = (None, None, None)
    sensitivity = false_positive_rate = reason = None
    if min(counts) < least:
        reason = _TOO_FEW if max(counts) else "no case with a call"
    else:
        called = rows["predicted"] == 1
        sensitivity, false_positive_rate = float(called[truth].mean()), float(called[~truth].mean())
        needed = needed_threshold(rows["score"][truth], rows["patient"][truth], aim, declared.confidence)
        if not np.isfinite(needed[0] or 0.0):
            reason = "out of reach: too many cases failed"
    shown = [published_threshold(number, declared) for number in needed]
    return ThresholdShift(
        target=target,
        axis=axis,
        value=value,
        threshold=threshold,
        aim=aim,
        sensitivity=sensitivity,
        false_positive_rate=false_positive_rate,
        needed=shown[0],
        needed_low=shown[1],
        needed_high=shown[2],
        reason=reason,
    )
