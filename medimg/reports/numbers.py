"""Numbers as a reader should see them: with as many digits as their interval supports, and exact underneath."""

from __future__ import annotations

import math

from markupsafe import Markup

MINUS = "\u2212"


def decimals_for(low: float | None, high: float | None) -> int:
    """Return the digits after the point that an interval supports: two significant digits of its width.

    Numbers up to one, such as fractions, always show two.

    >>> decimals_for(0.6, 0.7), decimals_for(0.6, 0.64), decimals_for(0.0, 1.0), decimals_for(38.0, 288.0)
    (2, 3, 2, 0)
    """
    if low is None or high is None or not high > low:
        return 2
    # The width of 0.1 comes out of a subtraction as 0.0999...
    least = 2 if max(abs(low), abs(high)) <= 1 else 0
    return min(4, max(least, 1 - math.floor(math.log10((high - low) * (1 + 1e-9)))))


def plain(value: float, decimals: int) -> str:
    """Return a number with a true minus sign.

    >>> plain(-0.028, 2), plain(-0.001, 2)
    ('\u22120.03', '0.00')
    """
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def span(low: float, high: float, decimals: int, *, to: str = " to ") -> str:
    """Return both ends of an interval; with a word (``to``) between them where a minus could be misread.

    >>> span(0.6, 0.7, 2), span(-0.1, 0.2, 2)
    ('0.60–0.70', '\u22120.10 to 0.20')
    """
    return f"{plain(low, decimals)}{_joint(low, high, to)}{plain(high, decimals)}"


def with_interval(estimate: float, low: float | None, high: float | None, *, to: str = " to ") -> str:
    """Return an estimate with its interval as plain text, such as ``0.65 (0.60–0.70)``."""
    decimals = decimals_for(low, high)
    if low is None or high is None:
        return f"{plain(estimate, decimals)} (no interval)"
    return f"{plain(estimate, decimals)} ({span(low, high, decimals, to=to)})"


def exact(value: float, decimals: int) -> Markup:
    """Return a rounded number that carries the exact one: what the page shows can be checked against the report."""
    return Markup('<data value="{}">{}</data>').format(repr(float(value)), plain(value, decimals))


def exact_with_interval(estimate: float | None, low: float | None, high: float | None, *, to: str = " to ") -> Markup:
    """Return `with_interval` as HTML whose three numbers carry their exact values; without estimate the interval."""
    decimals = decimals_for(low, high)
    shown = Markup("") if estimate is None else exact(estimate, decimals)
    if low is None or high is None:
        return shown
    return Markup('{}{}<span class="ci">{}{}{}{}{}</span>').format(
        shown,
        "" if estimate is None else " ",
        "" if estimate is None else "(",
        exact(low, decimals),
        _joint(low, high, to),
        exact(high, decimals),
        "" if estimate is None else ")",
    )


def p_words(value: float) -> str:
    """Return a p-value in words.

    >>> p_words(0.0312), p_words(0.00004)
    ('p = 0.03', 'p < 0.001')
    """
    if value < 0.001:
        return "p < 0.001"
    if value > 0.99:
        return "p > 0.99"
    return f"p = {value:.3f}" if value < 0.01 else f"p = {value:.2f}"


def _joint(low: float, high: float, to: str) -> str:
    return to if low < 0 or high < 0 else "–"
