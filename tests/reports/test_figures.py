from __future__ import annotations

import re
from importlib.resources import files

import pytest

from medimg.reports.checklists import checklists
from medimg.reports.figures import calibration_plot, curve_plot, decision_plot
from medimg.reports.html import render_html
from medimg.reports.strips import estimate_scale, estimate_strip, gap_scale, gap_strip
from medimg.reports.tables import ordered

STYLE = (files("medimg.reports") / "templates" / "style.css").read_text(encoding="utf-8")


def test_a_suppressed_group_is_in_no_figure_even_if_the_report_had_its_curve(reports):
    report = reports["filled"].model_copy(deep=True)
    row = next(row for row in report.groups if row.axis == "ancestry" and row.value == "EAS")
    row.suppressed, row.suppressed_as = True, "small"
    figures = [
        curve_plot(report, [c for c in report.curves if c.kind == "roc"], "a"),
        calibration_plot(report, report.calibration, "b"),
        decision_plot(report, report.decision_curves, "c"),
    ]
    for figure in figures:
        assert "EUR" in figure
        assert "EAS" not in figure
    text = render_html(report)
    for drawing in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        assert "EAS" not in drawing
    assert not re.findall(r'title="[^"]*EAS', text)
    tables = text[text.index('<section id="curves">') : text.index('<section id="intersections">')]
    assert "EAS" not in tables


def test_strips_draw_what_the_result_says(reports):
    report = reports["classification"]
    endpoint = report.endpoints[0]
    results = [row.results[0] for row in report.groups if row.axis in ("overall", "ancestry")]
    scale, gaps = estimate_scale(endpoint, results), gap_scale(endpoint, results)
    for result in results:
        drawing = estimate_strip(scale, result)
        assert ("<circle" in drawing or "<rect" in drawing or "Z" in drawing) == (result.estimate is not None)
        if result.low is not None:
            assert f"M{scale.at(result.low):.2f} 8H{scale.at(result.high):.2f}" in drawing
            assert 0 <= scale.at(result.low) <= scale.at(result.high) <= 100
        assert f"M{scale.at(endpoint.floor):.2f}" in drawing
        drawn = gap_strip(gaps, endpoint, result)
        assert f"M{gaps.at(0.0):.2f}" in drawn
        assert f"M{gaps.at(-endpoint.gap_margin):.2f}" in drawn
        if result.gap is not None and result.gap.estimate is not None and result.smallest_detectable_gap is not None:
            assert f"M{gaps.at(-result.smallest_detectable_gap):.2f} 2V14" in drawn


def test_a_suppressed_result_has_an_empty_strip(reports):
    report = reports["classification"]
    endpoint, result = report.endpoints[0], report.groups[0].results[0].model_copy(update={"suppressed": True})
    scale = estimate_scale(endpoint, [report.groups[0].results[0]])
    assert "circle" not in estimate_strip(scale, result)


def test_rows_are_alphabetical_with_unknown_and_declined_last(reports):
    report = reports["filled"].model_copy(deep=True)
    report.groups[1:] = reversed(report.groups[1:])
    values = [row.value for row in ordered(report, "ancestry")]
    assert values == ["AFR", "AMR", "EAS", "EUR", "SAS", "unknown", "declined"]
    crossed = [row.value for row in ordered(report, "ancestry*sex")]
    assert crossed[:2] == ["AFR, F", "AFR, M"] or crossed[:2] == ["AFR, female", "AFR, male"]


def test_every_anchor_of_the_checklists_is_a_section_or_missing(reports):
    for kind in ("filled", "segmentation"):
        text = render_html(reports[kind])
        date, lists = checklists(reports[kind])
        assert date == "2026-11-22"
        assert [one.name for one in lists] == ["CLAIM", "STARD", "TRIPOD+AI"]
        anchors = {item.anchor for one in lists for item in one.items}
        assert None in anchors
        for anchor in anchors - {None}:
            assert f'id="{anchor}"' in text
        assert text.count("<strong>MISSING</strong>") == sum(i.anchor is None for one in lists for i in one.items)


def _colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", block))


def _contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_text_and_lines(scheme):
    light = _colours(STYLE[STYLE.index(":root") : STYLE.index("@media")])
    dark = _colours(STYLE[STYLE.index("prefers-color-scheme: dark") : STYLE.index("* { box-sizing")])
    colours = light if scheme == "light" else light | dark
    for tone in ("good", "bad", "unsure", "lacking"):
        assert _contrast(colours[f"--{tone}"], colours[f"--{tone}-wash"]) >= 4.5
        assert _contrast(colours["--ink"], colours[f"--{tone}-wash"]) >= 4.5
        assert _contrast(colours["--plain"], colours[f"--{tone}-wash"]) >= 4.5
    for name in ("ink", "muted", "plain", "good", "bad", "unsure", "lacking"):
        assert _contrast(colours[f"--{name}"], colours["--paper"]) >= 4.5
        assert _contrast(colours[f"--{name}"], colours["--wash"]) >= 4.5
    for index in range(6):
        assert _contrast(colours[f"--series-{index}"], colours["--paper"]) >= 3
