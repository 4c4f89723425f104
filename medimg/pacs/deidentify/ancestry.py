"""Ancestry leaves the files and goes, only on request, into a table of its own, keyed by pseudonym."""

from __future__ import annotations

import csv
from pathlib import Path

from pydicom.dataset import Dataset

from medimg.io.atomic import replacing
from medimg.pacs.deidentify.elements import readable, strings

# (0010,2162) is younger than pydicom's dictionary.
GROUP, CODES, GROUPS = 0x00102160, 0x00102161, 0x00102162
COLUMNS = ("pseudonym", "ethnic_group", "ethnic_group_codes", "ethnic_groups")
_SEPARATOR = "; "


class AncestryTable:
    """One row a patient: the raw values as the files state them; where files differ, all of them."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[set[str], set[str], set[str]]] = {}

    def add(self, pseudonym: str, dataset: Dataset) -> None:
        """Add what a dataset, as it was read, says."""
        row = self._rows.setdefault(pseudonym, (set(), set(), set()))
        for found, values in zip(row, (_texts(dataset, GROUP), _codes(dataset), _texts(dataset, GROUPS))):
            found.update(values)

    def write(self, path: Path) -> None:
        """Write the table as CSV. Columns are in ``COLUMNS``; a patient of whom nothing is stated has empty cells."""
        with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for pseudonym, row in sorted(self._rows.items()):
                writer.writerow((pseudonym, *(_SEPARATOR.join(sorted(values)) for values in row)))


def _texts(dataset: Dataset, tag: int) -> list[str]:
    element = readable(dataset, dataset[tag].tag) if tag in dataset else None
    if element is None:
        return []
    if isinstance(element.value, bytes):
        return [one.strip(" \0") for one in element.value.decode("utf-8", "replace").split("\\") if one.strip(" \0")]
    return [one.strip() for one in strings(element) if one.strip()]


def _codes(dataset: Dataset) -> list[str]:
    items = dataset.get("EthnicGroupCodeSequence") or []
    return [
        f"{item.get('CodingSchemeDesignator', '')}:{item.get('CodeValue', '')} {item.get('CodeMeaning', '')}".strip()
        for item in items
    ]
