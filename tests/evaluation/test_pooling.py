"""Estimates pooled and shrunken."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.meta_analysis import combine_effects

from medimg.evaluation.metrics.pooling import between_variance, pool, shrunken


def test_pooling_agrees_with_statsmodels():
    rng = np.random.default_rng(3)
    errors = rng.uniform(0.02, 0.08, 6)
    gaps = rng.normal(-0.05, 0.06, 6) + errors * rng.normal(size=6)
    found = pool(gaps, errors)
    other = combine_effects(gaps, errors**2, method_re="dl", use_t=True)
    assert found.gap == pytest.approx(other.mean_effect_re, abs=1e-12)
    assert found.heterogeneity == pytest.approx(max(0.0, other.i2), abs=1e-12)
    low, high = other.conf_int(use_t=True)[3]
    assert other.scale_hksj_re > 1
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_sites_that_agree_too_well_do_not_narrow_the_interval():
    found = pool(np.full(4, -0.1), np.full(4, 0.05))
    assert found.heterogeneity == 0
    assert found.high - found.gap == pytest.approx(3.182446 * 0.05 / 2, rel=1e-6)


def test_one_site_gives_its_own_gap_and_two_a_common_one():
    one = pool(np.array([0.1]), np.array([0.05]))
    assert (one.gap, one.heterogeneity) == (pytest.approx(0.1), None)
    assert one.high == pytest.approx(0.1 + 1.959964 * 0.05, abs=1e-6)
    two = pool(np.array([0.1, 0.2]), np.array([0.05, 0.05]))
    assert two.gap == pytest.approx(0.15)
    assert two.high - two.low == pytest.approx(2 * 1.959964 * 0.05 / np.sqrt(2), abs=1e-6)
    assert "two sites" in two.method


def test_variance_between_is_found_where_there_is_some():
    rng = np.random.default_rng(1)
    errors = rng.uniform(0.02, 0.06, 40)
    found = [between_variance(rng.normal(0, 0.1, 40) + errors * rng.normal(size=40), errors) for _ in range(100)]
    assert np.mean(found) == pytest.approx(0.01, rel=0.1)
    none = [between_variance(errors * rng.normal(size=40), errors) for _ in range(100)]
    assert np.mean(none) < 0.0004


def test_the_smallest_group_is_named_the_worst_less_often_without_reason():
    """Sixth of seven groups is truly worst; the seventh is tiny."""
    rng = np.random.default_rng(2)
    n = np.array([500, 500, 300, 300, 200, 300, 25])
    true = np.array([0.85, 0.86, 0.84, 0.85, 0.86, 0.75, 0.85])
    raw = better = error = shrunken_error = 0.0
    for _ in range(500):
        values = rng.binomial(n, true) / n
        pooled = np.average(values, weights=n)
        likely = shrunken(values, np.sqrt(pooled * (1 - pooled) / n))
        raw += np.argmin(values) == 5
        better += np.argmin(likely) == 5
        error += np.sum((values - true) ** 2)
        shrunken_error += np.sum((likely - true) ** 2)
    assert better > raw + 25
    assert shrunken_error < 0.9 * error
