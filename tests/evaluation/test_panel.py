"""The standard panel: what it adds, what it leaves out, and that it decides nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medimg.evaluation.estimation.panel import Available, PanelRule, standard_panel
from medimg.evaluation.protocol import Protocol
from medimg.evaluation.rows import Case, detection_rows, segmentation_rows

from .conftest import AUC, make_subjects

EVERYTHING = Available(
    truth=True,
    scores=True,
    calls=True,
    probabilities=True,
    nsd=True,
    distances=True,
    volumes=True,
    pixels=True,
    marks=True,
    sizes_mm=True,
)


def _added(task, has, **settings):
    declared = Protocol(endpoints=[{**AUC, "target": "x"}], **settings)
    return [rule.id.removesuffix(":x") for rule in standard_panel(declared, {"x": task}, {"x": has})]


def test_what_each_task_gets():
    cls = _added("classification", EVERYTHING, prevalence={"x": 0.1})
    assert {"sensitivity", "underdiagnosis", "auprc", "partial_auc@0.1", "calibration_slope", "ece", "brier"} <= set(
        cls
    )
    assert {"ppv_at_prevalence", "npv_at_prevalence", "accuracy"} <= set(cls)
    assert "quadratic_kappa" not in cls
    seg = _added("segmentation", EVERYTHING)
    assert {"dice_mean", "dice_median", "nsd_median", "hd95_median", "volume_bias", "volume_limit_low"} <= set(seg)
    det = _added("detection", EVERYTHING)
    assert {"cpm", "froc_sensitivity@0.125", "lesion_sensitivity_of_size@6", "average_precision", "ece"} <= set(det)
    graded = _added("classification", Available(truth=True, top_grade=4))
    assert {"quadratic_kappa", "grade_sensitivity@2", "grade_specificity@3", "grade_recall@4"} <= set(graded)
    assert "grade_sensitivity@1" in _added("classification", Available(top_grade=1))


@pytest.mark.parametrize(
    ("task", "has", "absent"),
    [
        ("classification", Available(truth=True, scores=True), ("brier", "sensitivity", "ppv_at_prevalence", "ece")),
        ("classification", Available(truth=True, calls=True), ("auc", "auprc", "brier", "ppv_at_prevalence")),
        ("segmentation", Available(), ("nsd_mean", "hd95_mean", "volume_bias", "pixel_auc")),
        ("detection", Available(truth=True, sizes_px=True), ("cpm", "lesion_sensitivity_of_size@6", "auc")),
    ],
)
def test_what_cannot_exist_is_not_added(task, has, absent):
    assert not set(absent) & set(_added(task, has))


def test_sizes_in_pixels_need_declared_bands():
    has = Available(sizes_px=True)
    assert "lesion_sensitivity_of_size@50" in _added("detection", has, lesion_sizes=(0, 50))


def test_declared_endpoints_are_never_doubled_and_the_protocol_stays():
    declared = Protocol(
        endpoints=[AUC, {"metric": "sensitivity", "target": "dr", "id": "sens"}, {"metric": "ece", "target": "dr"}]
    )
    before = declared.model_dump_json()
    added = standard_panel(declared, {"dr": "classification"}, {"dr": EVERYTHING})
    assert not {"auc", "sensitivity", "ece"} & {rule.metric for rule in added}
    assert len({rule.id for rule in added}) == len(added)
    assert all(type(rule) is PanelRule and rule.family == "panel" for rule in added)
    assert all(rule.floor is None and rule.gap_margin is None and not rule.primary for rule in added)
    assert declared.model_dump_json() == before
    quiet = Protocol(endpoints=[AUC], panel="declared")
    assert standard_panel(quiet, {"dr": "classification"}, {"dr": EVERYTHING}) == ()


def test_the_panel_changes_nothing_that_was_declared(graded, report_of):
    endpoints = [AUC, {"metric": "sensitivity", "target": "dr", "floor": 0.8, "gap_margin": 0.1}]
    settings = {"endpoints": endpoints, "axes": ["ancestry", "sex"], "suppress": False}
    alone = report_of(graded.cases, graded.subjects, {**settings, "panel": "declared"})
    more = report_of(graded.cases, graded.subjects, {**settings, "panel": "standard"})
    assert [e.id for e in more.endpoints[:2]] == [e.id for e in alone.endpoints]
    assert [e.panel for e in more.endpoints] == [False] * 2 + [True] * (len(more.endpoints) - 2)
    for few, many in zip(alone.groups, more.groups):
        assert many.results[:2] == few.results
    assert (alone.status, alone.status_reasons) == (more.status, more.status_reasons)
    assert alone.calibration == alone.decision_curves == alone.threshold_shifts == []
    assert {(c.axis, c.value) for c in more.calibration} >= {("overall", "all"), ("ancestry", "AFR")}
    assert len(more.decision_curves) == len(more.calibration)


def test_every_number_of_the_panel_is_explained(graded, report_of):
    settings = {"panel": "standard", "prevalence": {"dr": 0.1}, "crossed": [], "suppress": False}
    report = report_of(graded.cases, graded.subjects, settings)
    for row in report.groups:
        for result in row.results:
            if result.estimate is None:
                assert result.reason
            else:
                assert result.low is None or result.low <= result.estimate <= result.high
    overall = {r.endpoint: r for r in report.groups[0].results}
    assert overall["underdiagnosis:dr"].estimate == pytest.approx(1 - overall["sensitivity:dr"].estimate)
    assert overall["sensitivity:dr"].exact_low < overall["sensitivity:dr"].low
    assert overall["auc:dr"].exact_low is None
    cases = graded.cases
    referable = cases["grade_true"] >= 2
    expected = (cases.loc[referable, "grade_pred"] >= 2).mean()
    assert overall["grade_sensitivity@2:dr"].estimate == pytest.approx(expected)
    assert overall["grade_specificity@3:dr"].estimate == pytest.approx(
        (cases.loc[cases["grade_true"] < 3, "grade_pred"] < 3).mean()
    )
    assert overall["prevalence:dr"].estimate == pytest.approx(cases["truth"].mean())


def test_failed_cases_count_or_are_counted(graded, report_of):
    failed = graded.cases.assign(status="ok", reason="")
    failed.loc[:39, ["status", "reason"]] = ["failed", "no memory"]
    failed.loc[:39, ["score", "predicted", "grade_pred"]] = np.nan
    settings = {"panel": "standard", "axes": ["ancestry"], "suppress": False}
    now, then = (
        {r.endpoint: r for r in report_of(cases, graded.subjects, settings).groups[0].results}
        for cases in (failed, graded.cases)
    )
    for name in ("auprc:dr", "partial_auc@0.1:dr", "grade_sensitivity@2:dr"):
        assert now[name].estimate < then[name].estimate
    for name in ("brier:dr", "underdiagnosis:dr"):
        assert now[name].estimate > then[name].estimate
    for name in ("calibration_slope:dr", "ece:dr", "brier_resolution:dr"):
        assert "40 cases left out" in now[name].note
        assert now[name].n_cases == 760


def test_scores_that_are_no_probabilities_get_no_calibration(graded, report_of):
    odds = graded.cases.assign(score=6 * graded.cases["score"] - 3)
    declared = {"endpoints": [AUC, {"metric": "brier", "target": "dr"}], "panel": "standard", "axes": ["ancestry"]}
    report = report_of(odds, graded.subjects, declared)
    assert "no probabilities" in report.groups[0].results[1].reason
    assert not {"ece", "calibration_slope"} & {e.metric for e in report.endpoints}
    assert report.calibration == report.decision_curves == []
    assert report.threshold_shifts


def test_lesions_by_size(report_of):
    rng = np.random.default_rng(0)
    primary = {"metric": "cpm", "target": "nodule", "primary": True, "floor": 0.1}
    protocol = Protocol(endpoints=[primary])
    cases, lesions = [], []
    for i in range(60):
        sides = rng.integers(3, 26, 3)
        corner = np.array([[0, 0, 0], [40, 40, 40], [80, 80, 80]])
        truth = np.hstack([corner, corner + sides[:, None]])
        found = sides + 12 * rng.random(3) > 16
        marks = (truth[found], np.zeros(found.sum(), int), rng.uniform(0.4, 1, found.sum()))
        one = detection_rows(
            Case(f"c{i}", f"s{i // 2:05d}", "site"),
            truth,
            np.zeros(3, int),
            marks if i else None,
            labels={"nodule": 0},
            thresholds={"nodule": 0.5},
            protocol=protocol,
            spacing_mm=(1.0, 1.0, 1.0),
        )
        cases += one[0]
        lesions += one[1]
    subjects = make_subjects(rng, 30, ["EUR"] * 15 + ["AFR"] * 15)
    settings = {
        "endpoints": [primary],
        "panel": "standard",
        "axes": ["ancestry"],
        "froc_rates": [1.0],
        "suppress": False,
    }
    table = pd.DataFrame(lesions)
    report = report_of(pd.DataFrame(cases), subjects, settings, lesions=table)
    results = {r.endpoint: r for r in report.groups[0].results}
    true = table[table["kind"] == "truth"]
    hit = true["score"] >= 0.5
    bands = {0: (0, 6), 6: (6, 10), 10: (10, 20), 20: (20, 99)}
    for lower, (low, high) in bands.items():
        inside = (true["size_mm"] >= low) & (true["size_mm"] < high)
        result = results[f"lesion_sensitivity_of_size@{lower}:nodule"]
        assert result.estimate == pytest.approx(hit[inside].mean())
        assert result.n_cases == inside.sum()
    assert "sizes from 6 to below 10" in results["lesion_sensitivity_of_size@6:nodule"].note
    assert results["lesion_sensitivity:nodule"].estimate == pytest.approx(hit.mean())
    afr = {r.endpoint: r for r in report.row("ancestry", "AFR").results}
    assert afr["lesion_sensitivity_of_size@20:nodule"].gap.estimate is not None


def test_a_segmentation_report_tells_limits_of_agreement(report_of):
    rng = np.random.default_rng(1)
    primary = {"metric": "dice_mean", "target": "organ", "primary": True, "floor": 0.5}
    protocol = Protocol(endpoints=[primary])
    cases = []
    for i in range(40):
        truth = np.zeros((8, 12, 12), np.uint8)
        truth[1:6, 2:9, 2 : 7 + i % 4] = 1
        predicted = np.roll(truth, int(rng.integers(0, 2)), axis=1) * (rng.random(truth.shape) > 0.1)
        cases += segmentation_rows(
            Case(f"c{i}", f"s{i:05d}", "site"),
            truth,
            predicted,
            labels={"organ": 1},
            mode="multiclass",
            spacing_mm=(3.0, 2.0, 2.0),
            protocol=protocol,
        )
    table = pd.DataFrame(cases)
    subjects = make_subjects(rng, 40, ["EUR"] * 20 + ["AFR"] * 20)
    report = report_of(table, subjects, {"endpoints": [primary], "panel": "standard", "axes": ["ancestry"]})
    results = {r.endpoint: r for r in report.groups[0].results}
    change = table["volume_pred_ml"] - table["volume_true_ml"]
    upper = change.mean() + 1.959964 * change.std()
    assert results["volume_limit_high:organ"].estimate == pytest.approx(upper, rel=1e-5)
    assert f"{upper:.4g}" in results["volume_bias:organ"].note
    assert results["dice_below@0.5:organ"].estimate == 0
