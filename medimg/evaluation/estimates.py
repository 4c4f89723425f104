"""Every metric of a protocol, estimated on the cases of one group with patients as the unit of sampling.

Failed cases count as the worst outcome where there is one: Dice 0, NSD 0, structure or lesions missed, wrong call,
score at the wrong end, worst grade; HD95 the image diagonal where the table gives it. Elsewhere (volume, false
marks, pixel curves) they cannot count, and the note says how many are left out.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medimg.evaluation import froc, pixel_scores
from medimg.evaluation.auc import auc_estimate
from medimg.evaluation.bootstrap import Statistic, bootstrap_estimate, collapse, stream
from medimg.evaluation.classification import confusion_counts, quadratic_kappa
from medimg.evaluation.intervals import (
    Estimate,
    Floats,
    Ints,
    clustered_mean,
    clustered_median,
    clustered_rate,
    count_patients,
    index_patients,
)
from medimg.evaluation.protocol import EndpointRule, Protocol
from medimg.evaluation.selection import Rows, Selection


@dataclass(frozen=True)
class Measured:
    """An estimate with what it rests on. ``patients_positive`` and ``patients_negative`` decide sufficiency."""

    estimate: Estimate
    n_cases: int
    n_patients: int
    n_positives: int | None
    n_negatives: int | None
    n_failed: int
    patients_positive: int = 0
    patients_negative: int = 0


def measure(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    """Estimate one endpoint on one selection.

    Returns
    -------
    Measured
        Its estimate is undefined, with a reason, where the metric is.
    """
    return _ESTIMATORS[rule.metric](rule, selection, protocol)


def _sums(values: NDArray[np.float64], patients: Ints) -> tuple[Floats, Floats, Ints]:
    """Return sum and count per patient, and the patient codes."""
    codes, inverse = index_patients(patients)
    counts = np.bincount(inverse).astype(np.float64)
    sums = np.bincount(inverse, values, minlength=len(codes)).astype(np.float64)
    return sums, counts, codes


def _describe(estimate: Estimate, rows: Rows, positive: NDArray[np.bool_], left_out: int = 0) -> Measured:
    """Count what an estimate rests on: ``rows`` are its cases, ``positive`` marks the positive ones."""
    if left_out:
        text = f"{left_out} cases left out: failed, or without the value"
        note = text if estimate.note is None else f"{estimate.note}; {text}"
        estimate = replace(estimate, note=note)
    patients = rows["patient"]
    return Measured(
        estimate,
        n_cases=len(rows),
        n_patients=count_patients(patients),
        n_positives=int(positive.sum()),
        n_negatives=int((~positive).sum()),
        n_failed=int(rows["failed"].sum()),
        patients_positive=count_patients(patients[positive]),
        patients_negative=count_patients(patients[~positive]),
    )


def _auc(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    rows = selection.cases.known("truth", "score")
    positive = rows["truth"] == 1
    estimate = auc_estimate(positive, rows["score"], rows["patient"], protocol.confidence)
    return _describe(estimate, rows, positive, len(selection.cases) - len(rows))


def _share(
    rows: Rows, success: NDArray[np.bool_], positive: NDArray[np.bool_], protocol: Protocol, empty: str
) -> Measured:
    if not len(rows):
        return _describe(Estimate.undefined(empty), rows, positive)
    sums, counts, codes = _sums(success.astype(np.float64), rows["patient"])
    return _describe(clustered_rate(sums, counts, codes, protocol.confidence), rows, positive)


def _call_rate(condition: str, value: int, empty: str) -> Callable[..., Measured]:
    """Return the estimator of P(call is right | truth or call has ``value``)."""

    def estimator(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
        called = selection.cases.known("predicted", "truth")
        rows = called.where(called[condition] == value)
        uncalled = len(selection.cases) and not len(called)
        missing = "no threshold was frozen for this target" if uncalled else empty
        return _share(rows, rows["truth"] == rows["predicted"], rows["truth"] == 1, protocol, missing)

    return estimator


def _accuracy(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    cases = selection.cases
    graded = len(cases.known("grade_true")) > 0
    true, predicted = ("grade_true", "grade_pred") if graded else ("truth", "predicted")
    rows = cases.known(true, predicted)
    return _share(rows, rows[true] == rows[predicted], rows[true] > 0, protocol, "no case with a call")


def _grade_recall(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    rows = selection.cases.where(selection.cases["grade_true"] == rule.grade)
    positive = rows["grade_true"] == rule.grade
    return _share(rows, rows["grade_pred"] == rule.grade, positive, protocol, f"no case of grade {rule.grade}")


def _kappa(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    cases = selection.cases
    rows = cases.known("grade_true", "grade_pred")
    positive = rows["grade_true"] > 0
    if not len(rows):
        return _describe(Estimate.undefined("no graded case"), rows, positive)
    codes, patient = index_patients(rows["patient"])
    true, predicted = (rows[c].astype(np.int64) for c in ("grade_true", "grade_pred"))
    k = int(max(true.max(), predicted.max())) + 1
    kinds, kind = collapse(confusion_counts(true, predicted, patient, len(codes), k))
    estimate = _bootstrap(lambda w: quadratic_kappa(w @ kinds), codes, rule, protocol, kind=kind)
    return _describe(estimate, rows, positive, len(cases) - len(rows))


def _bootstrap(
    statistic: Statistic, codes: Ints, rule: EndpointRule, protocol: Protocol, *, kind: Ints | None = None
) -> Estimate:
    # The stream hangs on who the patients are, not on what their group is called.
    name = f"{rule.id}|{zlib.crc32(codes.tobytes())}"
    return bootstrap_estimate(
        statistic,
        codes,
        replicates=protocol.replicates,
        rng=stream(protocol.seed, name),
        confidence=protocol.confidence,
        kind=kind,
    )


def _mean_of(column: str, *, bounded: bool) -> Callable[..., Measured]:
    def estimator(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
        values = _column(selection.cases, column)
        rows, values = selection.cases.where(~np.isnan(values)), values[~np.isnan(values)]
        sums = _sums(values, rows["patient"])
        estimate = clustered_mean(*sums, protocol.confidence, bounded=bounded)
        return _describe(estimate, rows, rows["truth_empty"] == 0, len(selection.cases) - len(rows))

    return estimator


def _median_of(column: str) -> Callable[..., Measured]:
    def estimator(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
        values = _column(selection.cases, column)
        rows, values = selection.cases.where(~np.isnan(values)), values[~np.isnan(values)]
        estimate = clustered_median(values, rows["patient"], protocol.confidence)
        return _describe(estimate, rows, rows["truth_empty"] == 0, len(selection.cases) - len(rows))

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
    return _share(rows, rows["dice"] < rule.level, rows["truth_empty"] == 0, protocol, "no case to count")


def _missed(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    rows = selection.cases.where(selection.cases["truth_empty"] == 0)
    return _share(rows, rows["pred_empty"] == 1, rows["truth_empty"] == 0, protocol, "the structure never occurs")


def _pixels(curve: Callable[[Floats, Floats], Floats]) -> Callable[..., Measured]:
    def estimator(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
        if selection.positive is None or selection.negative is None:
            rows = selection.cases.where(np.zeros(len(selection.cases), bool))
            return _describe(
                Estimate.undefined("no pixel scores were kept"), rows, rows["truth"] == 1, len(selection.cases)
            )
        there = ~np.isnan(selection.positive[:, 0])
        rows = selection.cases.where(there)
        codes, patient = index_patients(rows["patient"])
        positive, negative = (
            _group_rows(part[there], patient, len(codes)) for part in (selection.positive, selection.negative)
        )
        if positive.any() and negative.any():
            estimate = _bootstrap(lambda w: curve(w @ positive, w @ negative), codes, rule, protocol)
        else:
            estimate = Estimate.undefined("no positive pixel" if negative.any() else "no negative pixel")
        shows = selection.positive[there].sum(axis=1) > 0
        return _describe(estimate, rows, shows, len(selection.cases) - len(rows))

    return estimator


def _group_rows(matrix: Floats, group: Ints, n_groups: int) -> Floats:
    summed = np.zeros((n_groups, matrix.shape[1]))
    np.add.at(summed, group, matrix)
    return summed


def _lesion_sensitivity(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    rows = selection.cases.known("n_hit")
    rows = rows.where(rows["n_lesions"] > 0)
    if not len(rows):
        return _lesion_counts(Estimate.undefined("no lesion"), rows)
    patients = rows["patient"]
    hits, _, codes = _sums(rows["n_hit"], patients)
    lesions, _, _ = _sums(rows["n_lesions"], patients)
    return _lesion_counts(clustered_rate(hits, lesions, codes, protocol.confidence), rows)


def _lesion_counts(estimate: Estimate, rows: Rows, left_out: int = 0) -> Measured:
    """Describe a lesion metric: positives are lesions, negatives images without one."""
    counted = _describe(estimate, rows, rows["n_lesions"] > 0, left_out)
    lesions, without = int(rows["n_lesions"].sum()), int((rows["n_lesions"] == 0).sum())
    return replace(counted, n_positives=lesions, n_negatives=without)


def _false_marks(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    rows = selection.cases.known("n_false_positives")
    sums = _sums(rows["n_false_positives"], rows["patient"])
    estimate = clustered_mean(*sums, protocol.confidence, bounded=False)
    if estimate.value == 0 and estimate.low is None:
        # Rule of three for a count that never occurred, with patients as the unit.
        upper = float(-np.log((1 - protocol.confidence) / 2) / len(sums[2]))
        estimate = replace(estimate, low=0.0, high=upper, method="Poisson, none seen", reason=None)
    elif estimate.low is not None and estimate.low < 0:
        estimate = replace(estimate, low=0.0)
    return _lesion_counts(estimate, rows, len(selection.cases) - len(rows))


def marks_of(selection: Selection) -> tuple[froc.Marks, Ints]:
    """Return the marks of a selection for the free-response curve, and the patient codes."""
    cases = selection.cases
    codes, patient = index_patients(cases["patient"])
    lesions = np.bincount(patient, cases["n_lesions"], minlength=len(codes)).astype(np.float64)
    images = np.bincount(patient, minlength=len(codes)).astype(np.float64)
    table = selection.marks
    marks = froc.Marks.of(
        table["score"],
        table["matched"] == 1,
        np.searchsorted(codes, table["patient"]),
        lesions,
        images,
    )
    return marks, codes


def _free_response(
    curve: Callable[[froc.Marks, Floats, EndpointRule, Protocol], Floats],
) -> Callable[..., Measured]:
    def estimator(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
        if not selection.cases["n_lesions"].sum():
            return _lesion_counts(Estimate.undefined("no lesion"), selection.cases)
        marks, codes = marks_of(selection)
        estimate = _bootstrap(lambda w: curve(marks, w, rule, protocol), codes, rule, protocol)
        return _lesion_counts(estimate, selection.cases)

    return estimator


_ESTIMATORS: dict[str, Callable[[EndpointRule, Selection, Protocol], Measured]] = {
    "auc": _auc,
    "sensitivity": _call_rate("truth", 1, "no positive case"),
    "specificity": _call_rate("truth", 0, "no negative case"),
    "ppv": _call_rate("predicted", 1, "no case was called positive"),
    "npv": _call_rate("predicted", 0, "no case was called negative"),
    "accuracy": _accuracy,
    "quadratic_kappa": _kappa,
    "grade_recall": _grade_recall,
    "dice_mean": _mean_of("dice", bounded=True),
    "dice_median": _median_of("dice"),
    "dice_below": _dice_below,
    "nsd_mean": _mean_of("nsd", bounded=True),
    "nsd_median": _median_of("nsd"),
    "hd95_mean": _mean_of("hd95", bounded=False),
    "hd95_median": _median_of("hd95"),
    "missed": _missed,
    "volume_bias": _mean_of("volume_bias", bounded=False),
    "pixel_auc": _pixels(pixel_scores.pooled_auc),
    "pixel_aupr": _pixels(pixel_scores.pooled_average_precision),
    "lesion_sensitivity": _lesion_sensitivity,
    "false_positives_per_image": _false_marks,
    "froc_sensitivity": _free_response(lambda m, w, rule, _: froc.sensitivity_at(m, w, [rule.rate or 1.0])[:, 0]),
    "cpm": _free_response(lambda m, w, _, p: froc.sensitivity_at(m, w, p.froc_rates).mean(axis=1)),
    "average_precision": _free_response(lambda m, w, _, p: froc.average_precision(m, w)),
}
