"""Crossed axes: which cells are reported, and that they inform without deciding."""

from __future__ import annotations

import numpy as np
import pytest

from medimg.evaluation.comparison import intersections
from medimg.evaluation.comparison.cells import adjust, make_cell
from medimg.evaluation.comparison.intersections import crossed_cells, crossings
from medimg.evaluation.estimation.estimates import Measured
from medimg.evaluation.metrics.intervals import clustered_rate
from medimg.evaluation.metrics.multiplicity import benjamini_hochberg
from medimg.evaluation.protocol import declare
from medimg.evaluation.row_evidence import RowEvidence

from .conftest import AUC, make_cases, make_subjects


def test_cells_with_enough_patients_are_named_and_the_rest_counted(graded):
    protocol = declare({"endpoints": [AUC], "crossed": [["ancestry", "sex"], ["sex", "age_band"]]})
    evidence = RowEvidence(graded.cases, graded.subjects, protocol)
    found = crossings(evidence)
    shown, counts = found.parts, found.counts
    table = evidence.table
    for (first, second), counted in zip(protocol.crossed, counts):
        patients = table.groupby([f"axis_{first}", f"axis_{second}"])["patient"].nunique()
        known = patients[[not {"unknown", "declined"} & set(key) for key in patients.index]]
        expected = {f"{a}, {b}": n for (a, b), n in known.items() if n >= 30}
        assert counted.axes == (first, second)
        assert (counted.n_cells, counted.n_shown) == (len(known), len(expected))
        named = {value: parts for (axis, value), parts in shown.items() if axis == f"{first}*{second}"}
        assert set(named) == set(expected)
        assert all(list(parts.values()) == value.split(", ") for value, parts in named.items())
    assert all(set(parts.values()).isdisjoint({"unknown", "declined"}) for parts in shown.values())


def test_pairs_with_an_axis_that_is_not_reported_are_passed_over(graded):
    protocol = declare({"endpoints": [AUC], "axes": ["ancestry", "sex"]})
    found = crossings(RowEvidence(graded.cases, graded.subjects, protocol))
    assert [counted.axes for counted in found.counts] == [("ancestry", "sex")]


def test_a_family_of_its_own_adjusted_by_benjamini_hochberg():
    first = {"metric": "sensitivity", "target": "dr", "primary": True, "floor": 0.8}
    protocol = declare({"endpoints": [first]})
    cells = []
    for axis in ("sex", "ancestry*sex"):
        for i, hits in enumerate((60, 68, 72, 95)):
            estimate = clustered_rate(np.repeat([1.0, 0.0], [hits, 100 - hits]), np.ones(100), np.arange(100))
            measured = Measured(estimate, 100, 100, 100, 0, 0, 100, 0)
            cells.append(make_cell(axis, f"g{i}", protocol.endpoints[0], measured, protocol))
    adjusted = adjust(cells, 0.95)
    raw = [cell.floor_p for cell in cells[4:]]
    assert [cell.floor_adjusted for cell in adjusted[4:]] == pytest.approx(benjamini_hochberg(raw).tolist())
    assert [cell.floor_adjusted for cell in adjusted[:4]] != [cell.floor_adjusted for cell in adjusted[4:]]


@pytest.mark.parametrize("per_patient", [1, 2])
def test_the_rest_by_subtraction_is_the_rest_measured(monkeypatch, per_patient):
    rng = np.random.default_rng(9)
    n = 12_000
    ancestry = rng.choice(["AFR", "EAS", "EUR", "SAS"], n)
    subjects = make_subjects(rng, n, ancestry)
    effect = np.where(ancestry == "AFR", 1.5, 2.5)
    cases = make_cases(rng, np.repeat(np.arange(n), per_patient), effect=np.repeat(effect, per_patient))
    endpoints = [AUC] + [{"metric": m, "target": "dr"} for m in ("sensitivity", "specificity", "ppv", "npv", "brier")]
    settings = {"endpoints": endpoints, "crossed": [["ancestry", "sex"]], "axes": ["ancestry", "sex"]}
    evidence = RowEvidence(cases, subjects, declare(settings))
    measured = crossed_cells(evidence, crossings(evidence))
    monkeypatch.setattr(intersections, "MEASURED_BELOW", 100)
    subtracted = crossed_cells(evidence, crossings(evidence))
    assert len(measured) == 8 * 6
    for one, two in zip(measured, subtracted):
        assert one.gap[0] == pytest.approx(two.gap[0], abs=1e-10)
        np.testing.assert_allclose(one.gap, two.gap, atol=0.01 * (one.gap[2] - one.gap[1]))
        assert one.detectable == pytest.approx(two.detectable, rel=0.02)
        assert (one.lacking, one.gap_verdict) == (two.lacking, two.gap_verdict)


def _one_bad_cell():
    """Women of AFR do badly; everyone together, each ancestry and each sex still do well enough."""
    rng = np.random.default_rng(12)
    n = 2400
    ancestry = np.repeat(["AFR", "EUR", "EAS"], n // 3)
    subjects = make_subjects(rng, n, ancestry)
    bad = (ancestry == "AFR") & (subjects["sex_at_birth"] == "F")
    return make_cases(rng, np.arange(n), effect=np.where(bad, 0.6, 3.5)), subjects


def test_a_failing_cell_informs_and_does_not_decide(report_of):
    cases, subjects = _one_bad_cell()
    rule = {"metric": "auc", "target": "dr", "primary": True, "floor": 0.75}
    settings = {"endpoints": [rule], "axes": ["ancestry", "sex"], "crossed": [["ancestry", "sex"]], "suppress": False}
    report = report_of(cases, subjects, settings)
    row = report.row("ancestry*sex", "AFR, female")
    result = row.results[0]
    assert row.parts == {"ancestry": "AFR", "sex": "female"}
    assert result.floor_verdict == "DOES NOT MEET"
    assert result.floor_p_holm is None
    assert result.floor_p_bh < 0.05
    assert result.gap.reference == "rest"
    assert report.status == "validated"
    (sentence,) = [text for text in report.limitations if "ntersections" in text]
    assert "AFR, female" in sentence
    plain = report_of(cases, subjects, {**settings, "crossed": []})
    assert plain.groups == [row for row in report.groups if "*" not in row.axis]
    assert plain.spreads == report.spreads
    assert (plain.status, plain.status_reasons) == (report.status, report.status_reasons)
