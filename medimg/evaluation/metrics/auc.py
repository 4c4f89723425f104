"""Area under the ROC curve with patient clusters: placements in O(n log n), Obuchowski's variance, logit interval.

With one case a patient, Obuchowski's variance is DeLong's. Where patients repeat, the interval takes Student's quantile
with the patients of the smaller class as the units: with the normal one it covers 91 to 94 % at 12 to 30 patients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from medimg.evaluation.metrics.intervals import (
    Estimate,
    Floats,
    Found,
    Ints,
    clopper_pearson,
    count_patients,
    index_patients,
    one_case_each,
    quantile,
)


def placements(truth: NDArray[np.bool_], score: Floats) -> tuple[float, Floats]:
    """Return the area and the placement of every case among the cases of the other class.

    Midranks as in Sun & Xu 2014 (IEEE Signal Processing Letters 21:1389).

    Parameters
    ----------
    truth : (n,) bool
    score : (n,) float64
        Higher means more positive; ties count half.

    Returns
    -------
    area : float
    placement : (n,) float64
        Of a positive: the share of negatives it outranks; of a negative: the share of positives that outrank it.
    """
    n_positive = int(truth.sum())
    n_negative = len(truth) - n_positive
    overall = stats.rankdata(score)
    placement = np.empty(len(truth))
    placement[truth] = (overall[truth] - stats.rankdata(score[truth])) / n_negative
    placement[~truth] = 1 - (overall[~truth] - stats.rankdata(score[~truth])) / n_positive
    return float(placement[truth].mean()), placement


def auc_variance(
    truth: NDArray[np.bool_], placement: Floats, area: float, patients: Ints
) -> tuple[float, Ints, Floats]:
    """Return Obuchowski's variance (1997, Biometrics 53:567), the patient codes and their influences.

    Raises no error; the variance is NaN with fewer than two patients of either class.
    """
    codes, inverse = index_patients(patients)
    centred = placement - area
    n_positive, n_negative = int(truth.sum()), int((~truth).sum())
    positive = np.bincount(inverse[truth], centred[truth], minlength=len(codes)) / n_positive
    negative = np.bincount(inverse[~truth], centred[~truth], minlength=len(codes)) / n_negative
    m_positive, m_negative, m = count_patients(inverse[truth]), count_patients(inverse[~truth]), len(codes)
    if min(m_positive, m_negative) < 2:
        return float("nan"), codes, positive + negative
    variance = (
        m_positive / (m_positive - 1) * np.sum(positive**2)
        + m_negative / (m_negative - 1) * np.sum(negative**2)
        + 2 * m / (m - 1) * np.sum(positive * negative)
    )
    return float(variance), codes, positive + negative


def auc_estimate(
    truth: NDArray[np.bool_],
    score: Floats,
    patients: Ints,
    confidence: float = 0.95,
    *,
    logit: bool = True,
    placed: tuple[float, Floats] | None = None,
) -> Estimate:
    """Return the area under the ROC curve with its interval.

    Parameters
    ----------
    truth : (n,) bool
    score : (n,) float64
    patients : (n,) int64
        Patient code of each case.
    confidence : float
    logit : bool
        Interval on the logit scale, which holds its coverage in small groups; False gives DeLong's own.
    placed : (float, (n,) float64), optional
        What :func:`placements` returns, where it is known.

    Returns
    -------
    Estimate
        Undefined without both classes. At perfect separation the variance is 0 whatever the truth, so the bound
        is Clopper-Pearson's at n of n patients of the smaller class, and a note says so.
    """
    if not truth.any() or truth.all():
        return Estimate.undefined("no positive case" if not truth.any() else "no negative case")
    area, placement = placements(truth, score) if placed is None else placed
    variance, codes, influence = auc_variance(truth, placement, area, patients)
    found: Found = {"patients": codes, "influence": influence}
    if area in (0.0, 1.0):
        smaller = min(count_patients(patients[truth]), count_patients(patients[~truth]))
        low, high = clopper_pearson(area * smaller, smaller, confidence)
        return Estimate(area, low, high, "Clopper-Pearson on the smaller class", note="perfect separation", **found)
    if np.isnan(variance):
        return Estimate(area, None, None, None, "fewer than two patients of a class", **found)
    if variance <= 1e-15:
        return Estimate(area, None, None, None, "the score does not vary within the classes", **found)
    error = float(np.sqrt(variance))
    base = "Obuchowski (patient clusters)" if len(codes) < len(truth) else "DeLong"
    z = _quantile(truth, score, patients, confidence)
    if not logit:
        return Estimate(area, area - z * error, area + z * error, f"{base}, Wald", **found)
    centre, half = np.log(area / (1 - area)), z * error / (area * (1 - area))
    low, high = (float(1 / (1 + np.exp(-bound))) for bound in (centre - half, centre + half))
    return Estimate(area, low, high, f"{base}, logit", **found)


def _quantile(truth: NDArray[np.bool_], score: Floats, patients: Ints, confidence: float) -> float:
    """Return DeLong's normal quantile, or Student's where patients repeat.

    Patients who repeat are the fewer for it: the degrees of freedom are those of the class with fewer patients.
    """
    if one_case_each(index_patients(patients)[1], truth, score):
        return quantile(confidence)
    fewer = min(count_patients(patients[truth]), count_patients(patients[~truth]))
    return float(special.stdtrit(fewer - 1, 0.5 + confidence / 2))


def roc_points(truth: NDArray[np.bool_], score: Floats) -> NDArray[np.float64]:
    """Return the ROC curve as (k, 2): 1 - specificity, sensitivity; one point a distinct score, from (0, 0)."""
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    last_of_tie = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    hits = np.cumsum(truth[order])[last_of_tie] / max(1, truth.sum())
    alarms = np.cumsum(~truth[order])[last_of_tie] / max(1, (~truth).sum())
    return np.vstack([[0.0, 0.0], np.column_stack([alarms, hits])])
