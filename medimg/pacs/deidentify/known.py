"""What a file itself calls identifying, so that it can be found again inside its free text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from medimg.errors import InputError
from medimg.pacs.deidentify.elements import readable, strings
from medimg.pacs.deidentify.permitted import harmless_words
from medimg.pacs.deidentify.table import Rule, rule_for
from medimg.pacs.deidentify.text import name_parts

_STRINGS = {"AE", "LO", "LT", "SH", "ST", "UC", "UT", "DA"}
# What is retained by an option, or is a description rather than an identifier.
_NOT_NAMES = {"descriptors", "dates_full", "patient", "structured", "graphics"}
_BIRTH_DATE = 0x00100030
_SHORTEST = 4
_LONGEST = 128


def identifying(dataset: Dataset, retained: set[str]) -> set[str]:
    """Return names, numbers and addresses that a dataset holds where PS3.15 E.1-1 removes them.

    Parameters
    ----------
    dataset : Dataset
        As it was read.
    retained : set of str
        Options whose attributes stay (``device``, ``institution``): their values are no secret.
    """
    described = _NOT_NAMES | retained
    found: set[str] = set()
    for element in _elements(dataset):
        if element.VR == "PN":
            for name in _values(element):
                found |= name_parts(name)
        elif (
            element.VR in _STRINGS
            and element.tag.group % 2 == 0
            and _identifies(element, rule_for(element.tag), described)
        ):
            found |= {value for value in _values(element) if _telling(value)}
    return found


def names_of(path: Path) -> set[str]:
    """Return names from a text file, one a line.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "The names cannot be read.", where=path, got=type(error).__name__, expected="UTF-8 text, one name a line"
        ) from error
    return {part for line in lines for part in name_parts(line) | {line.strip()}}


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    for tag in list(dataset.keys()):
        element = readable(dataset, tag)
        if element is None:
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)
        else:
            yield element


def _identifies(element: DataElement, rule: Rule | None, described: set[str]) -> bool:
    if rule is None:
        return False
    return element.tag == _BIRTH_DATE or (element.VR != "DA" and not described & set(rule.options))


def _telling(value: str) -> bool:
    words = re.findall(r"[^\W_]+", value.lower())
    return _SHORTEST <= len(value) <= _LONGEST and not all(word in harmless_words() for word in words)


def _values(element: DataElement) -> list[str]:
    return [value.strip(" \0") for value in strings(element) if value.strip(" \0")]
