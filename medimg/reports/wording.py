"""Words, symbols and tones of statuses, verdicts and axes: a reader without colours loses nothing."""

from __future__ import annotations

from dataclasses import dataclass

from medimg.evaluation.document import Endpoint, Report, Status, Verdict
from medimg.evaluation.groups import LAST
from medimg.reports.language import ENGLISH, Words

RESEARCH_USE = ENGLISH("page.research_use")


@dataclass(frozen=True)
class Mark:
    """How a status or verdict is shown: in words, by a symbol, and by a colour (``tone``, a CSS class).

    ``marker`` is the shape of a verdict in figures (of matplotlib's names), ``filled`` whether it is a filled one.
    """

    words: str
    symbol: str
    tone: str
    sentence: str = ""
    marker: str = "o"
    filled: bool = True


_STATUSES: dict[Status, tuple[str, str]] = {
    "validated": ("✓", "good"),
    "validated_with_limitations": ("!", "unsure"),
    "ancestry_not_evaluated": ("?", "lacking"),
    "not_validated": ("✕", "bad"),
}
_VERDICTS: dict[Verdict | None, tuple[str, str, str, str, bool]] = {
    "MEETS": ("meets", "✓", "good", "o", True),
    "DOES NOT MEET": ("does_not_meet", "✕", "bad", "s", True),
    "INCONCLUSIVE": ("inconclusive", "?", "unsure", "D", False),
    "INSUFFICIENT DATA": ("insufficient_data", "○", "lacking", "o", False),
    None: ("none", "–", "plain", "o", True),
}
UNITS = {"fraction": "", "": "", "mm": " mm", "px": " px", "ml": " ml", "per image": " per image"}
AXIS_NAMES = {key.removeprefix("axis."): text for key, text in ENGLISH.texts.items() if key.startswith("axis.")}


def status_mark(status: Status, words: Words = ENGLISH) -> Mark:
    """Return how a status is shown."""
    symbol, tone = _STATUSES[status]
    return Mark(words(f"status.{status}"), symbol, tone, words(f"status_sentence.{status}"))


def mark_of(verdict: Verdict | None, words: Words = ENGLISH) -> Mark:
    """Return how a verdict is shown; None where no limit was declared."""
    key, symbol, tone, marker, filled = _VERDICTS[verdict]
    return Mark(words(f"verdict.{key}"), symbol, tone, words(f"verdict_sentence.{key}"), marker, filled)


def verdict_key(verdict: Verdict) -> str:
    """Return the name of a verdict in the tables of texts, such as ``does_not_meet``."""
    return _VERDICTS[verdict][0]


STATUS_MARKS: dict[Status, Mark] = {status: status_mark(status) for status in _STATUSES}
VERDICT_MARKS: dict[Verdict, Mark] = {verdict: mark_of(verdict) for verdict in _VERDICTS if verdict is not None}
NO_VERDICT = mark_of(None)


def axis_name(axis: str, words: Words = ENGLISH) -> str:
    """Return the printed name of an axis, or of two that are crossed.

    >>> axis_name("age_band"), axis_name("ancestry*sex")
    ('Age band (years)', 'Ancestry × Sex')
    """
    return " × ".join(words(f"axis.{part}") for part in axis.split("*"))


def group_name(axis: str, value: str, words: Words = ENGLISH) -> str:
    """Return the printed name of a group.

    >>> group_name("overall", "all"), group_name("ancestry", "declined")
    ('Everyone', 'declined')
    """
    if axis == "overall":
        return words("group.everyone")
    return words(f"group.{value}") if value in LAST else value


def endpoint_name(endpoint: Endpoint, words: Words = ENGLISH) -> str:
    """Return the printed name of an endpoint, with its parameter and target."""
    parameter = "" if endpoint.parameter is None else f" ({endpoint.parameter:g})"
    return f"{metric_name(endpoint, words)}{parameter}: {endpoint.target}"


def metric_name(endpoint: Endpoint, words: Words = ENGLISH) -> str:
    """Return the printed name of an endpoint's metric: the report's own where the language has no other."""
    return words.get(f"metric.{endpoint.metric}") or endpoint.text


def limit_words(endpoint: Endpoint, words: Words = ENGLISH) -> str:
    """Return what was declared for an endpoint: its floor (or ceiling) and margin."""
    unit = UNITS.get(endpoint.unit, f" {endpoint.unit}")
    parts = []
    if endpoint.floor is not None:
        name = "ceiling" if endpoint.better == "lower" else "floor"
        parts.append(words(f"limit.{name}", value=f"{endpoint.floor:g}", unit=unit))
    if endpoint.gap_margin is not None:
        parts.append(words("limit.margin", value=f"{endpoint.gap_margin:g}", unit=unit))
    return words("limit.joint").join(parts) or words("limit.none")


def below(report: Report) -> str:
    """Return what stands for a suppressed count, such as ``<11``."""
    return f"<{report.protocol.declared.suppress_below}"


def confidence_words(report: Report, words: Words = ENGLISH) -> str:
    """Return the level of the intervals, such as ``95% CI``."""
    return words("number.ci", percent=f"{100 * report.protocol.declared.confidence:g}")
