"""The kinds of DICOM objects that a prediction can be written as."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from medimg.errors import ConfigError, nearest

SegKind = Literal["BINARY", "FRACTIONAL", "LABELMAP"]
SEGS: dict[str, SegKind] = {"seg": "BINARY", "seg_fractional": "FRACTIONAL", "seg_labelmap": "LABELMAP"}
KINDS = (*SEGS, "sr", "sc", "gsps", "pm")
OF_PROBABILITIES = frozenset({"seg_fractional", "pm"})
"""Kinds that need a prediction with probabilities."""


def check_kinds(kinds: Sequence[str]) -> None:
    """Refuse words that name no kind, and several kinds of segmentation.

    Raises
    ------
    ConfigError
        Says which.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError("No such kind of DICOM result.", where="dicom", got=kind, expected=nearest(kind, KINDS))
    segs = [kind for kind in kinds if kind in SEGS]
    if len(segs) > 1:
        raise ConfigError("One kind of segmentation at a time.", where="dicom", got=", ".join(segs))
