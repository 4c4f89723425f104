"""DICOM tags as operators write them: a keyword, or (gggg,eeee)."""

from __future__ import annotations

import re

from pydicom.datadict import tag_for_keyword

from medimg.errors import ConfigError

_NUMBER = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")


def tag_of(name: str) -> int:
    """Return the tag of a keyword or of ``(gggg,eeee)``.

    Raises
    ------
    ConfigError
        There is no such tag.

    >>> tag_of("(0018,0015)") == tag_of("BodyPartExamined")
    True
    """
    number = _NUMBER.fullmatch(name.strip())
    found = int(number[1] + number[2], 16) if number else tag_for_keyword(name.strip())
    if found is None:
        raise ConfigError("No such DICOM tag.", where="routes", got=name, expected="a keyword, or (gggg,eeee)")
    return int(found)
