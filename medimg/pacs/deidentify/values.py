"""Dummies by VR, and values that are what their VR says."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

DUMMY_TEXT = "REMOVED"
DUMMY_NAME = "ANONYMOUS"
_DUMMIES: dict[str, object] = {
    "DA": "19000101",
    "TM": "000000",
    "DT": "19000101000000",
    "DS": "0",
    "IS": "0",
    "AS": "000Y",
    "PN": DUMMY_NAME,
    "AT": 0,
    "FL": 0.0,
    "FD": 0.0,
    "SL": 0,
    "SS": 0,
    "UL": 0,
    "US": 0,
    "SV": 0,
    "UV": 0,
    "UR": "about:blank",
    "OB": b"\0\0",
    "OW": b"\0\0",
    "OF": bytes(4),
    "OL": bytes(4),
    "OD": bytes(8),
    "OV": bytes(8),
    "UN": b"\0\0",
}
_CODE = re.compile(r"[A-Z0-9 _.+/()-]{0,16}")
_DECIMAL = re.compile(r"[ ]*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[ ]*")


def dummy(vr: str) -> object:
    """Return a value that says nothing and is valid for its VR."""
    return _DUMMIES.get(vr, DUMMY_TEXT)


def dummy_code() -> Dataset:
    """Return a coded entry that says nothing."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = DUMMY_TEXT, "99MEDIMG", "Removed"
    return item


def is_code(text: str) -> bool:
    """Tell whether a text can be a CS value; the punctuation of careless writers counts too, lower case does not."""
    return bool(_CODE.fullmatch(text.strip("\0")))


def is_number(text: str) -> bool:
    """Tell whether a text is a number and nothing else; an empty one is no value.

    >>> is_number("-1.5e3"), is_number("12 SMITH"), is_number("")
    (True, False, True)
    """
    return not text or bool(_DECIMAL.fullmatch(text.strip("\0")))
