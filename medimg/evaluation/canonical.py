"""Canonical JSON: the same content always gives the same bytes, so that a digest can stand for it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

SIGNIFICANT_DIGITS = 9
"""Enough for every float32; few enough that the last bits of a sum do not change the bytes."""


def round_significant(value: float, digits: int = SIGNIFICANT_DIGITS) -> float:
    """Return ``value`` rounded to ``digits`` significant decimal digits.

    >>> round_significant(0.1234567891234)
    0.123456789
    """
    return float(f"{value:.{digits}g}")


def canonical_json(content: Any) -> str:
    """Return ``content`` as JSON with sorted keys, floats of nine significant digits and no NaN.

    Parameters
    ----------
    content : mapping, sequence, str, int, float, bool or None
        What ``json.loads`` or ``BaseModel.model_dump(mode="json")`` would return.

    Returns
    -------
    str
        Two-space indented JSON that ends with a newline.

    Raises
    ------
    ValueError
        Where a number is NaN or infinite: an undefined value is null with a reason beside it.
    """
    return json.dumps(_tidy(content), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def digest(content: Any) -> str:
    """Return the SHA-256 (hexadecimal) of the canonical JSON of ``content``."""
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def _tidy(content: Any) -> Any:
    if isinstance(content, float):
        if not math.isfinite(content):
            raise ValueError("canonical JSON has no NaN and no infinity: use null and give the reason")
        # Minus zero would be a second spelling of zero.
        return round_significant(content) + 0.0
    if isinstance(content, Mapping):
        return {str(key): _tidy(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_tidy(value) for value in content]
    return content
