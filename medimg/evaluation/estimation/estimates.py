"""Every metric of a protocol, estimated on the cases of one group with patients as the unit of sampling.

Failed cases count as the worst outcome where there is one: Dice 0, NSD 0, structure or lesions missed, wrong call,
score at the wrong end, worst grade; HD95 the image diagonal where the table gives it. Elsewhere (volume, false
marks, pixel curves, calibration) they cannot count, and the note says how many are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from medimg.evaluation.estimation.lesion_estimates import LESION_ESTIMATORS
from medimg.evaluation.estimation.measured import Measured, describe, patient_bootstrap, patient_sums, share, with_note
from medimg.evaluation.estimation.score_estimates import SCORE_ESTIMATORS, Estimator
from medimg.evaluation.metrics import ranking
from medimg.evaluation.metrics.agreement import agreement_limit
from medimg.evaluation.metrics.bootstrap import collapse
from medimg.evaluation.metrics.classification import confusion_counts, quadratic_kappa
from medimg.evaluation.metrics.intervals import (
    Estimate,
    Floats,
    Ints,
    clustered_mean,
    clustered_median,
    index_patients,
)
from medimg.evaluation.metrics.levels import Levels, Linear, pooled_estimate
from medimg.evaluation.protocol import EndpointRule, Protocol
from medimg.evaluation.selection import Rows, Selection


def measure(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    """Estimate one endpoint on one selection.

    Returns
    -------
    Measured
        Its estimate is undefined, with a reason, where the metric is.
    """
    return _ESTIMATORS[rule.metric](rule, selection, protocol)


def _accuracy(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    cases = selection.cases
    graded = len(cases.known("grade_true")) > 0
    true, predicted = ("grade_true", "grade_pred") if graded else ("truth", "predicted")
    rows = cases.known(true, predicted)
    return share(rows, rows[true] == rows[predicted], rows[true] > 0, protocol, "no case with a call")


def _grade_recall(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    rows = selection.cases.where(selection.cases["grade_true"] == rule.grade)
    positive = rows["grade_true"] == rule.grade
    return share(rows, rows["grade_pred"] == rule.grade, positive, protocol, f"no case of grade {rule.grade}")


def _grade_view(*, reached: bool) -> Estimator:
    """Return the estimator of P(predicted on the right side of a grade | truth at or above it; below it)."""

    def estimator(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
        grade = rule.grade or 0
        rows = selection.cases.known("grade_true", "grade_pred")
        rows = rows.where((rows["grade_true"] >= grade) == reached)
        right = (rows["grade_pred"] >= grade) == reached
        empty = f"no case of grade {grade} or above" if reached else f"no case below grade {grade}"
        return share(rows, right, rows["grade_true"] >= grade, protocol, empty)

    return estimator


def _kappa(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    cases = selection.cases
    rows = cases.known("grade_true", "grade_pred")
    positive = rows["grade_true"] > 0
    if not len(rows):
        return describe(Estimate.undefined("no graded case"), rows, positive)
    codes, patient = index_patients(rows["patient"])
    true, predicted = (rows[c].astype(np.int64) for c in ("grade_true", "grade_pred"))
    k = int(max(true.max(), predicted.max())) + 1
    kinds, kind = collapse(confusion_counts(true, predicted, patient, len(codes), k))
    estimate = patient_bootstrap(lambda w: quadratic_kappa(w @ kinds), codes, rule, protocol, kind=kind)
    return describe(estimate, rows, positive, len(cases) - len(rows))


def _mean_of(column: str, *, bounded: bool) -> Estimator:
    def estimator(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
        values = _column(selection.cases, column)
        rows, values = selection.cases.where(~np.isnan(values)), values[~np.isnan(values)]
        sums = patient_sums(values, rows["patient"])
        estimate = clustered_mean(*sums, protocol.confidence, bounded=bounded)
        return describe(estimate, rows, rows["truth_empty"] == 0, len(selection.cases) - len(rows))

    return estimator


def _median_of(column: str) -> Estimator:
    def estimator(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
        values = _column(selection.cases, column)
        rows, values = selection.cases.where(~np.isnan(values)), values[~np.isnan(values)]
        estimate = clustered_median(values, rows["patient"], protocol.confidence)
        return describe(estimate, rows, rows["truth_empty"] == 0, len(selection.cases) - len(rows))

    return estimator


def _volume_bias(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    found = _mean_of("volume_bias", bounded=False)(rule, selection, protocol)
    low, high = (_volume_limit(side)(rule, selection, protocol).estimate.value for side in (-1, 1))
    if low is None or high is None:
        return found
    text = f"{protocol.confidence:.0%} limits of agreement (Bland & Altman) {low:.4g} to {high:.4g}"
    return replace(found, estimate=with_note(found.estimate, text))


def _volume_limit(side: int) -> Estimator:
    """Return the estimator of the lower (-1) or upper (1) limit of agreement of predicted and true volume."""

    def estimator(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
        values = _column(selection.cases, "volume_bias")
        rows, values = selection.cases.where(~np.isnan(values)), values[~np.isnan(values)]
        estimate = agreement_limit(values, rows["patient"], side, protocol.confidence)
        return describe(estimate, rows, rows["truth_empty"] == 0, len(selection.cases) - len(rows))

    return estimator


def _column(cases: Rows, column: str) -> Floats:
    """Return a column in mm or ml, or in pixels where the table gives that."""
    if column == "hd95":
        return _first_known(cases["hd95_mm"], cases["hd95_px"])
    if column == "volume_bias":
        ml = cases["volume_pred_ml"] - cases["volume_true_ml"]
        return _first_known(ml, cases["area_pred_px"] - cases["area_true_px"])
    return np.asarray(cases[column], np.float64)


def _first_known(first: Floats, second: Floats) -> Floats:
    return np.where(np.isnan(first), second, first)


def _dice_below(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    rows = selection.cases.known("dice")
    return share(rows, rows["dice"] < rule.level, rows["truth_empty"] == 0, protocol, "no case to count")


def _missed(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    rows = selection.cases.known("pred_empty")
    rows = rows.where(rows["truth_empty"] == 0)
    return share(rows, rows["pred_empty"] == 1, rows["truth_empty"] == 0, protocol, "the structure never occurs")


def _pixels(curve: Callable[[Levels], Linear]) -> Estimator:
    def estimator(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
        if selection.positive is None or selection.negative is None:
            rows = selection.cases.where(np.zeros(len(selection.cases), bool))
            return describe(
                Estimate.undefined("no pixel scores were kept"), rows, rows["truth"] == 1, len(selection.cases)
            )
        there = ~np.isnan(selection.positive[:, 0])
        rows = selection.cases.where(there)
        codes, patient = index_patients(rows["patient"])
        positive, negative = (
            _group_rows(part[there], patient, len(codes)) for part in (selection.positive, selection.negative)
        )
        pooled = positive.sum(axis=0), negative.sum(axis=0)
        if pooled[0].any() and pooled[1].any():
            filled = (pooled[0] + pooled[1]) > 0
            statistic = curve(Levels.of_counts(np.arange(len(filled), dtype=np.float64), *pooled))
            estimate = pooled_estimate(statistic, positive[:, filled], negative[:, filled], codes, protocol.confidence)
        else:
            estimate = Estimate.undefined("no positive pixel" if pooled[1].any() else "no negative pixel")
        shows = selection.positive[there].sum(axis=1) > 0
        return describe(estimate, rows, shows, len(selection.cases) - len(rows))

    return estimator


def _group_rows(matrix: Floats, group: Ints, n_groups: int) -> Floats:
    summed = np.zeros((n_groups, matrix.shape[1]))
    np.add.at(summed, group, matrix)
    return summed


_ESTIMATORS: dict[str, Estimator] = {
    **SCORE_ESTIMATORS,
    **LESION_ESTIMATORS,
    "accuracy": _accuracy,
    "quadratic_kappa": _kappa,
    "grade_recall": _grade_recall,
    "grade_sensitivity": _grade_view(reached=True),
    "grade_specificity": _grade_view(reached=False),
    "dice_mean": _mean_of("dice", bounded=True),
    "dice_median": _median_of("dice"),
    "dice_below": _dice_below,
    "nsd_mean": _mean_of("nsd", bounded=True),
    "nsd_median": _median_of("nsd"),
    "hd95_mean": _mean_of("hd95", bounded=False),
    "hd95_median": _median_of("hd95"),
    "missed": _missed,
    "volume_bias": _volume_bias,
    "volume_limit_low": _volume_limit(-1),
    "volume_limit_high": _volume_limit(1),
    "pixel_auc": _pixels(ranking.area_influence),
    "pixel_aupr": _pixels(ranking.average_precision),
}
