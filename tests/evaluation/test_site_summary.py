"""What sites send in place of rows: what is in it, what is withheld, and what is refused on receipt."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from medimg.errors import InputError
from medimg.evaluation.protocol import declare, freeze
from medimg.evaluation.sites.checks import check_summary, patients_by_value
from medimg.evaluation.sites.summary import merge, read_summary, summarise_site, write_summary
from medimg.evaluation.sites.withholding import lines_of, withhold
from medimg.evaluation.tables import WITHHELD

from .conftest import AUC, DIGEST, WHEN, make_cases, make_subjects

SITES = ("north", "south", "west")


def frozen(**settings):
    return freeze(
        declare({"endpoints": [AUC], "score_bins": 1024, **settings}), {"dr": 0.5}, package_digest=DIGEST, at=WHEN
    )


@pytest.fixture(scope="module")
def people():
    """Two images a patient; each patient at one of three sites; one ancestry with few patients a site."""
    rng = np.random.default_rng(21)
    cases = make_cases(rng, np.repeat(np.arange(600), 2))
    cases["site_id"] = np.array(SITES)[cases["subject_id"].str[1:].astype(int) % 3]
    ancestry = np.where(np.arange(600) < 18, "OCE", rng.choice(["AFR", "EUR", "UNK"], 600, p=[0.3, 0.6, 0.1]))
    return cases, make_subjects(rng, 600, ancestry)


def summaries_of(people, protocol, **more):
    cases, subjects = people
    found = []
    for site in SITES:
        mine = cases[cases["site_id"] == site]
        known = subjects[subjects["subject_id"].isin(mine["subject_id"])]
        found.append(summarise_site(mine, known, protocol, sender=site, **more))
    return found


@pytest.fixture(scope="module")
def open_ones(people):
    return summaries_of(people, frozen(), protected=False)


def _total(summary, axis, name="n_cases"):
    return sum(getattr(group, name) for group in summary.groups if group.axis == axis)


def test_merging_depends_on_no_order_and_no_grouping(open_ones):
    first, second, third = open_ones
    whole = merge(open_ones)
    assert merge([third, first, second]) == whole
    assert merge([merge([second, third]), first]) == whole
    assert whole.senders == sorted(SITES)
    assert merge([whole]) == whole


def test_a_merged_summary_is_that_of_all_the_rows(people, open_ones):
    together = summarise_site(*people, frozen(), sender="all", protected=False)
    whole = merge(open_ones)
    assert merge([together]).tables == whole.tables
    assert {(g.axis, *g.value): g for g in together.groups} == {(g.axis, *g.value): g for g in whole.groups}


def test_every_axis_adds_up_to_everyone(people, open_ones):
    whole = merge(open_ones)
    for axis in {group.axis for group in whole.groups}:
        for name in ("n_cases", "n_positives", "n_negatives", "n_failed"):
            assert _total(whole, axis, name) == _total(whole, "overall", name), axis
    for table in whole.tables:
        assert sum(pattern[0] * (len(pattern) - 1) for pattern in table.patterns) == len(people[0])
        assert sum(table.bins["score"].count) == len(people[0])


def test_names_no_case_and_no_person_and_holds_whole_numbers_alone(people, open_ones, tmp_path):
    path = write_summary(open_ones[0], tmp_path / "north.json")
    text = path.read_text()
    assert "c00" not in text
    assert "s00" not in text
    assert not any(isinstance(number, float) for number in _numbers(json.loads(text)))
    assert read_summary(path) == open_ones[0]
    assert [p.name for p in tmp_path.iterdir()] == ["north.json"]


def _numbers(content):
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for part in content:
            yield from _numbers(part)
    else:
        yield content


def test_small_groups_are_withheld_and_totals_kept(people):
    protocol = frozen()
    below = protocol.declared.suppress_below
    for summary in summaries_of(people, protocol):
        named = {group.value[0] for group in summary.groups if group.axis == "ancestry"}
        assert "OCE" not in named
        assert WITHHELD in named
        assert all(group.n_patients >= below for group in summary.groups)
        assert all(n >= below for table in summary.tables for n in patients_by_value(table))
        assert _total(summary, "ancestry") == _total(summary, "overall")
        # Not by subtraction either: what is left of a group after its shown intersections is nobody or many.
        for value in named - {WITHHELD}:
            crossed = [g.n_patients for g in summary.groups if g.axis == "ancestry*sex" and g.value[0] == value]
            whole = next(g.n_patients for g in summary.groups if (g.axis, g.value[0]) == ("ancestry", value))
            assert whole - sum(crossed) == 0 or whole - sum(crossed) >= below
        check_summary(summary, protocol)


def test_under_encryption_small_groups_are_sent_as_they_are(open_ones):
    for summary in open_ones:
        assert {"OCE"} <= {group.value[0] for group in summary.groups if group.axis == "ancestry"}
        assert not summary.protected
        check_summary(summary, frozen())


def test_a_withheld_group_takes_others_with_it_until_it_is_not_small():
    patient = np.arange(60)
    value = np.repeat([0, 1, 2], [3, 17, 40])
    target = np.zeros(60, int)
    groups = [{"ancestry": name} for name in "abc"]
    assert withhold(value, patient, target, lines_of(groups), [], 11) == {0, 1}
    assert withhold(value[20:], patient[20:], target[20:], lines_of(groups), [], 11) == set()
    crossed = [{"ancestry": a, "sex": s} for a in "ab" for s in "fm"]
    value = np.repeat([0, 1, 2, 3], [20, 4, 20, 20])
    held = withhold(value, np.arange(64), np.zeros(64, int), lines_of(crossed), [], 11)
    # (a, m) is small; (a, f) would give it away by row, (b, m) by column, (b, f) is needed by neither sum.
    assert {0, 1, 3} <= held


def test_a_small_site_cannot_send_in_the_open(people):
    cases, subjects = people
    few = cases[cases["subject_id"] <= "s00008"]
    with pytest.raises(InputError, match="too small to send"):
        summarise_site(few, subjects, frozen(), sender="tiny")
    assert summarise_site(few, subjects, frozen(), sender="tiny", protected=False).groups[0].n_patients == 9


def test_scores_that_are_no_probabilities_are_refused(people):
    cases, subjects = people
    with pytest.raises(InputError, match="probabilities"):
        summarise_site(cases.assign(score=cases["score"] * 8 - 4), subjects, frozen(), sender="x")


def _change(summary, change):
    content = json.loads(summary.model_dump_json(by_alias=True))
    change(content)
    return type(summary).model_validate(content)


def _table(content, axis="sex"):
    return next(t for t in content["tables"] if t["axis"] == axis)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c.update(protocol_sha256="0" * 64), "protocol_sha256"),
        (lambda c: c["tables"].pop(), "tables"),
        (lambda c: c["groups"][1].update(n_cases=1), "ancestry"),
        (lambda c: _table(c)["bins"]["score"]["count"].__setitem__(0, 999), "column score"),
        (lambda c: _table(c)["bins"]["score"]["bin"].__setitem__(0, 10**6), "unknown cell or bin"),
        (lambda c: _table(c)["bins"]["score"]["bin"].__setitem__(0, 3), "other bins"),
        (lambda c: _table(c)["bins"].clear(), "other bins"),
        (lambda c: _table(c)["bins"]["score"]["count"].pop(), "different lengths"),
        (lambda c: _table(c)["patterns"][0].__setitem__(1, 9999), "unknown cell"),
        (lambda c: _table(c)["patterns"].pop(), "cases"),
        (lambda c: _table(c)["cells"][0].__setitem__(2, 7), "by outcome"),
        (lambda c: _table(c)["cells"][0].pop(), "group or outcomes"),
        (lambda c: c.update(protected=True), "fewer than"),
    ],
)
def test_what_does_not_hold_together_is_refused_on_receipt(open_ones, change, match):
    check_summary(open_ones[0], frozen())
    with pytest.raises(InputError, match=match):
        check_summary(_change(open_ones[0], change), frozen())


@pytest.mark.parametrize("wrong", [-1, 1.5, "3", True])
def test_anything_but_whole_numbers_is_refused_on_reading(open_ones, tmp_path, wrong):
    path = write_summary(open_ones[0], tmp_path / "a.json")
    content = json.loads(path.read_text())
    content["tables"][0]["patterns"][0][0] = wrong
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"schema[\s\S]*patterns"):
        read_summary(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_summary(tmp_path / "none.json")


def test_summaries_that_do_not_belong_together_are_not_added(people, open_ones):
    other = summaries_of(people, frozen(seed=5), protected=False)
    with pytest.raises(InputError, match="one frozen protocol"):
        merge([open_ones[0], other[1]])
    with pytest.raises(InputError, match="every site once"):
        merge([open_ones[0], open_ones[0]])
    with pytest.raises(InputError, match="at least one"):
        merge([])


def test_a_column_that_one_site_lacks_is_unknown_there(people):
    cases, subjects = people
    cases = cases.assign(score=cases["score"].where(cases["site_id"] != "west"))
    whole = merge(summaries_of((cases, subjects), frozen(), protected=False))
    for table in whole.tables:
        bins = table.bins["score"]
        assert sum(bins.count) == len(cases)
        missing = sum(n for place, n in zip(bins.bin, bins.count) if place == -1)
        assert missing == (cases["site_id"] == "west").sum()
    check_summary(whole, frozen())


def test_provenance_of_few_is_folded(people):
    cases, subjects = people
    subjects = subjects.assign(ancestry_source=np.where(np.arange(600) < 5, "genetic", "self_report"))
    summary = summarise_site(cases, subjects, frozen(), sender="all")
    assert "genetic" not in summary.ancestry_sources
    assert pd.Series(summary.ancestry_sources).sum() == (subjects["ancestry_group"] != "UNK").sum()
