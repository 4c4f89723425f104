"""The report in sentences that need no statistics."""

from __future__ import annotations

from dataclasses import dataclass

from medimg.evaluation.document import Endpoint, GroupRow, Report, Verdict
from medimg.reports.language import ENGLISH, Words
from medimg.reports.numbers import span
from medimg.reports.tables import ordered, primary, result_of
from medimg.reports.wording import confidence_words, endpoint_name, group_name, verdict_key

PER = 1000
_VERDICTS: tuple[Verdict, ...] = ("MEETS", "DOES NOT MEET", "INCONCLUSIVE", "INSUFFICIENT DATA")
_SENTENCES = {
    "missed": "plain.left_empty",
    "lesion_sensitivity": "plain.lesions",
    "false_positives_per_image": "plain.marks",
}


@dataclass(frozen=True)
class Thousand:
    """What happens among 1000 cases of one group: missed of 1000 with the finding, alarms of 1000 without."""

    target: str
    group: str
    missed: tuple[float, float, float] | None
    alarms: tuple[float, float, float] | None
    why_missed: str | None
    why_alarms: str | None


def summary(report: Report, words: Words = ENGLISH) -> list[str]:
    """Return what the numbers mean, a sentence each; the status says itself what it means."""
    found = [_who_meets(report, endpoint, words) for endpoint in primary(report) if endpoint.floor is not None]
    found += _thousand_sentences(report, words)
    found += [text for endpoint in report.endpoints if (text := _one_sentence(report, endpoint, words))]
    worst = _largest_possible_gap(report, words)
    return [*found, *([worst] if worst else [])]


def per_thousand(report: Report, words: Words = ENGLISH) -> list[Thousand]:
    """Return missed cases and false alarms per 1000 for everyone and each ancestry, by target."""
    pairs: dict[str, dict[str, str]] = {}
    for endpoint in report.endpoints:
        if endpoint.metric in ("sensitivity", "specificity"):
            pairs.setdefault(endpoint.target, {})[endpoint.metric] = endpoint.id
    found = []
    for target, ids in pairs.items():
        for row in [*ordered(report, "overall"), *ordered(report, "ancestry")]:
            missed, why_missed = _complement(row, ids.get("sensitivity"), words)
            alarms, why_alarms = _complement(row, ids.get("specificity"), words)
            name = group_name(row.axis, row.value, words)
            found.append(Thousand(target, name, missed, alarms, why_missed, why_alarms))
    return found


def about(value: tuple[float, float, float]) -> str:
    """Return a count per 1000 with its interval.

    >>> about((123.4, 80.2, 180.0))
    '123 (80–180)'
    """
    return f"{value[0]:.0f} ({span(value[1], value[2], 0)})"


def _complement(
    row: GroupRow, endpoint: str | None, words: Words
) -> tuple[tuple[float, float, float] | None, str | None]:
    result = next((r for r in row.results if r.endpoint == endpoint), None)
    if result is None:
        return None, words("text.not_an_endpoint")
    if result.estimate is None or result.low is None or result.high is None:
        return None, result.reason
    return (PER * (1 - result.estimate), PER * (1 - result.high), PER * (1 - result.low)), None


def _thousand_sentences(report: Report, words: Words) -> list[str]:
    found = []
    tail = words("plain.tail", confidence=confidence_words(report, words))
    for item in per_thousand(report, words):
        if item.group != words("group.everyone"):
            continue
        parts = []
        if item.missed:
            parts.append(words("plain.missed", target=item.target, value=about(item.missed)))
        if item.alarms:
            key = "plain.alarms" if item.missed else "plain.alarms_alone"
            parts.append(words(key, target=item.target, value=about(item.alarms)))
        if parts:
            found.append(words("plain.semicolon").join(parts) + tail)
    return found


def _who_meets(report: Report, endpoint: Endpoint, words: Words) -> str:
    by_verdict: dict[Verdict, list[str]] = {}
    empty = []
    for row in ordered(report, "ancestry"):
        result = result_of(row, endpoint)
        name = group_name(row.axis, row.value, words)
        if row.n_cases == 0:
            empty.append(name)
        elif result.floor_verdict is not None:
            by_verdict.setdefault(result.floor_verdict, []).append(name)
    lists = [(words(f"plain.{verdict_key(v)}"), by_verdict[v]) for v in _VERDICTS if v in by_verdict]
    lists += [(words("plain.nobody"), empty)] if empty else []
    comma = words("plain.comma")
    parts = [words("plain.list", words=text, groups=comma.join(groups)) for text, groups in lists]
    return words("plain.who", endpoint=endpoint_name(endpoint, words), parts=words("plain.semicolon").join(parts))


def _one_sentence(report: Report, endpoint: Endpoint, words: Words) -> str | None:
    result = result_of(report.groups[0], endpoint)
    key = _SENTENCES.get(endpoint.metric)
    if key is None or result.estimate is None or result.low is None or result.high is None:
        return None
    value = about((PER * result.estimate, PER * result.low, PER * result.high))
    tail = words("plain.tail", confidence=confidence_words(report, words))
    return words(key, target=endpoint.target, value=value) + tail


def _largest_possible_gap(report: Report, words: Words) -> str | None:
    """Return which disadvantage of an ancestry the data cannot rule out: the far end of its gap's interval."""
    found = []
    for endpoint in primary(report):
        for row in ordered(report, "ancestry"):
            gap = result_of(row, endpoint).gap
            if gap is None or gap.low is None or gap.high is None or gap.reason:
                continue
            loss = gap.high if endpoint.better == "lower" else -gap.low
            found.append((loss / (endpoint.gap_margin or 1.0), loss, row, endpoint))
    if not found:
        return None
    _, loss, row, endpoint = max(found, key=lambda item: item[0])
    if loss <= 0:
        return None
    group = group_name(row.axis, row.value, words)
    return words("plain.largest", group=group, loss=f"{loss:.2g}", endpoint=endpoint_name(endpoint, words))
