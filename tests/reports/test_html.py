from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from medimg.evaluation.document import Report
from medimg.reports.html import render_html
from medimg.reports.wording import STATUS_MARKS

from .conftest import HOSTILE

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20
VOID = {"meta", "br", "img", "path", "use", "rect"}


class Page(HTMLParser):
    """Tags that are open, ids, links, text, and the cells of the tables of results."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.unopened: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: dict[tuple[str, str, str], dict[str, list[str]]] = {}
        self.words = ""
        self._table, self._row, self._cell = "", ("", ""), ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, values))
        self.ids += [values["id"]] if "id" in values else []
        self.links += [v for k in ("href", "src", "xlink:href", "data", "action") if (v := values.get(k))]
        if tag == "table":
            self._table = values.get("data-endpoint") or ""
        elif tag == "tr":
            self._row = (values.get("data-axis") or "", values.get("data-group") or "")
        elif tag in ("td", "th"):
            self._cell = values.get("class") or ""
        elif tag == "data" and self._table and self._row[0]:
            self._place().append(values["value"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [v for k in ("href", "src") if (v := values.get(k))]

    def handle_endtag(self, tag):
        if tag in VOID:
            return
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


def test_table_values_parse_back_to_the_report(report, text):
    checked = 0
    full = _full_tables(text)
    for row in report.groups:
        for result in row.results:
            cells = full.cells.get((result.endpoint, row.axis, row.value), {})
            counts = [result.n_cases, result.n_patients, result.n_positives, result.n_negatives]
            counts = [str(n) for n in counts if n is not None]
            detectable = result.smallest_detectable_gap
            assert cells.get("n", []) == counts
            expected = [v for v in (result.estimate, result.low, result.high) if v is not None]
            assert [float(v) for v in cells.get("estimate", [])] == expected
            gap = [] if result.gap is None else [result.gap.estimate, result.gap.low, result.gap.high]
            assert [float(v) for v in cells.get("gap", [])] == [v for v in gap if v is not None]
            assert [float(v) for v in cells.get("n detectable", [])] == ([] if detectable is None else [detectable])
            checked += len(expected)
    assert checked > 20


def test_every_null_shows_its_reason(report, text):
    page = Page(text)
    words = " ".join(page.words.split())
    for row in report.groups:
        for result in row.results:
            assert result.reason is None or " ".join(result.reason.split()) in words
            if result.gap is not None and result.gap.estimate is None:
                assert " ".join(result.gap.reason.split()) in words


def test_unknown_and_declined_ancestry_always_have_rows(report, text):
    part = text[text.index('<section id="results">') :]
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
    assert len(drawings) >= len([e for e in report.endpoints if e.primary])
    for values in drawings:
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
    assert text.count("no picture") == 2


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
