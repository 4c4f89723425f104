"""Images that the automatic choice passes over where a scan is beside them.

Localizers, derived images, captures, doses, parametric maps, and results of medimg itself. They are listed, and read
where they are asked for or stand alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from medimg.io.dicom import tags
from medimg.io.dicom.headers import Header

Aside = Literal["", "localizer", "derived", "capture", "dose", "map", "result"]

_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"
_OBJECTS: dict[str, Aside] = {"1.2.840.10008.5.1.4.1.1.481.2": "dose", "1.2.840.10008.5.1.4.1.1.30": "map"}
_LOCALIZERS = {"LOCALIZER", "SCOUT"}
# Words after the second value of ImageType. DERIVED as first value alone says little: recompressed and
# iteratively reconstructed originals carry it too.
_DERIVED = {
    *("MIP", "MINIP", "MIN IP", "MAXIP", "MAX IP", "AVERAGE", "PROJECTION IMAGE", "CSA MIP"),
    *("MPR", "CSA MPR", "CSA RESAMPLED", "REFORMATTED", "RESAMPLED", "CURVED", "CPR", "VRT", "SSD", "3D", "VOLREND"),
    *("SUBTRACTION", "SUBTRACT", "SUB"),
    *("ADC", "EADC", "FA", "MAP", "PARAMETRIC MAP", "COLOR MAP", "T1 MAP", "T2 MAP", "T2_STAR MAP", "T2STAR MAP"),
    *("CBF", "CBV", "RCBF", "RCBV", "RELCBF", "RELCBV", "MTT", "TTP", "TMAX", "PERFUSION", "GBP", "PBP"),
}
_SCREENS = {"SCREEN SAVE", "SCREENSAVE", "SCREENSHOT", "DOSE_INFO", "DOSE INFO", "CSA REPORT", "REPORT"}
_SCANNERS = ("CT", "MR", "PT")
# medimg's writers name it as manufacturer or model.
_MAKERS = (tags.ACQUISITION["manufacturer"], tags.ACQUISITION["model"])


def aside_of(header: Header) -> Aside:
    """Return why an image is passed over, '' where it is not."""
    makers = tuple(header.elements.raw.get(tag, ("", b""))[1] for tag in _MAKERS)
    return _aside(header.image_type, header.sop_class, header.modality, header.samples > 1, makers)


@lru_cache(maxsize=256)
def _aside(
    image_type: tuple[str, ...], sop_class: str, modality: str, is_colour: bool, makers: tuple[bytes, ...]
) -> Aside:
    words = [word.strip().upper() for word in image_type]
    if _LOCALIZERS.intersection(words):
        return "localizer"
    if any(re.match(rb"\s*medimg\b", maker, re.IGNORECASE) for maker in makers):
        return "result"
    if sop_class in _OBJECTS:
        return _OBJECTS[sop_class]
    scanner = modality in _SCANNERS
    if sop_class == _CAPTURES or sop_class.startswith(_CAPTURES + ".") or _SCREENS.intersection(words):
        return "capture"
    if scanner and is_colour:
        return "capture"
    return "derived" if scanner and _DERIVED.intersection(words[2:]) else ""


def passed_over(asides: Sequence[tuple[str, str]]) -> list[bool]:
    """Tell, for every image (aside, modality), whether the automatic choice passes it over.

    A derived image is passed over where an original of its modality is there, others where any is.
    """
    originals = {modality for aside, modality in asides if not aside}
    return [
        bool(aside) and (modality in originals if aside == "derived" else bool(originals)) for aside, modality in asides
    ]
