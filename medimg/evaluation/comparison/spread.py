"""How far groups lie apart, beside the distance that equal groups would show by chance.

The greatest difference between groups is biased upwards: even equal groups differ, the more so the smaller they are
and the more of them there are. Bootstrapping it does not repair that; its distribution between equal groups does. The
group that comes out worst is likewise often just the smallest: estimates shrunken by what chance explains of them name
another, or none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medimg.evaluation.comparison.cells import Cell
from medimg.evaluation.document import Spread
from medimg.evaluation.groups import LAST
from medimg.evaluation.metrics.bootstrap import stream
from medimg.evaluation.metrics.intervals import Floats, quantile
from medimg.evaluation.metrics.pooling import shrunken
from medimg.evaluation.protocol import Protocol

_SIMULATIONS = 4000


def spreads(cells: Sequence[Cell], protocol: Protocol) -> list[Spread]:
    """Return one entry per axis and endpoint with a direction and at least two known groups with an interval."""
    found = []
    compared = [c for c in cells if c.axis != "overall" and not c.crossed and c.rule.better != "none"]
    keys = dict.fromkeys((c.axis, c.rule.id) for c in compared)
    for axis, endpoint in keys:
        members = [
            c
            for c in compared
            if (c.axis, c.rule.id) == (axis, endpoint)
            and c.value not in LAST
            and c.measured.estimate.low is not None
            and not (protocol.suppress and c.measured.n_patients < protocol.suppress_below)
        ]
        if len(members) >= 2:
            found.append(_spread(axis, sorted(members, key=_numbers), protocol))
    return found


def _numbers(cell: Cell) -> tuple[float, ...]:
    # Simulated in an order that hangs on no name: renaming groups draws the same numbers for the same group.
    estimate = cell.measured.estimate
    return (estimate.value or 0.0, estimate.low or 0.0, estimate.high or 0.0, cell.measured.n_cases)


def _spread(axis: str, cells: Sequence[Cell], protocol: Protocol) -> Spread:
    rule = cells[0].rule
    values = np.array([c.measured.estimate.value or 0.0 for c in cells])
    rng = stream(protocol.seed, f"spread|{rule.id}|{len(cells)}")
    simulated = _equal_groups(cells, values, protocol, rng)
    likely = shrunken(values, _errors(cells, values, protocol))
    chance = np.ptp(simulated, axis=1)
    observed = float(np.ptp(values))
    high, low = int(np.argmax(values)), int(np.argmin(values))
    worst, best = (high, low) if rule.better == "lower" else (low, high)
    likely_worst = int(np.argmax(likely) if rule.better == "lower" else np.argmin(likely))
    return Spread(
        endpoint=rule.id,
        axis=axis,
        worst=cells[worst].value,
        best=cells[best].value,
        max_minus_min=observed,
        expected_if_equal=float(chance.mean()),
        upper_95_if_equal=float(np.quantile(chance, 0.95)),
        p_value=float((1 + np.sum(chance >= observed - 1e-12)) / (1 + len(chance))),
        n_groups=len(cells),
        worst_shrunken=cells[likely_worst].value if np.ptp(likely) > 1e-12 else None,
        max_minus_min_shrunken=float(np.ptp(likely)),
    )


def _equal_groups(cells: Sequence[Cell], values: Floats, protocol: Protocol, rng: np.random.Generator) -> Floats:
    """Return simulated estimates (simulations, groups) of groups that truly are equal."""
    estimates = [c.measured.estimate for c in cells]
    if all(e.n_effective for e in estimates):
        n = np.maximum(1, np.round([e.n_effective or 1.0 for e in estimates]).astype(np.int64))
        pooled = float(np.average(values, weights=n))
        return rng.binomial(n, pooled, size=(_SIMULATIONS, len(n))) / n
    errors = _errors(cells, values, protocol)
    return rng.normal(0.0, errors, size=(_SIMULATIONS, len(errors)))


def _errors(cells: Sequence[Cell], values: Floats, protocol: Protocol) -> Floats:
    """Return the standard error of each estimate: of rates as if the groups were equal, elsewhere from the interval."""
    estimates = [c.measured.estimate for c in cells]
    if all(e.n_effective for e in estimates):
        n = np.array([e.n_effective or 1.0 for e in estimates])
        pooled = float(np.clip(np.average(values, weights=n), 0.5 / n.sum(), 1 - 0.5 / n.sum()))
        return np.asarray(np.sqrt(pooled * (1 - pooled) / n))
    z = quantile(protocol.confidence)
    widths = np.array([(e.high or 0.0) - (e.low or 0.0) for e in estimates])
    return np.maximum(widths / (2 * z), 1e-12)
