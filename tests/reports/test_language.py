from __future__ import annotations

import re
from string import Formatter

import pytest

from medimg.errors import ConfigError
from medimg.evaluation.document import STATUSES
from medimg.evaluation.endpoints import METRICS
from medimg.reports.html import render_html
from medimg.reports.language import LANGUAGES, words_of
from medimg.reports.plain_language import summary
from medimg.reports.wording import status_mark

HAN = re.compile(r"[\u4e00-\u9fff]")


def _names(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text_with_the_same_names(language):
    english, other = words_of("en").texts, words_of(language).texts
    assert {key for key in other if not key.startswith("metric.")} == set(english)
    for key, text in english.items():
        assert isinstance(other[key], str)
        assert _names(other[key]) == _names(text), key
    if language != "en":
        assert {key.removeprefix("metric.") for key in other if key.startswith("metric.")} == set(METRICS)


def test_no_other_language():
    with pytest.raises(ConfigError, match="not written in this language"):
        words_of("tlh")


def test_chinese_headings_verdicts_and_summary(reports):
    report = reports["filled"]
    text = render_html(report, language="zh")
    assert '<html lang="zh-Hans">' in text
    for heading in re.findall(r"<h2>(.*?)</h2>", text):
        assert HAN.search(heading), heading
    for badge in re.findall(r'class="badge \w+"><span class="symbol" aria-hidden="true">.</span> (.*?)</span>', text):
        assert HAN.search(badge), badge
    for sentence in summary(report, words_of("zh")):
        assert HAN.search(sentence)
        assert "{" not in sentence
    # What the report itself says is not translated, and says so to who reads it aloud.
    assert f'<span lang="en">{report.limitations[-1]}</span>' in text
    assert render_html(report, language="zh") == text


def test_every_status_has_words_in_every_language():
    for language in LANGUAGES:
        marks = [status_mark(status, words_of(language)) for status in STATUSES]
        assert len({mark.words for mark in marks}) == len(STATUSES)
        assert all(mark.sentence for mark in marks)
