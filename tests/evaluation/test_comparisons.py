"""All comparisons in a whole report: what must hold whatever the numbers."""

from __future__ import annotations

import numpy as np
import pytest

from medimg.evaluation.document import dump_report

from .conftest import AUC, make_cases, make_subjects

SETTINGS = {
    "endpoints": [AUC, {"metric": "sensitivity", "target": "dr", "primary": True, "floor": 0.5, "gap_margin": 0.1}],
    "axes": ["ancestry", "sex", "site"],
    "crossed": [["ancestry", "sex"], ["ancestry", "site"]],
    "suppress": False,
}


@pytest.fixture
def people():
    rng = np.random.default_rng(21)
    ancestry = rng.choice(["AFR", "EAS", "EUR", "UNK"], 600, p=[0.25, 0.3, 0.4, 0.05])
    effect = np.where(ancestry == "AFR", 1.0, 2.5)
    return make_cases(rng, np.arange(600), effect=effect), make_subjects(rng, 600, ancestry)


def test_every_part_is_there(people, report_of):
    report = report_of(*people, SETTINGS)
    assert [c.axes for c in report.intersections] == [("ancestry", "sex"), ("ancestry", "site")]
    crossed = [row for row in report.groups if "*" in row.axis]
    assert len(crossed) == sum(c.n_shown for c in report.intersections) == 12
    assert report.groups[-len(crossed) :] == crossed
    assert {g.axis for g in report.credible_gaps} == {"ancestry", "sex", "site"}
    assert {(s.axis, s.value) for s in report.standardised} >= {("ancestry", "AFR"), ("sex", "male"), ("site", "north")}
    assert {w.value for w in report.within_sites} == {"AFR", "EAS", "EUR"}
    assert report.separability.separable
    gap = next(g for g in report.credible_gaps if (g.axis, g.endpoint) == ("ancestry", "auc:dr"))
    assert gap.worse == "AFR"
    assert gap.at_least > 0
    overall, afr = report.groups[0].results[0], report.row("ancestry", "AFR").results[0]
    assert overall.simultaneous_low is None
    assert afr.simultaneous_low < afr.low < afr.high < afr.simultaneous_high


def test_crossed_rows_add_up_to_their_axis(people, report_of):
    report = report_of(*people, SETTINGS)
    for value in ("AFR", "EAS", "EUR"):
        whole = report.row("ancestry", value)
        parts = [row for row in report.groups if row.axis == "ancestry*sex" and row.parts["ancestry"] == value]
        for name in ("n_cases", "n_patients", "n_positives", "n_negatives", "n_failed"):
            assert sum(getattr(row, name) for row in parts) == getattr(whole, name)


def test_order_of_rows_changes_no_byte(people, report_of):
    rng = np.random.default_rng(0)
    shuffled = [table.iloc[rng.permutation(len(table))] for table in people]
    assert dump_report(report_of(*shuffled, SETTINGS)) == dump_report(report_of(*people, SETTINGS))


def test_names_of_groups_change_nothing_but_names(people, report_of):
    names = {"AFR": "Z", "EAS": "A", "EUR": "M"}
    cases, subjects = people
    renamed = subjects.assign(ancestry_group=subjects["ancestry_group"].replace(names))
    sites = {"north": "up", "south": "down"}
    first = report_of(cases, subjects, SETTINGS)
    second = report_of(cases.assign(site_id=cases["site_id"].replace(sites)), renamed, SETTINGS)
    names |= sites

    def named(value):
        return value and ", ".join(names.get(part, part) for part in value.split(", "))

    def told(parts, *fields):
        return {tuple(named(getattr(p, f)) for f in fields): p.model_dump(exclude=set(fields)) for p in parts}

    def same(one, other):
        assert one.keys() == other.keys()
        for key, value in one.items():
            for field, number in value.items():
                expected = other[key][field]
                assert number == (pytest.approx(expected, rel=1e-9) if isinstance(number, float) else expected)

    for fields, of in (
        (("axis", "worse", "better", "endpoint"), "credible_gaps"),
        (("axis", "worst", "best", "worst_shrunken", "endpoint"), "spreads"),
        (("axis", "value", "endpoint"), "standardised"),
        (("value", "endpoint"), "within_sites"),
    ):
        same(told(getattr(first, of), *fields), told(getattr(second, of), *fields))
    assert first.separability == second.separability
    assert first.intersections == second.intersections
    for row in first.groups:
        other = second.row(row.axis, named(row.value))
        assert (row.n_cases, row.n_positives) == (other.n_cases, other.n_positives)
        for mine, theirs in zip(row.results, other.results):
            numbers = (mine.estimate, mine.low, mine.simultaneous_high, mine.floor_p_holm, mine.floor_p_bh, mine.note)
            assert numbers == (
                theirs.estimate,
                theirs.low,
                theirs.simultaneous_high,
                theirs.floor_p_holm,
                theirs.floor_p_bh,
                theirs.note,
            )


def test_ancestry_that_goes_with_site_is_said_to_be_inseparable(people, report_of):
    cases, subjects = people
    ancestry = subjects.set_index("subject_id")["ancestry_group"].loc[cases["subject_id"]].to_numpy()
    apart = cases.assign(site_id=np.where(ancestry == "AFR", "north", "south"))
    report = report_of(
        apart, subjects.assign(ancestry_group=subjects["ancestry_group"].replace("EAS", "EUR")), SETTINGS
    )
    assert not report.separability.separable
    assert "not separable from site" in report.what_this_does_not_show[0]
    assert report.separability.text in report.limitations
    assert all(w.gap is None and w.reason for w in report.within_sites)
