"""The figures of a report: forest plots of endpoints, and curves of targets. Drawn from the report alone."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medimg.evaluation.document import Curve, Endpoint, GroupRow, Report, Result
from medimg.reports import svg
from medimg.reports.numbers import with_interval
from medimg.reports.wording import (
    CURVE_AXES,
    CURVE_NAMES,
    UNITS,
    below,
    confidence_words,
    endpoint_name,
    group_name,
    mark_of,
)

_ROW_INCH, _WIDTH_INCH, _NARROW_INCH = 0.27, 5.9, 4.55
_AXES_INCH, _CHARACTER_INCH = 1.77, 0.066
# The figure's width holds intervals of this many characters; longer ones widen it.
_INTERVAL_CHARACTERS = 20
_LINES = ("-", "--", "-.", ":")
_SHAPES = ("o", "s", "^", "D", "v", "P")


def forest(report: Report, endpoint: Endpoint, name: str, *, narrow: bool = False) -> Markup:
    """Return the forest plot of an endpoint: everyone, then each ancestry in the report's order.

    ``narrow`` drops the words of the verdicts and keeps their symbols.
    """
    rows = [row for row in report.groups if row.axis in ("overall", "ancestry")]
    pairs = [(row, result_of(row, endpoint)) for row in rows]
    with svg.settings():
        height = _ROW_INCH * len(rows) + 0.75
        written = [len(with_interval(r.estimate, r.low, r.high)) for _, r in pairs if r.estimate is not None]
        characters = max(_INTERVAL_CHARACTERS, *written, 0)
        width = _NARROW_INCH if narrow else _WIDTH_INCH
        width += _CHARACTER_INCH * (characters - _INTERVAL_CHARACTERS)
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((1.36 / width, 0.48 / height, _AXES_INCH / width, _ROW_INCH * len(rows) / height))
        for place, (row, result) in enumerate(pairs):
            _forest_row(axes, place, row, result, report, narrow, 1.04 + characters * _CHARACTER_INCH / _AXES_INCH)
        _forest_axes(axes, endpoint, pairs)
        return svg.to_svg(
            figure,
            name=name,
            title=f"Forest plot. {endpoint_name(endpoint)}",
            description=_describe_forest(report, endpoint, pairs),
        )


def result_of(row: GroupRow, endpoint: Endpoint) -> Result:
    """Return the result of one endpoint in one group."""
    return next(result for result in row.results if result.endpoint == endpoint.id)


def drawn(report: Report, curves: list[Curve]) -> list[Curve]:
    """Return the curves worth drawing: everyone's, and those of groups with enough patients for a verdict."""
    enough = report.protocol.declared.min_patients
    return [curve for curve in curves if curve.axis == "overall" or curve.n_patients >= enough]


def curve_plot(report: Report, curves: list[Curve], name: str) -> Markup:
    """Return the curves of one kind and target, with their operating points, in one figure."""
    kind, target = curves[0].kind, curves[0].target
    with svg.settings():
        figure = Figure(figsize=(_WIDTH_INCH, 3.5))
        axes = figure.add_axes((0.1, 0.14, 0.5, 0.82))
        for index, curve in enumerate(drawn(report, curves)):
            _curve(axes, curve, index)
        _curve_axes(axes, curves)
        axes.legend(loc="upper left", bbox_to_anchor=(1.03, 1.0), handlelength=3.2, borderaxespad=0)
        return svg.to_svg(
            figure,
            name=name,
            title=f"{CURVE_NAMES[kind]}: {target}",
            description=f"{CURVE_AXES[kind][1]} against {CURVE_AXES[kind][0]}; the points are in the table below.",
        )


def _forest_row(
    axes: Axes, place: int, row: GroupRow, result: Result, report: Report, narrow: bool, verdicts: float
) -> None:
    mark = mark_of(result.floor_verdict)
    colour = svg.TONES[mark.tone]
    left, right = axes.get_yaxis_transform(), 1.04
    weight = "bold" if row.axis == "overall" else "normal"
    patients = below(report) if result.n_patients is None else f"{result.n_patients}"
    axes.text(
        -0.27, place, _short(group_name(row.axis, row.value)), transform=left, ha="right", va="center", weight=weight
    )
    axes.text(-0.06, place, patients, transform=left, ha="right", va="center", color=svg.MUTED)
    if result.estimate is None:
        axes.text(
            right,
            place,
            _short(result.reason or "", 30 if narrow else 44),
            transform=left,
            va="center",
            color=svg.MUTED,
        )
        return
    if result.low is not None and result.high is not None:
        axes.plot([result.low, result.high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot(
        [result.estimate],
        [place],
        marker=mark.marker,
        markersize=6,
        markerfacecolor=colour if mark.filled else svg.PAPER,
        markeredgecolor=colour,
        markeredgewidth=1.3,
        linestyle="none",
    )
    axes.text(right, place, with_interval(result.estimate, result.low, result.high), transform=left, va="center")
    if result.floor_verdict is not None:
        words = mark.symbol if narrow else f"{mark.symbol} {mark.words}"
        axes.text(verdicts, place, words, transform=left, va="center", color=colour, weight="bold", size=7)


def _forest_axes(axes: Axes, endpoint: Endpoint, pairs: list[tuple[GroupRow, Result]]) -> None:
    bottom = len(pairs) - 0.5
    known = [v for _, r in pairs for v in (r.estimate, r.low, r.high) if v is not None]
    known += [] if endpoint.floor is None else [endpoint.floor]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    pad = 0.06 * (high - low) or 0.05
    axes.set_xlim(low - pad, high + pad)
    axes.set_ylim(bottom, -0.5)
    axes.axhline(0.5, color=svg.RULE, linewidth=0.8, xmin=-0.7, xmax=1.7, clip_on=False)
    if endpoint.floor is not None:
        axes.axvline(endpoint.floor, color=svg.INK, linewidth=1.1, linestyle=(0, (4, 3)))
        word = "ceiling" if endpoint.better == "lower" else "floor"
        # Beside the heading of the counts there is no room to the left of the line.
        side = "left" if endpoint.floor < low + 0.2 * (high - low) else "center"
        axes.annotate(
            f"{word} {endpoint.floor:g}",
            (endpoint.floor, -0.5),
            (0, 3),
            textcoords="offset points",
            ha=side,
            size=7,
        )
    heading = axes.get_yaxis_transform()
    axes.text(-0.06, -0.75, "patients", transform=heading, ha="right", va="bottom", size=7, color=svg.MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="x", length=3, labelsize=7)
    better = {"higher": " (higher is better)", "lower": " (lower is better)", "none": ""}[endpoint.better]
    axes.set_xlabel(f"{UNITS.get(endpoint.unit, endpoint.unit).strip()}{better}".strip(), size=7)


def _describe_forest(report: Report, endpoint: Endpoint, pairs: list[tuple[GroupRow, Result]]) -> str:
    parts = []
    for row, result in pairs:
        value = result.reason if result.estimate is None else with_interval(result.estimate, result.low, result.high)
        parts.append(f"{group_name(row.axis, row.value)}: {value}, {mark_of(result.floor_verdict).words}")
    return f"Estimates with {confidence_words(report)}. " + "; ".join(parts) + "."


def _curve(axes: Axes, curve: Curve, index: int) -> None:
    everyone = curve.axis == "overall"
    colour = svg.INK if everyone else svg.SERIES[(index - 1) % len(svg.SERIES)]
    axes.plot(
        [x for x, _ in curve.points],
        [y for _, y in curve.points],
        color=colour,
        linestyle=_LINES[index % len(_LINES)],
        linewidth=2.0 if everyone else 1.3,
        drawstyle="steps-post" if curve.step else "default",
        marker=_SHAPES[index % len(_SHAPES)],
        markersize=4,
        markerfacecolor=svg.PAPER,
        # One or two marks tell the curves apart without colour and leave the line to be read.
        markevery=(min(len(curve.points) - 1, 7 * index), max(1, len(curve.points) // 3)),
        label=f"{_short(group_name(curve.axis, curve.value))} (n = {curve.n_patients})",
    )
    if curve.operating_point is not None:
        x, y = curve.operating_point
        axes.plot([x], [y], marker=_SHAPES[index % len(_SHAPES)], markersize=8, color=colour, linestyle="none")


def _curve_axes(axes: Axes, curves: list[Curve]) -> None:
    kind = curves[0].kind
    axes.set_xlabel(CURVE_AXES[kind][0])
    axes.set_ylabel(CURVE_AXES[kind][1])
    axes.set_ylim(-0.02, 1.03)
    axes.grid(color=svg.RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    if kind == "froc":
        axes.set_xlim(0, max(1.0, min(8.0, max(x for curve in curves for x, _ in curve.points))))
    else:
        axes.set_xlim(-0.02, 1.02)
    if kind == "roc":
        axes.plot([0, 1], [0, 1], color=svg.MUTED, linewidth=0.8, linestyle=":")


def _short(text: str, most: int = 22) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
