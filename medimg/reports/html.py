"""report.json as one self-contained page: no script, no request, readable in ten years."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import jinja2

from medimg.evaluation.canonical import canonical_json
from medimg.evaluation.document import Curve, Report, WorstCase
from medimg.reports import numbers, plain_language, tables, wording
from medimg.reports.figures import curve_plot, drawn, forest

_PNG = b"\x89PNG\r\n\x1a\n"


def render_html(report: Report, overlays: Mapping[str, bytes] | None = None) -> str:
    """Return the page of a report.

    Parameters
    ----------
    report : Report
    overlays : mapping of str to bytes, optional
        PNG pictures by the path that the report's worst cases name.

    Returns
    -------
    str
        HTML; the same report and pictures always give the same text.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("medimg.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"exact": numbers.exact, "digest": short_digest, "day": lambda when: f"{when:%Y-%m-%d}"}
    environment.globals |= {
        "estimate": numbers.exact_with_interval,
        "decimals_for": numbers.decimals_for,
        "mark_of": wording.mark_of,
        "group_name": wording.group_name,
        "why_no_number": tables.why_no_number,
        "why_no_gap": tables.why_no_gap,
        "why_no_detectable": tables.why_no_detectable,
        "notes": tables.notes,
        "method_name": tables.method_name,
        "about": plain_language.about,
    }
    return environment.get_template("report.html.j2").render(_context(report, overlays or {}))


def short_digest(value: str) -> str:
    """Return the first twelve characters of a digest."""
    return value[:12]


def _context(report: Report, overlays: Mapping[str, bytes]) -> dict[str, object]:
    first = tables.primary(report)
    families = tables.curve_families(report)
    return {
        "report": report,
        "status": wording.STATUS_MARKS[report.status],
        "verdicts": wording.VERDICT_MARKS,
        "research_use": wording.RESEARCH_USE,
        "confidence": wording.confidence_words(report),
        "below": wording.below(report),
        "axis_names": wording.AXIS_NAMES,
        "endpoint_names": {endpoint.id: wording.endpoint_name(endpoint) for endpoint in report.endpoints},
        "forests": [(e, forest(report, e, f"forest-{i}", narrow=len(first) > 1)) for i, e in enumerate(first)],
        "first_tables": [tables.endpoint_table(report, endpoint, ("overall", "ancestry")) for endpoint in first],
        "all_tables": [tables.endpoint_table(report, endpoint) for endpoint in report.endpoints],
        "curves": [_curve_section(report, family, index) for index, family in enumerate(families)],
        "summary": plain_language.summary(report),
        "per_thousand": plain_language.per_thousand(report),
        "pictures": [(case, _data_uri(case, overlays)) for case in report.worst_cases],
        "protocol_json": canonical_json(report.protocol.model_dump(mode="json")),
    }


def _curve_section(report: Report, family: list[Curve], index: int) -> dict[str, object]:
    shown = drawn(report, family)
    return {
        "name": wording.CURVE_NAMES[family[0].kind],
        "target": family[0].target,
        "axes": wording.CURVE_AXES[family[0].kind],
        "svg": curve_plot(report, family, f"curve-{index}"),
        "rows": [(curve, tables.curve_rows(curve)) for curve in family],
        "left_out": [wording.group_name(c.axis, c.value) for c in family if c not in shown],
    }


def _data_uri(case: WorstCase, overlays: Mapping[str, bytes]) -> str | None:
    content = overlays.get(case.overlay or "")
    if content is None or not content.startswith(_PNG):
        return None
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
