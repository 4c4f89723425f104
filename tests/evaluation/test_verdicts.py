"""Verdicts, protocols and what simulations say about their errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from medimg.errors import ConfigError, InputError
from medimg.evaluation.canonical import canonical_json, digest
from medimg.evaluation.comparison.cells import adjust, make_cell
from medimg.evaluation.comparison.spread import spreads
from medimg.evaluation.comparison.verdicts import (
    after_adjustment,
    detectable_rate_gap,
    judge_against,
    shortfall,
    smallest_detectable_gap,
)
from medimg.evaluation.estimation.estimates import Measured
from medimg.evaluation.metrics.intervals import Estimate, clustered_rate
from medimg.evaluation.protocol import EndpointRule, Protocol, check_frozen, declare, freeze

SENSITIVITY = {"metric": "sensitivity", "target": "dr", "primary": True, "floor": 0.5, "gap_margin": 0.0}


def _measured(hits, n, first=0):
    found = np.zeros(n)
    found[:hits] = 1
    estimate = clustered_rate(found, np.ones(n), np.arange(first, first + n))
    return Measured(estimate, n, n, n, 0, 0, patients_positive=n)


def _cells(hits, sizes, rule, protocol):
    cells = []
    for i, (h, n) in enumerate(zip(hits, sizes)):
        rest = _measured(int(sum(hits) - h), int(sum(sizes) - n), first=n)
        cells.append(
            make_cell(
                "ancestry", f"g{i}", rule, _measured(int(h), n), protocol, reference="rest", reference_measured=rest
            )
        )
    return adjust(cells, protocol.confidence)


def _simulate(rates, sizes, margin, runs, seed):
    protocol = Protocol(endpoints=[{**SENSITIVITY, "gap_margin": margin}])
    rule = protocol.endpoints[0]
    rng = np.random.default_rng(seed)
    return [[c.gap_verdict for c in _cells(rng.binomial(sizes, rates), sizes, rule, protocol)] for _ in range(runs)]


def test_equal_groups_are_seldom_called_unequal():
    # Margin 0 is the hardest case: the truth lies on the border of the hypothesis.
    found = _simulate(np.full(5, 0.85), [500, 200, 100, 60, 40], 0.0, 600, 0)
    false = np.mean(["DOES NOT MEET" in verdicts for verdicts in found])
    assert false <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 600)
    within_margin = _simulate(np.full(5, 0.85), [500, 200, 100, 60, 40], 0.05, 200, 1)
    assert np.mean(["DOES NOT MEET" in verdicts for verdicts in within_margin]) <= 0.01


def test_a_planted_gap_is_found():
    rates = np.array([0.87, 0.75, 0.87, 0.87])
    found = _simulate(rates, [800, 400, 400, 400], 0.0, 100, 2)
    assert np.mean([verdicts[1] == "DOES NOT MEET" for verdicts in found]) >= 0.8
    with_margin = _simulate(rates, [800, 400, 400, 400], 0.02, 100, 3)
    assert np.mean([verdicts[1] == "DOES NOT MEET" for verdicts in with_margin]) >= 0.8


def test_a_claim_that_does_not_survive_adjustment_is_inconclusive():
    protocol = Protocol(endpoints=[SENSITIVITY])
    cells = _cells([176, 88, 88, 88, 80], [200, 100, 100, 100, 100], protocol.endpoints[0], protocol)
    assert cells[4].gap[2] < 0
    assert cells[4].gap_p < 0.025
    assert cells[4].gap_adjusted > 0.05
    assert cells[4].gap_verdict == "INCONCLUSIVE"


def test_adjusted_claims_are_held_against_the_tail_of_the_interval():
    assert after_adjustment("DOES NOT MEET", 0.024, 0.95) == "DOES NOT MEET"
    assert after_adjustment("DOES NOT MEET", 0.026, 0.95) == "INCONCLUSIVE"
    assert after_adjustment("MEETS", 0.9, 0.95) == "MEETS"


def test_ancestry_is_a_family_and_the_other_axes_are_another():
    protocol = Protocol(endpoints=[SENSITIVITY])
    rule = protocol.endpoints[0]
    hits, sizes = [176, 88, 88, 88, 78], [200, 100, 100, 100, 100]
    alone = _cells(hits, sizes, rule, protocol)
    moved = [replace(cell, axis=axis) for axis in ("site", "scanner") for cell in alone]
    together = adjust([*alone, *moved], protocol.confidence)
    assert [cell.gap_adjusted for cell in together[:5]] == pytest.approx([cell.gap_adjusted for cell in alone])
    assert together[9].gap_adjusted == pytest.approx(2 * together[4].gap_adjusted)
    assert together[14].gap_adjusted == together[9].gap_adjusted


def test_spread_is_shown_beside_chance():
    # Equal sensitivity .85 in 500, 200, 100, 50, 20 positives: the mean greatest difference is .108, 95 % below .20.
    sizes = [500, 200, 100, 50, 20]
    protocol = Protocol(endpoints=[SENSITIVITY])
    cells = _cells([425, 170, 85, 42, 17], sizes, protocol.endpoints[0], protocol)
    found = spreads(cells, protocol)[0]
    assert found.expected_if_equal == pytest.approx(0.108, abs=0.006)
    assert found.upper_95_if_equal == pytest.approx(0.20, abs=0.02)
    assert found.p_value > 0.5


@pytest.mark.parametrize(
    ("n", "at_05", "at_01"),
    [(30, 0.23, 0.28), (50, 0.17, 0.22), (100, 0.12, 0.16), (200, 0.09, 0.12), (500, 0.07, 0.09), (1000, 0.06, 0.07)],
)
def test_smallest_detectable_gap(n, at_05, at_01):
    # Fall from .85 in 500, power 80 %.
    for alpha, expected in ((0.05, at_05), (0.01, at_01)):
        total = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(0.8)
        assert detectable_rate_gap(0.85, n, 500, total, lower=False) == pytest.approx(expected, abs=0.007)
    assert detectable_rate_gap(0.02, 5, 500, 2.8, lower=False) is None


@pytest.mark.parametrize(
    ("metric", "value", "half", "there"),
    [("dice_mean", 0.8, 0.2, True), ("dice_mean", 0.3, 0.4, False), ("dice_below", 0.7, 0.4, False),
     ("quadratic_kappa", 0.3, 0.4, True), ("hd95_mean", 3.0, 4.0, True)],
)  # fmt: skip
def test_a_detectable_gap_stays_within_what_the_metric_can_fall(metric, value, half, there):
    level = 0.5 if metric == "dice_below" else None
    protocol = Protocol(endpoints=[EndpointRule(metric=metric, target="t", level=level, primary=True, floor=0.1)])
    group = reference = Estimate(value, value - half, value + half, "test")
    gap = smallest_detectable_gap(protocol.endpoints[0], group, reference, protocol)
    assert (gap is not None) == there


def test_lower_is_better_is_mirrored():
    rule = EndpointRule(metric="hd95_mean", target="t", floor=5.0)
    assert judge_against(3.0, 2.5, 3.5, 5.0, rule, 0.95)[0] == "MEETS"
    verdict, p = judge_against(7.0, 6.0, 8.0, 5.0, rule, 0.95)
    assert verdict == "DOES NOT MEET"
    assert p < 0.025


def test_what_a_group_lacks_is_counted_in_patients():
    protocol = Protocol(endpoints=[SENSITIVITY], suppress=False)
    lesions = clustered_rate(np.full(10, 6.0), np.full(10, 9.0), np.arange(10))
    measured = Measured(lesions, 90, 10, 90, 0, 0, patients_positive=10)
    assert "10 of the 30 patients needed" in shortfall(protocol.endpoints[0], measured, protocol)


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        (
            {"endpoints": [{"metric": "dise_mean", "target": "t", "primary": True, "floor": 1}]},
            "did you mean 'dice_mean'",
        ),
        ({"endpoints": [{"metric": "auc", "target": "t", "primary": True}]}, "needs a floor"),
        ({"endpoints": [{"metric": "auc", "target": "t"}]}, "at least one primary"),
        ({"endpoints": [{"metric": "froc_sensitivity", "target": "t"}]}, "needs the key 'rate'"),
        ({"endpoints": [SENSITIVITY], "min_patient": 3}, "min_patient"),
        ({"endpoints": [SENSITIVITY, SENSITIVITY]}, "must differ"),
        ({"endpoints": [SENSITIVITY], "reference": "EUR"}, "axis=value"),
    ],
)
def test_unsound_protocols_name_the_key(settings, hint):
    with pytest.raises(ConfigError, match=hint):
        declare(settings)


def test_a_frozen_protocol_cannot_be_changed():
    protocol = declare({"endpoints": [SENSITIVITY]})
    frozen = freeze(protocol, {"dr": 1 / 3}, package_digest="p")
    assert frozen.thresholds == {"dr": 0.333333333}
    check_frozen(type(frozen).model_validate_json(frozen.model_dump_json()))
    assert freeze(protocol, {"dr": 1 / 3}, package_digest="p").sha256 == frozen.sha256
    assert freeze(protocol, {"dr": 0.4}, package_digest="p").sha256 != frozen.sha256
    with pytest.raises(InputError, match="changed after it was frozen"):
        check_frozen(frozen.model_copy(update={"thresholds": {"dr": 0.5}}))
    with pytest.raises(ConfigError, match="judged on"):
        freeze(protocol, {"dr": 0.3}, package_digest="p", thresholds_from="held_out")


def test_canonical_json():
    assert digest({"b": 0.1 + 0.2, "a": [1, None]}) == digest({"a": [1, None], "b": 0.3})
    assert canonical_json({"x": -0.0}) == canonical_json({"x": 0.0})
    with pytest.raises(ValueError, match="no NaN"):
        canonical_json({"x": float("nan")})
