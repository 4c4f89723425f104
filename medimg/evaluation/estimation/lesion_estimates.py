"""Metrics of lesions and marks, estimated on one group; patients carry their lesions and marks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from medimg.evaluation.estimation.measured import Measured, describe, patient_bootstrap, patient_sums, with_note
from medimg.evaluation.metrics import froc
from medimg.evaluation.metrics.intervals import Estimate, Floats, Ints, clustered_mean, clustered_rate, index_patients
from medimg.evaluation.protocol import EndpointRule, Protocol
from medimg.evaluation.selection import Rows, Selection

Estimator = Callable[[EndpointRule, Selection, Protocol], Measured]


def lesion_sensitivity(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    """Estimate the share of lesions that were hit at the threshold."""
    rows = selection.cases.known("n_hit")
    rows = rows.where(rows["n_lesions"] > 0)
    if not len(rows):
        return _counted(Estimate.undefined("no lesion"), rows)
    patients = rows["patient"]
    hits, _, codes = patient_sums(rows["n_hit"], patients)
    lesions, _, _ = patient_sums(rows["n_lesions"], patients)
    return _counted(clustered_rate(hits, lesions, codes, protocol.confidence), rows)


def lesion_sensitivity_of_size(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    """Estimate the share of lesions of one declared size band that were hit at the threshold.

    ``rule.level`` is the band's lower end; the next greater one of ``protocol.lesion_sizes`` is its upper end.
    """
    lower = rule.level or 0.0
    upper = min((size for size in protocol.lesion_sizes if size > lower), default=np.inf)
    rows = selection.lesions.known("size", "hit")
    rows = rows.where((rows["size"] >= lower) & (rows["size"] < upper))
    found = rows["hit"] == 1
    if not len(rows):
        sized = len(selection.lesions.known("size"))
        reason = "no lesion of this size" if sized else "the lesion table holds no sizes"
        return describe(Estimate.undefined(reason), rows, found)
    hits, lesions, codes = patient_sums(found.astype(np.float64), rows["patient"])
    band = f"sizes from {lower:g}" + (f" to below {upper:g}" if np.isfinite(upper) else " up")
    estimate = with_note(clustered_rate(hits, lesions, codes, protocol.confidence), band)
    return describe(estimate, rows, np.ones(len(rows), bool))


def _counted(estimate: Estimate, rows: Rows, left_out: int = 0) -> Measured:
    """Describe a lesion metric: positives are lesions, negatives images without one."""
    counted = describe(estimate, rows, rows["n_lesions"] > 0, left_out)
    lesions, without = int(rows["n_lesions"].sum()), int((rows["n_lesions"] == 0).sum())
    return replace(counted, n_positives=lesions, n_negatives=without)


def false_marks(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    """Estimate the false marks per image at the threshold."""
    rows = selection.cases.known("n_false_positives")
    sums = patient_sums(rows["n_false_positives"], rows["patient"])
    estimate = clustered_mean(*sums, protocol.confidence, bounded=False)
    if estimate.value == 0 and estimate.low is None:
        # Rule of three for a count that never occurred, with patients as the unit.
        upper = float(-np.log((1 - protocol.confidence) / 2) / len(sums[2]))
        estimate = replace(estimate, low=0.0, high=upper, method="Poisson, none seen", reason=None)
    elif estimate.low is not None and estimate.low < 0:
        estimate = replace(estimate, low=0.0)
    return _counted(estimate, rows, len(selection.cases) - len(rows))


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


def free_response(curve: Callable[[froc.Marks, Floats, EndpointRule, Protocol], Floats]) -> Estimator:
    """Return the estimator of a summary of the free-response curve."""

    def estimator(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
        if not selection.cases["n_lesions"].sum():
            return _counted(Estimate.undefined("no lesion"), selection.cases)
        marks, codes = marks_of(selection)
        estimate = patient_bootstrap(lambda w: curve(marks, w, rule, protocol), codes, rule, protocol)
        return _counted(estimate, selection.cases)

    return estimator


LESION_ESTIMATORS: dict[str, Estimator] = {
    "lesion_sensitivity": lesion_sensitivity,
    "lesion_sensitivity_of_size": lesion_sensitivity_of_size,
    "false_positives_per_image": false_marks,
    "froc_sensitivity": free_response(lambda m, w, rule, _: froc.sensitivity_at(m, w, [rule.rate or 1.0])[:, 0]),
    "cpm": free_response(lambda m, w, _, p: froc.sensitivity_at(m, w, p.froc_rates).mean(axis=1)),
    "average_precision": free_response(lambda m, w, _, p: froc.average_precision(m, w)),
}
