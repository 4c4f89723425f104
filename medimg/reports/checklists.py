"""Where a report answers the items of reporting checklists; what it does not answer is MISSING."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from medimg.evaluation.document import Report


@dataclass(frozen=True)
class Item:
    """One item: ``anchor`` is the section of the page that answers it, None where none does."""

    number: str
    topic: str
    anchor: str | None


@dataclass(frozen=True)
class Checklist:
    """A checklist with its source, and its items in its own order."""

    name: str
    title: str
    source: str
    items: tuple[Item, ...]


def checklists(report: Report) -> tuple[str, list[Checklist]]:
    """Return the date of the mapping, and each checklist as this report answers it."""
    mapping = _mapping()
    content = report.model_dump(by_alias=True)
    found = [
        Checklist(
            entry["name"],
            entry["title"],
            entry["source"],
            tuple(
                Item(item["item"], item["topic"], item.get("anchor") if _is_there(content, item) else None)
                for item in entry["items"]
            ),
        )
        for entry in mapping["lists"]
    ]
    return f"{mapping['date']:%Y-%m-%d}", found


def _is_there(content: Mapping[str, Any], item: Mapping[str, str]) -> bool:
    value: Any = content
    for key in item.get("needs", "").split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return bool(value)


@lru_cache(maxsize=1)
def _mapping() -> dict[str, Any]:
    text = (files("medimg.reports") / "checklists.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))
