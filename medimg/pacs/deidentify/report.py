"""What was done, element by element, with the clause that asks for it; never a value."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydicom.datadict import keyword_for_tag
from pydicom.tag import BaseTag

from medimg.io.atomic import replacing

Row = tuple[str, str, str]


@dataclass
class Actions:
    """The actions of one file: (element's path, action, clause)."""

    rows: list[Row] = field(default_factory=list)

    def add(self, element: str, action: str, clause: str) -> None:
        """Write one action down."""
        self.rows.append((element, action, clause))


@dataclass
class FileRecord:
    """One input file: its place in the sorted walk, what became of it, and under which name it was written.

    ``status`` is ``written``, ``flagged`` (written, and to be looked at), ``refused``, ``unreadable`` or ``skipped``.
    """

    number: int
    status: str
    reason: str = ""
    output: str = ""
    flags: list[str] = field(default_factory=list)
    actions: int = 0


def element_name(tag: BaseTag) -> str:
    """Return an element's keyword, its tag where it has none."""
    return keyword_for_tag(tag) or f"({tag.group:04X},{tag.element:04X})"


def write_report(path: Path, records: Iterable[FileRecord], settings: dict[str, object], counts: Counter[Row]) -> None:
    """Write the summary as JSON: settings, what became of each file, how often each action was taken."""
    files = [asdict(record) for record in records]
    document = {
        "settings": settings,
        "totals": dict(sorted(Counter(str(one["status"]) for one in files).items())),
        "actions": [
            {"element": element, "action": action, "clause": clause, "count": count}
            for (element, action, clause), count in sorted(counts.items())
        ],
        "files": files,
    }
    with replacing(path) as part:
        part.write_text(json.dumps(document, indent=1), encoding="utf-8")


def write_actions(path: Path, rows: Iterable[tuple[int, Row]]) -> None:
    """Write every action as CSV: the file's number, the element's path, action and clause."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "element", "action", "clause"))
        writer.writerows((number, *row) for number, row in rows)
