"""The tables of a report as rows of plain values, for the page, the model card and the CSV file alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medimg.evaluation.document import Curve, Endpoint, Gap, GroupRow, Report, Result
from medimg.reports.numbers import p_words
from medimg.reports.wording import AXIS_NAMES, UNITS, endpoint_name, limit_words

CURVE_ROWS = 11
"""Points of a curve that its table shows."""


@dataclass(frozen=True)
class Block:
    """The rows of one axis: groups with their result on one endpoint."""

    axis: str
    name: str
    rows: tuple[tuple[GroupRow, Result], ...]


@dataclass(frozen=True)
class EndpointTable:
    """One endpoint in every group of the axes that are shown.

    ``method`` and ``reference`` are those of most rows: said once, and again only where a row differs.
    """

    endpoint: Endpoint
    title: str
    limits: str
    unit: str
    method: str | None
    reference: str | None
    blocks: tuple[Block, ...]


def endpoint_table(report: Report, endpoint: Endpoint, axes: Iterable[str] | None = None) -> EndpointTable:
    """Return the table of an endpoint; ``axes`` None means all, in the report's order."""
    shown = list(dict.fromkeys(row.axis for row in report.groups))
    wanted = shown if axes is None else [axis for axis in shown if axis in set(axes)]
    blocks = [
        Block(
            axis,
            AXIS_NAMES[axis],
            tuple(
                (row, next(result for result in row.results if result.endpoint == endpoint.id))
                for row in report.groups
                if row.axis == axis
            ),
        )
        for axis in wanted
    ]
    results = [result for block in blocks for _, result in block.rows]
    return EndpointTable(
        endpoint=endpoint,
        title=endpoint_name(endpoint),
        limits=limit_words(endpoint),
        unit=UNITS.get(endpoint.unit, f" {endpoint.unit}").strip(),
        method=_most(result.interval_method for result in results),
        reference=_most(result.gap.reference for result in results if result.gap is not None),
        blocks=tuple(blocks),
    )


def method_name(method: str) -> str:
    """Return the printed name of an interval's method."""
    return "Student's t" if method == "t" else method


def primary(report: Report) -> list[Endpoint]:
    """Return the endpoints that decide the status."""
    return [endpoint for endpoint in report.endpoints if endpoint.primary]


def why_no_number(result: Result) -> str | None:
    """Return why an estimate or its interval is missing; None where both are there."""
    if result.estimate is None:
        return result.reason
    return None if result.low is not None else f"no interval: {result.reason}"


def why_no_gap(row: GroupRow, gap: Gap | None) -> str:
    """Return why a gap is missing."""
    if gap is not None:
        return gap.reason or "no reason was recorded"
    if row.axis == "overall":
        return "not compared"
    return "no case" if row.n_cases == 0 else "the reference of its axis"


def why_no_detectable(result: Result) -> str:
    """Return why the smallest detectable gap is missing."""
    if result.suppressed:
        return "suppressed"
    return "not compared" if result.gap is None or result.gap.estimate is None else "none in range"


def notes(result: Result) -> list[str]:
    """Return what else a reader must know about a result, each thing once."""
    found = [result.note, result.verdict_reason if result.estimate is not None else None]
    if result.n_failed:
        found.append(f"{result.n_failed} failed")
    for name, p in (("Holm", result.floor_p_holm), ("BH", result.floor_p_bh)):
        if p is not None:
            found.append(f"floor: {p_words(p)} ({name})")
    if result.gap is not None:
        found.append(result.gap.reason if result.gap.estimate is not None else None)
        for name, p in (("Holm", result.gap.p_holm), ("BH", result.gap.p_bh)):
            if p is not None:
                found.append(f"gap: {p_words(p)} ({name})")
    if result.variation != "test-set sampling":
        found.append(f"variation: {result.variation}")
    return list(dict.fromkeys(text for text in found if text))


def curve_families(report: Report) -> list[list[Curve]]:
    """Return the curves of the report, those of one kind and target together."""
    families: dict[tuple[str, str], list[Curve]] = {}
    for curve in report.curves:
        families.setdefault((curve.kind, curve.target), []).append(curve)
    return list(families.values())


def curve_rows(curve: Curve, count: int = CURVE_ROWS) -> list[tuple[float, float]]:
    """Return at most ``count`` points of a curve, evenly along it, both ends among them."""
    points: Sequence[tuple[float, float]] = curve.points
    if len(points) <= count:
        return list(points)
    return [points[round(index * (len(points) - 1) / (count - 1))] for index in range(count)]


def _most(values: Iterable[str | None]) -> str | None:
    counted = Counter(value for value in values if value)
    return counted.most_common(1)[0][0] if counted else None
