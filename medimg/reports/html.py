"""report.json as one self-contained page: no script, no request, readable in ten years."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from functools import lru_cache, partial

import jinja2
import jinja2.runtime
from markupsafe import Markup, escape

from medimg.evaluation.canonical import canonical_json
from medimg.evaluation.document import Report
from medimg.reports import numbers, plain_language, tables, wording
from medimg.reports.annexes import annexes
from medimg.reports.language import Words, words_of
from medimg.reports.page_one import page_one

_PNG = b"\x89PNG\r\n\x1a\n"


def render_html(report: Report, overlays: Mapping[str, bytes] | None = None, language: str = "en") -> str:
    """Return the page of a report.

    Parameters
    ----------
    report : Report
    overlays : mapping of str to bytes, optional
        PNG pictures by the path that the report's worst cases name.
    language : {'en', 'zh'}
        Of headings, verdicts and the summary; what stands in the report itself stays as it is, marked as English.

    Returns
    -------
    str
        HTML; the same report, pictures and language always give the same text.

    Raises
    ------
    ConfigError
        For a language without texts.
    """
    words = words_of(language)
    pictures = {name: _data_uri(content) for name, content in (overlays or {}).items() if content.startswith(_PNG)}
    return _template().render(
        report=report,
        status=wording.status_mark(report.status, words),
        confidence=wording.confidence_words(report, words),
        power=f"{100 * report.protocol.declared.power:.0f}",
        endpoint_names={endpoint.id: wording.endpoint_name(endpoint, words) for endpoint in report.endpoints},
        protocol_json=canonical_json(report.protocol.model_dump(mode="json")),
        **_functions(report, words),
        **page_one(report, words),
        **annexes(report, pictures, words),
    )


def short_digest(value: str) -> str:
    """Return the first eight characters of a digest."""
    return value[:8]


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("medimg.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "exact": numbers.exact,
        "digest": short_digest,
        "day": lambda when: f"{when:%Y-%m-%d}",
        "original": _original,
    }
    return environment.get_template("report.html.j2")


def _functions(report: Report, words: Words) -> dict[str, object]:
    """Return what templates call, in the page's language."""
    return {
        "w": words,
        "mw": _markup_words(words),
        "estimate": partial(numbers.exact_with_interval, to=words("number.to")),
        "decimals_for": numbers.decimals_for,
        "p_words": numbers.p_words,
        "mark_of": partial(wording.mark_of, words=words),
        "verdicts": ["MEETS", "DOES NOT MEET", "INCONCLUSIVE", "INSUFFICIENT DATA"],
        "group_name": partial(wording.group_name, words=words),
        "axis_name": partial(wording.axis_name, words=words),
        "metric_name": partial(wording.metric_name, words=words),
        "why_no_number": partial(tables.why_no_number, words=words),
        "why_no_gap": partial(tables.why_no_gap, words=words),
        "why_no_detectable": partial(tables.why_no_detectable, words=words),
        "held": partial(tables.held, words=words, below=wording.below(report)),
        "notes": partial(tables.notes, words=words),
        "method_name": tables.method_name,
        "about": plain_language.about,
    }


@jinja2.pass_context
def _original(context: jinja2.runtime.Context, text: object) -> Markup:
    """Return text of the report itself: on a page of another language it is marked as English."""
    if context["w"].language == "en":
        return escape(text)
    return Markup('<span lang="en">{}</span>').format(text)


def _markup_words(words: Words) -> Callable[..., Markup]:
    """Return the lookup of texts whose values are HTML, such as exact numbers."""
    return lambda key, **values: escape(words(key)).format(**values)


def _data_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
