from __future__ import annotations

import importlib.util
import re
import sys
import zlib

import pytest

from medimg.errors import MissingDependency
from medimg.reports.pdf import render_pdf
from medimg.reports.render import render

from .filled import declared_only

PAGE = '<!DOCTYPE html><html lang="en"><title>t</title><body><p>text</p>{}</body></html>'


def _pango() -> bool:
    if importlib.util.find_spec("weasyprint") is None:
        return False
    try:
        import weasyprint  # noqa: F401
    except OSError:
        return False
    return True


needs_pango = pytest.mark.skipif(not _pango(), reason="WeasyPrint or Pango is not installed")


def test_without_weasyprint_it_says_what_to_install_and_writes_nothing(reports, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(MissingDependency, match="WeasyPrint"):
        render(reports["segmentation"], tmp_path / "report", pdf=True)
    assert not (tmp_path / "report").exists()


@needs_pango
def test_report_pdf_is_written_beside_the_page(reports, tmp_path):
    files = render(declared_only(reports["segmentation"]), tmp_path, pdf=True)
    content = next(file for file in files if file.name == "report.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert _count_pages(content) > 1
    assert b"/MarkInfo" in content or b"/MarkInfo" in _inflated(content)


@needs_pango
def test_nothing_is_fetched_and_colours_are_resolved():
    first = render_pdf(PAGE.format('<img src="file:///etc/hostname" alt=""><p style="color: var(--bad)">bad</p>'))
    assert b"0.690196 0.262745 0" in _inflated(first)
    assert b"/Image" not in _inflated(first)


@needs_pango
def test_same_page_same_bytes():
    page = PAGE.format("<p>again</p>")
    assert render_pdf(page) == render_pdf(page)


@needs_pango
def test_chinese_needs_a_font(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: "/bin/true")
    with pytest.raises(MissingDependency, match="font"):
        render_pdf(PAGE.format("<p>\u4e2d\u6587</p>"), "zh")


def _inflated(content: bytes) -> bytes:
    found = b""
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, flags=re.DOTALL):
        try:
            found += zlib.decompress(stream)
        except zlib.error:
            found += stream
    return found + content


def _count_pages(content: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", _inflated(content)))
