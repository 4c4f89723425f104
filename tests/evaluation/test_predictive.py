"""Predictive values at a declared prevalence: Bayes' rule, Mercaldo's interval, patient clusters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from medimg.evaluation.metrics.predictive import predictive_value


def _calls(tp, fn, fp, tn):
    truth = np.repeat([True, True, False, False], [tp, fn, fp, tn])
    called = np.repeat([True, False, True, False], [tp, fn, fp, tn])
    return truth, called, np.arange(len(truth))


def test_bayes_rule_and_mercaldos_variance():
    calls = _calls(85, 15, 40, 160)
    se, sp, p, z = 0.85, 0.80, 0.03, stats.norm.ppf(0.975)
    ppv = predictive_value("positive", p, *calls)
    npv = predictive_value("negative", p, *calls)
    assert ppv.value == pytest.approx(p * se / (p * se + (1 - p) * (1 - sp)))
    assert npv.value == pytest.approx((1 - p) * sp / ((1 - p) * sp + p * (1 - se)))
    # Mercaldo, Lau & Zhou 2007, Stat Med 26:2170, equations for the logits.
    for found, centre, variance in (
        (ppv, np.log(p * se / ((1 - p) * (1 - sp))), (1 - se) / se / 100 + sp / (1 - sp) / 200),
        (npv, np.log((1 - p) * sp / (p * (1 - se))), (1 - sp) / sp / 200 + se / (1 - se) / 100),
    ):
        bounds = special.expit(centre + np.array([-z, z]) * np.sqrt(variance))
        np.testing.assert_allclose((found.low, found.high), bounds, rtol=1e-9)
        assert found.note == "at a prevalence of 0.03"


def test_at_its_own_prevalence_it_is_the_observed_value():
    truth, called, patients = _calls(30, 10, 12, 48)
    assert predictive_value("positive", 0.4, truth, called, patients).value == pytest.approx(30 / 42)
    assert predictive_value("negative", 0.4, truth, called, patients).value == pytest.approx(48 / 58)


def test_perfect_rates_get_the_adjusted_interval():
    found = predictive_value("positive", 0.1, *_calls(30, 5, 0, 60))
    assert found.value == found.high == 1.0
    assert 0.3 < found.low < 0.95
    assert "adjusted" in found.method
    never = predictive_value("positive", 0.1, *_calls(0, 30, 0, 60))
    assert never.value is None
    assert "called positive" in never.reason
    assert "no negative" in predictive_value("positive", 0.1, *_calls(5, 5, 0, 0)).reason


def test_copies_change_nothing_and_clusters_agree_with_the_bootstrap():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(150), 4)
    own = rng.normal(size=150)[patients]
    truth = own + rng.normal(size=600) > 0.5
    called = 1.4 * truth + own + rng.normal(size=600) > 1
    one = predictive_value("positive", 0.05, truth, called, patients)
    many = predictive_value("positive", 0.05, *(np.tile(part, 2) for part in (truth, called, patients)))
    np.testing.assert_allclose((one.value, one.low, one.high), (many.value, many.low, many.high))
    draws = []
    for _ in range(1200):
        cases = (rng.integers(0, 150, 150)[:, None] * 4 + np.arange(4)).ravel()
        t, c = truth[cases], called[cases]
        draws.append(np.log(0.05 * c[t].mean() / (0.95 * c[~t].mean())))
    width = special.logit(one.high) - special.logit(one.low)
    assert width == pytest.approx(np.ptp(np.quantile(draws, [0.025, 0.975])), rel=0.1)
    naive = predictive_value("positive", 0.05, truth, called, np.arange(600))
    assert one.high - one.low > 1.05 * (naive.high - naive.low)
