"""Which rule a series falls under. The first that matches decides; none is an answer too.

Never routed, whatever the rules say: objects that are no images, localizers, captures, doses and maps, images that
call themselves derived (unless the rule lets them in), and what medimg has made itself: that is known by the journal's
own results, by the manufacturer, and by the equipment that contributed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.tag import Tag

from medimg.errors import InputError
from medimg.io.dicom.aside import aside_of
from medimg.io.dicom.headers import PYDICOM_ERRORS, Header, quietly, read_header
from medimg.pacs.serve.settings import RouteSettings
from medimg.pacs.serve.tag_names import tag_of

_MADE_BY = re.compile(r"\s*medimg\b", re.IGNORECASE)
_MODALITY, _BODY_PART, _DESCRIPTION = 0x00080060, 0x00180015, 0x0008103E
_IMAGE_TYPE, _MAKER, _MODEL, _CONTRIBUTING = 0x00080008, 0x00080070, 0x00081090, 0x0018A001
_DERIVED = {"DERIVED", "SECONDARY"}


@dataclass(frozen=True)
class Choice:
    """The rule, or why there is none."""

    route: RouteSettings | None
    reason: str = ""


def choose(files: Sequence[Path], routes: Sequence[RouteSettings], *, made_here: bool = False) -> Choice:
    """Choose the rule of a series.

    Parameters
    ----------
    files : sequence of Path
        Its instances.
    routes : sequence of RouteSettings
    made_here : bool
        The journal knows an instance of it as a result of its own.
    """
    if made_here:
        return Choice(None, "it was made by medimg")
    headers = _images(files)
    if not headers:
        return Choice(None, "it holds no image that can be read")
    scans = [header for header in headers if not aside_of(header)]
    if not scans and {aside_of(header) for header in headers} != {"derived"}:
        return Choice(None, f"it holds nothing but: {', '.join(sorted({str(aside_of(h)) for h in headers}))}")
    first = (scans or headers)[0]
    dataset = _attributes(first.path, routes)
    if _own(dataset):
        return Choice(None, "it was made by medimg")
    derived = not scans or bool(_DERIVED & {word.upper() for word in _texts(dataset, _IMAGE_TYPE)})
    count = len(scans or headers) if first.frames <= 1 else sum(header.frames for header in scans or headers)
    refused = "no rule matches"
    for route in routes:
        if not _matches(dataset, route):
            continue
        if derived and not route.derived:
            refused = "its images are derived"
        elif not route.min_slices <= count <= route.max_slices:
            refused = f"it has {count} images, and no rule takes so many"
        else:
            return Choice(route)
    return Choice(None, refused)


def _images(files: Sequence[Path]) -> list[Header]:
    found = []
    for file in files:
        try:
            header = read_header(file)
        except InputError:
            continue
        if header.is_image:
            found.append(header)
    return found


def _attributes(path: Path, routes: Sequence[RouteSettings]) -> pydicom.Dataset:
    wanted = {_MODALITY, _BODY_PART, _DESCRIPTION, _IMAGE_TYPE, _MAKER, _MODEL, _CONTRIBUTING}
    wanted |= {tag_of(name) for route in routes for name in (*route.tags, *route.exclude)}
    try:
        with quietly():
            return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[Tag(tag) for tag in sorted(wanted)])
    except PYDICOM_ERRORS as error:
        raise InputError("The attributes of a series cannot be read.", where=path, got=type(error).__name__) from error


def _texts(dataset: pydicom.Dataset, tag: int) -> list[str]:
    with quietly():
        try:
            value: Any = dataset[tag].value if tag in dataset else None
        except PYDICOM_ERRORS:
            return []
    if value is None:
        return []
    many = value if isinstance(value, pydicom.multival.MultiValue | list | tuple) else [value]
    return [str(one).strip() for one in many]


def _own(dataset: pydicom.Dataset) -> bool:
    if any(_MADE_BY.match(text) for tag in (_MAKER, _MODEL) for text in _texts(dataset, tag)):
        return True
    with quietly():
        try:
            items = list(dataset[_CONTRIBUTING].value or []) if _CONTRIBUTING in dataset else []
        except PYDICOM_ERRORS:
            return False
    return any(_MADE_BY.match(text) for item in items for tag in (_MAKER, _MODEL) for text in _texts(item, tag))


def _matches(dataset: pydicom.Dataset, route: RouteSettings) -> bool:
    wanted = {_MODALITY: route.modality, _BODY_PART: route.body_part, _DESCRIPTION: route.description}
    pairs = [*wanted.items(), *((tag_of(name), pattern) for name, pattern in route.tags.items())]
    if not all(_fits(dataset, tag, pattern) for tag, pattern in pairs):
        return False
    return not any(_fits(dataset, tag_of(name), pattern) for name, pattern in route.exclude.items())


def _fits(dataset: pydicom.Dataset, tag: int, pattern: str) -> bool:
    text = "\\".join(_texts(dataset, tag))
    return re.fullmatch(pattern, text, re.IGNORECASE) is not None
