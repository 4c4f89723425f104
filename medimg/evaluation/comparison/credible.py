"""The largest gap between two groups of an axis that the data vouch for.

Max minus min is biased upwards; the lower bound of a gap is not, if the intervals of all pairs hold together. Pairs are
compared by the method of variance estimates recovery (Zou & Donner 2008, Stat Med 27:1693) from single intervals at
Bonferroni's confidence over the pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from medimg.evaluation.comparison.cells import Cell
from medimg.evaluation.comparison.simultaneous import bonferroni, restated
from medimg.evaluation.document_parts import CredibleGap
from medimg.evaluation.groups import LAST
from medimg.evaluation.metrics.intervals import Estimate, difference
from medimg.evaluation.protocol import Protocol


def credible_gaps(cells: Sequence[Cell], protocol: Protocol) -> list[CredibleGap]:
    """Return one entry per axis and endpoint with a direction and at least two known groups that hold enough.

    Groups that lack the declared numbers are left out, since every further pair widens all intervals; they stand in
    the report as INSUFFICIENT DATA.
    """
    families: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.axis == "overall" or cell.crossed or cell.rule.better == "none" or cell.lacking is not None:
            continue
        if cell.value not in LAST:
            families.setdefault((cell.axis, cell.rule.id), []).append(cell)
    return [_largest(members, protocol) for members in families.values() if len(members) >= 2]


def _largest(members: Sequence[Cell], protocol: Protocol) -> CredibleGap:
    pairs = list(combinations(range(len(members)), 2))
    confidence = bonferroni(protocol.confidence, len(pairs))
    wide = [_widened(cell, protocol.confidence, confidence) for cell in members]
    found = [_gap(members[i], wide[i], members[j], wide[j], len(pairs)) for i, j in pairs]
    return max(found, key=lambda gap: (gap.at_least, gap.estimate))


def _widened(cell: Cell, confidence: float, wanted: float) -> Estimate:
    low, high = restated(cell.measured.estimate, cell.rule, confidence, wanted)
    return replace(cell.measured.estimate, low=low, high=high)


def _gap(first: Cell, first_wide: Estimate, second: Cell, second_wide: Estimate, n_pairs: int) -> CredibleGap:
    """Return better minus worse, turned so that a positive gap is a disadvantage of ``worse``."""
    lower = first.rule.better == "lower"
    gap, low, high = difference(first_wide, second_wide)
    if (gap < 0) != lower:
        first, second, gap, low, high = second, first, -gap, -high, -low
    # Now first minus second is >= 0 where higher is better and <= 0 where lower is: first is the better one.
    if lower:
        gap, low, high = -gap, -high, -low
    return CredibleGap(
        endpoint=first.rule.id,
        axis=first.axis,
        worse=second.value,
        better=first.value,
        estimate=gap,
        at_least=max(0.0, low),
        at_most=high,
        n_pairs=n_pairs,
        method="MOVER" if n_pairs == 1 else f"MOVER, Bonferroni over {n_pairs} pairs",
    )
