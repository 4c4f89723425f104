"""What PS3.15 E.1-1 says about each attribute: facts in ``table.csv``, one row a tag.

Columns: tag, name, the Basic Profile's action, then one column an option. The rows agree with two independent copies
of the standard's table: innolitics/dicom-standard (2025) and, for the actions and the 35 newest rows, dicom-anonymizer
2.1 (2026c; options of those rows are left empty, which is the stricter reading, but for ancestry).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

EDITION = "PS3.15 2026c"
ODD = "odd"


@dataclass(frozen=True)
class Rule:
    """One row: the action of the Basic Profile (``X``, ``Z``, ``D``, ``U`` and their combinations) and the options."""

    tag: str
    name: str
    basic: str
    options: dict[str, str]

    def option(self, name: str) -> str:
        """Return the action under an option: ``K``, ``C`` or ''."""
        return self.options.get(name, "")


@cache
def rules() -> dict[str, Rule]:
    """Return every row by its tag: eight hexadecimal digits, or ``odd``; ``xx`` in repeating groups."""
    with (Path(__file__).with_name("table.csv")).open(encoding="utf-8", newline="") as file:
        return {
            row["tag"]: Rule(row["tag"], row["name"], row["basic"], {k: v for k, v in list(row.items())[3:] if v})
            for row in csv.DictReader(file)
        }


def rule_for(tag: int) -> Rule | None:
    """Return the row of a standard tag, repeating groups (50xx, 60xx) included.

    >>> rule_for(0x00100010).basic, rule_for(0x60023000).name, rule_for(0x00280010)
    ('Z', 'Overlay Data', None)
    """
    text = f"{tag:08x}"
    found = rules().get(text)
    if found is None and text.startswith("50"):
        return rules()["50xxxxxx"]
    if found is None and text.startswith("60"):
        return rules().get(f"60xx{text[4:]}")
    return found
