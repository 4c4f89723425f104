from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from medimg.evaluation.document import GroupRow, Report, Result
from medimg.evaluation.document_parts import Part
from medimg.reports.html import render_html
from medimg.reports.wording import STATUS_MARKS

from .conftest import HOSTILE

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20
VOID = {"meta", "br", "img", "path", "use", "rect"}


class Page(HTMLParser):
    """Tags that are open, ids, links, text, and the numbers of the tables.

    ``cells``: of the tables of results, by endpoint, axis and group, then by class of the cell. ``rows``: of all
    other tables, by the path of the row in the report.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.unopened: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: dict[tuple[str, str, str], dict[str, list[str]]] = {}
        self.rows: dict[str, list[float]] = {}
        self.words = ""
        self._table, self._row, self._cell, self._path = "", ("", ""), "", ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, values))
        self.ids += [values["id"]] if "id" in values else []
        self.links += [v for k in ("href", "src", "xlink:href", "data", "action") if (v := values.get(k))]
        if "data-row" in values:
            self._path = values["data-row"]
            self.rows.setdefault(self._path, [])
        if tag == "table":
            self._table = values.get("data-endpoint") or ""
        elif tag == "tr":
            self._row = (values.get("data-axis") or "", values.get("data-group") or "")
        elif tag in ("td", "th"):
            self._cell = values.get("class") or ""
        elif tag == "data" and self._table and self._row[0]:
            self._place().append(values["value"])
        elif tag == "data" and self._path:
            self.rows[self._path].append(float(values["value"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [v for k in ("href", "src") if (v := values.get(k))]

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if tag in ("table", "tbody"):
            self._path = ""
        # A part of a page ends more than it opens; a whole one is checked for balance by its test.
        if self.open:
            assert self.open.pop() == tag
        else:
            self.unopened.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style",):
            self.words += data

    def _place(self) -> list[str]:
        return self.cells.setdefault((self._table, *self._row), {}).setdefault(self._cell, [])


def _full_tables(text: str) -> Page:
    return Page(text[text.index('<section id="results">') : text.index('<section id="sites">')])


@pytest.fixture(scope="module")
def rendered() -> dict[int, str]:
    return {}


@pytest.fixture
def text(report: Report, rendered: dict[int, str]) -> str:
    """The page of ``report``, rendered once."""
    if id(report) not in rendered:
        rendered[id(report)] = render_html(report)
    return rendered[id(report)]


def test_page_is_well_formed_with_unique_ids_and_asks_for_nothing(text):
    page = Page(text)
    assert page.open == page.unopened == []
    assert len(page.ids) == len(set(page.ids))
    assert "http:" not in text
    assert "https:" not in text
    assert "//" not in re.sub(r"data:[^\"]*", "", text)
    for link in page.links:
        assert link.startswith(("#", "data:image/png;base64,"))
        assert not link.startswith("#") or link[1:] in page.ids
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "form", "base"})
    policy = next(v for tag, v in page.tags if v.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_same_report_same_bytes(report, text):
    assert render_html(Report.model_validate_json(report.model_dump_json(by_alias=True))) == text


def single(report: Report) -> list[tuple[GroupRow, Result]]:
    """Return every result of every group that is no intersection."""
    return [(row, result) for row in report.groups if "*" not in row.axis for result in row.results]


def known(*values: float | None) -> list[float]:
    return [value for value in values if value is not None]


def test_table_values_parse_back_to_the_report(report, text):
    checked = 0
    full = _full_tables(text)
    for row, result in single(report):
        cells = full.cells.get((result.endpoint, row.axis, row.value), {})
        counts = known(result.n_cases, result.n_patients, result.n_positives, result.n_negatives)
        assert cells.get("n", []) == [str(n) for n in counts]
        expected = known(result.estimate, result.low, result.high)
        also = known(result.exact_low, result.exact_high, result.simultaneous_low, result.simultaneous_high)
        assert [float(v) for v in cells.get("estimate", [])] == expected + also
        gap = [] if result.gap is None else known(result.gap.estimate, result.gap.low, result.gap.high)
        assert [float(v) for v in cells.get("gap", [])] == gap
        assert [float(v) for v in cells.get("n detectable", [])] == known(result.smallest_detectable_gap)
        checked += len(expected)
    assert checked > 20


def test_page_one_parses_back_to_the_report(report, text):
    page = Page(text[text.index('<section id="page-one">') : text.index('<section id="plain">')])
    checked = 0
    for row, result in single(report):
        if row.axis not in ("overall", "ancestry") or result.endpoint not in {
            e.id for e in report.endpoints if e.primary
        }:
            continue
        cells = page.cells.get((result.endpoint, row.axis, row.value), {})
        counts = known(result.n_patients, result.n_positives, result.n_negatives)
        assert cells.get("n", []) == [str(n) for n in counts]
        assert [float(v) for v in cells.get("estimate", [])] == known(result.estimate, result.low, result.high)
        gap = [] if result.gap is None else known(result.gap.estimate, result.gap.low, result.gap.high)
        assert [float(v) for v in cells.get("gap", [])] == gap
        assert [float(v) for v in cells.get("n p", [])] == ([] if result.gap is None else known(result.gap.p_holm))
        assert [float(v) for v in cells.get("n detectable", [])] == known(result.smallest_detectable_gap)
        checked += len(cells)
    assert checked >= 2


ROWS = {
    "spreads": (
        *("n_groups", "max_minus_min", "expected_if_equal", "upper_95_if_equal", "p_value", "max_minus_min_shrunken"),
    ),
    "credible_gaps": ("at_least", "estimate", "at_most", "n_pairs"),
    "standardised": (
        *("raw", "estimate", "low", "high", "gap", "gap_low", "gap_high"),
        *("n_effective", "share_supported", "n_strata", "n_strata_unsupported"),
    ),
    "within_sites": ("gap", "low", "high", "n_sites", "heterogeneity"),
    "threshold_shifts": (
        *("threshold", "sensitivity", "false_positive_rate", "aim", "needed", "needed_low", "needed_high"),
    ),
    "intersections": ("n_cells", "n_shown"),
}
"""The fields of a row of each table, in the order of its columns."""


@pytest.mark.parametrize("name", [*ROWS, "calibration", "decision_curves"])
def test_every_other_table_parses_back_too(reports, name, rendered):
    for kind in ("filled", "classification", "suppressed"):
        report = reports[kind]
        found = Page(rendered.setdefault(id(report), render_html(report))).rows
        parts: list[Part] = getattr(report, name)
        hidden = {(row.axis, row.value) for row in report.groups if row.suppressed}
        for place, part in enumerate(parts):
            if (getattr(part, "axis", ""), getattr(part, "value", "")) in hidden:
                assert f"{name}.{place}" not in found
            else:
                assert found[f"{name}.{place}"] == _numbers(name, part)
        assert len([path for path in found if path.startswith(f"{name}.")]) <= len(parts)
    assert getattr(reports["filled"], name)


def _numbers(name: str, part: Part) -> list[float]:
    if name == "calibration":
        points = [(p.score, p.observed, p.low, p.high, p.n_cases) for p in part.points]
        return [part.n_patients, *(value for point in points for value in point)]
    if name == "decision_curves":
        columns = zip(part.thresholds, part.net_benefit, part.low, part.high, part.treat_all)
        return [part.n_patients, *(value for column in columns for value in column)]
    return known(*(getattr(part, field) for field in ROWS[name]))


def test_patients_of_groups_and_sites_parse_back(report, text):
    part = text[text.index('<section id="data">') : text.index('<section id="worst">')]
    for row in report.groups:
        if "*" not in row.axis:
            line = re.search(rf'<tr data-axis="{row.axis}" data-group="{re.escape(row.value)}".*?</tr>', part)
            counts = known(row.n_patients, row.n_cases, row.n_positives, row.n_negatives, row.n_failed)
            assert re.findall(r'<data value="(\d+)"', line[0]) == [str(n) for n in counts]
    sites = text[text.index('<section id="sites">') :]
    for place, counts in enumerate(report.ancestry_by_site.counts):
        line = re.search(rf'<tr data-cross="{place}">.*?</tr>', sites)
        assert re.findall(r'<data value="(\d+)"', line[0]) == [str(n) for n in counts if n is not None]


def test_intersections_show_what_may_be_shown(reports):
    report = reports["filled"]
    text = render_html(report)
    part = text[text.index('<section id="intersections">') : text.index('<section id="sites">')]
    assert "Ancestry × Sex" in part
    for row in report.groups:
        if "*" in row.axis:
            assert (f'data-group="{row.value}"' in part) == (not row.suppressed)


def test_every_null_shows_its_reason(report, text):
    page = Page(text)
    words = " ".join(page.words.split())
    for _, result in single(report):
        assert result.reason is None or " ".join(result.reason.split()) in words
        if result.gap is not None and result.gap.estimate is None:
            assert " ".join(result.gap.reason.split()) in words


def test_unknown_and_declined_ancestry_always_have_rows(report, text):
    part = text[text.index('<section id="results">') : text.index('<section id="sites">')]
    part = part.partition('<section id="intersections">')[0]
    for name in ("unknown", "declined"):
        assert part.count(f'data-axis="ancestry" data-group="{name}"') == len(report.endpoints)


def test_suppressed_groups_show_a_bound_and_nothing_else(reports):
    report = reports["suppressed"]
    small = [row for row in report.groups if row.suppressed]
    assert small
    text = render_html(report)
    cells = _full_tables(text).cells
    for row in small:
        assert all((r.endpoint, row.axis, row.value) not in cells for r in row.results)
    assert "&lt;60" in text


@pytest.mark.parametrize("status", list(STATUS_MARKS))
def test_status_is_said_in_words_and_by_a_symbol(reports, status):
    report = reports["classification"].model_copy(update={"status": status, "curves": []})
    page = Page(render_html(report))
    mark = STATUS_MARKS[status]
    assert mark.words in page.words
    assert mark.symbol in page.words
    banner = next(v for _, v in page.tags if v.get("id") == "verdict")
    assert banner["class"] == f"verdict {mark.tone}"
    assert (mark.tone == "good") == (status == "validated")


def test_inconclusive_and_insufficient_never_look_like_meets(reports):
    text = render_html(reports["classification"])
    for badge in re.findall(r'<span class="badge (\w+)">.*?</span> ([A-Za-z ]+)</span>', text):
        assert (badge[0] == "good") == (badge[1] == "MEETS")
    assert re.findall(r'<span class="badge unsure">.*?</span> (\w+)<', text)[0] == "INCONCLUSIVE"


def test_hostile_text_stays_text(hostile):
    text = render_html(hostile, {"worst.png": PNG})
    page = Page(text)
    assert "<script" not in text
    assert page.open == []
    assert HOSTILE in page.words
    assert all(not name.startswith("on") for _, values in page.tags for name in values)
    assert all(link.startswith(("#", "data:image/png")) for link in page.links)


def test_figures_have_a_title_a_description_and_a_table(report, text):
    page = Page(text)
    drawings = [values for tag, values in page.tags if tag == "svg"]
    # The rows of a forest plot stand beside their numbers: read aloud they would say them twice.
    strips = [values for values in drawings if values.get("aria-hidden") == "true"]
    assert {values["class"] for values in strips} == {"strip"}
    assert len(strips) >= 2 * len([row for row in report.groups if row.axis in ("overall", "ancestry")])
    for values in [values for values in drawings if values not in strips]:
        assert values["role"] == "img"
        assert set(values["aria-labelledby"].split()) <= set(page.ids)
    assert "Points of these curves" in page.words or not report.curves


def test_styles_for_dark_screens_and_paper():
    from importlib.resources import files

    style = (files("medimg.reports") / "templates" / "style.css").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    assert "size: A4" in style
    assert "url(" not in style


def test_pictures_are_embedded_with_alternative_text(reports):
    text = render_html(reports["segmentation"], {"worst.png": PNG})
    images = [values for tag, values in Page(text).tags if tag == "img"]
    assert len(images) == 1
    assert base64.b64decode(images[0]["src"].removeprefix("data:image/png;base64,")) == PNG
    assert "dashed orange" in images[0]["alt"]
    assert text.count("no picture") == len(reports["segmentation"].worst_cases) - 1 >= 1


def test_what_is_no_png_is_not_embedded(reports):
    assert "<img" not in render_html(reports["segmentation"], {"worst.png": b"<svg onload=alert(1)>"})


def test_page_says_what_it_must(report, text):
    words = " ".join(Page(text).words.split())
    for sentence in (*report.limitations, *report.not_validated_for, *report.what_this_does_not_show):
        assert sentence in words
    for heading in ("Research use only: not a cleared medical device", "What this does not show", "Worst cases"):
        assert heading in words
    assert report.protocol.sha256 in words


def test_failures_are_listed_and_frozen_protocol_is_dated(reports):
    words = Page(render_html(reports["segmentation"])).words
    assert "unread" in words
    assert "no pixels" in words
    assert "frozen 2026-01-02" in words
    assert "reported 2026-01-05" in words


def test_a_matplotlibrc_changes_nothing(reports):
    import matplotlib

    before = render_html(reports["detection"])
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.grid": True}):
        assert render_html(reports["detection"]) == before
