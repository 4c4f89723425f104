"""The threshold that a group would need: ranks, clusters, and what is published of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medimg.evaluation.estimation.threshold_shift import needed_threshold


def test_it_is_the_highest_threshold_that_finds_enough():
    score = np.arange(1.0, 21)
    for aim, expected in ((1.0, 1), (0.95, 2), (0.9, 3), (0.5, 11), (0.51, 10)):
        value, _, _ = needed_threshold(score, np.arange(20), aim)
        assert value == expected
        assert np.mean(score >= value) >= aim > np.mean(score >= value + 1)


@pytest.mark.parametrize(("n", "aim"), [(100, 0.9), (40, 0.8), (500, 0.85)])
def test_binomial_ranks(n, aim):
    _, low, high = needed_threshold(np.arange(1.0, n + 1), np.arange(n), aim)
    below = 1 - aim
    # The interval covers the quantile where between `low` and `high - 1` cases lie below it.
    assert stats.binom.cdf(low - 1, n, below) <= 0.025 < stats.binom.cdf(low, n, below)
    assert stats.binom.sf(high - 1, n, below) <= 0.025 < stats.binom.sf(high - 2, n, below)


def test_few_positives_bound_nothing():
    value, low, high = needed_threshold(np.arange(5.0), np.arange(5), 0.9)
    assert (value, low) == (0.0, -np.inf)
    assert np.isfinite(high)
    assert needed_threshold(np.array([-np.inf, 1, 2]), np.arange(3), 0.9)[0] == -np.inf


def test_coverage_in_clusters():
    rng = np.random.default_rng(0)
    truth = stats.norm.ppf(0.15)
    covered = naive = 0
    for _ in range(400):
        patients = np.repeat(np.arange(80), 4)
        score = np.sqrt(0.6) * rng.normal(size=80)[patients] + np.sqrt(0.4) * rng.normal(size=320)
        _, low, high = needed_threshold(score, patients, 0.85)
        covered += low <= truth <= high
        _, low, high = needed_threshold(score, np.arange(320), 0.85)
        naive += low <= truth <= high
    assert 0.92 <= covered / 400 <= 0.985
    assert naive / 400 < 0.9


@pytest.mark.parametrize("suppress", [True, False])
def test_the_report_tells_ranking_from_shift(graded, report_of, suppress):
    cases = graded.cases.copy()
    subjects = graded.subjects.assign(
        ancestry_group=graded.subjects["ancestry_group"].replace({"UNK": "EUR", "ASKU": "EUR"})
    )
    ancestry = subjects.set_index("subject_id")["ancestry_group"]
    shifted = cases["subject_id"].map(ancestry) == "AFR"
    odds = cases["score"] / (1 - cases["score"]) * np.where(shifted, 0.3, 1.0)
    cases["score"] = odds / (1 + odds)
    cases["predicted"] = (cases["score"] >= 0.5).astype(int)
    report = report_of(cases, subjects, {"panel": "standard", "suppress": suppress, "axes": ["ancestry"]})
    found = {(shift.axis, shift.value): shift for shift in report.threshold_shifts}
    everyone, afr, eur = found["overall", "all"], found["ancestry", "AFR"], found["ancestry", "EUR"]
    truth = cases["truth"] == 1
    assert everyone.aim == everyone.sensitivity == pytest.approx(cases.loc[truth, "predicted"].mean())
    assert everyone.false_positive_rate == pytest.approx(cases.loc[~truth, "predicted"].mean())
    assert afr.sensitivity < eur.sensitivity
    assert afr.needed_high < eur.needed_low
    assert afr.needed_low <= afr.needed <= afr.needed_high
    positives = np.sort(cases.loc[truth & shifted, "score"])
    exact = positives[int(np.floor(len(positives) * (1 - afr.aim) + 1e-9))]
    assert afr.needed == pytest.approx(exact, abs=6e-4 if suppress else 1e-6)


def test_the_declared_sensitivity_is_the_aim(graded, report_of):
    settings = {"panel": "standard", "threshold_rule": "sensitivity", "threshold_target": 0.8, "axes": ["ancestry"]}
    report = report_of(graded.cases, graded.subjects, settings)
    assert {shift.aim for shift in report.threshold_shifts} == {0.8}
