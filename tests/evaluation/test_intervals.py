"""Intervals against reference values (of statsmodels, scipy, R-like brute force and published worked examples)."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medimg.evaluation.metrics.auc import auc_estimate, placements, roc_points
from medimg.evaluation.metrics.bootstrap import bootstrap_estimate, collapse, stream
from medimg.evaluation.metrics.intervals import (
    clopper_pearson,
    clustered_mean,
    clustered_median,
    clustered_rate,
    design_effect,
    difference,
    index_patients,
    newcombe,
    one_sided_p,
    wilson,
)

# Computed with statsmodels' proportion_confint.
WILSON = {
    (0, 10): (0.0, 0.277533),
    (10, 10): (0.722467, 1.0),
    (3, 17): (0.061911, 0.410295),
    (56, 70): (0.691834, 0.876953),
    (1, 1): (0.206549, 1.0),
}
CLOPPER = {
    (0, 10): (0.0, 0.308497),
    (10, 10): (0.691503, 1.0),
    (3, 17): (0.037985, 0.434318),
    (56, 70): (0.687264, 0.88612),
}
TIES = (
    np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 1], bool),
    np.array([0.1, 0.2, 0.2, 0.6, 0.2, 0.5, 0.7, 0.9, 0.5, 0.6]),
)


@pytest.mark.parametrize(("counts", "expected"), WILSON.items())
def test_wilson(counts, expected):
    np.testing.assert_allclose(wilson(*counts), expected, atol=5e-7)


@pytest.mark.parametrize(("counts", "expected"), CLOPPER.items())
def test_clopper_pearson(counts, expected):
    np.testing.assert_allclose(clopper_pearson(*counts), expected, atol=5e-7)


def test_rates_equal_statsmodels():
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for n in (1, 2, 7, 40, 1000):
        for x in {0, 1, n // 2, n}:
            for ours, name in ((wilson, "wilson"), (clopper_pearson, "beta")):
                theirs = proportion.proportion_confint(x, n, 0.1, name)
                np.testing.assert_allclose(ours(x, n, 0.9), theirs, atol=1e-12)
    theirs = proportion.confint_proportions_2indep(56, 70, 48, 80, method="newcomb", compare="diff")
    np.testing.assert_allclose(newcombe(56, 70, 48, 80)[1:], theirs, atol=1e-12)


def test_newcombe_worked_example():
    # Newcombe 1998, Stat Med 17:873, example (a), method 10.
    np.testing.assert_allclose(newcombe(56, 70, 48, 80), (0.2, 0.052431, 0.333873), atol=5e-7)


def test_delong_with_ties():
    truth, score = TIES
    patients = np.arange(10)
    estimate = auc_estimate(truth, score, patients)
    assert estimate.value == pytest.approx(0.8)
    np.testing.assert_allclose((estimate.low, estimate.high), (0.40399, 0.959358), atol=5e-7)
    wald = auc_estimate(truth, score, patients, logit=False)
    np.testing.assert_allclose((wald.low, wald.high), (0.515974, 1.084026), atol=5e-7)
    assert ((wald.high - wald.low) / (2 * stats.norm.ppf(0.975))) ** 2 == pytest.approx(0.021)
    assert estimate.method == "DeLong, logit"


def test_placements_equal_brute_force():
    rng = np.random.default_rng(3)
    truth, score = rng.random(200) < 0.4, rng.integers(0, 12, 200).astype(float)
    area, placement = placements(truth, score)
    kernel = (score[truth][:, None] > score[~truth]) + 0.5 * (score[truth][:, None] == score[~truth])
    assert area == pytest.approx(kernel.mean(), abs=1e-12)
    np.testing.assert_allclose(placement[truth], kernel.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(placement[~truth], kernel.mean(axis=0), atol=1e-12)


def test_area_equals_sklearn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(4)
    truth, score = rng.random(500) < 0.2, rng.normal(size=500).round(1)
    assert placements(truth, score)[0] == pytest.approx(metrics.roc_auc_score(truth, score), abs=1e-12)
    points = roc_points(truth, score)
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(metrics.roc_auc_score(truth, score))


@pytest.mark.parametrize("score", [[0, 0, 1, 1], [1, 1, 0, 0]])
def test_perfect_separation_is_flagged_and_bounded(score):
    estimate = auc_estimate(np.array([0, 0, 1, 1], bool), np.array(score, float), np.arange(4))
    assert estimate.note == "perfect separation"
    assert estimate.high - estimate.low == pytest.approx(1 - 0.025**0.5)


@pytest.mark.parametrize(("truth", "score"), [([1, 1], [0.1, 0.2]), ([0, 0], [0.1, 0.2]), ([0, 1, 0], [0.2, 0.2, 0.2])])
def test_undefined_areas_say_why(truth, score):
    estimate = auc_estimate(np.array(truth, bool), np.array(score), np.arange(len(truth)))
    assert estimate.low is None
    assert estimate.reason


def _clustered(rng, n_patients=60):
    sizes = rng.integers(1, 5, n_patients)
    patients = np.repeat(np.arange(n_patients), sizes)
    own = rng.normal(size=n_patients)[patients]
    return patients, own, rng


@pytest.mark.parametrize("times", [2, 3])
def test_duplicated_cases_change_no_clustered_interval(times):
    patients, own, rng = _clustered(np.random.default_rng(0))
    truth = own + rng.normal(size=len(own)) > 0.3
    score = truth + own + rng.normal(size=len(own))
    value = 1 / (1 + np.exp(-own - rng.normal(size=len(own))))
    for columns in ((truth, score),):
        one = auc_estimate(*columns, patients)
        many = auc_estimate(*(np.tile(c, times) for c in columns), np.tile(patients, times))
        np.testing.assert_allclose((one.low, one.high), (many.low, many.high), rtol=1e-9)
    codes, inverse = index_patients(patients)
    sums, counts = np.bincount(inverse, value), np.bincount(inverse).astype(float)
    one, many = (clustered_mean(sums * k, counts * k, codes, bounded=True) for k in (1, times))
    np.testing.assert_allclose((one.low, one.high), (many.low, many.high), rtol=1e-9)
    hits = np.bincount(inverse, own > 0)
    one, many = (clustered_rate(hits * k, counts * k, codes) for k in (1, times))
    np.testing.assert_allclose((one.low, one.high), (many.low, many.high), rtol=1e-9)
    one = clustered_median(value, patients)
    many = clustered_median(np.tile(value, times), np.tile(patients, times))
    np.testing.assert_allclose((one.low, one.high), (many.low, many.high), rtol=1e-9)


@pytest.mark.parametrize("times", [2, 3])
def test_copies_of_patients_with_one_case_change_no_interval(times):
    rng = np.random.default_rng(9)
    patients, truth = np.arange(60), np.arange(60) % 3 == 0
    score = rng.normal(size=60) + truth
    one, many = (auc_estimate(np.tile(truth, k), np.tile(score, k), np.tile(patients, k)) for k in (1, times))
    np.testing.assert_allclose((one.low, one.high), (many.low, many.high), rtol=1e-9)
    one, many = (clustered_median(np.tile(score, k), np.tile(patients, k)) for k in (1, times))
    assert (one.low, one.high, one.method) == (many.low, many.high, many.method)
    other = np.append(np.tile(score, 2), score[:1]), np.append(np.tile(patients, 2), 0)
    assert "Woodruff" in clustered_median(*other).method


def test_one_case_a_patient_gives_the_classical_intervals():
    rng = np.random.default_rng(1)
    half, codes, ones = rng.random(20) / 2, np.arange(40), np.ones(40)
    values = np.concatenate([0.5 + half, 0.5 - half])
    mean = clustered_mean(values, ones, codes, bounded=True)
    expected = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    np.testing.assert_allclose((mean.low, mean.high), expected)
    hits = (rng.random(40) > 0.3).astype(float)
    rate = clustered_rate(hits, ones, codes)
    np.testing.assert_allclose((rate.low, rate.high), wilson(hits.sum(), 40))
    assert (mean.method, rate.method) == ("t, skewness corrected", "Wilson")


def test_bounds_of_a_skewed_mean_are_where_halls_cubic_says():
    values = np.append(np.random.default_rng(2).beta(7, 1.3, 38), [0.0, 0.1])
    found = clustered_mean(values, np.ones(40), np.arange(40), bounded=False)
    error, skew = stats.sem(values), stats.skew(values) / np.sqrt(40)

    def cubic(mean):
        t = (values.mean() - mean) / error
        return t + skew * (t**2 / 3 + 1 / 6) + skew**2 * t**3 / 27

    for bound, tail in ((found.low, 0.975), (found.high, 0.025)):
        assert cubic(bound) == pytest.approx(stats.t.ppf(tail, 39), abs=1e-9)
    # The tail of bad cases may be longer than was seen: the interval reaches farther down than up.
    assert found.value - found.low > 1.3 * (found.high - found.value)


def test_the_design_effect():
    sizes = np.array([1.0, 2, 3, 4] * 10)
    assert design_effect(np.arange(40.0) % 2, np.ones(40)) == pytest.approx(1)
    assert design_effect(sizes, sizes) == pytest.approx(np.sum(sizes**2) / np.sum(sizes))
    agreeing = design_effect(sizes * (np.arange(40) < 20), sizes)
    assert agreeing == pytest.approx(np.sum(sizes**2) / np.sum(sizes), rel=0.1)
    # Three patients who each fail once look like independent cases; so few cannot show it.
    few = design_effect(np.full(40, 4.0) - (np.arange(40) < 3), np.full(40, 4.0))
    many = design_effect(np.full(400, 4.0) - (np.arange(400) < 30), np.full(400, 4.0))
    assert few == pytest.approx((3 * 1 + 4) / 4)
    assert many == pytest.approx((30 * 1 + 4) / 31)


@pytest.mark.parametrize(("n", "rank"), [(6, 1), (10, 2), (20, 6), (100, 40)])
def test_median_ranks(n, rank):
    # Ranks of the tables in Conover, Practical Nonparametric Statistics: the sign test's interval.
    estimate = clustered_median(np.arange(1.0, n + 1), np.arange(n))
    assert (estimate.low, estimate.high) == (rank, n + 1 - rank)


def test_medians_of_few_cases_have_no_interval():
    assert clustered_median(np.arange(5.0), np.arange(5)).low is None
    assert "too few" in clustered_median(np.arange(5.0), np.arange(5)).reason


def test_values_that_do_not_vary_keep_an_interval():
    perfect = clustered_mean(np.ones(30), np.ones(30), np.arange(30), bounded=True)
    assert perfect.low == pytest.approx(0.025 ** (1 / 30))
    assert perfect.high == 1.0
    assert clustered_mean(np.ones(30), np.ones(30), np.arange(30), bounded=False).low is None
    rate = clustered_rate(np.full(9, 4.0), np.full(9, 4.0), np.arange(9))
    assert rate.low == pytest.approx(wilson(9, 9)[0])


def test_a_difference_knows_shared_patients():
    rng = np.random.default_rng(2)
    shared = rng.normal(size=300)
    codes, ones = np.arange(300), np.ones(300)
    first = clustered_mean(shared + rng.normal(size=300) * 0.2, ones, codes, bounded=False)
    second = clustered_mean(shared + rng.normal(size=300) * 0.2, ones, codes, bounded=False)
    apart = clustered_mean(second.influence * 300 + second.value, ones, codes + 300, bounded=False)
    joint, independent = difference(first, second), difference(first, apart)
    paired = stats.t.interval(0.95, 299, 0, np.std(first.influence - second.influence, ddof=1) * np.sqrt(300))
    assert joint[2] - joint[1] == pytest.approx(paired[1] - paired[0], rel=0.01)
    assert independent[2] - independent[1] > 4 * (joint[2] - joint[1])


def test_p_value_and_interval_agree():
    assert one_sided_p(0.7, 0.8, 0.8) == pytest.approx(0.025)
    assert one_sided_p(0.7, 0.79, 0.8) < 0.025 < one_sided_p(0.7, 0.81, 0.8)
    assert one_sided_p(0.7, 0.7, 0.8) == 0.0


def test_bootstrap_of_a_mean_agrees_with_theory_and_repeats():
    values = np.random.default_rng(5).normal(0.5, 0.1, 200)

    def mean(w):
        return w @ values / w.sum(axis=1)

    runs = [bootstrap_estimate(mean, np.arange(200), replicates=2000, rng=stream(0, "m")) for _ in range(2)]
    assert runs[0] == runs[1]
    expected = stats.t.interval(0.95, 199, values.mean(), stats.sem(values))
    np.testing.assert_allclose((runs[0].low, runs[0].high), expected, atol=0.002)


def test_collapsed_patients_give_the_same_bootstrap_distribution():
    counts = np.random.default_rng(6).integers(0, 2, (300, 2)).astype(float)
    kinds, kind = collapse(counts)
    np.testing.assert_array_equal(kinds[kind], counts)
    assert len(kinds) == 4

    def share(rows):
        return lambda w: (w @ rows)[:, 0] / (w @ rows).sum(axis=1)

    codes = np.arange(300)
    full = bootstrap_estimate(share(counts), codes, replicates=4000, rng=stream(0, "a"))
    small = bootstrap_estimate(share(kinds), codes, replicates=4000, rng=stream(0, "b"), kind=kind)
    np.testing.assert_allclose((full.low, full.high), (small.low, small.high), atol=0.006)
    np.testing.assert_allclose(full.influence, small.influence, atol=1e-12)


def test_bootstrap_counts_undefined_resamples():
    def undefined(w):
        return np.where(w[:, 0] > 0, w[:, 1], np.nan)

    estimate = bootstrap_estimate(undefined, np.arange(5), replicates=500, rng=stream(0, "u"))
    assert estimate.low is None
    assert "undefined in" in estimate.reason


@pytest.mark.parametrize(("n_positive", "n_negative", "area"), [(10, 100, 0.85), (50, 200, 0.95)])
def test_coverage_of_the_logit_interval(n_positive, n_negative, area):
    rng = np.random.default_rng(7)
    shift = np.sqrt(2) * stats.norm.ppf(area)
    truth = np.repeat([True, False], [n_positive, n_negative])
    covered = {True: 0, False: 0}
    for _ in range(600):
        score = rng.normal(size=len(truth)) + shift * truth
        for logit in covered:
            found = auc_estimate(truth, score, np.arange(len(truth)), logit=logit)
            covered[logit] += found.low <= area <= found.high
    assert covered[True] / 600 >= 0.91
    assert covered[True] >= covered[False]


def test_coverage_of_wilson_in_clusters():
    rng = np.random.default_rng(8)
    naive = clustered = 0
    for _ in range(800):
        rates = rng.beta(0.9 * 4, 0.1 * 4, 60)
        hits = rng.binomial(4, rates).astype(float)
        estimate = clustered_rate(hits, np.full(60, 4.0), np.arange(60))
        clustered += estimate.low <= 0.9 <= estimate.high
        low, high = wilson(hits.sum(), 240)
        naive += low <= 0.9 <= high
    assert 0.92 <= clustered / 800 <= 0.98
    assert naive / 800 < 0.91
