"""Raw values of a DICOM data set: no value is converted, validated or logged that was not asked for.

pydicom parses the elements; their bytes are decoded here, because most elements of a header are never
needed, and because a malformed value should become this reader's own error instead of a warning that prints it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

MEDIA_SOP_CLASS = 0x00020002
TRANSFER_SYNTAX = 0x00020010
CHARACTER_SET = 0x00080005
SOP_CLASS = 0x00080016
SOP_INSTANCE = 0x00080018
STUDY_UID = 0x0020000D
SERIES_UID = 0x0020000E
FRAME_OF_REFERENCE = 0x00200052
IMAGE_TYPE = 0x00080008
MODALITY = 0x00080060
SERIES_NUMBER = 0x00200011
ACQUISITION_NUMBER = 0x00200012
INSTANCE_NUMBER = 0x00200013
TEMPORAL_POSITION = 0x00200100
TRIGGER_TIME = 0x00181060
ECHO_TIME = 0x00180081
ECHO_NUMBERS = 0x00180086
B_VALUE = 0x00189087
GRADIENT = 0x00189089
ACQUISITION_TIME = 0x00080032
CONTENT_TIME = 0x00080033
IMAGES_IN_ACQUISITION = 0x00201002
STACK_ID = 0x00209056
DIMENSIONS = 0x00209157
# Private blocks, each element with the element that names its creator.
SIEMENS_CREATOR, SIEMENS_B_VALUE = 0x00190010, 0x0019100C
GE_CREATOR, GE_B_VALUE = 0x00430010, 0x00431039
KERNEL = 0x00181210
SLICE_THICKNESS = 0x00180050
SPACING_BETWEEN = 0x00180088
POSITION = 0x00200032
ORIENTATION = 0x00200037
SAMPLES = 0x00280002
PHOTOMETRIC = 0x00280004
FRAMES = 0x00280008
ROWS = 0x00280010
COLUMNS = 0x00280011
PIXEL_SPACING = 0x00280030
BITS_ALLOCATED = 0x00280100
BITS_STORED = 0x00280101
HIGH_BIT = 0x00280102
SIGNED = 0x00280103
PADDING = 0x00280120
PADDING_LIMIT = 0x00280121
PLANAR = 0x00280006
INTERCEPT = 0x00281052
SLOPE = 0x00281053
RESCALE_TYPE = 0x00281054
LOSSY = 0x00282110
MODALITY_LUT = 0x00283000
UNITS = 0x00541001
PIXEL_DATA = 0x7FE00010

# Technical attributes that are kept with an image. None of them says who the patient is.
ACQUISITION = {
    "manufacturer": 0x00080070,
    "model": 0x00081090,
    "software": 0x00181020,
    "body_part": 0x00180015,
    "kvp": 0x00180060,
    "kernel": KERNEL,
    "slice_thickness_mm": SLICE_THICKNESS,
    "field_strength_t": 0x00180087,
    "scanning_sequence": 0x00180020,
    "sequence_variant": 0x00180021,
    "mr_acquisition_type": 0x00180023,
    "repetition_time_ms": 0x00180080,
    "echo_time_ms": ECHO_TIME,
    "inversion_time_ms": 0x00180082,
    "flip_angle_deg": 0x00181314,
    "gantry_tilt_deg": 0x00181120,
    "patient_position": 0x00185100,
    "image_type": IMAGE_TYPE,
    "units": UNITS,
    "lossy_compression": LOSSY,
    "window_centre": 0x00281050,
    "window_width": 0x00281051,
}
_HEADER = (
    *(CHARACTER_SET, SOP_CLASS, SOP_INSTANCE, STUDY_UID, SERIES_UID, FRAME_OF_REFERENCE, MODALITY, SERIES_NUMBER),
    *(ACQUISITION_NUMBER, INSTANCE_NUMBER, TEMPORAL_POSITION, TRIGGER_TIME, ECHO_NUMBERS, B_VALUE),
    *(SPACING_BETWEEN, POSITION, ORIENTATION, SAMPLES, PHOTOMETRIC, FRAMES, ROWS, COLUMNS, PIXEL_SPACING),
    *(BITS_ALLOCATED, BITS_STORED, HIGH_BIT, SIGNED, PADDING, INTERCEPT, SLOPE, RESCALE_TYPE, MODALITY_LUT),
    *(PADDING_LIMIT, PLANAR, GRADIENT, ACQUISITION_TIME, CONTENT_TIME, IMAGES_IN_ACQUISITION, STACK_ID, DIMENSIONS),
    *(SIEMENS_CREATOR, SIEMENS_B_VALUE, GE_CREATOR, GE_B_VALUE),
)
# Binary where the file states no VR.
_BINARY = {B_VALUE: "FD", GRADIENT: "FD"}
_ABSENT = ("", b"")
_SHORTS = {"US": "<H", "SS": "<h"}
WANTED: list[int] = sorted({*_HEADER, *ACQUISITION.values()})


def show(tag: int) -> str:
    """Return a tag the way the standard writes it.

    >>> show(0x00200032)
    '(0020,0032)'
    """
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@dataclass(frozen=True, eq=False)
class Elements:
    """The wanted elements of one data set, or of one frame of it, as undecoded bytes.

    Attributes
    ----------
    raw : mapping of int to (str, bytes)
        Tag to VR ('' where the file states none) and value.
    little : bool
        Byte order of binary values.
    """

    raw: Mapping[int, tuple[str, bytes]] = field(default_factory=dict)
    little: bool = True

    @classmethod
    def of(cls, dataset: Dataset, wanted: Iterable[int] | None = None) -> Elements:
        """Take the elements of a pydicom data set; of sequences, only that they are there."""
        raw = {}
        for tag in dataset.keys() if wanted is None else wanted:
            element = dataset.get_item(tag, keep_deferred=True)
            if element is not None:
                vr = str(element.VR or "")
                raw[int(tag)] = (vr, _packed(element.value, vr))
        return cls(raw, bool(dataset.original_encoding[1] in (True, None)))

    def with_values(self, values: Mapping[int, Any]) -> Elements:
        """Return a copy in which text elements (DS, IS, CS, UI, …) have these values; None removes one."""
        raw = dict(self.raw)
        for tag, value in values.items():
            if value is None:
                raw.pop(int(tag), None)
            else:
                raw[int(tag)] = ("UT", _bytes(value))
        return Elements(raw, self.little)


def _packed(value: Any, vr: str) -> bytes:
    """Return an element's value as bytes; pydicom has decoded a few already."""
    if vr not in _SHORTS or isinstance(value, bytes):
        return _bytes(value)
    return b"".join(struct.pack(_SHORTS[vr], number) for number in np.atleast_1d(value if value is not None else []))


def _bytes(value: Any) -> bytes:
    """Return bytes as they are, decoded values as DICOM text, and nothing of sequences."""
    if isinstance(value, bytes):
        return value
    if value is None:
        return b""
    many = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    parts = list(many)
    if any(isinstance(part, Dataset) for part in parts):
        return b""
    joined = "\\".join(repr(part) if isinstance(part, float) else str(part) for part in parts)
    return joined.encode("latin-1", "replace")


def texts(elements: Elements, tag: int) -> list[str]:
    """Return the values of a text element (CS, DS, IS, UI, LO, …), empty where it is absent or empty."""
    _, value = elements.raw.get(tag, _ABSENT)
    text = value.decode("latin-1").strip(" \x00\t\r\n")
    if "\\" in text:
        return [part.strip(" \x00") for part in text.split("\\")]
    return [text] if text else []


def text(elements: Elements, tag: int) -> str:
    """Return the first value of a text element, '' where there is none."""
    found = texts(elements, tag)
    return found[0] if found else ""


def floats(elements: Elements, tag: int) -> list[float] | None:
    """Return the numbers of a DS, IS or FD element; None where it is absent, empty or not numeric."""
    stated, value = elements.raw.get(tag, _ABSENT)
    if (stated or _BINARY.get(tag)) == "FD" and len(value) % 8 == 0:
        return list(struct.unpack(f"{_order(elements)}{len(value) // 8}d", value)) or None
    try:
        return list(map(float, texts(elements, tag))) or None
    except ValueError:
        return None


def number(elements: Elements, tag: int) -> float | None:
    """Return the first number of a DS, IS or FD element, or None."""
    found = floats(elements, tag)
    return found[0] if found else None


def short(elements: Elements, tag: int, *, signed: bool = False) -> int | None:
    """Return the first value of a US or SS element, or None where it is absent or empty."""
    _, value = elements.raw.get(tag, _ABSENT)
    if len(value) < 2:
        return None
    return int.from_bytes(value[:2], "little" if elements.little else "big", signed=signed)


def has(elements: Elements, tag: int) -> bool:
    """Tell whether an element is there, empty or not."""
    return tag in elements.raw


def _order(elements: Elements) -> str:
    return "<" if elements.little else ">"
