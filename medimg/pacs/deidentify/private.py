"""Private elements that may stay: those of PS3.15 E.3.10 that hold numbers and codes, and those the user lists."""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path

from pydicom.dataset import Dataset

from medimg.errors import ConfigError

SafeList = dict[tuple[str, int, int], str]
_ENTRY = re.compile(r"(.+):([0-9A-Fa-f]{4}),xx([0-9A-Fa-f]{2}):([A-Z]{2})")


@cache
def _standard() -> SafeList:
    with Path(__file__).with_name("safe_private.csv").open(encoding="utf-8", newline="") as file:
        return {
            (row["creator"], int(row["group"], 16), int(row["element"], 16)): row["vr"] for row in csv.DictReader(file)
        }


def safe_list(entries: list[str]) -> SafeList:
    """Return (creator, group, element) -> VR of the private elements that stay.

    Raises
    ------
    ConfigError
        An entry is neither ``standard`` nor ``CREATOR:gggg,xxee:VR`` with an odd group.
    """
    kept: SafeList = {}
    for entry in entries:
        if entry == "standard":
            kept |= _standard()
            continue
        match = _ENTRY.fullmatch(entry)
        if match is None or int(match[2], 16) % 2 == 0:
            raise ConfigError(
                "this is no private element",
                where="safe_private",
                got=entry,
                expected="standard, or CREATOR:gggg,xxee:VR, such as 'SIEMENS MR HEADER:0019,xx0C:IS'",
            )
        kept[match[1].strip(), int(match[2], 16), int(match[3], 16)] = match[4]
    return kept


def creators(dataset: Dataset) -> dict[tuple[int, int], str]:
    """Return (group, block) -> creator of every private block of a dataset."""
    found = {}
    for tag in list(dataset.keys()):
        if tag.group % 2 and 0x10 <= tag.element <= 0xFF:
            value = dataset.get_item(tag).value
            text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
            found[tag.group, tag.element] = text.strip(" \0")
    return found
