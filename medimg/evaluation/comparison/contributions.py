"""What each case adds to a rate or a mean: its numerator and its denominator.

Metrics that are a sum over cases divided by another can be weighted case by case; the others cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg.evaluation.metrics.intervals import Floats
from medimg.evaluation.protocol import EndpointRule
from medimg.evaluation.selection import Rows

Added = tuple[Rows, Floats, Floats]
"""The cases that enter, (n,), and their numerators and denominators, (n,) each; denominators are above 0."""


@dataclass(frozen=True)
class Sum:
    """How a metric is summed up.

    Attributes
    ----------
    of : callable
        From an endpoint and the rows of its target to what they add.
    rate : bool
        Numerators count successes among denominators.
    highest : float
        Upper end of the metric's range; the lower end is 0.
    """

    of: Callable[[EndpointRule, Rows], Added]
    rate: bool = True
    highest: float = 1.0


def _share(rows: Rows, success: NDArray[np.bool_]) -> Added:
    return rows, success.astype(np.float64), np.ones(len(rows))


def _calls(truth: int, called: int) -> Callable[[EndpointRule, Rows], Added]:
    def of(rule: EndpointRule, cases: Rows) -> Added:
        rows = cases.known("predicted", "truth")
        rows = rows.where(rows["truth"] == truth)
        return _share(rows, rows["predicted"] == called)

    return of


def _accuracy(rule: EndpointRule, cases: Rows) -> Added:
    graded = len(cases.known("grade_true")) > 0
    true, predicted = ("grade_true", "grade_pred") if graded else ("truth", "predicted")
    rows = cases.known(true, predicted)
    return _share(rows, rows[true] == rows[predicted])


def _grade_recall(rule: EndpointRule, cases: Rows) -> Added:
    rows = cases.where(cases["grade_true"] == rule.grade)
    return _share(rows, rows["grade_pred"] == rule.grade)


def _grade_view(*, reached: bool) -> Callable[[EndpointRule, Rows], Added]:
    def of(rule: EndpointRule, cases: Rows) -> Added:
        grade = rule.grade or 0
        rows = cases.known("grade_true", "grade_pred")
        rows = rows.where((rows["grade_true"] >= grade) == reached)
        return _share(rows, (rows["grade_pred"] >= grade) == reached)

    return of


def _brier(rule: EndpointRule, cases: Rows) -> Added:
    rows = cases.known("truth", "score")
    # The score of a failed case is infinitely wrong: as wrong as a probability can be.
    distance = np.clip(rows["score"], 0.0, 1.0) - rows["truth"]
    return rows, distance**2, np.ones(len(rows))


def _dice_below(rule: EndpointRule, cases: Rows) -> Added:
    rows = cases.known("dice")
    return _share(rows, rows["dice"] < rule.level)


def _missed(rule: EndpointRule, cases: Rows) -> Added:
    rows = cases.where(cases["truth_empty"] == 0)
    return _share(rows, rows["pred_empty"] == 1)


def _mean(column: str) -> Callable[[EndpointRule, Rows], Added]:
    def of(rule: EndpointRule, cases: Rows) -> Added:
        rows = cases.known(column)
        return rows, rows[column].astype(np.float64), np.ones(len(rows))

    return of


def _hd95_mean(rule: EndpointRule, cases: Rows) -> Added:
    # A target is in mm or in pixels, never in both.
    column = "hd95_mm" if len(cases.known("hd95_mm")) else "hd95_px"
    return _mean(column)(rule, cases)


def _lesion_sensitivity(rule: EndpointRule, cases: Rows) -> Added:
    rows = cases.known("n_hit")
    rows = rows.where(rows["n_lesions"] > 0)
    return rows, rows["n_hit"], rows["n_lesions"]


SUMS: dict[str, Sum] = {
    "sensitivity": Sum(_calls(1, 1)),
    "specificity": Sum(_calls(0, 0)),
    "underdiagnosis": Sum(_calls(1, 0)),
    "accuracy": Sum(_accuracy),
    "grade_recall": Sum(_grade_recall),
    "grade_sensitivity": Sum(_grade_view(reached=True)),
    "grade_specificity": Sum(_grade_view(reached=False)),
    "brier": Sum(_brier, rate=False),
    "dice_mean": Sum(_mean("dice"), rate=False),
    "nsd_mean": Sum(_mean("nsd"), rate=False),
    "hd95_mean": Sum(_hd95_mean, rate=False, highest=np.inf),
    "dice_below": Sum(_dice_below),
    "missed": Sum(_missed),
    "lesion_sensitivity": Sum(_lesion_sensitivity),
    "false_positives_per_image": Sum(_mean("n_false_positives"), rate=False, highest=np.inf),
}
"""The metrics that are a sum over cases divided by another, conditioned on nothing that the model decides.

Failed cases enter as in :mod:`medimg.evaluation.estimation.estimates`: with the worst outcome where there is one.
"""
