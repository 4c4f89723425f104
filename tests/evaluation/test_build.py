"""The whole report: properties that must hold whatever the numbers."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from medimg.errors import InputError
from medimg.evaluation.document import Failure, dump_report, read_report, report_digest, write_report
from medimg.evaluation.protocol import Protocol
from medimg.evaluation.rows import Case, classification_rows, detection_rows, pixel_rows, segmentation_rows

from .conftest import AUC, WHEN, make_cases, make_subjects

MANY = [AUC] + [
    {"metric": metric, "target": "dr"}
    for metric in ("sensitivity", "specificity", "ppv", "npv", "accuracy", "quadratic_kappa")
]


def _numbers(report):
    return {
        (row.axis, row.value, r.endpoint): (r.estimate, r.low, r.high) for row in report.groups for r in row.results
    }


def test_overall_first_and_totals_of_every_axis_equal_it(graded, report_of):
    report = report_of(graded.cases, graded.subjects, {"endpoints": MANY, "suppress": False})
    overall = report.groups[0]
    assert (overall.axis, overall.n_cases, overall.n_patients) == ("overall", 800, 400)
    for axis in ("ancestry", "sex", "age_band", "site", "scanner"):
        rows = [row for row in report.groups if row.axis == axis]
        assert sum(row.n_cases for row in rows) == overall.n_cases
        assert sum(row.n_positives for row in rows) == overall.n_positives
    ancestry = [row.value for row in report.groups if row.axis == "ancestry"]
    assert ancestry == ["AFR", "EAS", "EUR", "unknown", "declined"]
    assert sum(row.n_patients for row in report.groups if row.axis == "ancestry") == 400
    assert sum(map(sum, report.ancestry_by_site.counts)) >= 400
    assert report.test_set.fraction_unknown == pytest.approx(
        graded.subjects["ancestry_group"].isin(["UNK", "ASKU"]).mean()
    )
    assert {(c.kind, c.axis, c.value) for c in report.curves} >= {("roc", "overall", "all"), ("roc", "ancestry", "AFR")}


def test_order_of_rows_changes_no_byte(graded, report_of):
    rng = np.random.default_rng(0)
    first = report_of(graded.cases, graded.subjects, {"endpoints": MANY})
    shuffled = [table.iloc[rng.permutation(len(table))] for table in (graded.cases, graded.subjects)]
    assert dump_report(report_of(*shuffled, {"endpoints": MANY})) == dump_report(first)


def test_names_of_groups_change_no_number(graded, report_of):
    renamed = graded.subjects.assign(
        ancestry_group=graded.subjects["ancestry_group"].replace({"AFR": "Z", "EAS": "A", "EUR": "M"})
    )
    first = _numbers(report_of(graded.cases, graded.subjects, {"endpoints": MANY}))
    second = _numbers(report_of(graded.cases, renamed, {"endpoints": MANY}))
    for old, new in {"AFR": "Z", "EAS": "A", "EUR": "M", "unknown": "unknown"}.items():
        for endpoint in ("auc:dr", "quadratic_kappa:dr"):
            assert first["ancestry", old, endpoint] == second["ancestry", new, endpoint]


def test_duplicated_cases_change_no_interval(graded, report_of):
    twice = pd.concat([graded.cases, graded.cases.assign(case_id=graded.cases["case_id"] + "x")])
    one = _numbers(report_of(graded.cases, graded.subjects, {"endpoints": MANY}))
    two = _numbers(report_of(twice, graded.subjects, {"endpoints": MANY}))
    for key, numbers in one.items():
        if numbers[1] is not None:
            np.testing.assert_allclose(numbers, two[key], rtol=1e-7, err_msg=str(key))


def test_the_document_goes_to_disk_and_back(graded, report_of, tmp_path):
    report = report_of(graded.cases, graded.subjects)
    path = write_report(report, tmp_path / "report" / "report.json")
    again = read_report(path)
    assert report_digest(again) == report_digest(report)
    content = json.loads(path.read_text())
    assert content["schema"] == "medimg.report/2"
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]
    path.write_text(path.read_text().replace('"status": "', '"status": "very_'))
    with pytest.raises(InputError, match="schema"):
        read_report(path)


def test_inferred_ancestry_is_refused(graded, report_of):
    graded.subjects.loc[3, "ancestry_source"] = "inferred"
    with pytest.raises(InputError, match="not admissible"):
        report_of(graded.cases, graded.subjects)


def test_all_unknown_ancestry_cannot_be_validated(graded, report_of):
    report = report_of(graded.cases, graded.subjects.assign(ancestry_group=None))
    assert report.status == "ancestry_not_evaluated"
    assert report.groups[0].results[0].floor_verdict == "MEETS"
    assert report.row("ancestry", "unknown").n_patients == 400


def test_small_groups_limit_and_are_listed(graded, report_of):
    graded.subjects.loc[:8, "ancestry_group"] = "OCE"
    settings = {"axes": ["ancestry"], "expected_ancestries": ["SAS"], "suppress": False}
    report = report_of(graded.cases, graded.subjects, settings)
    assert report.status == "validated_with_limitations"
    result = report.row("ancestry", "OCE").results[0]
    assert result.floor_verdict == "INSUFFICIENT DATA"
    assert "9 of the 30 patients" in result.verdict_reason
    listed = "; ".join(report.not_validated_for)
    assert "ancestry OCE" in listed
    assert "ancestry SAS: no patient" in listed
    assert report.row("ancestry", "SAS").results[0].reason


def test_overall_below_the_floor_is_not_validated(graded, report_of):
    report = report_of(graded.cases, graded.subjects, {"endpoints": [{**AUC, "floor": 0.99}]})
    assert report.status == "not_validated"
    assert report.groups[0].results[0].floor_verdict == "DOES NOT MEET"


def test_one_failing_group_stops_the_model(report_of):
    rng = np.random.default_rng(1)
    ancestry = np.repeat(["AFR", "EAS", "EUR"], [300, 300, 600])
    effect = np.where(ancestry == "AFR", 0.6, 3.0)
    cases = make_cases(rng, np.arange(1200), effect=effect)
    report = report_of(cases, make_subjects(rng, 1200, ancestry), {"axes": ["ancestry"]})
    assert report.groups[0].results[0].floor_verdict == "MEETS"
    result = report.row("ancestry", "AFR").results[0]
    assert (result.floor_verdict, result.gap.verdict) == ("DOES NOT MEET", "DOES NOT MEET")
    assert report.status == "not_validated"
    spread = report.spreads[0]
    assert (spread.worst, spread.axis) == ("AFR", "ancestry")
    assert spread.p_value < 0.01


def test_every_group_meeting_is_validated(report_of):
    rng = np.random.default_rng(2)
    ancestry = np.repeat(["AFR", "EAS", "EUR"], 500)
    report = report_of(
        make_cases(rng, np.arange(1500), effect=4.0), make_subjects(rng, 1500, ancestry), {"axes": ["ancestry"]}
    )
    assert (report.status, report.not_validated_for) == ("validated", [])


def test_failed_cases_count_as_worst_and_are_listed(graded, report_of):
    failed = graded.cases.copy()
    failed["status"], failed["reason"] = "ok", ""
    failed.loc[:39, "status"], failed.loc[:39, "reason"] = "failed", "no memory"
    failed.loc[:39, ["score", "predicted", "grade_pred"]] = np.nan
    lost = [Failure(case_id="zz", reason="truth unreadable")]
    report = report_of(failed, graded.subjects, {"endpoints": MANY}, failures=lost)
    before = report_of(graded.cases, graded.subjects, {"endpoints": MANY})
    for now, then in zip(report.groups[0].results, before.groups[0].results):
        assert now.estimate < then.estimate
        assert now.n_failed > 0
    assert (len(report.failures), report.test_set.n_failed) == (41, 41)
    rows = failed["truth"] == 1
    right = (failed.loc[rows, "predicted"] == 1).sum() / rows.sum()
    assert report.groups[0].results[1].estimate == pytest.approx(right)


def test_protocol_package_and_predictions_belong_together(graded, report_of):
    with pytest.raises(InputError, match="older than the protocol"):
        report_of(graded.cases, graded.subjects, predicted_at=WHEN - timedelta(hours=1))
    with pytest.raises(InputError, match="has no case"):
        report_of(graded.cases, graded.subjects, {"endpoints": [{**AUC, "target": "amd"}]})
    with pytest.raises(InputError, match="does not suit"):
        report_of(graded.cases, graded.subjects, {"endpoints": [AUC, {"metric": "dice_mean", "target": "dr"}]})


def test_small_cells_are_suppressed(graded, report_of):
    graded.subjects.loc[:8, "ancestry_group"] = "OCE"
    report = report_of(graded.cases, graded.subjects)
    row = report.row("ancestry", "OCE")
    assert row.suppressed
    assert row.n_patients is row.n_cases is row.results[0].estimate is None
    assert "OCE" not in {curve.value for curve in report.curves}
    assert " 9 of" not in dump_report(report)
    assert "ancestry OCE" in "; ".join(report.not_validated_for)


def test_a_declared_reference_is_used_on_its_axis(graded, report_of):
    report = report_of(graded.cases, graded.subjects, {"reference": "ancestry=EUR"})
    gap = report.row("ancestry", "AFR").results[0].gap
    values = _numbers(report)
    expected = values["ancestry", "AFR", "auc:dr"][0] - values["ancestry", "EUR", "auc:dr"][0]
    assert (gap.reference, gap.estimate) == ("EUR", pytest.approx(expected))
    assert report.row("ancestry", "EUR").results[0].gap is None
    assert report.row("site", "north").results[0].gap.reference == "rest"
    with pytest.raises(InputError, match="reference group has no case"):
        report_of(graded.cases, graded.subjects, {"reference": "ancestry=SAS"})


def test_classification_rows_make_a_table(report_of):
    rows = []
    for i in range(4):
        case = Case(f"c{i}", f"s{i}", "site")
        scores = {"dr": 0.2 * i} if i else None
        rows += classification_rows(case, {"dr": i % 2}, scores, thresholds={"dr": 0.5}, grades={"dr": (i, i)})
    subjects = make_subjects(np.random.default_rng(0), 4, "EUR").assign(subject_id=[f"s{i}" for i in range(4)])
    report = report_of(pd.DataFrame(rows), subjects, {"endpoints": MANY})
    assert report.status == "not_validated"
    assert [f.case_id for f in report.failures] == ["c0"]


def _segmented(n):
    rng = np.random.default_rng(3)
    protocol = Protocol(endpoints=[{"metric": "dice_mean", "target": "node", "primary": True, "floor": 0.5}])
    rows, pixels = [], []
    for i in range(n):
        case = Case(f"c{i}", f"s{i:05d}", "site", age=50.0)
        truth = np.zeros((6, 12, 12), np.uint8)
        truth[1:5, 2:9, 2 : 8 + i % 3] = 1
        truth[2, 2, 2] |= 2
        predicted = np.where(rng.random(truth.shape) < 0.05, 0, truth)
        rows += segmentation_rows(
            case,
            truth if i != 1 else truth * 0,
            predicted if i != 2 else None,
            labels={"node": 0, "core": 1},
            mode="multilabel",
            spacing_mm=(2.0, 1.0, 1.0),
            protocol=protocol,
        )
        pixels += pixel_rows(case, "node", (truth & 1) == 1, np.clip(truth * 0.5 + rng.random(truth.shape) / 2, 0, 1))
    return pd.DataFrame(rows), pd.DataFrame(pixels)


def test_a_segmentation_report(report_of):
    cases, pixels = _segmented(40)
    endpoints = [{"metric": "dice_mean", "target": "node", "primary": True, "floor": 0.5, "gap_margin": 0.1}]
    names = ("dice_median", "nsd_mean", "nsd_median", "hd95_mean", "hd95_median", "missed", "volume_bias")
    endpoints += [{"metric": name, "target": "node"} for name in (*names, "pixel_auc", "pixel_aupr")]
    endpoints += [{"metric": "dice_below", "target": "core", "level": 0.7}]
    subjects = make_subjects(np.random.default_rng(0), 40, ["EUR"] * 20 + ["AFR"] * 20)
    report = report_of(cases, subjects, {"endpoints": endpoints, "suppress": False}, pixel_scores=pixels)
    results = {r.endpoint: r for r in report.groups[0].results}
    assert results["dice_mean:node"].estimate == pytest.approx(
        cases.loc[cases["target"] == "node", "dice"].fillna(0).mean()
    )
    assert results["missed:node"].estimate == pytest.approx(1 / 39)
    assert results["missed:node"].n_negatives == 0
    assert "1 cases left out" in results["volume_bias:node"].note
    assert results["pixel_auc:node"].estimate > 0.95
    assert {e.unit for e in report.endpoints} == {"fraction", "mm", "ml"}
    assert report.worst_cases[0].value == 0.0
    assert "pr" in {c.kind for c in report.curves}
    assert report.status == "ancestry_not_evaluated"


def _detected(n):
    rng = np.random.default_rng(4)
    protocol = Protocol(endpoints=[{"metric": "cpm", "target": "nodule", "primary": True, "floor": 0.3}])
    cases, lesions = [], []
    for i in range(n):
        truth = np.array([[0, 0, 0, 4, 4, 4], [8, 8, 8, 14, 14, 14]])[: i % 3]
        near = truth + rng.integers(0, 2, truth.shape)
        corner = rng.integers(20, 30, (2, 3))
        boxes = np.vstack([near, np.hstack([corner, corner + 5])])
        scores = np.concatenate([rng.uniform(0.5, 1, len(near)), rng.uniform(0, 0.6, 2)])
        found = detection_rows(
            Case(f"c{i}", f"s{i // 2:05d}", "site"),
            truth,
            np.zeros(len(truth), int),
            (boxes, np.zeros(len(boxes), int), scores) if i else None,
            labels={"nodule": 0},
            thresholds={"nodule": 0.5},
            protocol=protocol,
            spacing_mm=(2.0, 1.0, 1.0),
        )
        cases += found[0]
        lesions += found[1]
    return pd.DataFrame(cases), pd.DataFrame(lesions)


def test_a_detection_report(report_of):
    cases, lesions = _detected(90)
    names = ("lesion_sensitivity", "false_positives_per_image", "average_precision", "auc", "sensitivity")
    endpoints = [{"metric": "cpm", "target": "nodule", "primary": True, "floor": 0.3, "gap_margin": 0.2}]
    endpoints += [{"metric": name, "target": "nodule"} for name in names]
    endpoints += [{"metric": "froc_sensitivity", "target": "nodule", "rate": 1.0}]
    subjects = make_subjects(np.random.default_rng(0), 45, ["EUR"] * 25 + ["AFR"] * 20)
    report = report_of(cases, subjects, {"endpoints": endpoints}, lesions=lesions)
    results = {r.endpoint: r for r in report.groups[0].results}
    assert results["lesion_sensitivity:nodule"].estimate == pytest.approx(
        cases["n_hit"].fillna(0).sum() / cases["n_lesions"].sum()
    )
    assert results["false_positives_per_image:nodule"].estimate == pytest.approx(cases["n_false_positives"].mean())
    assert 0.5 < results["froc_sensitivity@1:nodule"].estimate <= 1
    assert results["cpm:nodule"].n_positives == cases["n_lesions"].sum()
    assert lesions.loc[lesions["kind"] == "truth", "size_mm"].max() == 12.0
    assert {c.kind for c in report.curves} == {"froc", "roc"}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"dice": 1.2}, "cannot be used"),
        ({"status": "lost"}, "cannot be used"),
        ({"truth": 2}, "cannot be used"),
        ({"case_id": "c00001"}, "cannot be used"),
        ({"subject_id": "nobody"}, "belong to nobody"),
    ],
)
def test_tables_that_cannot_be_used(graded, report_of, change, match):
    cases = graded.cases.assign(dice=np.nan, status="ok")
    for column, value in change.items():
        cases.loc[5, column] = value
    with pytest.raises(InputError, match=match):
        report_of(cases, graded.subjects)
