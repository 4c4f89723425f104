"""One endpoint in one group: measured, compared with its reference, judged, and adjusted over its family.

Primary endpoints decide, whatever the axis: ancestry is one family, with all its groups and primary endpoints, and the
other axes together are another (Holm). The other endpoints are a family an axis (Benjamini-Hochberg; those of the
standard panel apart). Floors and gaps are adjusted apart. The cells of two crossed axes are one family of their own,
all endpoints together (Benjamini-Hochberg): they inform and never decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from medimg.evaluation.comparison.verdicts import after_adjustment, judge_against, shortfall, smallest_detectable_gap
from medimg.evaluation.document import Gap, Result, Verdict
from medimg.evaluation.estimation.estimates import Measured
from medimg.evaluation.estimation.measured import exact_bounds
from medimg.evaluation.metrics.intervals import Floats, difference
from medimg.evaluation.metrics.multiplicity import benjamini_hochberg, holm
from medimg.evaluation.protocol import EndpointRule, Protocol

CROSS = "*"
"""Between the names of two crossed axes."""


@dataclass(frozen=True)
class Cell:
    """What is known about one endpoint in one group before it is published.

    ``lacking`` says what the group lacks for a verdict. ``gap`` is the difference with its interval; ``compared``
    is False on the axis 'overall' and for the reference group itself. ``reference_short``: the gap has no verdict
    although the group holds enough, because its reference does not. ``simultaneous`` holds for all groups of the axis
    together. ``bounds_note`` says what the patients of unknown ancestry could change. ``held_back`` says why
    the numbers are not published; ``muted``: nor are the verdicts, unless the group does not meet.
    """

    axis: str
    value: str
    rule: EndpointRule
    measured: Measured
    lacking: str | None
    floor_verdict: Verdict | None
    floor_p: float | None = None
    floor_adjusted: float | None = None
    compared: bool = False
    reference: str = ""
    gap: tuple[float, float, float] | None = None
    gap_reason: str | None = None
    gap_verdict: Verdict | None = None
    gap_p: float | None = None
    gap_adjusted: float | None = None
    detectable: float | None = None
    reference_short: bool = False
    simultaneous: tuple[float, float] | None = None
    bounds_note: str | None = None
    held_back: str | None = None
    muted: bool = False

    @property
    def crossed(self) -> bool:
        """Whether this is a cell of two crossed axes."""
        return CROSS in self.axis


def make_cell(
    axis: str,
    value: str,
    rule: EndpointRule,
    measured: Measured,
    protocol: Protocol,
    *,
    reference: str = "",
    reference_measured: Measured | None = None,
) -> Cell:
    """Judge one measured endpoint against its floor and, where a reference is given, against that."""
    lacking = shortfall(rule, measured, protocol)
    cell = Cell(axis, value, rule, measured, lacking, None)
    estimate = measured.estimate
    if rule.floor is not None:
        if lacking is not None or estimate.value is None or estimate.low is None or estimate.high is None:
            cell = replace(cell, floor_verdict="INSUFFICIENT DATA")
        else:
            verdict, p = judge_against(
                estimate.value, estimate.low, estimate.high, rule.floor, rule, protocol.confidence
            )
            cell = replace(cell, floor_verdict=verdict, floor_p=p)
    if reference_measured is not None:
        cell = _compare(replace(cell, compared=True, reference=reference), reference_measured, protocol)
    return cell


def _compare(cell: Cell, other: Measured, protocol: Protocol) -> Cell:
    rule, mine, theirs = cell.rule, cell.measured.estimate, other.estimate
    if other.n_cases == 0:
        return replace(cell, gap_reason=f"{cell.reference}: nobody outside this group holds a case that counts")
    lacking, their_lack = cell.lacking, shortfall(rule, other, protocol)
    if mine.low is not None and theirs.low is not None:
        detectable = smallest_detectable_gap(rule, mine, theirs, protocol)
        cell = replace(cell, gap=difference(mine, theirs), detectable=detectable)
    if lacking is not None or their_lack is not None or cell.gap is None:
        return replace(
            cell,
            gap_reason=lacking or f"{cell.reference}: {their_lack}",
            gap_verdict="INSUFFICIENT DATA" if rule.gap_margin is not None else None,
            reference_short=lacking is None,
        )
    if rule.better == "none":
        return cell
    margin = rule.gap_margin or 0.0
    limit = margin if rule.better == "lower" else -margin
    verdict, p = judge_against(*cell.gap, limit, rule, protocol.confidence)
    return replace(cell, gap_verdict=verdict if rule.gap_margin is not None else None, gap_p=p)


def adjust(cells: Sequence[Cell], confidence: float) -> list[Cell]:
    """Return the cells with adjusted p-values, and with the DOES NOT MEET that do not survive made INCONCLUSIVE.

    The axis 'overall' asks one question an endpoint and is not adjusted.
    """
    found = list(cells)
    families: dict[tuple[str, str], list[int]] = {}
    for i, cell in enumerate(cells):
        if cell.axis != "overall":
            families.setdefault(family_of(cell), []).append(i)
    for (_, kind), members in families.items():
        _adjust_family(found, members, holm if kind == "primary" else benjamini_hochberg, confidence)
    return found


def family_of(cell: Cell) -> tuple[str, str]:
    """Return the axes and the kind of endpoints that a cell's claims are adjusted over."""
    if cell.crossed:
        return cell.axis, "crossed"
    if cell.rule.family == "primary":
        return ("ancestry" if cell.axis == "ancestry" else "other axes"), "primary"
    return cell.axis, cell.rule.family


def _adjust_family(
    cells: list[Cell], members: Sequence[int], method: Callable[[Sequence[float]], Floats], confidence: float
) -> None:
    tested = [i for i in members if cells[i].floor_p is not None]
    for i, p in zip(tested, method([cells[i].floor_p or 0.0 for i in tested])):
        verdict = after_adjustment(cells[i].floor_verdict, p, confidence)
        cells[i] = replace(cells[i], floor_adjusted=float(p), floor_verdict=verdict)
    tested = [i for i in members if cells[i].gap_p is not None]
    for i, p in zip(tested, method([cells[i].gap_p or 0.0 for i in tested])):
        verdict = after_adjustment(cells[i].gap_verdict, p, confidence)
        cells[i] = replace(cells[i], gap_adjusted=float(p), gap_verdict=verdict)


def publish(cell: Cell, protocol: Protocol) -> Result:
    """Return the published form of a cell; without numbers where they are held back."""
    measured, estimate = cell.measured, cell.measured.estimate
    by_holm = cell.rule.primary and not cell.crossed
    low, high = cell.simultaneous or (None, None)
    exact_low, exact_high = exact_bounds(estimate, protocol.confidence)
    if cell.held_back is not None:
        return _suppressed(cell, cell.held_back)
    return Result(
        endpoint=cell.rule.id,
        estimate=estimate.value,
        low=estimate.low,
        high=estimate.high,
        interval_method=estimate.method,
        n_cases=measured.n_cases,
        n_patients=measured.n_patients,
        n_positives=measured.n_positives,
        n_negatives=measured.n_negatives,
        n_failed=measured.n_failed,
        reason=estimate.reason,
        note="; ".join(text for text in (estimate.note, cell.bounds_note) if text) or None,
        floor_verdict=cell.floor_verdict,
        floor_p_value=cell.floor_p,
        floor_p_holm=cell.floor_adjusted if by_holm else None,
        floor_p_bh=None if by_holm else cell.floor_adjusted,
        verdict_reason=cell.lacking or _held_back(cell),
        exact_low=exact_low,
        exact_high=exact_high,
        simultaneous_low=low,
        simultaneous_high=high,
        gap=_publish_gap(cell),
        smallest_detectable_gap=cell.detectable,
    )


def _held_back(cell: Cell) -> str | None:
    if cell.floor_verdict == "INCONCLUSIVE" and cell.floor_adjusted is not None:
        estimate, floor = cell.measured.estimate, cell.rule.floor
        if floor is not None and estimate.low is not None and estimate.high is not None:
            beyond = estimate.low > floor if cell.rule.better == "lower" else estimate.high < floor
            return "beyond the floor, but not after adjustment over the groups" if beyond else None
    return None


def _publish_gap(cell: Cell) -> Gap | None:
    if not cell.compared:
        return None
    estimate, low, high = cell.gap if cell.gap is not None else (None, None, None)
    by_holm = cell.rule.primary and not cell.crossed
    return Gap(
        reference=cell.reference,
        estimate=estimate,
        low=low,
        high=high,
        method="MOVER (Newcombe's method 10 for rates)" if cell.gap is not None else None,
        verdict=cell.gap_verdict,
        p_value=cell.gap_p,
        p_holm=cell.gap_adjusted if by_holm else None,
        p_bh=None if by_holm else cell.gap_adjusted,
        reason=cell.gap_reason,
    )


def _suppressed(cell: Cell, reason: str) -> Result:
    gap = None
    if cell.compared:
        gap = Gap(
            reference=cell.reference,
            estimate=None,
            low=None,
            high=None,
            method=None,
            verdict=_spoken(cell, cell.gap_verdict),
            p_value=None,
            reason=reason,
        )
    return Result(
        endpoint=cell.rule.id,
        estimate=None,
        low=None,
        high=None,
        interval_method=None,
        n_cases=None,
        n_patients=None,
        n_positives=None,
        n_negatives=None,
        n_failed=None,
        reason=reason,
        floor_verdict=_spoken(cell, cell.floor_verdict),
        verdict_reason=reason,
        gap=gap,
        suppressed=True,
    )


def _spoken(cell: Cell, verdict: Verdict | None) -> Verdict | None:
    return None if cell.muted and verdict != "DOES NOT MEET" else verdict
