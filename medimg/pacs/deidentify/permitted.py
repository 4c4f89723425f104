"""The closed list of text and bytes that may stay although PS3.15 E.1-1 does not list them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydicom.datadict import keyword_for_tag


@cache
def _sections() -> dict[str, str]:
    sections: dict[str, str] = {}
    name = ""
    for line in Path(__file__).with_name("permitted.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            name = line.strip("[]")
        elif not line.startswith("#"):
            sections |= dict.fromkeys(line.split(), name)
    return sections


def permitted(tag: int) -> str:
    """Return ``codes``, ``terms`` or ``bytes`` for an attribute that may stay, '' for any other."""
    return _sections().get(keyword_for_tag(tag), "")


@cache
def harmless_words() -> frozenset[str]:
    """Return the words that name no person, in lower case."""
    lines = Path(__file__).with_name("words.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())
