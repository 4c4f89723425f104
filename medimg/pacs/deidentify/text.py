"""Free text without people: names the file knows, what looks like a contact or a number, or all but harmless words."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from medimg.pacs.deidentify.permitted import harmless_words

_TITLES = r"(?:dr|prof|mr|mrs|ms|miss|sr|sra|herr|frau|mme|mlle|doctor|nurse|rn|md)"
_LABELS = (
    r"(?:patient|pat|pt|name|mother|father|husband|wife|son|daughter|guardian|referred by|reported by|read by|"
    r"signed by|seen by|performed by|requested by|physician|surgeon|radiologist|technologist|operator|contact)"
)
_IDENTIFIERS = (
    r"(?:mrn|ssn|nhs|nhi|id|acc|accession|case|chart|policy|licence|license|passport|dob|born|tel|phone|fax|zip)"
)
_NAME = r"[^\W\d_][\w'’.-]*(?:[ ,^]+[^\W\d_][\w'’.-]*){0,2}"
_PATTERNS = tuple(
    re.compile(pattern, flags)
    for pattern, flags in (
        (r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", 0),
        (r"(?:https?://|www\.)\S+", re.IGNORECASE),
        (r"\b[0-2](?:\.\d+){4,}\b", 0),
        (r"\b\d{1,3}(?:\.\d{1,3}){3}\b", 0),
        (rf"\b{_TITLES}\b\.?\s+{_NAME}", re.IGNORECASE),
        (rf"\b{_LABELS}\s*[:=]\s*{_NAME}", re.IGNORECASE),
        (rf"\b{_IDENTIFIERS}\b\s*(?:no|nr|number|#)?\s*[:=.#]?\s*[\w/-]*\d[\w/-]*", re.IGNORECASE),
        (r"\b(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})\b", 0),
        (r"\b\d{1,2}[ -]?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[ -]?\d{2,4}\b", re.IGNORECASE),
        (r"\+?\(?\d{2,4}\)?[ ./-]\(?\d{2,4}\)?[ ./-]\d{2,}(?:[ ./-]\d{2,})*", 0),
        (r"(?<![\w.])\+?[A-Z]{0,4}-?\d{6,}\b", 0),
        (
            r"\b\d{1,5}\s+\w+\s+(?:street|st|road|rd|avenue|ave|lane|ln|drive|blvd|way|strasse|straße|weg)\b",
            re.IGNORECASE,
        ),
    )
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]")
_WORD = re.compile(r"[^\W_]+")
_SHORTEST = 3
NUMBER_DIGITS = 3


class Cleaner:
    """Takes names and numbers out of text.

    Parameters
    ----------
    names : iterable of str
        Parts of names and whole phrases that the file, or the user, calls identifying.
    """

    def __init__(self, names: Iterable[str]) -> None:
        wanted = sorted({name for name in names if name.strip()}, key=len, reverse=True)
        edges = [rf"(?<!\w){re.escape(name)}(?!\w)" if name.isascii() else re.escape(name) for name in wanted]
        self._known = re.compile("|".join(edges), re.IGNORECASE) if edges else None

    def known(self, text: str) -> str:
        """Return text without the names that are known; what comes after a NUL is no part of a value."""
        text = _CONTROL.sub("", text.split("\0", 1)[0])
        return self._known.sub("", text).strip() if self._known else text

    def clean(self, text: str) -> str:
        """Return text without known names and without what looks like a person, a contact, a date or a number."""
        text = self.known(text)
        for pattern in _PATTERNS:
            text = pattern.sub("", text)
        return re.sub(r"[ \t]{2,}", " ", self.known(text)).strip(" ,;:-")

    def words(self, text: str) -> str:
        """Return only harmless words and short numbers of a text."""
        found = _WORD.findall(self.clean(text))
        return " ".join(word for word in found if word.lower() in harmless_words() or _short_number(word))


def _short_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= NUMBER_DIGITS


def name_parts(name: str) -> set[str]:
    """Return what a person's name may look like in text: its parts, and neighbours together.

    >>> sorted(name_parts("Li^Wei=李^伟"))
    ['Li Wei', 'Li, Wei', 'Wei', 'Wei Li', 'Wei, Li', '李 伟', '李, 伟', '李伟']
    """
    parts: set[str] = set()
    for group in name.split("="):
        words = [word for word in re.split(r"[\s^,;]+", group) if word]
        parts |= {word for word in words if len(word) >= _SHORTEST or (not word.isascii() and len(word) > 1)}
        for first, second in itertools.pairwise(words):
            parts |= {f"{first} {second}", f"{first}, {second}"}
            parts |= {f"{second} {first}", f"{second}, {first}"} if first.isascii() else {first + second}
    return parts
