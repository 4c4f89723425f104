"""Curves of the report: ROC, free-response and precision-recall, for everyone and for each ancestry."""

from __future__ import annotations

from typing import Literal

import numpy as np

from medimg.evaluation.comparison.verdicts import is_small
from medimg.evaluation.document import Curve
from medimg.evaluation.estimation.lesion_estimates import marks_of
from medimg.evaluation.estimation.protect import enough_of_both
from medimg.evaluation.metrics.auc import roc_points
from medimg.evaluation.metrics.froc import froc_points
from medimg.evaluation.metrics.intervals import Floats, count_patients
from medimg.evaluation.metrics.pixel_scores import precision_recall_points
from medimg.evaluation.protocol import EndpointRule, Protocol
from medimg.evaluation.selection import Selection

MAX_POINTS = 201
_FREE_RESPONSE = ("cpm", "froc_sensitivity", "lesion_sensitivity", "average_precision")


def curve_kind(rule: EndpointRule) -> Literal["roc", "froc", "pr"] | None:
    """Return the curve that belongs to an endpoint, if any."""
    if rule.metric == "auc":
        return "roc"
    if rule.metric in _FREE_RESPONSE:
        return "froc"
    return "pr" if rule.metric in ("pixel_aupr", "auprc") else None


def curve_of(
    kind: Literal["roc", "froc", "pr"],
    target: str,
    axis: str,
    value: str,
    selection: Selection,
    protocol: Protocol,
) -> Curve | None:
    """Return a curve of at most 201 points, or None where it is undefined.

    Where the protocol suppresses small cells the points are rounded to two decimals, and there is no curve of few
    positives or negatives: it tells their scores.
    """
    build = {"roc": _roc, "froc": _froc, "pr": _pr}[kind]
    found = build(selection, protocol)
    if found is None:
        return None
    points, operating_point = found
    digits = 2 if protocol.suppress else 6
    kept = np.unique(np.linspace(0, len(points) - 1, min(MAX_POINTS, len(points))).round().astype(int))
    return Curve(
        kind=kind,
        target=target,
        axis=axis,
        value=value,
        points=[(round(float(x), digits), round(float(y), digits)) for x, y in points[kept]],
        operating_point=operating_point,
        step=kind == "froc",
        n_patients=count_patients(selection.cases["patient"]),
    )


_Found = tuple[Floats, tuple[float, float] | None] | None


def _roc(selection: Selection, protocol: Protocol) -> _Found:
    rows, truth = selection.scored, selection.levels.truth
    if not enough_of_both(selection.levels, protocol):
        return None
    called = rows["predicted"]
    point = None
    if not np.isnan(called).any():
        point = (float(np.mean(called[~truth] == 1)), float(np.mean(called[truth] == 1)))
    return roc_points(truth, rows["score"]), point


def _froc(selection: Selection, protocol: Protocol) -> _Found:
    cases = selection.cases
    carriers = count_patients(cases["patient"][cases["n_lesions"] > 0])
    if not carriers or is_small(carriers, protocol):
        return None
    marks, _ = marks_of(selection)
    points = np.vstack([[0.0, 0.0], froc_points(marks)])
    lesions = float(cases["n_lesions"].sum())
    point = (float(np.nansum(cases["n_false_positives"]) / len(cases)), float(np.nansum(cases["n_hit"]) / lesions))
    return points, point


def _pr(selection: Selection, protocol: Protocol) -> _Found:
    if selection.positive is None or selection.negative is None:
        levels = selection.levels
        if not enough_of_both(levels, protocol):
            return None
        return precision_recall_points(levels.positive, levels.negative), None
    positive, negative = np.nansum(selection.positive, axis=0), np.nansum(selection.negative, axis=0)
    if not positive.sum():
        return None
    return precision_recall_points(positive, negative), None
