"""The page as a browser shows it: no request, no error, nothing for axe-core to find, page one on one sheet.

Debian's Chromium is looked for where it is installed; without it these tests are skipped. The network is cut.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medimg.evaluation.document import Report
from medimg.reports.html import render_html

from .filled import crowded, declared_only, filled, picture

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND"),
]
A4_PX, SCREEN_PX = 794, 1280
# What lies within the margins of the style sheet, at 96 pixels an inch.
SHEET_PX = ((210 - 22) / 25.4 * 96, (297 - 20) / 25.4 * 96)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(reports: dict[str, Report], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the pages as files: of each kind of task, as small as they can be with every part on them."""
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for kind in ("classification", "segmentation", "detection"):
        report = declared_only(filled(reports[kind]))
        for language in ("en", "zh") if kind == "classification" else ("en",):
            found[f"{kind}-{language}"] = folder / f"{kind}-{language}.html"
            page = render_html(report, {"worst.png": picture()}, language)
            found[f"{kind}-{language}"].write_text(page, encoding="utf-8")
    found["crowded"] = folder / "crowded.html"
    found["crowded"].write_text(render_html(crowded(reports["classification"])), encoding="utf-8")
    return found


def _open(browser: Any, path: Path, **settings: Any) -> tuple[Any, list[str], list[str]]:
    """Return the opened page, what it said on the console, and what it asked for."""
    page = browser.new_context(offline=True, **settings).new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    return page, said, asked


@pytest.mark.parametrize("name", ["classification-en", "classification-zh", "segmentation-en", "detection-en"])
def test_axe_finds_nothing_and_nothing_is_asked_for(browser, pages, name):
    page, said, asked = _open(browser, pages[name], viewport={"width": SCREEN_PX, "height": 900})
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert _violations(page, "{}") == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [A4_PX, SCREEN_PX])
def test_contrast_and_keyboard_in_both_schemes_at_both_widths(browser, pages, scheme, width):
    page, said, _ = _open(
        browser, pages["classification-en"], viewport={"width": width, "height": 1123}, color_scheme=scheme
    )
    rules = "{runOnly: ['color-contrast', 'scrollable-region-focusable', 'target-size', 'link-in-text-block']}"
    assert _violations(page, rules) == []
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left >= 0")
    page.context.close()


def _violations(page: Any, options: str) -> list[str]:
    source = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    found = page.evaluate(f"{source}\n; axe.run(document, {options}).then(found => found.violations)")
    return [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found]


@pytest.mark.parametrize(
    "name", ["classification-en", "classification-zh", "segmentation-en", "detection-en", "crowded"]
)
def test_page_one_is_one_sheet_of_a4(browser, pages, name):
    width, height = SHEET_PX
    page, _, _ = _open(browser, pages[name], viewport={"width": int(width), "height": int(height)})
    page.emulate_media(media="print")
    box = page.evaluate("document.getElementById('page-one').getBoundingClientRect().toJSON()")
    assert box["height"] <= height
    assert page.evaluate("document.getElementById('page-one').scrollWidth") <= width
    page.context.close()
