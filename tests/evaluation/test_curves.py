"""Curves of scores: which there are, what they show, and that few cases draw none."""

from __future__ import annotations

import numpy as np
import pytest

from medimg.evaluation.estimation.curves import curve_kind, curve_of
from medimg.evaluation.protocol import EndpointRule, Protocol
from medimg.evaluation.selection import Rows, Selection

from .conftest import AUC


def _selection(n_positive, n_negative, failed=0):
    rng = np.random.default_rng(0)
    n = n_positive + n_negative
    truth = np.arange(n) < n_positive
    score = rng.random(n) + 0.6 * truth
    score[:failed] = -np.inf
    columns = {
        "truth": truth.astype(float),
        "score": score,
        "predicted": (score > 0.7).astype(float),
        "patient": np.arange(n),
        "failed": np.arange(n) < failed,
    }
    none = Rows({}, np.empty(0, np.int64))
    return Selection(Rows(columns, np.arange(n)), none)


def test_kinds():
    kinds = {"auc": "roc", "auprc": "pr", "pixel_aupr": "pr", "cpm": "froc", "sensitivity": None}
    for metric, kind in kinds.items():
        assert curve_kind(EndpointRule(metric=metric, target="x")) == kind


@pytest.mark.parametrize("failed", [0, 7])
def test_precision_recall_curve_of_cases_equals_sklearn(failed):
    metrics = pytest.importorskip("sklearn.metrics")
    selection = _selection(40, 160, failed)
    curve = curve_of("pr", "x", "overall", "all", selection, Protocol(endpoints=[AUC], suppress=False))
    score = np.where(np.isfinite(selection.cases["score"]), selection.cases["score"], -9)
    precision, recall, _ = metrics.precision_recall_curve(selection.cases["truth"], score)
    expected = set(zip(recall[:-1].round(6), precision[:-1].round(6)))
    assert {(round(x, 6), round(y, 6)) for x, y in curve.points} <= expected
    assert curve.points[-1][0] == 1.0


@pytest.mark.parametrize("kind", ["roc", "pr"])
@pytest.mark.parametrize("counts", [(10, 200), (200, 10), (0, 50), (50, 0)])
def test_few_positives_or_negatives_draw_no_curve(kind, counts):
    selection = _selection(*counts)
    assert curve_of(kind, "x", "ancestry", "A", selection, Protocol(endpoints=[AUC])) is None
    shown = curve_of(kind, "x", "ancestry", "A", selection, Protocol(endpoints=[AUC], suppress=False))
    assert (shown is None) == (min(counts) == 0)
