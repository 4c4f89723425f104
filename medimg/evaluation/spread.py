"""How far groups lie apart, beside the distance that equal groups would show by chance.

The greatest difference between groups is biased upwards: even equal groups differ, the more so the smaller they are
and the more of them there are. Bootstrapping it does not repair that; its distribution between equal groups does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medimg.evaluation.bootstrap import stream
from medimg.evaluation.cells import Cell
from medimg.evaluation.document import Spread
from medimg.evaluation.intervals import Floats, quantile
from medimg.evaluation.protocol import Protocol
from medimg.evaluation.tables import DECLINED, UNKNOWN

_SIMULATIONS = 4000


def spreads(cells: Sequence[Cell], protocol: Protocol) -> list[Spread]:
    """Return one entry per axis and endpoint with a direction and at least two known groups with an interval."""
    found = []
    keys = dict.fromkeys((c.axis, c.rule.id) for c in cells if c.axis != "overall" and c.rule.better != "none")
    for axis, endpoint in keys:
        members = [
            c
            for c in cells
            if (c.axis, c.rule.id) == (axis, endpoint)
            and c.value not in (UNKNOWN, DECLINED)
            and c.measured.estimate.low is not None
            and not (protocol.suppress and c.measured.n_patients < protocol.suppress_below)
        ]
        if len(members) >= 2:
            found.append(_spread(axis, members, protocol))
    return found


def _spread(axis: str, cells: Sequence[Cell], protocol: Protocol) -> Spread:
    rule = cells[0].rule
    values = np.array([c.measured.estimate.value or 0.0 for c in cells])
    rng = stream(protocol.seed, f"spread|{rule.id}|{len(cells)}")
    simulated = _equal_groups(cells, values, protocol, rng)
    chance = np.ptp(simulated, axis=1)
    observed = float(np.ptp(values))
    high, low = int(np.argmax(values)), int(np.argmin(values))
    worst, best = (high, low) if rule.better == "lower" else (low, high)
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
    )


def _equal_groups(cells: Sequence[Cell], values: Floats, protocol: Protocol, rng: np.random.Generator) -> Floats:
    """Return simulated estimates (simulations, groups) of groups that truly are equal."""
    estimates = [c.measured.estimate for c in cells]
    if all(e.n_effective for e in estimates):
        n = np.maximum(1, np.round([e.n_effective or 1.0 for e in estimates]).astype(np.int64))
        pooled = float(np.average(values, weights=n))
        return rng.binomial(n, pooled, size=(_SIMULATIONS, len(n))) / n
    z = quantile(protocol.confidence)
    errors = np.array([((e.high or 0.0) - (e.low or 0.0)) / (2 * z) for e in estimates])
    return rng.normal(0.0, errors, size=(_SIMULATIONS, len(errors)))
