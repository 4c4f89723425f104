"""Dates moved by whole days, ages above 89 made one group, and nothing kept that is not a date or an age."""

from __future__ import annotations

import datetime
import re

OLDEST_YEARS = 89
_DATE = re.compile(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})")
_TIME = re.compile(r"([01]\d|2[0-3])(:?[0-5]\d(:?([0-5]\d|60)(\.\d{1,6})?)?)?")
_DATETIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?")
_AGE = re.compile(r"(\d{3})([DWMY])")
_DAYS = {"D": 1.0, "W": 7.0, "M": 30.4375, "Y": 365.25}


def shift(text: str, vr: str, days: int) -> str | None:
    """Move a DA or DT value back by whole days; a TM value stays. None where the text is no such value.

    >>> shift("20240301", "DA", 45), shift("20240301101500.5+0100", "DT", 1), shift("SMITH", "DA", 1)
    ('20240116', '20240229101500.5+0100', None)
    """
    text = text.strip(" \0")
    if vr == "TM":
        return text if not text or _TIME.fullmatch(text) else None
    if not text:
        return text
    if vr == "DA":
        match = _DATE.fullmatch(text)
        return _moved(*match.groups(), days=days) if match else None
    match = _DATETIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, rest, zone = match.groups()
    moved = _moved(year, month or "07", day or "01", days=days)
    if moved is None:
        return None
    precision = 4 + 2 * bool(month) + 2 * bool(day)
    return moved[:precision] + (rest or "") + (zone or "")


def _moved(year: str, month: str, day: str, *, days: int) -> str | None:
    try:
        moved = datetime.date(int(year), int(month), int(day)) - datetime.timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{moved:%Y%m%d}".rjust(8, "0")


def capped_age(text: str) -> str | None:
    """Return an age, ``090Y`` for everyone above 89 years; None where the text is no age.

    >>> capped_age("093Y"), capped_age("045Y"), capped_age("old")
    ('090Y', '045Y', None)
    """
    text = text.strip(" \0")
    match = _AGE.fullmatch(text)
    if match is None:
        return text if not text else None
    over = int(match[1]) * _DAYS[match[2]] >= (OLDEST_YEARS + 1) * _DAYS["Y"] - 1
    return "090Y" if over else text
