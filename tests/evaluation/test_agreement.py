"""Limits of agreement against Bland & Altman's own formulas, and clustered medians against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medimg.evaluation.metrics.agreement import agreement_limit
from medimg.evaluation.metrics.intervals import clustered_median


@pytest.mark.parametrize("side", [-1, 1])
def test_limits_equal_bland_and_altman(side):
    # Normal differences whose moments are exact: quantiles, rescaled.
    n = 400
    differences = stats.norm.ppf((np.arange(n) + 0.5) / n)
    differences = 2.0 + 3.0 * differences / differences.std(ddof=1)
    found = agreement_limit(differences, np.arange(n), side)
    assert found.value == pytest.approx(2 + side * 1.959964 * 3, abs=1e-5)
    # Their standard error is sqrt(s^2 / n + z^2 s^2 / (2 (n - 1))), about sqrt(3 / n) s.
    error = 3 * np.sqrt(1 / n + 1.959964**2 / (2 * (n - 1)))
    assert (found.high - found.low) / 2 == pytest.approx(stats.t.ppf(0.975, n - 1) * error, rel=0.02)


def test_limits_hold_the_differences_and_copies_change_nothing():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 3)
    differences = rng.normal(size=60)[patients] + rng.normal(size=180)
    low, high = (agreement_limit(differences, patients, side) for side in (-1, 1))
    assert 0.9 < np.mean((differences > low.value) & (differences < high.value)) <= 1
    twice = agreement_limit(np.tile(differences, 2), np.tile(patients, 2), 1)
    np.testing.assert_allclose((twice.value, twice.low, twice.high), (high.value, high.low, high.high))
    naive = agreement_limit(differences, np.arange(180), 1)
    assert high.high - high.low > 1.05 * (naive.high - naive.low)


def test_limits_say_why_they_are_undefined():
    assert "no case" in agreement_limit(np.empty(0), np.empty(0, int), 1).reason
    assert "single patient" in agreement_limit(np.ones(3), np.zeros(3, int), 1).reason
    assert "does not vary" in agreement_limit(np.ones(3), np.arange(3), 1).reason


@pytest.mark.parametrize("kind", ["dice", "hd95"])
def test_coverage_of_medians_in_clusters(kind):
    rng = np.random.default_rng(3)
    quantile = (lambda u: stats.beta.ppf(u, 8, 2)) if kind == "dice" else (lambda u: stats.lognorm.ppf(u, 1.0))
    truth, patients = quantile(0.5), np.repeat(np.arange(60), 4)
    covered = naive = 0
    for _ in range(400):
        normal = np.sqrt(0.7) * rng.normal(size=60)[patients] + np.sqrt(0.3) * rng.normal(size=240)
        values = quantile(stats.norm.cdf(normal))
        found = clustered_median(values, patients)
        covered += found.low <= truth <= found.high
        wrong = clustered_median(values, np.arange(240))
        naive += wrong.low <= truth <= wrong.high
    assert 0.92 <= covered / 400 <= 0.985
    assert naive / 400 < 0.88


def test_coverage_of_medians_of_single_cases_with_failures():
    # A tenth of all cases fails with Dice 0: no normal approximation holds, order statistics do.
    rng = np.random.default_rng(4)
    values = np.where(rng.random((600, 35)) < 0.1, 0.0, rng.beta(8, 2, (600, 35)))
    truth = stats.beta.ppf(0.4 / 0.9, 8, 2)
    found = [clustered_median(row, np.arange(35)) for row in values]
    assert 0.94 <= np.mean([e.low <= truth <= e.high for e in found]) <= 0.99
