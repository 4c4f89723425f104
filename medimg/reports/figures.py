"""The figures of a report: ROC, FROC and precision-recall curves, calibration, decision curves. From the report alone.

A group has one colour, line style and marker in every figure; groups whose numbers are held back are in none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medimg.evaluation.document import Curve, Report
from medimg.evaluation.document_parts import CalibrationCurve, DecisionCurve
from medimg.reports import svg
from medimg.reports.language import ENGLISH, Words
from medimg.reports.numbers import plain
from medimg.reports.tables import OfGroup, in_order, ordered, suppressed_groups
from medimg.reports.wording import group_name

_LINES = ("-", "--", "-.", ":")
_SHAPES = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class Size:
    """Of a figure in inches, with the share of its width that the axes take, and the text in points."""

    width: float
    height: float
    left: float
    share: float
    text: float


ANNEX = Size(width=5.9, height=3.5, left=0.1, share=0.5, text=8.0)
COMPACT = Size(width=3.6, height=1.8, left=0.13, share=0.5, text=6.8)


def drawn(report: Report, items: Sequence[OfGroup]) -> list[OfGroup]:
    """Return what is worth drawing: everyone, and the groups with enough patients for a verdict, in printed order."""
    enough = report.protocol.declared.min_patients
    hidden = suppressed_groups(report)
    kept = [item for item in items if (item.axis, item.value) not in hidden]
    return in_order([item for item in kept if item.axis == "overall" or getattr(item, "n_patients", 0) >= enough])


def curve_plot(
    report: Report, curves: Sequence[Curve], name: str, *, words: Words = ENGLISH, size: Size = ANNEX
) -> Markup:
    """Return the curves of one kind and target, with their operating points, in one figure."""
    kind, target = curves[0].kind, curves[0].target
    shown = drawn(report, curves)
    with svg.settings():
        figure, axes = _start(size)
        for curve in shown:
            _curve(axes, curve, _style(report, curve), _label(report, curve, words))
        _curve_axes(axes, kind, shown)
        return _finish(figure, axes, name, f"{words(f'figure.{kind}')}: {target}", kind, words, size)


def calibration_plot(
    report: Report, curves: Sequence[CalibrationCurve], name: str, *, words: Words = ENGLISH, size: Size = ANNEX
) -> Markup:
    """Return the calibration of one target: observed share of positives against the score, by group."""
    with svg.settings():
        figure, axes = _start(size)
        axes.plot([0, 1], [0, 1], color=svg.MUTED, linewidth=0.8, linestyle=":")
        for curve in drawn(report, curves):
            colour, line, shape = _style(report, curve)
            scores, shares = [p.score for p in curve.points], [p.observed for p in curve.points]
            everyone = curve.axis == "overall"
            axes.plot(
                scores,
                shares,
                color=colour,
                linestyle=line,
                marker=shape,
                markersize=3.2,
                markerfacecolor=svg.PAPER,
                markeredgewidth=0.9,
                linewidth=1.8 if everyone else 1.1,
                label=_label(report, curve, words),
            )
            if everyone:
                axes.vlines(scores, [p.low for p in curve.points], [p.high for p in curve.points], color=colour, lw=0.9)
                axes.plot(scores, [-0.045] * len(scores), "|", color=svg.MUTED, markersize=4, clip_on=False)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.06, 1.03)
        title = f"{words('figure.calibration')}: {curves[0].target}"
        return _finish(figure, axes, name, title, "calibration", words, size)


def decision_plot(
    report: Report, curves: Sequence[DecisionCurve], name: str, *, words: Words = ENGLISH, size: Size = ANNEX
) -> Markup:
    """Return the net benefit of one target over the declared thresholds, by group (Vickers & Elkin 2006)."""
    shown = drawn(report, curves)
    with svg.settings():
        figure, axes = _start(size)
        axes.axhline(0, color=svg.MUTED, linewidth=0.8)
        for curve in shown:
            colour, line, shape = _style(report, curve)
            axes.plot(
                curve.thresholds,
                curve.net_benefit,
                color=colour,
                linestyle=line,
                marker=shape,
                markersize=3.2,
                markerfacecolor=svg.PAPER,
                linewidth=1.8 if curve.axis == "overall" else 1.1,
                label=_label(report, curve, words),
            )
            if curve.axis == "overall":
                axes.plot(
                    curve.thresholds, curve.treat_all, color=colour, lw=1, ls=":", label=words("figure.treat_all")
                )
        low = min((v for curve in shown for v in curve.net_benefit), default=0.0)
        high = max((v for curve in shown for v in curve.net_benefit), default=1.0)
        # Calling everyone positive falls far below zero: what lies there decides nothing.
        axes.set_ylim(min(-0.05, low) - 0.02, high * 1.1 + 0.02)
        title = f"{words('figure.decision')}: {curves[0].target}"
        return _finish(figure, axes, name, title, "decision", words, size)


def _start(size: Size) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(size.width, size.height))
    bottom = 0.38 / size.height
    axes = figure.add_axes((size.left, bottom, size.share, 1 - bottom - 0.06 / size.height))
    axes.grid(color=svg.RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=size.text - 1, length=2.5, pad=2)
    return figure, axes


def _finish(figure: Figure, axes: Axes, name: str, title: str, kind: str, words: Words, size: Size) -> Markup:
    x, y = words(f"figure.{kind}_x"), words(f"figure.{kind}_y")
    axes.set_xlabel(x, size=size.text, labelpad=1.5)
    axes.set_ylabel(y, size=size.text, labelpad=2)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles,
            labels,
            loc="upper left",
            bbox_to_anchor=(1.03, 1.02),
            handlelength=2.8,
            borderaxespad=0,
            fontsize=size.text - 0.5,
            labelspacing=0.35,
        )
    described = words("figure.described", x=x, y=y, groups=words("plain.comma").join(labels))
    return svg.to_svg(figure, name=name, title=title, description=described)


def _style(report: Report, item: OfGroup) -> tuple[str, str, str]:
    """Return colour, line style and marker of a group: the same in every figure of the report."""
    if item.axis == "overall":
        return svg.INK, _LINES[0], _SHAPES[0]
    enough = report.protocol.declared.min_patients
    rows = [row for row in ordered(report, item.axis) if not row.suppressed and (row.n_patients or 0) >= enough]
    values = [row.value for row in rows]
    index = 1 + values.index(item.value) if item.value in values else 1
    return svg.SERIES[(index - 1) % len(svg.SERIES)], _LINES[index % len(_LINES)], _SHAPES[index % len(_SHAPES)]


def _label(report: Report, item: Curve | CalibrationCurve | DecisionCurve, words: Words) -> str:
    name = _short(group_name(item.axis, item.value, words))
    row, metric = report.row(item.axis, item.value), "auc" if isinstance(item, Curve) and item.kind == "roc" else ""
    auc = next((e.id for e in report.endpoints if e.metric == metric and e.target == item.target), None)
    result = None if row is None else next((r for r in row.results if r.endpoint == auc), None)
    if result is None or result.estimate is None:
        return f"{name} (n = {item.n_patients})"
    return f"{name}, AUC {plain(result.estimate, 2)}"


def _curve(axes: Axes, curve: Curve, style: tuple[str, str, str], label: str) -> None:
    everyone = curve.axis == "overall"
    colour, line, shape = style
    step = max(1, len(curve.points) // 3)
    axes.plot(
        [x for x, _ in curve.points],
        [y for _, y in curve.points],
        color=colour,
        linestyle=line,
        linewidth=2.0 if everyone else 1.3,
        drawstyle="steps-post" if curve.step else "default",
        marker=shape,
        markersize=4,
        markerfacecolor=svg.PAPER,
        # One or two marks tell the curves apart without colour and leave the line to be read.
        markevery=(min(len(curve.points) - 1, 7 * _SHAPES.index(shape)), step),
        label=label,
    )
    if curve.operating_point is not None:
        x, y = curve.operating_point
        axes.plot([x], [y], marker=shape, markersize=7, color=colour, linestyle="none")


def _curve_axes(axes: Axes, kind: str, curves: Sequence[Curve]) -> None:
    axes.set_ylim(-0.02, 1.03)
    if kind == "froc":
        widest = max((x for curve in curves for x, _ in curve.points), default=1.0)
        axes.set_xlim(0, max(1.0, min(8.0, widest)))
    else:
        axes.set_xlim(-0.02, 1.02)
    if kind == "roc":
        axes.plot([0, 1], [0, 1], color=svg.MUTED, linewidth=0.8, linestyle=":")


def _short(text: str, most: int = 16) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
