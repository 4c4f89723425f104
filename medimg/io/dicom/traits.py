"""What sets images at one position apart: echo, b-value, time, …, as a file states it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from medimg.io.dicom import tags
from medimg.io.dicom.headers import Header

_SIEMENS, _GE = "SIEMENS MR HEADER", "GEMS_PARM_01"
TIME = "time_s"
# GE adds this to b-values to mark how the volume was made.
_GE_MARK = 1_000_000_000


@dataclass(frozen=True)
class Trait:
    """One way in which stacks of a series differ.

    Attributes
    ----------
    name : str
        For a person.
    key : str
        Under which the value is kept with the image.
    value : callable
        Header to the value; None where the file states none.
    tags : tuple of int
        Elements that the value depends on.
    contrast : bool
        Whether images that differ in it are never neighbours in one volume where both fill the same space.
    """

    name: str
    key: str
    value: Callable[[Header], Hashable]
    tags: tuple[int, ...]
    contrast: bool = False

    def varies(self, headers: Sequence[Header]) -> bool:
        """Tell whether the value can differ; looks at undecoded bytes alone, since mostly it does not."""
        return any(len({header.elements.raw.get(tag) for header in headers}) > 1 for tag in self.tags)


def _text(tag: int) -> Callable[[Header], Hashable]:
    return lambda header: "\\".join(tags.texts(header.elements, tag)) or None


def _number(tag: int) -> Callable[[Header], Hashable]:
    def rounded(header: Header) -> Hashable:
        value = tags.number(header.elements, tag)
        return None if value is None else round(value, 3)

    return rounded


def seconds(header: Header) -> float | None:
    """Return AcquisitionTime (HHMMSS.ffffff) in seconds after midnight."""
    value = tags.number(header.elements, tags.ACQUISITION_TIME)
    if value is None or not 0 <= value < 240000:
        return None
    hours, rest = divmod(value, 10000)
    minutes, left = divmod(rest, 100)
    return round(3600 * hours + 60 * minutes + left, 3)


def b_value(header: Header) -> float | None:
    """Return the b-value in s/mm²: the standard's, or the private one of Siemens or GE."""
    elements = header.elements
    value = tags.number(elements, tags.B_VALUE)
    if value is not None:
        return value
    if tags.text(elements, tags.SIEMENS_CREATOR) == _SIEMENS:
        return tags.number(elements, tags.SIEMENS_B_VALUE)
    if tags.text(elements, tags.GE_CREATOR) == _GE:
        value = tags.number(elements, tags.GE_B_VALUE)
        return None if value is None else value % _GE_MARK
    return None


def _gradient(header: Header) -> Hashable:
    direction = tags.floats(header.elements, tags.GRADIENT)
    return None if direction is None else tuple(round(value, 4) for value in direction)


def _numeric(name: str, key: str, tag: int, *, contrast: bool = False) -> Trait:
    return Trait(name, key, _number(tag), (tag,), contrast)


def _worded(name: str, key: str, tag: int, *, contrast: bool = False) -> Trait:
    return Trait(name, key, _text(tag), (tag,), contrast)


_B_VALUE = (tags.B_VALUE, tags.SIEMENS_B_VALUE, tags.GE_B_VALUE)
# In the order in which a split is tried.
TRAITS = (
    _worded("image type", "image_type", tags.IMAGE_TYPE, contrast=True),
    _numeric("temporal position", "temporal_position", tags.TEMPORAL_POSITION, contrast=True),
    _numeric("echo", "echo_time_ms", tags.ECHO_TIME, contrast=True),
    _worded("echo number", "echo_number", tags.ECHO_NUMBERS, contrast=True),
    Trait("b-value", "b_value", b_value, _B_VALUE, contrast=True),
    Trait("gradient direction", "gradient_direction", _gradient, (tags.GRADIENT,), contrast=True),
    _numeric("inversion time", "inversion_time_ms", tags.ACQUISITION["inversion_time_ms"], contrast=True),
    _numeric("flip angle", "flip_angle_deg", tags.ACQUISITION["flip_angle_deg"], contrast=True),
    _worded("frame of reference", "frame_of_reference_uid", tags.FRAME_OF_REFERENCE, contrast=True),
    _worded("stack", "stack_id", tags.STACK_ID),
    _numeric("acquisition number", "acquisition_number", tags.ACQUISITION_NUMBER),
    _worded("kernel", "kernel", tags.KERNEL),
    _numeric("trigger time", "trigger_time_ms", tags.TRIGGER_TIME),
    # Given out as the time after the first stack.
    Trait("acquisition time", TIME, seconds, (tags.ACQUISITION_TIME,)),
    _worded("dimension index", "dimension_index", tags.DIMENSIONS),
)
# Of several stacks of a series, the one that these put first is listed first.
_ORDER = (
    *("temporal_position", "trigger_time_ms", TIME, "acquisition_number", "time_order", "echo_time_ms"),
    *("echo_number", "b_value", "gradient_direction", "inversion_time_ms", "flip_angle_deg", "kernel", "stack_id"),
    *("image_type", "dimension_index", "frame_of_reference_uid", "piece"),
)


def in_order(values: dict[str, Any]) -> tuple[tuple[bool, float, str], ...]:
    """Return a key that sorts stacks of one series by time, then echo, b-value and the rest."""
    key = []
    for name in _ORDER:
        value = values.get(name)
        number = float(value) if isinstance(value, int | float) else 0.0
        key.append((value is not None, number, "" if isinstance(value, int | float) else str(value)))
    return tuple(key)
