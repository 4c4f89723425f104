"""Words, symbols and tones of statuses, verdicts and axes: a reader without colours loses nothing."""

from __future__ import annotations

from dataclasses import dataclass

from medimg.evaluation.document import Endpoint, Report, Status, Verdict

RESEARCH_USE = "Research use only: not a cleared medical device, not for any decision about a person."


@dataclass(frozen=True)
class Mark:
    """How a status or verdict is shown: in words, by a symbol, and by a colour (``tone``, a CSS class).

    ``marker`` is the matplotlib marker of a verdict in figures, ``filled`` whether it is a filled one.
    """

    words: str
    symbol: str
    tone: str
    sentence: str = ""
    marker: str = "o"
    filled: bool = True


STATUS_MARKS: dict[Status, Mark] = {
    "validated": Mark(
        "VALIDATED",
        "✓",
        "good",
        "Every group of the test set reached every primary endpoint that was declared beforehand.",
    ),
    "validated_with_limitations": Mark(
        "VALIDATED WITH LIMITATIONS",
        "!",
        "unsure",
        "Everyone together reached the primary endpoints; for the groups listed below this could not be shown.",
    ),
    "ancestry_not_evaluated": Mark(
        "ANCESTRY NOT EVALUATED",
        "?",
        "lacking",
        "Everyone together reached the primary endpoints, but for no ancestry could a verdict be given.",
    ),
    "not_validated": Mark(
        "NOT VALIDATED",
        "✕",
        "bad",
        "This evaluation does not show that the model does what was declared. It must not be relied on.",
    ),
}

VERDICT_MARKS: dict[Verdict, Mark] = {
    "MEETS": Mark("MEETS", "✓", "good", "the whole interval lies on the good side", "o"),
    "DOES NOT MEET": Mark("DOES NOT MEET", "✕", "bad", "the whole interval lies on the bad side", "s"),
    "INCONCLUSIVE": Mark("INCONCLUSIVE", "?", "unsure", "the interval holds the limit: both are possible", "D", False),
    "INSUFFICIENT DATA": Mark("INSUFFICIENT DATA", "○", "lacking", "too few patients for a verdict", "o", False),
}
NO_VERDICT = Mark("no verdict", "–", "plain", "no limit was declared", "o")

AXIS_NAMES = {
    "overall": "Everyone",
    "ancestry": "Ancestry",
    "sex": "Sex",
    "age_band": "Age band (years)",
    "site": "Site",
    "scanner": "Scanner",
}
UNITS = {"fraction": "", "mm": " mm", "px": " px", "ml": " ml", "per image": " per image"}
CURVE_NAMES = {"roc": "ROC curve", "froc": "FROC curve", "pr": "Precision-recall curve"}
CURVE_AXES = {
    "roc": ("1 − specificity", "Sensitivity"),
    "froc": ("False marks per image", "Lesion sensitivity"),
    "pr": ("Recall", "Precision"),
}


def mark_of(verdict: Verdict | None) -> Mark:
    """Return how a verdict is shown; None where no limit was declared."""
    return NO_VERDICT if verdict is None else VERDICT_MARKS[verdict]


def group_name(axis: str, value: str) -> str:
    """Return the printed name of a group.

    >>> group_name("overall", "all"), group_name("ancestry", "declined")
    ('Everyone', 'declined')
    """
    return "Everyone" if axis == "overall" else value


def endpoint_name(endpoint: Endpoint) -> str:
    """Return the printed name of an endpoint, with its parameter and target."""
    parameter = "" if endpoint.parameter is None else f" ({endpoint.parameter:g})"
    return f"{endpoint.text}{parameter}: {endpoint.target}"


def limit_words(endpoint: Endpoint) -> str:
    """Return what was declared for an endpoint: its floor (or ceiling) and margin."""
    unit = UNITS.get(endpoint.unit, f" {endpoint.unit}")
    parts = []
    if endpoint.floor is not None:
        name, sign = ("ceiling", "≤") if endpoint.better == "lower" else ("floor", "≥")
        parts.append(f"{name} {sign} {endpoint.floor:g}{unit}")
    if endpoint.gap_margin is not None:
        parts.append(f"a group may be worse by at most {endpoint.gap_margin:g}{unit}")
    return "; ".join(parts) or "no limit declared: describes only"


def below(report: Report) -> str:
    """Return what stands for a suppressed count, such as ``<11``."""
    return f"<{report.protocol.declared.suppress_below}"


def confidence_words(report: Report) -> str:
    """Return the level of the intervals, such as ``95% CI``."""
    return f"{100 * report.protocol.declared.confidence:g}% CI"
