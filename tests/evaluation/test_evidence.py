"""The evidence of case tables: groups, their rest, crossed groups, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest

from medimg.evaluation.estimation.measurements import Measurements
from medimg.evaluation.evidence import OVERALL, Members
from medimg.evaluation.protocol import declare
from medimg.evaluation.row_evidence import RowEvidence

from .conftest import AUC, make_cases, make_subjects


@pytest.fixture
def evidence():
    rng = np.random.default_rng(4)
    cases = make_cases(rng, np.repeat(np.arange(120), 2))
    cases.loc[3, ["score", "predicted", "grade_pred"]] = np.nan
    cases["status"] = np.where(cases.index == 3, "failed", "ok")
    subjects = make_subjects(rng, 120, ["AFR"] * 30 + ["EUR"] * 80 + ["UNK"] * 10)
    return RowEvidence(cases, subjects, declare({"endpoints": [AUC], "expected_ancestries": ["SAS"]}))


def test_groups_stand_in_order_and_share_the_cases(evidence):
    assert evidence.keys[0] == OVERALL
    ancestries = [value for axis, value in evidence.keys if axis == "ancestry"]
    assert ancestries == ["AFR", "EUR", "SAS", "unknown", "declined"]
    for axis in ("ancestry", "sex", "scanner"):
        masks = [evidence.members(key).rows for key in evidence.keys if key[0] == axis]
        assert (np.sum(masks, axis=0) == 1).all()
    assert not evidence.members(("ancestry", "SAS")).rows.any()
    assert evidence.tasks == {"dr": "classification"}


def test_the_rest_is_everyone_else(evidence):
    key = ("ancestry", "AFR")
    name, rest = evidence.reference(key)
    assert name == "rest"
    assert (rest.rows == ~evidence.members(key).rows).all()
    female, male = (evidence.members(("sex", value)) for value in ("female", "male"))
    assert evidence.reference(("sex", "female"))[1].identity == male.identity != female.identity


def test_identity_tells_cases_and_tables_apart():
    rows = np.array([True, False, True])
    assert Members(rows).identity == Members(rows.copy()).identity
    assert Members(rows).identity != Members(~rows).identity
    assert Members(rows).identity != Members(rows, "site").identity


def test_tallies_count_cases_and_patients(evidence):
    tally = evidence.tally(("ancestry", "AFR"))
    assert (tally.n_cases, tally.n_patients, tally.n_failed) == (60, 30, 1)
    assert tally.n_positives + tally.n_negatives == 60
    chosen = evidence.select("dr", evidence.members(("ancestry", "AFR")))
    assert tally.n_positives == (chosen.cases["truth"] == 1).sum()
    assert evidence.tally(("ancestry", "SAS")).n_cases == 0


def test_crossed_groups_divide_the_groups_of_either_axis(evidence):
    crossed = evidence.crossed("ancestry", "sex")
    assert crossed[("ancestry*sex", "AFR, female")] == {"ancestry": "AFR", "sex": "female"}
    masks = [evidence.members(key).rows for key in crossed]
    assert (np.sum(masks, axis=0) == 1).all()
    afr = [evidence.members(key).rows for key, parts in crossed.items() if parts["ancestry"] == "AFR"]
    assert (np.any(afr, axis=0) == evidence.members(("ancestry", "AFR")).rows).all()
    assert evidence.reference(next(iter(crossed)))[0] == "rest"


def test_the_same_cases_are_measured_once(evidence, monkeypatch):
    asked = []
    select = evidence.select
    monkeypatch.setattr(
        evidence, "select", lambda target, members: asked.append(members.identity) or select(target, members)
    )
    measurements = Measurements(evidence, evidence.declared.endpoints)
    cells = measurements.cells([OVERALL, ("sex", "female"), ("sex", "male")])
    # Of two sexes each is the rest of the other.
    assert len(asked) == len(set(asked)) == 3
    assert [cell.value for cell in cells] == ["all", "female", "male"]
    assert cells[0].measured.estimate.patients is not None
