"""The largest gap that the data vouch for."""

from __future__ import annotations

import numpy as np
import pytest

from medimg.evaluation.comparison.cells import make_cell
from medimg.evaluation.comparison.credible import credible_gaps
from medimg.evaluation.estimation.estimates import Measured
from medimg.evaluation.metrics.intervals import clustered_rate, newcombe
from medimg.evaluation.protocol import declare


def _protocol(metric="sensitivity", **rule):
    first = {"metric": metric, "target": "dr", "primary": True, "floor": 0.5, **rule}
    return declare({"endpoints": [first]})


def _cell(protocol, value, successes, n, start=0, axis="ancestry"):
    hits = np.repeat([1.0, 0.0], [successes, n - successes])
    estimate = clustered_rate(hits, np.ones(n), np.arange(start, start + n))
    return make_cell(axis, value, protocol.endpoints[0], Measured(estimate, n, n, n, 0, 0, n, n), protocol)


def test_two_groups_give_newcombes_interval():
    protocol = _protocol()
    (gap,) = credible_gaps([_cell(protocol, "A", 48, 80), _cell(protocol, "B", 56, 70, 1000)], protocol)
    assert (gap.worse, gap.better, gap.n_pairs) == ("A", "B", 1)
    assert (gap.estimate, gap.at_least, gap.at_most) == pytest.approx(newcombe(56, 70, 48, 80))


def test_lower_is_better_turns_the_gap():
    protocol = _protocol("missed", floor=0.9)
    (gap,) = credible_gaps([_cell(protocol, "A", 48, 80), _cell(protocol, "B", 56, 70, 1000)], protocol)
    assert (gap.worse, gap.better) == ("B", "A")
    assert (gap.estimate, gap.at_least, gap.at_most) == pytest.approx(newcombe(56, 70, 48, 80))


def test_the_largest_lower_bound_wins_over_the_largest_difference():
    protocol = _protocol()
    cells = [
        _cell(protocol, "small", 18, 32),
        _cell(protocol, "large", 700, 1000, 2000),
        _cell(protocol, "best", 950, 1000, 4000),
    ]
    (gap,) = credible_gaps(cells, protocol)
    assert (gap.worse, gap.better, gap.n_pairs) == ("large", "best", 3)
    assert 0.2 < gap.at_least < gap.estimate == pytest.approx(0.25)


def test_unknown_crossed_and_short_groups_are_left_out():
    protocol = _protocol()
    cells = [
        _cell(protocol, "A", 50, 100),
        _cell(protocol, "unknown", 99, 100, 1000),
        _cell(protocol, "B", 20, 20, 2000),
        _cell(protocol, "A, female", 50, 100, 3000, "ancestry*sex"),
        _cell(protocol, "B, female", 99, 100, 4000, "ancestry*sex"),
    ]
    assert credible_gaps(cells, protocol) == []


def test_equal_groups_rarely_show_a_credible_gap_and_a_planted_one_is_seen():
    rng = np.random.default_rng(4)
    protocol = _protocol()
    sizes = (400, 200, 100, 60, 40)

    def share(rates):
        seen = 0
        for _ in range(300):
            hits = rng.binomial(sizes, rates)
            cells = [_cell(protocol, f"g{i}", h, n, 1000 * i) for i, (h, n) in enumerate(zip(hits, sizes))]
            seen += credible_gaps(cells, protocol)[0].at_least > 0
        return seen / 300

    assert share([0.85] * 5) <= 0.07
    assert share([0.85, 0.65, 0.85, 0.85, 0.85]) >= 0.9
