"""Values of other implementations and brute force that the statistics must reproduce."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from medimg.evaluation.estimation.measured import exact_bounds
from medimg.evaluation.metrics import froc, ranking
from medimg.evaluation.metrics.auc import auc_estimate, auc_variance, placements
from medimg.evaluation.metrics.classification import confusion_counts, quadratic_kappa
from medimg.evaluation.metrics.intervals import Estimate, clustered_rate, quantile
from medimg.evaluation.metrics.levels import Levels

TIES = (
    np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 1], bool),
    np.array([0.1, 0.2, 0.2, 0.6, 0.2, 0.5, 0.7, 0.9, 0.5, 0.6]),
)


def _brute_force(truth, score):
    """DeLong 1988 from the kernel of all pairs, without ranks."""
    positive, negative = score[truth], score[~truth]
    kernel = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    of_positive, of_negative = kernel.mean(axis=1), kernel.mean(axis=0)
    variance = of_positive.var(ddof=1) / len(positive) + of_negative.var(ddof=1) / len(negative)
    return kernel.mean(), variance


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_delong_equals_the_brute_force_kernel(decimals):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = rng.random(150) < 0.3
        score = rng.normal(size=150) + truth
        score = score if decimals is None else score.round(decimals)
        area, placement = placements(truth, score)
        variance, _, _ = auc_variance(truth, placement, area, np.arange(150))
        expected = _brute_force(truth, score)
        assert abs(area - expected[0]) <= 1e-12
        counted = ranking.whole_area(levels := Levels.of(truth, score, np.arange(150)))
        assert abs(counted.value - expected[0]) <= 1e-12
        found = np.where(levels.truth, counted.positive[levels.level], counted.negative[levels.level])
        np.testing.assert_allclose(found, placement, rtol=0, atol=1e-12)
        assert abs(variance - expected[1]) <= 1e-12
        found = auc_estimate(truth, score, np.arange(150))
        half = quantile(0.95) * np.sqrt(expected[1]) / (area * (1 - area))
        bounds = special.expit(special.logit(area) + np.array([-half, half]))
        np.testing.assert_allclose((found.low, found.high), bounds, atol=1e-12)


def test_delong_of_the_worked_example():
    area, placement = placements(*TIES)
    variance, _, _ = auc_variance(TIES[0], placement, area, np.arange(10))
    assert (area, variance) == (pytest.approx(0.8, abs=1e-12), pytest.approx(0.021, abs=1e-12))
    assert _brute_force(*TIES) == (pytest.approx(0.8), pytest.approx(0.021))


@pytest.mark.parametrize("design", ["mixed", "own", "uneven"])
def test_obuchowski_agrees_with_the_patient_bootstrap(design):
    rng = np.random.default_rng(7)
    sizes = rng.integers(1, 6, 150) if design == "uneven" else np.full(150, 3)
    patients = np.repeat(np.arange(150), sizes)
    own = rng.normal(size=150)[patients]
    truth = own > 0.2 if design == "own" else own + rng.normal(size=len(own)) > 0.3
    score = truth + 0.8 * rng.normal(size=150)[patients] + rng.normal(size=len(own))
    area, placement = placements(truth, score)
    variance, _, _ = auc_variance(truth, placement, area, patients)
    starts = np.append(0, np.cumsum(sizes))
    draws = []
    for _ in range(1500):
        drawn = rng.integers(0, 150, 150)
        cases = np.concatenate([np.arange(starts[p], starts[p + 1]) for p in drawn])
        draws.append(placements(truth[cases], score[cases])[0])
    assert np.sqrt(variance) == pytest.approx(np.std(draws), rel=0.08)
    naive, _, _ = auc_variance(truth, placement, area, np.arange(len(truth)))
    assert variance > 1.15 * naive


def test_kappa_equals_sklearn_on_every_table():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for k in (2, 3, 5):
        for _ in range(10):
            true = rng.integers(0, k, 60)
            predicted = np.clip(true + rng.integers(-1, 2, 60), 0, k - 1)
            ours = quadratic_kappa(confusion_counts(true, predicted, np.zeros(60, int), 1, k))[0]
            assert ours == pytest.approx(metrics.cohen_kappa_score(true, predicted, weights="quadratic"), abs=1e-12)


def test_exact_bounds_equal_statsmodels():
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for x, n in ((0, 10), (3, 17), (56, 70), (10, 10)):
        hits = (np.arange(n) < x).astype(float)
        rate = clustered_rate(hits, np.ones(n), np.arange(n))
        np.testing.assert_allclose(exact_bounds(rate, 0.95), proportion.proportion_confint(x, n, method="beta"))
    assert exact_bounds(Estimate(0.5, 0.4, 0.6, "t"), 0.95) == (None, None)
    assert exact_bounds(Estimate.undefined("nothing"), 0.95) == (None, None)


def test_exact_bounds_of_repeated_patients_stand_at_the_effective_number():
    hits = np.repeat([4.0, 0.0], [24, 6])
    rate = clustered_rate(hits, np.full(30, 4.0), np.arange(30))
    assert rate.n_effective == pytest.approx(30)
    single = clustered_rate(hits / 4, np.ones(30), np.arange(30))
    np.testing.assert_allclose(exact_bounds(rate, 0.95), exact_bounds(single, 0.95))


def test_the_step_convention_differs_from_interpolation_on_ties():
    # Other scripts interpolate the curve linearly; where marks tie, that promises sensitivity that no threshold has.
    scores = np.array([0.8, 0.5, 0.3, 0.5, 0.3])
    marks = froc.Marks.of(scores, np.arange(5) >= 3, np.array([0, 1, 2, 0, 1]), np.array([3.0, 0, 0]), np.ones(3))
    points = froc.froc_points(marks)
    np.testing.assert_allclose(points, [(1 / 3, 0), (2 / 3, 1 / 3), (1, 2 / 3)])
    stepped = froc.sensitivity_at(marks, np.ones((1, 3)), froc.CPM_RATES)[0]
    linear = np.interp(froc.CPM_RATES, points[:, 0], points[:, 1])
    np.testing.assert_allclose(stepped, [0, 0, 0, 2 / 3, 2 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(linear, [0, 0, 1 / 6, 2 / 3, 2 / 3, 2 / 3, 2 / 3], atol=1e-12)
    assert stepped.mean() == pytest.approx(0.380952, abs=5e-7)
    assert linear.mean() == pytest.approx(0.404762, abs=5e-7)
