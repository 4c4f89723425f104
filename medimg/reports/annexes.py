"""What the pages after the first show: every table and figure, and where each of them stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from medimg.evaluation.document import Curve, GroupRow, Report, WorstCase
from medimg.evaluation.document_parts import CalibrationCurve, DecisionCurve
from medimg.reports.checklists import checklists
from medimg.reports.figures import calibration_plot, curve_plot, decision_plot, drawn
from medimg.reports.language import Words
from medimg.reports.plain_language import per_thousand, summary
from medimg.reports.tables import (
    EndpointTable,
    OfGroup,
    by_target,
    crossed,
    curve_families,
    curve_rows,
    endpoint_table,
    in_order,
    ordered,
    primary,
    suppressed_groups,
)
from medimg.reports.wording import axis_name, group_name


@dataclass(frozen=True)
class Target:
    """The tables of one target: of the primary endpoints, and of all others."""

    name: str
    primary: tuple[EndpointTable, ...]
    secondary: tuple[EndpointTable, ...]


@dataclass(frozen=True)
class Crossing:
    """Two axes at once: the groups that are printed, on the primary endpoints."""

    name: str
    axis: str
    tables: tuple[EndpointTable, ...]


def annexes(report: Report, pictures: Mapping[str, str], words: Words) -> dict[str, object]:
    """Return what the templates of the annexes need; ``pictures`` are data URIs by the paths that cases name."""
    date, lists = checklists(report)
    found: dict[str, object] = {
        "summary": summary(report, words),
        "per_thousand": per_thousand(report, words),
        "targets": _targets(report, words),
        "curves": [_curves(report, family, index, words) for index, family in enumerate(curve_families(report))],
        "calibration": _figures(report, report.calibration, "calibration", calibration_plot, words),
        "decision": _figures(report, report.decision_curves, "decision", decision_plot, words),
        "shifts": _by_key(report, report.threshold_shifts, lambda item: item.target),
        "crossings": _crossings(report, words),
        "standardised": _by_key(report, report.standardised, lambda item: item.endpoint),
        "crossed": crossed(report),
        "described": _described(report, words),
        "sources": _sources(report),
        "worst": _worst(report, pictures, words),
        "checklists": lists,
        "checklists_date": date,
    }
    return found | {"sections": _sections(report, found)}


def _sections(report: Report, found: Mapping[str, object]) -> list[str]:
    """Return the ids of the sections that are there, in their order; each has a heading of the same name."""
    optional = {
        "thousand": found["per_thousand"],
        "spread": report.spreads,
        "credible": report.credible_gaps,
        "curves": found["curves"],
        "calibration": found["calibration"],
        "decision": found["decision"],
        "shifts": found["shifts"],
        "intersections": report.intersections or found["crossings"],
        "standardised": found["standardised"],
        "within": report.within_sites,
    }
    every = (
        "plain thousand not_shown limits not_validated reasons results spread credible curves calibration decision "
        "shifts intersections sites standardised within data worst failures suppression protocol checklists"
    )
    return [name for name in every.split() if name not in optional or optional[name]]


def _targets(report: Report, words: Words) -> list[Target]:
    found = []
    for name, endpoints in by_target(report).items():
        tables = [endpoint_table(report, endpoint, words=words) for endpoint in endpoints]
        deciding = tuple(table for table in tables if table.endpoint.primary)
        found.append(Target(name, deciding, tuple(table for table in tables if not table.endpoint.primary)))
    return found


def _curves(report: Report, family: list[Curve], index: int, words: Words) -> dict[str, object]:
    kind, shown = family[0].kind, drawn(report, family)
    return {
        "name": words(f"figure.{kind}"),
        "target": family[0].target,
        "axes": (words(f"figure.{kind}_x"), words(f"figure.{kind}_y")),
        "svg": curve_plot(report, family, f"curve-{index}", words=words),
        "rows": [(curve, curve_rows(curve)) for curve in family],
        "left_out": [group_name(c.axis, c.value, words) for c in family if c not in shown],
    }


def _figures(
    report: Report,
    items: Sequence[CalibrationCurve] | Sequence[DecisionCurve],
    name: str,
    plot: Callable[..., Markup],
    words: Words,
) -> list[dict[str, object]]:
    """Return drawing and rows of each target; ``place`` of a row is its index in the report."""
    hidden = suppressed_groups(report)
    places = {id(item): place for place, item in enumerate(items)}
    families: dict[str, list[CalibrationCurve | DecisionCurve]] = {}
    for item in items:
        if (item.axis, item.value) not in hidden:
            families.setdefault(item.target, []).append(item)
    found: list[dict[str, object]] = []
    for index, (target, family) in enumerate(families.items()):
        inside = in_order(family)
        shown = drawn(report, inside)
        found.append(
            {
                "target": target,
                "svg": plot(report, inside, f"{name}-{index}", words=words),
                "rows": [(places[id(item)], item) for item in inside],
                "left_out": [group_name(item.axis, item.value, words) for item in inside if item not in shown],
            }
        )
    return found


def _by_key(
    report: Report, items: Sequence[OfGroup], key: Callable[[OfGroup], str]
) -> list[tuple[str, list[tuple[str, list[tuple[int, OfGroup]]]]]]:
    """Return the rows of each table, by axis, with their place in the report; none of a suppressed group."""
    hidden = suppressed_groups(report)
    places = {id(item): place for place, item in enumerate(items)}
    found: dict[str, dict[str, list[tuple[int, OfGroup]]]] = {}
    for item in in_order([item for item in items if (item.axis, item.value) not in hidden]):
        found.setdefault(key(item), {}).setdefault(item.axis, []).append((places[id(item)], item))
    return [(name, list(blocks.items())) for name, blocks in found.items()]


def _crossings(report: Report, words: Words) -> list[Crossing]:
    found = []
    hidden = suppressed_groups(report)
    for axis in dict.fromkeys(row.axis for row in report.groups if "*" in row.axis):
        if any((row.axis, row.value) not in hidden for row in report.groups if row.axis == axis):
            tables = tuple(endpoint_table(report, endpoint, [axis], words) for endpoint in primary(report))
            found.append(Crossing(axis_name(axis, words), axis, tables))
    return found


def _sources(report: Report) -> list[tuple[str, int | None, str | None]]:
    """Return provenances of ancestry with patients, and their share of those whose ancestry is known."""
    counts = report.test_set.ancestry_sources
    total = 0 if None in counts.values() else sum(n for n in counts.values() if n is not None)
    return [(name, n, f"{100 * n / total:.0f}%" if n is not None and total else None) for name, n in counts.items()]


def _described(report: Report, words: Words) -> list[tuple[str, list[GroupRow]]]:
    axes = [axis for axis in dict.fromkeys(row.axis for row in report.groups) if "*" not in axis]
    return [(axis_name(axis, words), ordered(report, axis)) for axis in axes]


def _worst(
    report: Report, pictures: Mapping[str, str], words: Words
) -> list[tuple[str, list[tuple[WorstCase, str | None]]]]:
    """Return the worst cases by ancestry, those whose group is not shown last; the worst first, as in the report."""
    groups = [row.value for row in ordered(report, "ancestry")]
    found: dict[str | None, list[tuple[WorstCase, str | None]]] = {}
    for case in report.worst_cases:
        found.setdefault(case.group, []).append((case, pictures.get(case.overlay or "")))
    order: list[str | None] = [*groups, *(group for group in found if group not in groups and group), None]
    return [
        (
            words("text.group_not_shown")
            if group is None
            else words("text.group_worst", group=group_name("ancestry", group, words)),
            found[group],
        )
        for group in order
        if group in found
    ]
