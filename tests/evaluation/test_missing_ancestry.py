"""What patients of unknown ancestry could change."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from medimg.evaluation.comparison.missing_ancestry import bounds


def test_no_subset_of_the_unknown_falls_outside_the_bounds():
    known, unknown = [1] * 7 + [0] * 3, [1, 1, 0, 1, 0, 0]
    found = bounds(7, 10, 3, 6)
    rates = [np.mean(known + [unknown[i] for i in chosen]) for k in range(7) for chosen in combinations(range(6), k)]
    assert (min(rates), max(rates)) == pytest.approx((found.lowest, found.highest))
    assert found.together == pytest.approx(np.mean(known + unknown))


def _notes(report):
    return {row.value: row.results[0].note for row in report.groups if row.axis == "ancestry"}


RULE = {"metric": "sensitivity", "target": "dr", "primary": True, "floor": 0.5}
SETTINGS = {"endpoints": [RULE], "axes": ["ancestry"]}


def test_known_ancestries_carry_the_bounds(graded, report_of):
    graded.subjects.loc[graded.subjects["ancestry_group"] == "ASKU", "ancestry_group"] = "UNK"
    report = report_of(graded.cases, graded.subjects, SETTINGS)
    notes = _notes(report)
    assert "if all patients of unknown ancestry" in notes["AFR"]
    assert notes["unknown"] is None
    cases = graded.cases.merge(graded.subjects, on="subject_id")
    rows = cases[(cases["truth"] == 1) & cases["ancestry_group"].isin(["AFR", "UNK"])]
    assert f"this group: {rows['predicted'].mean():.2f};" in notes["AFR"]


def test_few_unknown_give_no_bounds(graded, report_of):
    graded.subjects.loc[graded.subjects["ancestry_group"] == "ASKU", "ancestry_group"] = "EUR"
    few = graded.subjects.index[graded.subjects["ancestry_group"] == "UNK"][5:]
    graded.subjects.loc[few, "ancestry_group"] = "EUR"
    report = report_of(graded.cases, graded.subjects, SETTINGS)
    assert set(_notes(report).values()) == {None}


def test_nobody_unknown_gives_no_bounds(graded, report_of):
    graded.subjects["ancestry_group"] = graded.subjects["ancestry_group"].replace({"ASKU": "EUR", "UNK": "EUR"})
    assert _notes(report_of(graded.cases, graded.subjects, SETTINGS))["EUR"] is None
