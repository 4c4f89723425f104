"""Quiet is not whole: what is held, for how long, and what becomes of it then."""

from __future__ import annotations

import time

import pytest
from parts import Bench, ct_series, ct_slice, encoded

from medimg.pacs.serve.completeness import Evidence, judge
from medimg.pacs.serve.settings import CompletenessSettings

SETTINGS = CompletenessSettings(quiet_s=5, doubt_s=60, deadline_s=900)


@pytest.mark.parametrize(
    ("evidence", "state"),
    [
        (Evidence(9, 1.0), "wait"),
        (Evidence(9, 6.0), "complete"),
        (Evidence(9, 6.0, lacking=("holes",)), "held"),
        (Evidence(9, 901.0, lacking=("holes",)), "overdue"),
        (Evidence(9, 6.0, unusual=("late",)), "held"),
        (Evidence(9, 61.0, unusual=("late",)), "complete"),
        (Evidence(9, 6.0, unusual=("late",), expected=9), "complete"),
        (Evidence(9, 6.0, expected=10), "held"),
        (Evidence(9, 6.0, expected=9), "complete"),
    ],
)
def test_evidence_is_weighed(evidence: Evidence, state: str) -> None:
    assert judge(evidence, SETTINGS).state == state


def state(bench: Bench) -> tuple[str, str]:
    row = bench.one("SELECT state, reason FROM series")
    return row["state"], row["reason"]


def test_a_released_series_without_holes_is_run(bench) -> None:
    here = bench()
    here.take(ct_series("a", 5))
    here.scheduler.turn(0.0)
    assert state(here)[0] == "receiving"
    here.turn()
    assert state(here) == ("routed", "")
    assert here.one("SELECT state, mode FROM jobs") == {"state": "done", "mode": "whole"}
    assert len(here.files()) == 3


@pytest.mark.parametrize("ended", ["aborted", "lost", "open"])
def test_a_series_whose_sender_was_cut_off_is_held_and_made_good_by_sending_it_again(bench, ended: str) -> None:
    here = bench()
    series = ct_series("a", 9)
    here.take(series[:5], ended)
    for later_s in (1.0, 100.0, 1000.0):
        here.turn(later_s)
        assert state(here)[0] == "held"
    assert "association" in state(here)[1]
    assert here.one("SELECT COUNT(*) FROM jobs") == 0
    if ended == "open":
        here.intake.close_association(1, "aborted")
    assert here.take(series) == ["known"] * 5 + ["kept"] * 4
    here.turn()
    assert state(here)[0] == "routed"
    assert here.one("SELECT mode FROM jobs") == "whole"
    assert all(one.ImageComments == "9 sources" for one in here.files())


def test_holes_hold(bench) -> None:
    here = bench()
    series = ct_series("a", 9)
    here.take(series[:4] + series[5:])
    here.turn(100.0)
    assert state(here)[0] == "held"
    assert "missing: 1 beside the 8" in state(here)[1]
    here.take([series[4]])
    here.turn()
    assert state(here)[0] == "routed"


def test_a_gap_of_numbers_and_a_count_not_reached_hold(bench) -> None:
    here = bench()
    here.take([ct_slice("a", n, InstanceNumber=n + 1 + (n > 2)) for n in range(6)])
    here.take([ct_slice("b", n, ImagesInAcquisition=7) for n in range(6)])
    here.turn(100.0)
    reasons = [row["reason"] for row in here.journal.rows("SELECT reason FROM series ORDER BY first_s")]
    assert "InstanceNumber has gaps" in reasons[0]
    assert "6 of 7" in reasons[1]
    assert here.one("SELECT COUNT(*) FROM jobs") == 0


def test_a_refused_instance_holds_its_series(bench) -> None:
    here = bench()
    series = ct_series("a", 6)
    head, (body,), uid = encoded(series[5])
    association = here.intake.open_association("SENDER", "dicom")
    for one in series[:5]:
        here.intake.take(association, *encoded(one))
    assert here.intake.take(association, head, (body[:-100],), uid).status == 0xC000
    here.intake.close_association(association, "released")
    here.turn(100.0)
    assert state(here) == ("held", "an association had instances refused")
    here.take(series)
    here.turn()
    assert state(here)[0] == "routed"


def test_one_association_that_went_on_is_believed_after_a_while(bench) -> None:
    here = bench(doubt_s=50.0)
    here.take([*ct_series("a", 5), *ct_series("b", 5)], "open")
    here.scheduler.turn(time.time() + 10.0)
    states = [row["state"] for row in here.journal.rows("SELECT state FROM series ORDER BY first_s")]
    assert states == ["held", "held"]
    here.turn(100.0)
    states = [row["state"] for row in here.journal.rows("SELECT state FROM series ORDER BY first_s")]
    assert states == ["routed", "held"]


def test_partial_results_say_so_and_are_superseded_by_late_slices(bench) -> None:
    here = bench(incomplete="partial", deadline_s=50.0)
    series = ct_series("a", 9)
    here.take([*series[:4], *series[5:]])
    here.turn(20.0)
    assert here.one("SELECT COUNT(*) FROM jobs") == 0
    here.turn(60.0)
    assert here.one("SELECT state, mode FROM jobs") == {"state": "done", "mode": "partial"}
    first = here.files()
    # Two even parts, each run for itself; no slice is invented.
    assert sorted(one.ImageComments.split(": ")[0] for one in first) == ["PARTIAL INPUT"] * 6
    assert all(one.SeriesDescription.startswith("PARTIAL INPUT") for one in first)
    here.take([series[4]])
    here.turn()
    assert here.one("SELECT COUNT(*) FROM jobs") == 2
    assert here.one("SELECT supersedes FROM jobs ORDER BY id DESC LIMIT 1") == 1
    whole = here.files()[6:]
    assert len(whole) == 3
    assert all(one.ImageComments == "9 sources" for one in whole)
    earlier = {str(one.SeriesInstanceUID) for one in first}
    assert all({str(item.SeriesInstanceUID) for item in one.RelatedSeriesSequence} == earlier for one in whole)
    # What was not sent yet of the first run is not sent any more.
    states = [row["state"] for row in here.journal.rows("SELECT state FROM deliveries ORDER BY id")]
    assert states == ["superseded"] * 6 + ["queued"] * 3


def test_refused_series_get_a_report_that_says_why(bench) -> None:
    here = bench(incomplete="refuse", deadline_s=50.0)
    here.take(ct_series("a", 5), "aborted")
    here.turn(60.0)
    (said,) = here.files()
    assert said.SeriesDescription == "refusal"
    assert "association was aborted" in here.one("SELECT error FROM jobs")


def test_the_same_instances_make_no_second_job(bench) -> None:
    here = bench()
    here.take(ct_series("a", 5))
    here.turn()
    assert here.take(ct_series("a", 5)) == ["known"] * 5
    here.turn(100.0)
    assert here.one("SELECT COUNT(*) FROM jobs") == 1
    assert here.one("SELECT COUNT(*) FROM results") == 3
