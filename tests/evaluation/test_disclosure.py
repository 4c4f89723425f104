"""Nobody can work out from a report what it holds back: an attack on random cohorts, and its counterpart."""

from __future__ import annotations

import csv
import io
import json
import re
from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from medimg.evaluation.document import dump_report
from medimg.evaluation.protection import suppression
from medimg.evaluation.protection.disclosure import Lattice, Polytope, Told, cliques, junction_tree
from medimg.reports.html import render_html
from medimg.reports.records import records_csv

from .attack import EVERY, NEGATIVE, POSITIVE, Attack
from .conftest import AUC, make_cases, make_subjects

K = 11
ENDPOINTS = [
    {"metric": "sensitivity", "target": "dr", "primary": True, "floor": 0.5, "gap_margin": 0.2},
    {"metric": "specificity", "target": "dr", "floor": 0.5},
    {"metric": "ppv", "target": "dr"},
    {"metric": "npv", "target": "dr"},
    {"metric": "accuracy", "target": "dr"},
    {**AUC, "primary": False},
]
SETTINGS = {
    "endpoints": ENDPOINTS,
    "axes": ["ancestry", "sex", "site"],
    "crossed": [("ancestry", "sex"), ("ancestry", "site")],
    "replicates": 200,
    "panel": "declared",
    "standardise_by": (),
}


def _cohort(seed):
    """Return cases of one patient each and subjects: some groups are small, some are crossed so."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(90, 500))
    names = ["AFR", "EAS", "EUR", "SAS", "UNK", "ASKU"]
    shares = rng.dirichlet([0.5, 1, 3, 0.3, 0.2, 0.1]) * 0.97 + 0.005
    subjects = make_subjects(rng, n, rng.choice(names, n, p=shares / shares.sum()))
    subjects["ancestry_source"] = rng.choice(["self_report", "administrative", "genetic"], n, p=[0.8, 0.17, 0.03])
    subjects["sex_at_birth"] = rng.choice(["F", "M", ""], n, p=[0.55, 0.42, 0.03])
    cases = make_cases(rng, np.arange(n), effect=3.0)
    cases["site_id"] = rng.choice(["north", "south", "west"], n, p=rng.dirichlet([3, 2, 0.5]))
    return cases.drop(columns=["grade_true", "grade_pred"]), subjects


def _secrets(cases, subjects):
    """Return every count of 1 to k - 1 in a group or crossed group, with its place and truth."""
    people = subjects.set_index("subject_id").loc[cases["subject_id"]]
    ancestry = people["ancestry_group"].replace({"UNK": "unknown", "ASKU": "declined"}).to_numpy()
    sex = people["sex_at_birth"].replace({"F": "female", "M": "male", "": "unknown"}).to_numpy()
    columns = {"ancestry": ancestry, "sex": sex, "site": cases["site_id"].to_numpy()}
    truth = cases["truth"].to_numpy()
    found = []
    for axes in [("ancestry",), ("sex",), ("site",), ("ancestry", "sex"), ("ancestry", "site")]:
        for values in product(*(np.unique(columns[axis]) for axis in axes)):
            inside = np.logical_and.reduce([columns[axis] == value for axis, value in zip(axes, values)])
            for classes in (EVERY, POSITIVE, NEGATIVE):
                count = int(np.isin(truth[inside], classes).sum())
                if 0 < count < K:
                    found.append((dict(zip(axes, values)), classes, count))
    return found


def _ranges(cases, subjects, report):
    content = json.loads(dump_report(report))
    attack = Attack(content)
    return [(*secret, *attack.range_of(*secret[:2])) for secret in _secrets(cases, subjects)], content


@pytest.mark.parametrize("seed", [11, 15, 23, 28, 49])
def test_no_count_that_is_held_back_can_be_worked_out(report_of, seed):
    cases, subjects = _cohort(seed)
    report = report_of(cases, subjects, SETTINGS)
    found, content = _ranges(cases, subjects, report)
    assert content["suppression"]["audit"] == "passed"
    assert len(found) > 20
    for place, truth, count, low, high in found:
        assert low <= count <= high, (place, truth, count, low, high)
        # The attack knows the calls of the model too, which the audit does not: one less.
        assert high - low >= K - 3, (place, truth, count, low, high)


@pytest.mark.parametrize("seed", [23])
def test_without_complements_the_same_attack_finds_counts(report_of, seed, monkeypatch):
    monkeypatch.setattr(suppression._Search, "hide_complements", lambda self: None)
    cases, subjects = _cohort(seed)
    found, _ = _ranges(cases, subjects, report_of(cases, subjects, SETTINGS))
    worked_out = [(place, truth, count) for place, truth, count, low, high in found if high - low < 1e-6]
    assert any(len(place) == 1 for place, _, _ in worked_out)
    assert any(len(place) == 2 for place, _, _ in worked_out)


def test_nothing_that_is_printed_from_the_report_tells_more(report_of):
    cases, subjects = _cohort(11)
    report = report_of(cases, subjects, {**SETTINGS, "panel": "standard"})
    hidden = {(row.axis, row.value) for row in report.groups if row.suppressed}
    assert {axis for axis, _ in hidden} == {"ancestry", "sex", "site"}
    for record in csv.DictReader(io.StringIO(records_csv(report))):
        if (record["axis"], record["group"]) in hidden:
            numbers = [record[name] for name in record if name.startswith(("n_", "gap_p", "floor_p"))]
            numbers += [record[name] for name in ("estimate", "low", "high", "exact_low", "gap_estimate", "gap_low")]
            assert not any(numbers), record
    page = render_html(report)
    for row in re.findall(r'<tr data-axis="(\w+)" data-group="([^"]*)"(.*?)</tr>', page, re.DOTALL):
        if row[:2] in hidden:
            assert "<data" not in row[2], row


def test_suppressed_groups_enter_no_comparison_and_no_curve(report_of):
    cases, subjects = _cohort(28)
    report = report_of(cases, subjects, {**SETTINGS, "panel": "standard", "worst_cases": 200})
    hidden = {row.value for row in report.groups if row.suppressed and row.axis == "ancestry"}
    assert {row.suppressed_as for row in report.groups if row.value in hidden} == {"small", "complement"}
    parts = [*report.curves, *report.calibration, *report.decision_curves, *report.threshold_shifts]
    assert not hidden & {part.value for part in [*parts, *report.standardised, *report.within_sites]}
    assert not hidden & {name for part in report.spreads for name in (part.worst, part.best)}
    assert not hidden & {name for part in report.credible_gaps for name in (part.worse, part.better)}
    assert not hidden & {case.group for case in report.worst_cases}
    for row in report.groups:
        if row.suppressed:
            assert all(r.suppressed and r.estimate is None and r.n_patients is None for r in row.results)


def test_a_hidden_reference_takes_its_gaps_along(report_of):
    cases, subjects = _cohort(28)
    report = report_of(cases, subjects, {**SETTINGS, "reference": "ancestry=SAS"})
    assert report.row("ancestry", "SAS").suppressed
    gap = report.row("ancestry", "EUR").results[0].gap
    assert gap.estimate is gap.low is gap.p_value is None
    assert gap.reason.startswith("suppressed")


def test_patients_of_several_cases_and_sites_are_protected_too(report_of):
    rng = np.random.default_rng(5)
    ancestry = rng.choice(["AFR", "EAS", "EUR", "UNK"], 300, p=[0.3, 0.03, 0.65, 0.02])
    cases = make_cases(rng, np.repeat(np.arange(300), 2))
    report = report_of(cases, make_subjects(rng, 300, ancestry), {"endpoints": ENDPOINTS})
    assert report.row("ancestry", "EAS").suppressed
    assert report.suppression.audit == "passed"
    # Two sites a patient: the row sums of the cross table are more than the patients, and tell nothing either.
    table = report.ancestry_by_site
    for line in [*table.counts, *zip(*table.counts)]:
        assert sum(n is None for n in line) != 1


def test_a_split_that_tells_few_positives_is_held_back_and_the_group_is_not(report_of):
    rng = np.random.default_rng(8)
    cases = make_cases(rng, np.arange(600))
    ancestry = np.repeat(["AFR", "EAS", "EUR"], 200)
    cases.loc[5:199, ["truth", "grade_true"]] = 0
    cases.loc[:4, "truth"] = 1
    report = report_of(cases, make_subjects(rng, 600, ancestry), {"endpoints": ENDPOINTS, "axes": ["ancestry"]})
    row = report.row("ancestry", "AFR")
    assert (row.n_patients, row.n_positives, row.n_negatives, row.suppressed) == (200, None, None, False)
    by_metric = {r.endpoint.split(":")[0]: r for r in row.results}
    assert by_metric["accuracy"].estimate is not None
    for name in ("sensitivity", "specificity", "ppv", "npv", "auc"):
        assert by_metric[name].estimate is by_metric[name].n_patients is None
    others = [report.row("ancestry", name).n_positives for name in ("EAS", "EUR")]
    assert others.count(None) == 1


def test_the_share_of_unknown_ancestry_is_held_back_with_its_row(report_of):
    rng = np.random.default_rng(9)
    ancestry = np.repeat(["AFR", "EUR", "UNK"], [100, 293, 7])
    report = report_of(make_cases(rng, np.arange(400)), make_subjects(rng, 400, ancestry), {"axes": ["ancestry"]})
    test_set = report.test_set
    assert report.row("ancestry", "unknown").suppressed_as == "small"
    assert (test_set.fraction_unknown, test_set.ancestry_sources) == (None, {"self_report": None})
    assert "number is held back" in " ".join(report.limitations)
    assert (report.row("ancestry", "AFR").suppressed, report.row("ancestry", "EUR").suppressed) == (True, False)


def test_where_saying_which_is_small_would_tell_it_nothing_is_said(report_of):
    rng = np.random.default_rng(10)
    ancestry = np.repeat(["AFR", "EUR"], [2, 11])
    report = report_of(make_cases(rng, np.arange(13)), make_subjects(rng, 13, ancestry), {"axes": ["ancestry"]})
    rows = [report.row("ancestry", name) for name in ("AFR", "EUR")]
    assert [(row.suppressed, row.suppressed_as, row.n_patients) for row in rows] == [(True, None, None)] * 2
    assert {row.results[0].floor_verdict for row in rows} == {None}
    assert "no verdict shown" in " ".join(report.status_reasons)


def test_without_suppression_nothing_is_held_back(report_of):
    cases, subjects = _cohort(11)
    report = report_of(cases, subjects, {**SETTINGS, "suppress": False})
    assert not any(row.suppressed for row in report.groups)
    assert (report.suppression.applied, report.suppression.audit) == (False, "not needed")
    assert all(n is not None for row in report.ancestry_by_site.counts for n in row)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], [("a",), ("b",), ("c",), ("d",)]),
        ([("a", "b"), ("b", "c"), ("c", "d")], [("a", "b"), ("b", "c"), ("c", "d")]),
        ([("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")], [("a", "b", "c"), ("a", "c", "d")]),
    ],
)
def test_cliques_form_a_tree(pairs, expected):
    found = cliques(["a", "b", "c", "d"], pairs)
    assert sorted(found) == expected
    assert len(junction_tree(found)) == len(found) - 1


def test_the_audit_is_the_one_over_the_whole_table():
    """Ranges over the tree of cliques equal those over the full table of four axes, to the last digit."""
    rng = np.random.default_rng(3)
    sizes = {"a": 3, "b": 2, "c": 3, "d": 2}
    full = rng.integers(0, 9, tuple(sizes.values()))
    pairs = [("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")]
    axes = list(sizes)
    told, rows, values = [], [], []
    grid = np.arange(full.size).reshape(full.shape)
    for pair in pairs:
        margin = full.sum(axis=tuple(i for i, axis in enumerate(axes) if axis not in pair))
        for where in np.ndindex(margin.shape):
            if rng.random() < 0.6:
                told.append(Told(pair, where, (0,), float(margin[where]), float(margin[where])))
                row = np.zeros(full.size)
                row[grid[tuple(where[pair.index(axis)] if axis in pair else slice(None) for axis in axes)].ravel()] = 1
                rows.append(row)
                values.append(margin[where])
    told.append(Told((), (), (0,), float(full.sum()), float(full.sum())))
    rows, values = [*rows, np.ones(full.size)], [*values, full.sum()]
    polytope = Polytope(lattice := Lattice(sizes, pairs, 1), told)
    for where in np.ndindex(3, 2):
        columns = lattice.columns(("a", "b"), where, (0,))
        goal = np.zeros(lattice.n_variables)
        goal[columns] = 1
        wide = np.zeros(full.size)
        wide[grid[where].ravel()] = 1
        for sign in (1, -1):
            solved = linprog(-sign * wide, A_eq=np.array(rows), b_eq=np.array(values))
            assert polytope.farthest(sign * goal)[columns].sum() == pytest.approx(-sign * solved.fun, abs=1e-7)


def test_provenance_is_said_where_groups_differ_in_it(report_of):
    rng = np.random.default_rng(12)
    subjects = make_subjects(rng, 200, np.repeat(["AFR", "EUR"], 100))
    cases = make_cases(rng, np.arange(200))
    same = report_of(cases, subjects, {"axes": ["ancestry"]})
    assert "not known in the same way" not in " ".join(same.limitations)
    subjects.loc[:99, "ancestry_source"] = "administrative"
    told = " ".join(report_of(cases, subjects, {"axes": ["ancestry"]}).limitations)
    assert "AFR: administrative; EUR: self_report" in told


def test_crossed_groups_and_the_panel_cost_no_group_its_declared_numbers(report_of):
    rng = np.random.default_rng(11)
    n = 1200
    subjects = make_subjects(rng, n, rng.choice(["A", "B", "C", "UNK"], n, p=[0.25, 0.25, 0.45, 0.05]))
    cases = make_cases(rng, np.arange(n))
    report = report_of(cases, subjects, {"endpoints": ENDPOINTS, "panel": "standard", "replicates": 200})
    declared = {endpoint.id for endpoint in report.endpoints if not endpoint.panel}
    single = [row for row in report.groups if "*" not in row.axis]
    assert not [
        (row.value, r.endpoint) for row in single for r in row.results if r.suppressed and r.endpoint in declared
    ]
    # Few patients of unknown ancestry have the worst grade: nobody's grades are told on that axis, those of sex are.
    held = {(row.axis, r.suppressed) for row in single for r in row.results if r.endpoint.startswith("grade_recall")}
    assert {suppressed for axis, suppressed in held if axis == "ancestry"} == {True}
    assert {suppressed for axis, suppressed in held if axis == "sex"} == {False}
    assert report.suppression.audit == "passed"
