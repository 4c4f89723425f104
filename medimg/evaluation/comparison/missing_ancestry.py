"""What the patients of unknown ancestry could change about a group, had they all belonged to it or its best or worst.

Bounds without assumptions (Manski 1989): any of the unknown cases may belong to the group, so a rate lies between the
one with all unknown failures added to it and the one with all unknown successes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from medimg.evaluation.comparison.cells import Cell
from medimg.evaluation.comparison.contributions import SUMS
from medimg.evaluation.comparison.verdicts import is_small
from medimg.evaluation.groups import LAST
from medimg.evaluation.protocol import Protocol
from medimg.evaluation.tables import DECLINED, UNKNOWN


@dataclass(frozen=True)
class Bounds:
    """A rate if all unknown cases belonged to the group, and its least and greatest value if any of them did."""

    together: float
    lowest: float
    highest: float


def bounds(successes: float, n: float, unknown_successes: float, unknown_n: float) -> Bounds:
    """Return what unknown cases could change about a rate.

    >>> bounds(80, 100, 5, 20)
    Bounds(together=0.7083333333333334, lowest=0.6956521739130435, highest=0.8095238095238095)
    """
    failures = unknown_n - unknown_successes
    return Bounds(
        (successes + unknown_successes) / (n + unknown_n),
        successes / (n + failures),
        (successes + unknown_successes) / (n + unknown_successes),
    )


def with_bounds(cells: Sequence[Cell], protocol: Protocol) -> list[Cell]:
    """Return the cells with a note on the primary rates of every known ancestry.

    There is none where a count behind the unknown or declined is small enough to be suppressed: two digits of a bound
    beside a published rate could give it away.
    """
    unknown = _unknown(cells, protocol)
    return [_noted(cell, unknown, protocol) for cell in cells]


def _unknown(cells: Sequence[Cell], protocol: Protocol) -> dict[str, tuple[float, float]]:
    """Return successes and cases of unknown or declined ancestry, by endpoint."""
    found: dict[str, tuple[float, float]] = {}
    hidden = set()
    for cell in cells:
        if cell.axis != "ancestry" or cell.value not in (UNKNOWN, DECLINED) or not _is_rate(cell):
            continue
        successes, n = _counts(cell)
        if is_small(cell.measured.n_patients, protocol):
            hidden.add(cell.rule.id)
        before = found.get(cell.rule.id, (0.0, 0.0))
        found[cell.rule.id] = (before[0] + successes, before[1] + n)
    return {endpoint: counts for endpoint, counts in found.items() if endpoint not in hidden and counts[1]}


def _is_rate(cell: Cell) -> bool:
    return cell.rule.metric in SUMS and SUMS[cell.rule.metric].rate


def _counts(cell: Cell) -> tuple[float, float]:
    measured = cell.measured
    n = (measured.n_positives or 0) if cell.rule.metric == "lesion_sensitivity" else measured.n_cases
    return (measured.estimate.value or 0.0) * n, float(n)


def _noted(cell: Cell, unknown: dict[str, tuple[float, float]], protocol: Protocol) -> Cell:
    known = cell.axis == "ancestry" and cell.value not in LAST
    if not known or not cell.rule.primary or cell.rule.id not in unknown or cell.measured.estimate.value is None:
        return cell
    if is_small(cell.measured.n_patients, protocol):
        return cell
    successes, n = _counts(cell)
    found = bounds(successes, n, *unknown[cell.rule.id])
    note = (
        f"if all patients of unknown ancestry belonged to this group: {found.together:.2f}; if any of them did: "
        f"between {found.lowest:.2f} and {found.highest:.2f}"
    )
    return replace(cell, bounds_note=note)
