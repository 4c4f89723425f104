"""One endpoint in one group: measured, compared with its reference, judged, and adjusted over its family.

A family is an axis: all its groups and all its primary endpoints together (Holm), all its groups and its other
endpoints together (Benjamini-Hochberg), floors and gaps apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from medimg.evaluation.document import Gap, Result, Verdict
from medimg.evaluation.estimates import Measured
from medimg.evaluation.intervals import Floats, difference
from medimg.evaluation.multiplicity import benjamini_hochberg, holm
from medimg.evaluation.protocol import EndpointRule, Protocol
from medimg.evaluation.verdicts import after_adjustment, is_small, judge_against, shortfall, smallest_detectable_gap


@dataclass(frozen=True)
class Cell:
    """What is known about one endpoint in one group before it is published.

    ``lacking`` says what the group lacks for a verdict. ``gap`` is the difference with its interval; ``compared``
    is False on the axis 'overall' and for the reference group itself. ``reference_short``: the gap has no verdict
    although the group holds enough, because its reference does not.
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
    for axis in sorted({cell.axis for cell in cells} - {"overall"}):
        for primary, method in ((True, holm), (False, benjamini_hochberg)):
            members = [i for i, c in enumerate(cells) if c.axis == axis and c.rule.primary == primary]
            _adjust_family(found, members, method, confidence)
    return found


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
    """Return the published form of a cell; small ones without numbers where the protocol suppresses them."""
    measured, estimate, primary = cell.measured, cell.measured.estimate, cell.rule.primary
    if is_small(measured.n_patients, protocol):
        return _suppressed(cell, protocol)
    return Result(
        endpoint=cell.rule.id,
        estimate=estimate.value,
        low=estimate.low,
        high=estimate.high,
        interval_method=estimate.method,
        n_cases=measured.n_cases,
        n_patients=measured.n_patients,
        n_positives=shown(measured.n_positives, protocol),
        n_negatives=shown(measured.n_negatives, protocol),
        n_failed=shown(measured.n_failed, protocol),
        reason=estimate.reason,
        note=estimate.note,
        floor_verdict=cell.floor_verdict,
        floor_p_value=cell.floor_p,
        floor_p_holm=cell.floor_adjusted if primary else None,
        floor_p_bh=None if primary else cell.floor_adjusted,
        verdict_reason=cell.lacking or _held_back(cell),
        gap=_publish_gap(cell),
        smallest_detectable_gap=cell.detectable,
    )


def shown(count: int | None, protocol: Protocol) -> int | None:
    """Return a count as published: None where it is small and the protocol suppresses."""
    return None if count is None or is_small(count, protocol) else count


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
    primary = cell.rule.primary
    return Gap(
        reference=cell.reference,
        estimate=estimate,
        low=low,
        high=high,
        method="MOVER (Newcombe's method 10 for rates)" if cell.gap is not None else None,
        verdict=cell.gap_verdict,
        p_value=cell.gap_p,
        p_holm=cell.gap_adjusted if primary else None,
        p_bh=None if primary else cell.gap_adjusted,
        reason=cell.gap_reason,
    )


def _suppressed(cell: Cell, protocol: Protocol) -> Result:
    reason = f"suppressed: fewer than {protocol.suppress_below} patients"
    gap = None
    if cell.compared:
        gap = Gap(
            reference=cell.reference,
            estimate=None,
            low=None,
            high=None,
            method=None,
            verdict=cell.gap_verdict,
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
        floor_verdict=cell.floor_verdict,
        verdict_reason=reason,
        gap=gap,
        suppressed=True,
    )
