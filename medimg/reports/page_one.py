"""What page one shows: one sheet of paper with what decides, for reports of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from medimg.evaluation.document import Endpoint, GroupRow, Report, Result
from medimg.evaluation.document_parts import Standardised
from medimg.reports.figures import COMPACT, Size, calibration_plot, curve_plot, drawn
from medimg.reports.language import Words
from medimg.reports.numbers import plain, with_interval
from medimg.reports.strips import Scale, estimate_scale, estimate_strip, gap_scale, gap_strip
from medimg.reports.tables import EndpointTable, curve_families, endpoint_table, primary
from medimg.reports.wording import axis_name, endpoint_name, group_name

FIRST_AXES = ("overall", "ancestry")
# What one sheet holds beside everything else: rows of forest plots, columns of a matrix, columns of sites.
FOREST_ROWS, MATRIX_COLUMNS, COMPANIONS, SITES = 22, 5, 5, 6
# With so few rows there is room for higher charts, and for further endpoints below them.
ROOMY_ROWS, ROOMY_INCH = 11, 2.0
# With so many groups charts are lower, and the table of sites stands in its annex alone.
MANY_GROUPS, MANY_INCH = 9, 1.45
# The order in which further endpoints earn a column on page one, by what a reader of that task asks first.
_COMPANIONS = {
    "segmentation": ("dice_mean", "dice_below", "nsd_mean", "nsd_median", "volume_bias", "missed", "hd95_median"),
    "detection": (
        *("lesion_sensitivity", "lesion_sensitivity_of_size", "false_positives_per_image"),
        *("cpm", "froc_sensitivity", "sensitivity"),
    ),
    "classification": ("auc", "sensitivity", "specificity", "ppv", "npv", "quadratic_kappa", "accuracy"),
}


@dataclass(frozen=True)
class ForestRow:
    """A group with its result, and both of its drawings."""

    row: GroupRow
    result: Result
    estimate: Markup
    gap: Markup


@dataclass(frozen=True)
class Forest:
    """The forest plot of an endpoint: a table whose rows carry their drawings, on one scale each."""

    table: EndpointTable
    scale: Scale
    gap_scale: Scale
    rows: tuple[ForestRow, ...]


@dataclass(frozen=True)
class Companions:
    """Further endpoints of the first target beside each other: a column each."""

    target: str
    tables: tuple[EndpointTable, ...]
    left_out: int


def page_one(report: Report, words: Words) -> dict[str, object]:
    """Return what the template of page one needs."""
    first = primary(report)
    tables = [endpoint_table(report, endpoint, FIRST_AXES, words) for endpoint in first]
    rows = sum(len(block.rows) for table in tables for block in table.blocks)
    forests = [_forest(table) for table in tables] if len(first) <= 2 and rows <= FOREST_ROWS else []
    roomy = bool(forests) and rows <= ROOMY_ROWS
    many = len(report.ancestry_by_site.ancestries) > MANY_GROUPS
    height = ROOMY_INCH if roomy else MANY_INCH if many else COMPACT.height
    return {
        "forests": forests,
        "matrix": [] if forests else tables[:MATRIX_COLUMNS],
        "matrix_left": 0 if forests else max(0, len(tables) - MATRIX_COLUMNS),
        "charts": (charts := _charts(report, replace(COMPACT, height=height), words)),
        "companions": _companions(report, first, words) if roomy or len(charts) < 2 else None,
        "worst_gaps": _worst_gaps(report, words),
        "adjusted": _adjusted(report, words),
        "sites_fit": len(report.ancestry_by_site.sites) <= SITES and not many,
    }


def _forest(table: EndpointTable) -> Forest:
    pairs = [pair for block in table.blocks for pair in block.rows]
    results = [result for _, result in pairs]
    scale, gaps = estimate_scale(table.endpoint, results), gap_scale(table.endpoint, results)
    rows = tuple(
        ForestRow(row, result, estimate_strip(scale, result), gap_strip(gaps, table.endpoint, result))
        for row, result in pairs
    )
    return Forest(table, scale, gaps, rows)


def _charts(report: Report, size: Size, words: Words) -> list[tuple[str, Markup]]:
    """Return title and drawing of the curve of the first target, and of its calibration."""
    target = primary(report)[0].target
    found = []
    kind = {"classification": "roc", "detection": "froc"}.get(report.task.kind)
    family = next((f for f in curve_families(report) if f[0].kind == kind and f[0].target == target), None)
    if family:
        title = f"{words(f'figure.{kind}')}: {target}"
        found.append((title, curve_plot(report, family, "first-curve", words=words, size=size)))
    calibration = [curve for curve in report.calibration if curve.target == target]
    if drawn(report, calibration):
        title = f"{words('figure.calibration')}: {target}"
        found.append((title, calibration_plot(report, calibration, "first-calibration", words=words, size=size)))
    return found


def _companions(report: Report, first: Sequence[Endpoint], words: Words) -> Companions | None:
    """Return the other endpoints of the first target, where page one has room for them."""
    target, order = first[0].target, _COMPANIONS[report.task.kind]
    others = [e for e in report.endpoints if not e.primary and e.target == target and e.metric in order]
    others.sort(key=lambda endpoint: order.index(endpoint.metric))
    if not others:
        return None
    tables = tuple(endpoint_table(report, endpoint, FIRST_AXES, words) for endpoint in others[:COMPANIONS])
    return Companions(target, tables, len(others) - len(tables))


def _worst_gaps(report: Report, words: Words) -> list[str]:
    """Return the largest disadvantage of an ancestry on each primary endpoint that the data vouch for."""
    endpoints = {endpoint.id: endpoint for endpoint in primary(report)}
    found = []
    for gap in report.credible_gaps:
        if gap.axis != "ancestry" or gap.endpoint not in endpoints:
            continue
        key = "one.gap_shown" if gap.at_least > 0 else "one.gap_not_shown"
        found.append(
            words(
                key,
                endpoint=endpoint_name(endpoints[gap.endpoint], words),
                worse=group_name(gap.axis, gap.worse, words),
                better=group_name(gap.axis, gap.better, words),
                at_least=plain(gap.at_least, 3),
                estimate=plain(gap.estimate, 3),
                at_most=plain(gap.at_most, 3),
            )
        )
    return found


def _adjusted(report: Report, words: Words) -> list[str]:
    """Return the largest adjusted disadvantage of an ancestry, at the same case mix and within the same sites."""
    endpoint = primary(report)[0]
    name = endpoint_name(endpoint, words)
    sign = 1.0 if endpoint.better == "lower" else -1.0
    found = []
    mixes: list[Standardised] = [
        item
        for item in report.standardised
        if item.endpoint == endpoint.id and item.axis == "ancestry" and item.gap is not None
    ]
    if mixes:
        worst = max(mixes, key=lambda item: sign * (item.gap or 0.0))
        row = report.row("ancestry", worst.value)
        raw = None if row is None else next(r.gap for r in row.results if r.endpoint == endpoint.id)
        shown = "–" if raw is None or raw.estimate is None else _with(raw.estimate, raw.low, raw.high, words)
        covariates = words("plain.comma").join(axis_name(axis, words).lower() for axis in worst.covariates)
        gap = _with(worst.gap or 0.0, worst.gap_low, worst.gap_high, words)
        group = group_name("ancestry", worst.value, words)
        found.append(words("one.adjusted", endpoint=name, covariates=covariates, group=group, gap=gap, raw=shown))
    sites = [item for item in report.within_sites if item.endpoint == endpoint.id and item.gap is not None]
    if sites:
        within = max(sites, key=lambda item: sign * (item.gap or 0.0))
        gap = _with(within.gap or 0.0, within.low, within.high, words)
        found.append(words("one.within", endpoint=name, group=group_name("ancestry", within.value, words), gap=gap))
    return found


def _with(estimate: float, low: float | None, high: float | None, words: Words) -> str:
    return with_interval(estimate, low, high, to=words("number.to"))
