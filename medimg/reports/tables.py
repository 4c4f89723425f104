"""The tables of a report as rows of plain values, for the page, the model card and the CSV file alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from medimg.evaluation.document import Curve, Endpoint, Gap, GroupRow, Report, Result
from medimg.evaluation.document_parts import CalibrationCurve, DecisionCurve, Standardised, ThresholdShift
from medimg.evaluation.groups import LAST
from medimg.evaluation.protocol import AXES
from medimg.reports.language import ENGLISH, Words
from medimg.reports.numbers import p_words
from medimg.reports.wording import UNITS, axis_name, endpoint_name, limit_words

OfGroup = TypeVar("OfGroup", bound=Curve | CalibrationCurve | DecisionCurve | ThresholdShift | Standardised)
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


def endpoint_table(
    report: Report, endpoint: Endpoint, axes: Iterable[str] | None = None, words: Words = ENGLISH
) -> EndpointTable:
    """Return the table of an endpoint; ``axes`` None means all single ones, in the report's order."""
    shown = [axis for axis in dict.fromkeys(row.axis for row in report.groups) if "*" not in axis]
    wanted = shown if axes is None else [axis for axis in dict.fromkeys(axes) if axis]
    blocks = [
        Block(
            axis,
            axis_name(axis, words),
            tuple((row, result_of(row, endpoint)) for row in ordered(report, axis)),
        )
        for axis in wanted
    ]
    results = [result for block in blocks for _, result in block.rows]
    return EndpointTable(
        endpoint=endpoint,
        title=endpoint_name(endpoint, words),
        limits=limit_words(endpoint, words),
        unit=UNITS.get(endpoint.unit, f" {endpoint.unit}").strip(),
        method=_most(result.interval_method for result in results),
        reference=_most(result.gap.reference for result in results if result.gap is not None),
        blocks=tuple(blocks),
    )


def ordered(report: Report, axis: str) -> list[GroupRow]:
    """Return the groups of an axis by name, unknown and declined last; age bands stay in the report's order.

    Alphabetical order ranks nobody (JAMA's guidance on reporting race and ethnicity, 2021).
    """
    rows = [row for row in report.groups if row.axis == axis]
    if "age_band" not in axis:
        return sorted(rows, key=_place)
    bands = list(dict.fromkeys(row.parts.get("age_band", row.value) for row in rows))
    return sorted(rows, key=lambda row: (_place(row), bands.index(row.parts.get("age_band", row.value))))


def result_of(row: GroupRow, endpoint: Endpoint) -> Result:
    """Return the result of one endpoint in one group."""
    return next(result for result in row.results if result.endpoint == endpoint.id)


def crossed(report: Report) -> list[tuple[int, str, list[int | None]]]:
    """Return the patients of each ancestry by site: its place in the report, its name, and its counts."""
    table = report.ancestry_by_site
    rows = list(zip(range(len(table.ancestries)), table.ancestries, table.counts))
    return sorted(rows, key=lambda row: (_last(row[1]), row[1].casefold()))


def held(row: GroupRow, result: Result | None = None, words: Words = ENGLISH, *, below: str = "") -> str:
    """Return what stands for a count that is null: the bound of a small group, that it is held back, or a dash.

    Only of a group that says so itself may the bound be printed; of others it would be untrue.
    """
    if row.suppressed_as == "small":
        return below
    if result is not None and not row.suppressed and not result.suppressed:
        return "–"
    return words("text.withheld")


def suppressed_groups(report: Report) -> set[tuple[str, str]]:
    """Return axis and value of every group whose numbers are held back: none of them enters a figure."""
    return {(row.axis, row.value) for row in report.groups if row.suppressed}


def method_name(method: str) -> str:
    """Return the printed name of an interval's method."""
    return "Student's t" if method == "t" else method


def primary(report: Report) -> list[Endpoint]:
    """Return the endpoints that decide the status."""
    return [endpoint for endpoint in report.endpoints if endpoint.primary]


def by_target(report: Report) -> dict[str, list[Endpoint]]:
    """Return the endpoints of each target, primary ones first; targets in the report's order."""
    found: dict[str, list[Endpoint]] = {}
    for endpoint in sorted(report.endpoints, key=lambda endpoint: not endpoint.primary):
        found.setdefault(endpoint.target, []).append(endpoint)
    return found


def why_no_number(result: Result, words: Words = ENGLISH) -> str | None:
    """Return why an estimate or its interval is missing; None where both are there."""
    if result.estimate is None:
        return result.reason
    return None if result.low is not None else words("results.no_interval", reason=result.reason)


def why_no_gap(row: GroupRow, gap: Gap | None, words: Words = ENGLISH) -> str:
    """Return why a gap is missing."""
    if gap is not None:
        return gap.reason or words("results.no_reason")
    if row.axis == "overall":
        return words("results.not_compared")
    if row.suppressed:
        return words("results.suppressed")
    return words("results.no_case") if row.n_cases == 0 else words("results.is_reference")


def why_no_detectable(result: Result, words: Words = ENGLISH) -> str:
    """Return why the smallest detectable gap is missing."""
    if result.suppressed:
        return words("results.suppressed")
    missing = result.gap is None or result.gap.estimate is None
    return words("results.not_compared") if missing else words("results.none_in_range")


def notes(result: Result, words: Words = ENGLISH) -> list[str]:
    """Return what else a reader must know about a result, each thing once."""
    found = [result.note, result.verdict_reason if result.estimate is not None else None]
    if result.n_failed:
        found.append(words("results.failed", n=result.n_failed))
    for name, p in (("Holm", result.floor_p_holm), ("BH", result.floor_p_bh)):
        if p is not None:
            found.append(words("results.floor_p", p=p_words(p), family=name))
    if result.gap is not None:
        found.append(result.gap.reason if result.gap.estimate is not None else None)
        for name, p in (("Holm", result.gap.p_holm), ("BH", result.gap.p_bh)):
            if p is not None:
                found.append(words("results.gap_p", p=p_words(p), family=name))
    if result.variation != "test-set sampling":
        found.append(words("results.variation", variation=result.variation))
    return list(dict.fromkeys(text for text in found if text))


def curve_families(report: Report) -> list[list[Curve]]:
    """Return the curves of the report, those of one kind and target together, without those of suppressed groups."""
    hidden = suppressed_groups(report)
    families: dict[tuple[str, str], list[Curve]] = {}
    for curve in report.curves:
        if (curve.axis, curve.value) not in hidden:
            families.setdefault((curve.kind, curve.target), []).append(curve)
    return [in_order(family) for family in families.values()]


def in_order(items: Iterable[OfGroup]) -> list[OfGroup]:
    """Return curves and rows of groups in the order in which groups are printed, everyone first."""
    axes = ("overall", *AXES)
    return sorted(items, key=lambda item: (axes.index(item.axis), _last(item.value), item.value.casefold()))


def curve_rows(curve: Curve, count: int = CURVE_ROWS) -> list[tuple[float, float]]:
    """Return at most ``count`` points of a curve, evenly along it, both ends among them."""
    points: Sequence[tuple[float, float]] = curve.points
    if len(points) <= count:
        return list(points)
    return [points[round(index * (len(points) - 1) / (count - 1))] for index in range(count)]


def _place(row: GroupRow) -> list[tuple[int, str]]:
    """Return what orders a group by its names; the band of an age is none, its order is that of the report."""
    values = [value for axis, value in row.parts.items() if axis != "age_band"]
    if not row.parts and row.axis != "age_band":
        values = [row.value]
    return [(_last(value), value.casefold()) for value in values]


def _last(value: str) -> int:
    """Return 0 for a named group; of unknown, declined and withheld their place after all others."""
    return 1 + LAST.index(value) if value in LAST else 0


def _most(values: Iterable[str | None]) -> str | None:
    counted = Counter(value for value in values if value)
    return counted.most_common(1)[0][0] if counted else None
