"""Net benefit by hand, its interval by the bootstrap, and what is published of it."""

from __future__ import annotations

import numpy as np
import pytest

from medimg.evaluation.metrics.levels import Levels, linear_estimate
from medimg.evaluation.metrics.net_benefit import decision_curve, net_benefit, net_benefit_estimate, net_benefit_of_all
from medimg.evaluation.protocol import Protocol

from .conftest import AUC

TRUTH = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], bool)
SCORE = np.array([0.9, 0.6, 0.15, 0.7, 0.3, 0.2, 0.2, 0.1, 0.05, 0.0])


def test_net_benefit_by_hand():
    levels = Levels.of(TRUTH, SCORE, np.arange(10))
    # At 0.2: 2 found, 4 false alarms of weight 1/4. At 0.5: 2 found, 1 false alarm of weight 1.
    assert net_benefit(levels, 0.2).value == pytest.approx((2 - 4 * 0.25) / 10)
    assert net_benefit(levels, 0.5).value == pytest.approx((2 - 1) / 10)
    assert net_benefit_of_all(levels, 0.2) == pytest.approx(0.3 - 0.7 * 0.25)
    assert net_benefit(levels, 1e-9).value == pytest.approx(net_benefit_of_all(levels, 1e-9), abs=1e-8)


def test_failed_cases_are_wrong_calls():
    truth, score = np.append(TRUTH, [True, False]), np.append(SCORE, [-np.inf, np.inf])
    found = net_benefit(Levels.of(truth, score, np.arange(12)), 0.2)
    assert found.value == pytest.approx((2 - 5 * 0.25) / 12)


def test_interval_agrees_with_the_patient_bootstrap():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(120), 2)
    own = rng.normal(size=120)[patients]
    truth = own + rng.normal(size=240) > 0.5
    score = np.clip(0.4 + 0.2 * own + 0.2 * rng.normal(size=240), 0, 1)
    ours = linear_estimate(levels := Levels.of(truth, score, patients), net_benefit(levels, 0.3), 0.95)
    draws = []
    for _ in range(1500):
        cases = (rng.integers(0, 120, 120)[:, None] * 2 + np.arange(2)).ravel()
        called = score[cases] >= 0.3
        draws.append(np.mean(called * np.where(truth[cases], 1, -0.3 / 0.7)))
    assert ours.high - ours.low == pytest.approx(np.ptp(np.quantile(draws, [0.025, 0.975])), rel=0.08)
    assert "patient clusters" in ours.method


def test_calling_nobody_is_bounded():
    levels = Levels.of(np.arange(40) < 15, np.full(40, 0.1), np.arange(40))
    found = net_benefit_estimate(levels, 0.5, 0.95)
    assert found.value == 0
    assert -0.1 < found.low < 0 < found.high < 0.1


def test_decision_curve_protects_few_positives_and_odds():
    rng = np.random.default_rng(1)
    truth = np.arange(200) < 60
    score = np.clip(0.3 * truth + 0.6 * rng.random(200), 0, 1)
    protocol = Protocol(endpoints=[AUC])
    curve = decision_curve("dr", "ancestry", "A", Levels.of(truth, score, np.arange(200)), protocol)
    assert curve.thresholds == list(protocol.benefit_thresholds)
    assert all(low <= value <= high for low, value, high in zip(curve.low, curve.net_benefit, curve.high))
    assert curve.treat_all[0] == pytest.approx(0.3 - 0.7 * 0.05 / 0.95, abs=5e-4)
    few = Levels.of(np.arange(200) < 10, score, np.arange(200))
    assert decision_curve("dr", "ancestry", "A", few, protocol) is None
    odds = Levels.of(truth, 4 * score - 2, np.arange(200))
    assert decision_curve("dr", "ancestry", "A", odds, protocol) is None
