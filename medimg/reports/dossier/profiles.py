"""Profiles: the one evidence document in the order that readers in one place expect, every gap printed MISSING."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medimg.reports.dossier.evidence import MISSING, Evidence, EvidenceField, load_mapping
from medimg.reports.model_card import escape
from medimg.reports.numbers import with_interval

PROFILES = ("fda", "nmpa", "eu")
_SHORT = 200


def render_profile(evidence: Evidence, name: str) -> str:
    """Return one profile as Markdown.

    Parameters
    ----------
    evidence : Evidence
    name : {'fda', 'nmpa', 'eu'}

    Returns
    -------
    str
        All fields of the evidence, in the profile's order, and a list of everything that is missing on top.
    """
    profile = load_mapping(name)
    used = [name for section in profile["sections"] for name in section["fields"]]
    gaps = [f"{escape(evidence.field(name).title)}: {item}" for name in used for item in evidence.field(name).missing]
    lines = [
        f"# {profile['title']}",
        "",
        f"Model: {escape(evidence.model)}. Report, SHA-256: `{evidence.report_sha256}`. Mapping of {profile['as_of']}.",
        "",
        f"> {profile['notice'].strip()}",
        "",
        f"## {MISSING}: {len(gaps)} items",
        "",
        *([f"- {MISSING}: {gap}" for gap in gaps] or ["Nothing."]),
        "",
    ]
    for section in profile["sections"]:
        lines += [f"## {section['title']}", ""]
        for field_name in section["fields"]:
            lines += _field(evidence.field(field_name))
    return "\n".join(lines)


def _field(field: EvidenceField) -> list[str]:
    lines = [f"### {escape(field.title)}", ""]
    for name, item in field.value.items():
        title = name.replace("_", " ")
        if name == "results":
            lines += ["", *_results(item), ""]
        else:
            mark = " (declared)" if name in field.declared else ""
            lines.append(f"- **{title}**{mark}: {_words(item)}")
    lines += [f"- **{name.replace('_', ' ')}**: {MISSING}" for name in field.missing]
    return [*lines, ""]


def _words(item: Any) -> str:
    if isinstance(item, Mapping):
        return "; ".join(f"{escape(str(key))} {_words(value)}" for key, value in item.items())
    if isinstance(item, list | tuple):
        return "; ".join(_words(value) for value in item)
    return escape(f"{item:.4g}" if isinstance(item, float) else str(item))


def _results(results: list[dict[str, Any]]) -> list[str]:
    lines = ["| Axis | Group | Endpoint | Patients | Estimate | Verdict |", "|---|---|---|---:|---|---|"]
    for one in results:
        value = one.get("reason", "")
        if one["estimate"] is not None:
            value = with_interval(one["estimate"], one["low"], one["high"])
        patients = "held back" if one["patients"] is None else one["patients"]
        cells = [one["axis"], one["group"], one["endpoint"], patients, value, one["floor_verdict"] or "–"]
        lines.append("| " + " | ".join(escape(str(cell))[:_SHORT] for cell in cells) + " |")
    return lines
