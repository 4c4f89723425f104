"""Recalibration, Brier score and binned calibration against statsmodels, scikit-learn and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from medimg.evaluation.estimation.calibration_curve import calibration_curve
from medimg.evaluation.metrics import calibration, calibration_bins
from medimg.evaluation.metrics.intervals import wilson
from medimg.evaluation.metrics.levels import Levels, influences, standard_error
from medimg.evaluation.protocol import Protocol

from .conftest import AUC


def _cases(seed=0, n=600, shift=0.4, slope=0.7, per_patient=1):
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(n // per_patient), per_patient)
    own = rng.normal(size=n // per_patient)[patients]
    logit = -1 + own + rng.normal(size=n)
    truth = rng.random(n) < special.expit(shift + slope * logit)
    return truth, special.expit(logit), patients


@pytest.mark.parametrize("per_patient", [1, 3])
def test_recalibration_equals_statsmodels(per_patient):
    statsmodels = pytest.importorskip("statsmodels.api")
    truth, score, patients = _cases(per_patient=per_patient)
    levels = Levels.of(truth, score, patients)
    m = patients.max() + 1
    logit = special.logit(score)
    binomial = statsmodels.families.Binomial()
    cluster = {"cov_type": "cluster", "cov_kwds": {"groups": patients, "use_correction": False}}
    with_offset = statsmodels.GLM(truth.astype(float), np.ones(len(truth)), family=binomial, offset=logit)
    with_slope = statsmodels.GLM(truth.astype(float), statsmodels.add_constant(logit), family=binomial)
    for ours, theirs, place in (
        (calibration.calibration_intercept(levels), with_offset.fit(**cluster), 0),
        (calibration.calibration_slope(levels), with_slope.fit(**cluster), 1),
    ):
        error = standard_error(levels, ours, influences(levels, ours))
        assert ours.value == pytest.approx(theirs.params[place], abs=1e-8)
        assert error == pytest.approx(theirs.bse[place] * np.sqrt(m / (m - 1)), rel=1e-6)


def test_recalibration_literals():
    # statsmodels 0.15.0, GLM with binomial family: offset logit for the intercept, constant and logit for the slope.
    score = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.35])
    truth = np.array([0, 0, 1, 0, 1, 0, 1, 1, 1, 0], bool)
    levels = Levels.of(truth, score, np.arange(10))
    assert calibration.calibration_intercept(levels).value == pytest.approx(INTERCEPT, abs=1e-6)
    assert calibration.calibration_slope(levels).value == pytest.approx(SLOPE, abs=1e-6)


INTERCEPT, SLOPE = 0.07979736, 1.56561001


@pytest.mark.parametrize(
    ("truth", "score", "reason"),
    [
        ([1, 1], [0.2, 0.3], "no negative"),
        ([0, 0], [0.2, 0.3], "no positive"),
        ([0, 0, 1, 1], [0.1, 0.2, 0.2, 0.9], "separates"),
        ([1, 0, 1, 0], [0.3, 0.3, 0.3, 0.3], "separates"),
    ],
)
def test_recalibration_says_why_it_is_undefined(truth, score, reason):
    levels = Levels.of(np.array(truth, bool), np.array(score), np.arange(len(truth)))
    assert reason in calibration.why_no_recalibration(levels, slope=True)


def test_recalibration_far_from_the_scores_converges():
    truth, score, patients = _cases(shift=5.0, slope=0.2)
    score = np.clip(score, 0, 1e-4)
    found = calibration.calibration_intercept(Levels.of(truth, score, patients))
    assert np.isfinite(found.value)
    assert special.expit(found.value + special.logit(np.clip(score, 1e-6, 1))).mean() == pytest.approx(truth.mean())


def test_scores_of_0_and_1_are_moved_and_counted():
    truth = np.array([0, 1, 0, 1, 1, 0], bool)
    logit, moved = calibration.log_odds(Levels.of(truth, np.array([0, 1, 1, 0.5, 0, 0.4]), np.arange(6)))
    assert moved == 4
    assert np.abs(logit).max() == pytest.approx(special.logit(1 - 1e-6))


def test_brier_equals_sklearn_and_a_failed_case_costs_1():
    metrics = pytest.importorskip("sklearn.metrics")
    truth, score, patients = _cases()
    found = calibration.brier(Levels.of(truth, score, patients)).value
    assert found == pytest.approx(metrics.brier_score_loss(truth, score))
    failed = np.append(score, [-np.inf, np.inf])
    worse = calibration.brier(Levels.of(np.append(truth, [True, False]), failed, np.append(patients, [900, 901]))).value
    assert worse == pytest.approx((found * 600 + 2) / 602)


def test_murphys_parts_sum_to_the_brier_score():
    truth, score, patients = _cases()
    coarse = (score * 12).astype(int) / 12 + 0.04
    levels = Levels.of(truth, coarse, patients)
    bins = calibration_bins.equal_mass(levels, 500)
    assert len(bins.n) == len(levels.score)
    reliability, resolution, uncertainty = calibration_bins.murphy_parts(bins)
    assert calibration.brier(levels).value == pytest.approx(reliability - resolution + uncertainty)
    assert calibration_bins.resolution(bins).value == pytest.approx(resolution)
    assert calibration_bins.uncertainty(levels).value == pytest.approx(uncertainty)


def test_murphys_parts_by_hand():
    truth = np.array([1, 1, 0, 1, 0, 0, 0, 1], bool)
    score = np.array([0.9, 0.9, 0.9, 0.9, 0.2, 0.2, 0.2, 0.2])
    bins = calibration_bins.equal_mass(Levels.of(truth, score, np.arange(8)))
    # Bins of 4 with 3/4 and 1/4 positives: 0.15**2 and 0.05**2, halves; (0.25)**2; 0.5 * 0.5.
    np.testing.assert_allclose(calibration_bins.murphy_parts(bins), (0.0125, 0.0625, 0.25))
    found = calibration_bins.expected_error(bins.weight, (bins.observed - bins.score)[None])
    assert found[0] == pytest.approx(0.1)


def test_bins_equal_sklearn():
    sklearn = pytest.importorskip("sklearn.calibration")
    truth, score, patients = _cases(n=600)
    bins = calibration_bins.equal_mass(Levels.of(truth, score, patients))
    observed, mean = sklearn.calibration_curve(truth, score, n_bins=15, strategy="quantile")
    np.testing.assert_allclose(bins.observed, observed)
    np.testing.assert_allclose(bins.score, mean)
    assert set(bins.n) == {40}


def _inverted(levels, seed=0, power=1):
    measure = calibration_bins.expected_error if power == 1 else calibration_bins.reliability
    bins = calibration_bins.equal_mass(levels)
    return calibration_bins.invert(measure, levels, bins, np.random.default_rng(seed), draws=600)


def test_expected_error_of_a_calibrated_model_is_what_chance_shows():
    raw, expected, covered, above = [], [], 0, 0
    for seed in range(120):
        levels = Levels.of(*_cases(seed=seed, n=450, shift=0, slope=1))
        found = _inverted(levels, seed)
        raw.append(found.raw)
        expected.append(found.by_chance)
        covered += found.low == 0
        above += found.raw > found.by_chance_95
    assert np.mean(raw) == pytest.approx(np.mean(expected), rel=0.03)
    assert covered >= 112
    assert above <= 14


@pytest.mark.parametrize(("per_patient", "power"), [(1, 1), (3, 1), (1, 2)])
def test_calibration_error_is_corrected_and_covered(per_patient, power):
    logit = -1 + np.sqrt(2) * np.random.default_rng(9).normal(size=200_000)
    apart = np.abs(special.expit(0.8 * logit + 0.5) - special.expit(logit)) ** power
    truth, values, raw, covered = apart.mean(), [], [], 0
    for seed in range(100):
        found = _inverted(Levels.of(*_cases(seed, 600, shift=0.5, slope=0.8, per_patient=per_patient)), seed, power)
        values.append(found.value)
        raw.append(found.raw)
        covered += found.low <= truth <= found.high
    assert abs(np.mean(values) - truth) < 0.75 * abs(np.mean(raw) - truth)
    assert covered >= 87


def test_copies_of_all_cases_change_no_calibration_interval():
    truth, score, patients = _cases(n=300, per_patient=2)
    one = _inverted(Levels.of(truth, score, patients))
    many = _inverted(Levels.of(np.tile(truth, 2), np.tile(score, 2), np.tile(patients, 2)))
    np.testing.assert_allclose((one.value, one.low, one.high), (many.value, many.low, many.high), rtol=1e-6)


def test_the_curve_has_wilsons_intervals_and_protects_small_bins():
    truth, score, patients = _cases(n=600)
    levels = Levels.of(truth, score, patients)
    open_ = calibration_curve("dr", "ancestry", "A", levels, Protocol(endpoints=[AUC], suppress=False))
    assert len(open_.points) == 15
    bins = calibration_bins.equal_mass(levels)
    np.testing.assert_allclose(
        [(p.low, p.high) for p in open_.points],
        [wilson(x, n) for x, n in zip(bins.positives, bins.n)],
        atol=1e-6,
    )
    few = slice(0, 90)
    small = Levels.of(truth[few], score[few], patients[few])
    curve = calibration_curve("dr", "ancestry", "A", small, Protocol(endpoints=[AUC]))
    assert min(point.n_cases for point in curve.points) >= 11
    assert len(curve.points) == 8
    rare = Levels.of(np.arange(90) < 10, score[few], patients[few])
    assert calibration_curve("dr", "ancestry", "A", rare, Protocol(endpoints=[AUC])) is None
    odds = Levels.of(truth, special.logit(score), patients)
    assert calibration_curve("dr", "ancestry", "A", odds, Protocol(endpoints=[AUC])) is None
