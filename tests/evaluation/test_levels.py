"""Metrics of scores: influences against numerical derivatives, intervals against the bootstrap, other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from medimg.evaluation.metrics import calibration, calibration_bins, ranking
from medimg.evaluation.metrics.bootstrap import bootstrap_estimate, stream
from medimg.evaluation.metrics.levels import (
    Levels,
    Linear,
    influences,
    linear_estimate,
    logit_estimate,
    pooled_estimate,
    standard_error,
)
from medimg.evaluation.metrics.net_benefit import net_benefit

STATISTICS = {
    "average precision": ranking.average_precision,
    "partial area": lambda levels: ranking.partial_area(levels, 0.3),
    "area": ranking.area_influence,
    "whole area": lambda levels: ranking.partial_area(levels, 1.0),
    "intercept": calibration.calibration_intercept,
    "slope": calibration.calibration_slope,
    "brier": calibration.brier,
    "uncertainty": calibration_bins.uncertainty,
    "net benefit": lambda levels: net_benefit(levels, 0.4),
}


def _scored(seed=0, n=300, levels=None):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.35
    score = special.expit(rng.normal(size=n) + 1.5 * truth - 1)
    return truth, score.round(levels) if levels else score, rng


def _counts(levels: Levels, at: int, positive: float, negative: float) -> Levels:
    one = np.arange(len(levels.score)) == at
    return Levels.of_counts(levels.score, levels.positive + positive * one, levels.negative + negative * one)


@pytest.mark.parametrize("name", STATISTICS)
def test_influences_are_derivatives(name):
    statistic = STATISTICS[name]
    truth, score, _ = _scored(levels=2)
    levels = Levels.of(truth, score, np.arange(len(truth)))
    found = statistic(levels)
    assert levels.positive @ found.positive + levels.negative @ found.negative == pytest.approx(0, abs=1e-9)
    step = 1e-4
    for at in range(0, len(levels.score), 7):
        for ours, change in ((found.positive[at], (1, 0)), (found.negative[at], (0, 1))):
            up, down = (statistic(_counts(levels, at, *(sign * step * c for c in change))).value for sign in (1, -1))
            if name == "partial area":
                # The curve's corner at the limit has two one-sided derivatives.
                assert ours == pytest.approx((up - down) / (2 * step), abs=3e-3)
            else:
                assert ours == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", ["resolution", "error", "reliability"])
def test_influences_in_fixed_bins_are_derivatives(name):
    truth, score, _ = _scored(levels=2)
    levels = Levels.of(truth, score, np.arange(len(truth)))
    bins = calibration_bins.equal_mass(levels, 6)

    def rebinned(positive, negative):
        def summed(values):
            return np.bincount(bins.of_level, values)

        total = positive + negative
        n = summed(total)
        return calibration_bins.Bins(bins.of_level, n, summed(positive), summed(total * levels.score) / n, n)

    def statistic(binned) -> Linear:
        if name == "resolution":
            return calibration_bins.resolution(binned)
        return calibration_bins.error_influence(binned, levels, 1 if name == "error" else 2)

    found = statistic(rebinned(levels.positive, levels.negative))
    assert levels.positive @ found.positive + levels.negative @ found.negative == pytest.approx(0, abs=1e-9)
    for at in range(0, len(levels.score), 9):
        one = (np.arange(len(levels.score)) == at) * 1e-5
        for ours, pair in ((found.positive[at], (one, 0 * one)), (found.negative[at], (0 * one, one))):
            up, down = (
                statistic(rebinned(levels.positive + s * pair[0], levels.negative + s * pair[1])).value for s in (1, -1)
            )
            assert ours == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("name", ["average precision", "partial area", "brier", "slope"])
def test_clustered_errors_agree_with_the_patient_bootstrap(name):
    statistic = STATISTICS[name]
    rng = np.random.default_rng(2)
    patients = np.repeat(np.arange(150), 3)
    own = rng.normal(size=150)[patients]
    truth = own + rng.normal(size=450) > 0.4
    score = special.expit((0.8 * own + rng.normal(size=450) + 2 * truth - 1.5).round(1))
    levels = Levels.of(truth, score, patients)
    found = statistic(levels)
    error = standard_error(levels, found, influences(levels, found))
    draws = []
    for _ in range(400):
        drawn = rng.integers(0, 150, 150)
        cases = (drawn[:, None] * 3 + np.arange(3)).ravel()
        draws.append(statistic(Levels.of(truth[cases], score[cases], np.arange(450))).value)
    assert error == pytest.approx(np.std(draws), rel=0.13)
    assert levels.clustered


def test_average_precision_and_partial_area_equal_sklearn():
    metrics = pytest.importorskip("sklearn.metrics")
    for decimals in (None, 1):
        truth, score, _ = _scored(seed=3, levels=decimals)
        levels = Levels.of(truth, score, np.arange(len(truth)))
        assert ranking.average_precision(levels).value == pytest.approx(metrics.average_precision_score(truth, score))
        for limit in (0.05, 0.1, 0.37, 1.0):
            expected = metrics.roc_auc_score(truth, score, max_fpr=limit)
            assert ranking.partial_area(levels, limit).value == pytest.approx(expected, abs=1e-12)


def test_counts_alone_give_the_same_as_one_case_a_patient():
    truth, score, _ = _scored(levels=2)
    levels = Levels.of(truth, score, np.arange(len(truth)))
    counts = Levels.of_counts(levels.score, levels.positive, levels.negative)
    for statistic in STATISTICS.values():
        rows, sums = (logit_estimate(known, statistic(known), 0.95) for known in (levels, counts))
        if 0 < rows.value < 1:
            np.testing.assert_allclose((sums.value, sums.low, sums.high), (rows.value, rows.low, rows.high))


def test_copies_of_all_cases_change_nothing():
    truth, score, rng = _scored(levels=2)
    patients = rng.integers(0, 90, len(truth))
    one = Levels.of(truth, score, patients)
    many = Levels.of(np.tile(truth, 3), np.tile(score, 3), np.tile(patients, 3))
    for statistic in STATISTICS.values():
        first, second = (linear_estimate(levels, statistic(levels), 0.95) for levels in (one, many))
        np.testing.assert_allclose((first.value, first.low, first.high), (second.value, second.low, second.high))
    bins, triple = calibration_bins.equal_mass(one), calibration_bins.equal_mass(many)
    np.testing.assert_array_equal(bins.of_level, triple.of_level)


def test_what_cannot_vary_is_bounded():
    perfect = Levels.of(np.repeat([True, False], 20), np.repeat([0.9, 0.1], 20), np.arange(40))
    estimate = logit_estimate(perfect, ranking.average_precision(perfect), 0.95)
    assert (estimate.value, estimate.high) == (1.0, 1.0)
    assert estimate.low == pytest.approx(0.025 ** (1 / 40))
    for n in range(3, 60):
        truth = np.arange(n) >= n // 3
        levels = Levels.of(truth, np.linspace(0.05, 0.95, n), np.arange(n))
        for limit in (0.07, 0.1, 0.3, 1.0):
            assert logit_estimate(levels, ranking.partial_area(levels, limit), 0.95).value == 1.0
        assert logit_estimate(levels, ranking.average_precision(levels), 0.95).high == 1.0
    single = Levels.of(np.array([True, False]), np.array([0.9, 0.1]), np.zeros(2, int))
    assert "single patient" in logit_estimate(single, ranking.average_precision(single), 0.95).reason


def test_bootstrap_of_average_precision_has_the_same_interval():
    truth, score, _ = _scored(seed=5, n=400)
    levels = Levels.of(truth, score, np.arange(400))
    ours = logit_estimate(levels, ranking.average_precision(levels), 0.95)
    order = np.argsort(-score)
    hit = truth[order]

    def precision(weights):
        drawn = weights[:, order]
        hits = np.cumsum(drawn * hit, axis=1)
        return np.sum(drawn * hit * hits / np.maximum(np.cumsum(drawn, axis=1), 1), axis=1) / hits[:, -1]

    theirs = bootstrap_estimate(precision, np.arange(400), replicates=1500, rng=stream(0, "ap"))
    np.testing.assert_allclose((ours.low, ours.high), (theirs.low, theirs.high), atol=0.02)


def test_pooled_pixels_agree_with_the_patient_bootstrap():
    rng = np.random.default_rng(6)
    rates = np.exp(rng.normal(0, 0.5, (60, 1)))
    positive = rng.poisson(rates * np.linspace(0.2, 4, 32), (60, 32)).astype(float)
    negative = rng.poisson(rates[::-1] * np.linspace(30, 1, 32), (60, 32)).astype(float)
    levels = Levels.of_counts(np.arange(32.0), positive.sum(axis=0), negative.sum(axis=0))
    for statistic in (ranking.area_influence, ranking.average_precision):
        found = pooled_estimate(statistic(levels), positive, negative, np.arange(60), 0.95)
        draws = []
        for _ in range(600):
            drawn = np.bincount(rng.integers(0, 60, 60), minlength=60)
            draws.append(statistic(Levels.of_counts(np.arange(32.0), drawn @ positive, drawn @ negative)).value)
        assert found.high - found.low == pytest.approx(np.ptp(np.quantile(draws, [0.025, 0.975])), rel=0.12)
        assert "patient clusters" in found.method
    none = pooled_estimate(statistic(levels), positive[:1], negative[:1], np.arange(1), 0.95)
    assert "single patient" in none.reason
