"""Intervals at another confidence, and those that hold for a whole axis."""

from __future__ import annotations

import numpy as np
import pytest

from medimg.evaluation.comparison.cells import make_cell
from medimg.evaluation.comparison.simultaneous import bonferroni, restated, simultaneous
from medimg.evaluation.estimation.estimates import Measured
from medimg.evaluation.metrics.auc import auc_estimate
from medimg.evaluation.metrics.bootstrap import bootstrap_estimate, stream
from medimg.evaluation.metrics.intervals import Estimate, clustered_mean, clustered_rate
from medimg.evaluation.protocol import EndpointRule, declare

RATE = EndpointRule(metric="sensitivity", target="dr")
MEAN = EndpointRule(metric="dice_mean", target="node")
DISTANCE = EndpointRule(metric="hd95_mean", target="node")
AREA = EndpointRule(metric="auc", target="dr")


def _estimates():
    rng = np.random.default_rng(5)
    patients = np.arange(60)
    truth = np.arange(60) % 3 == 0
    score = rng.normal(size=60) + truth
    ones, values = np.ones(60), rng.random(60)
    return {
        "rate": (RATE, lambda c: clustered_rate((values < 0.8).astype(float), ones, patients, c)),
        "clustered rate": (RATE, lambda c: clustered_rate(np.minimum(2, patients % 4.0), 2 * ones, patients, c)),
        "everyone right": (RATE, lambda c: clustered_rate(ones, ones, patients, c)),
        "nobody right": (RATE, lambda c: clustered_rate(0 * ones, ones, patients, c)),
        "mean": (MEAN, lambda c: clustered_mean(0.5 + values / 4, ones, patients, c, bounded=True)),
        "one value": (MEAN, lambda c: clustered_mean(ones, ones, patients, c, bounded=True)),
        "distance": (DISTANCE, lambda c: clustered_mean(values * 40, ones, patients, c, bounded=False)),
        "area": (AREA, lambda c: auc_estimate(truth, score, patients, c)),
        "perfect area": (AREA, lambda c: auc_estimate(truth, truth.astype(float), patients, c)),
        "wrong area": (AREA, lambda c: auc_estimate(truth, -truth.astype(float), patients, c)),
    }


@pytest.mark.parametrize("kind", list(_estimates()))
@pytest.mark.parametrize("wanted", [0.8, 0.95, 0.99, 0.9999])
def test_an_interval_made_anew_is_the_one_measured_at_that_confidence(kind, wanted):
    rule, measure = _estimates()[kind]
    expected = measure(wanted)
    np.testing.assert_allclose(restated(measure(0.95), rule, 0.95, wanted), (expected.low, expected.high), atol=1e-9)


def test_a_bootstrap_interval_is_widened_about_as_far_as_drawing_would():
    rng = np.random.default_rng(1)
    counts = np.column_stack([rng.integers(0, 4, 150), np.full(150, 4)]).astype(float)

    def draw(confidence):
        return bootstrap_estimate(
            lambda w: (w @ counts[:, 0]) / (w @ counts[:, 1]),
            np.arange(150),
            replicates=4000,
            rng=stream(0, "test"),
            confidence=confidence,
        )

    once, wide = draw(0.95), draw(0.99)
    low, high = restated(once, EndpointRule(metric="cpm", target="nodule"), 0.95, 0.99)
    assert low == pytest.approx(wide.low, abs=0.1 * (wide.high - wide.low))
    assert high == pytest.approx(wide.high, abs=0.1 * (wide.high - wide.low))


@pytest.mark.parametrize("value", [1 + 1e-15, 1 - 1e-15, 1e-15, -1e-15])
def test_rounding_beyond_the_ends_gives_a_number(value):
    rule = EndpointRule(metric="partial_auc", target="dr", level=0.1)
    low, high = restated(Estimate(value, max(0.0, value - 0.2), value + 0.1, "any"), rule, 0.95, 0.99)
    assert 0 <= low <= high <= 1
    assert high - low > 0.1


def test_no_interval_stays_none():
    undefined = clustered_rate(np.zeros(0), np.zeros(0), np.zeros(0, int))
    assert restated(undefined, RATE, 0.95, 0.99) == (None, None)


def _cells(rng, protocol, rates, n):
    rule = protocol.endpoints[0]
    cells = []
    for i, (rate, size) in enumerate(zip(rates, n)):
        hits = (rng.random(size) < rate).astype(float)
        estimate = clustered_rate(hits, np.ones(size), np.arange(size) + 10_000 * i)
        measured = Measured(estimate, size, size, size, 0, 0, size, 0)
        cells.append(make_cell("ancestry", f"g{i}", rule, measured, protocol))
    return cells


def test_all_groups_are_covered_together():
    rng = np.random.default_rng(2)
    protocol = declare({"endpoints": [{"metric": "sensitivity", "target": "dr", "primary": True, "floor": 0.5}]})
    rates, n = (0.9, 0.8, 0.7, 0.85, 0.6), (60, 100, 80, 200, 40)
    nominal = together = 0
    for _ in range(400):
        cells = simultaneous(_cells(rng, protocol, rates, n), protocol)
        together += all(c.simultaneous[0] <= r <= c.simultaneous[1] for c, r in zip(cells, rates))
        nominal += all(c.measured.estimate.low <= r <= c.measured.estimate.high for c, r in zip(cells, rates))
    assert together / 400 >= 0.93
    assert nominal / 400 < 0.9


def test_small_groups_are_neither_counted_nor_given_one():
    rng = np.random.default_rng(3)
    protocol = declare({"endpoints": [{"metric": "sensitivity", "target": "dr", "primary": True, "floor": 0.5}]})
    cells = _cells(rng, protocol, (0.8, 0.8, 0.8), (100, 100, 5))
    found = simultaneous(cells, protocol)
    assert found[2].simultaneous is None
    wanted = bonferroni(0.95, 2)
    assert found[0].simultaneous == restated(cells[0].measured.estimate, RATE, 0.95, wanted)
