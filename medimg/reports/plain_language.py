"""The report in sentences that need no statistics."""

from __future__ import annotations

from dataclasses import dataclass

from medimg.evaluation.document import Endpoint, GroupRow, Report, Result, Verdict
from medimg.reports.numbers import span
from medimg.reports.tables import primary
from medimg.reports.wording import confidence_words, endpoint_name, group_name

PER = 1000


@dataclass(frozen=True)
class Thousand:
    """What happens among 1000 cases of one group: missed of 1000 with the finding, alarms of 1000 without."""

    target: str
    group: str
    missed: tuple[float, float, float] | None
    alarms: tuple[float, float, float] | None
    why_missed: str | None
    why_alarms: str | None


def summary(report: Report) -> list[str]:
    """Return what the numbers mean, a sentence each; the status says itself what it means."""
    found = []
    for endpoint in primary(report):
        if endpoint.floor is not None:
            found.append(_who_meets(report, endpoint))
    found += _thousand_sentences(report)
    found += [text for endpoint in report.endpoints if (text := _one_sentence(report, endpoint))]
    worst = _largest_possible_gap(report)
    return [*found, *([worst] if worst else [])]


def per_thousand(report: Report) -> list[Thousand]:
    """Return missed cases and false alarms per 1000 for everyone and each ancestry, by target."""
    pairs: dict[str, dict[str, str]] = {}
    for endpoint in report.endpoints:
        if endpoint.metric in ("sensitivity", "specificity"):
            pairs.setdefault(endpoint.target, {})[endpoint.metric] = endpoint.id
    found = []
    for target, ids in pairs.items():
        for row in report.groups:
            if row.axis in ("overall", "ancestry"):
                missed, why_missed = _complement(row, ids.get("sensitivity"))
                alarms, why_alarms = _complement(row, ids.get("specificity"))
                name = group_name(row.axis, row.value)
                found.append(Thousand(target, name, missed, alarms, why_missed, why_alarms))
    return found


def about(value: tuple[float, float, float]) -> str:
    """Return a count per 1000 with its interval.

    >>> about((123.4, 80.2, 180.0))
    '123 (80–180)'
    """
    return f"{value[0]:.0f} ({span(value[1], value[2], 0)})"


def _complement(row: GroupRow, endpoint: str | None) -> tuple[tuple[float, float, float] | None, str | None]:
    result = next((r for r in row.results if r.endpoint == endpoint), None)
    if result is None:
        return None, "not an endpoint of this report"
    if result.estimate is None or result.low is None or result.high is None:
        return None, result.reason
    return (PER * (1 - result.estimate), PER * (1 - result.high), PER * (1 - result.low)), None


def _thousand_sentences(report: Report) -> list[str]:
    found = []
    level = confidence_words(report)
    for item in per_thousand(report):
        if item.group != "Everyone":
            continue
        parts = []
        if item.missed:
            parts.append(f"of 1000 cases with {item.target}, about {about(item.missed)} would be missed")
        if item.alarms:
            parts.append(f"of 1000 cases without it, about {about(item.alarms)} would be called positive all the same")
        if parts:
            text = "; ".join(parts)
            found.append(f"{text[0].upper()}{text[1:]} (in brackets: {level}).")
    return found


def _who_meets(report: Report, endpoint: Endpoint) -> str:
    by_verdict: dict[Verdict, list[str]] = {}
    empty = []
    for row in report.groups:
        if row.axis != "ancestry":
            continue
        result = _result(row, endpoint)
        if row.n_cases == 0:
            empty.append(group_name(row.axis, row.value))
        elif result.floor_verdict is not None:
            by_verdict.setdefault(result.floor_verdict, []).append(group_name(row.axis, row.value))
    words: dict[Verdict, str] = {
        "MEETS": "shown to reach the limit",
        "DOES NOT MEET": "shown to fall short of it",
        "INCONCLUSIVE": "not settled",
        "INSUFFICIENT DATA": "too few patients to say",
    }
    parts = [f"{words[v]}: {', '.join(by_verdict[v])}" for v in words if v in by_verdict]
    parts += [f"nobody tested: {', '.join(empty)}"] if empty else []
    return f"{endpoint_name(endpoint)}, by ancestry: {'; '.join(parts)}."


def _one_sentence(report: Report, endpoint: Endpoint) -> str | None:
    result = _result(report.groups[0], endpoint)
    if result.estimate is None or result.low is None or result.high is None:
        return None
    value = (PER * result.estimate, PER * result.low, PER * result.high)
    tail = f"(in brackets: {confidence_words(report)})."
    if endpoint.metric == "missed":
        return f"Of 1000 cases in which {endpoint.target} is present, about {about(value)} would be left empty {tail}"
    if endpoint.metric == "lesion_sensitivity":
        return f"Of 1000 true {endpoint.target} lesions, about {about(value)} would be marked {tail}"
    if endpoint.metric == "false_positives_per_image":
        return f"In 1000 images there would be about {about(value)} false marks of {endpoint.target} {tail}"
    return None


def _largest_possible_gap(report: Report) -> str | None:
    """Return which disadvantage of an ancestry the data cannot rule out: the far end of its gap's interval."""
    found = []
    for endpoint in primary(report):
        for row in report.groups:
            gap = _result(row, endpoint).gap if row.axis == "ancestry" else None
            if gap is None or gap.low is None or gap.high is None or gap.reason:
                continue
            loss = gap.high if endpoint.better == "lower" else -gap.low
            found.append((loss / (endpoint.gap_margin or 1.0), loss, row, endpoint))
    if not found:
        return None
    _, loss, row, endpoint = max(found, key=lambda item: item[0])
    if loss <= 0:
        return None
    return (
        f"The largest disadvantage of an ancestry that these data cannot rule out: {group_name(row.axis, row.value)}, "
        f"worse than its reference by up to {loss:.2g} in {endpoint_name(endpoint)}."
    )


def _result(row: GroupRow, endpoint: Endpoint) -> Result:
    return next(result for result in row.results if result.endpoint == endpoint.id)
