"""Raw values of a DICOM data set: no value is converted, validated or logged that was not asked for.

pydicom parses the elements; their bytes are decoded here, because most elements of a header are never
needed, and because a malformed value should become this reader's own error instead of a warning that prints it.
"""

from __future__ import annotations

import struct
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

MEDIA_SOP_CLASS = BaseTag(0x00020002)
TRANSFER_SYNTAX = BaseTag(0x00020010)
SOP_CLASS = BaseTag(0x00080016)
SOP_INSTANCE = BaseTag(0x00080018)
STUDY_UID = BaseTag(0x0020000D)
SERIES_UID = BaseTag(0x0020000E)
FRAME_OF_REFERENCE = BaseTag(0x00200052)
IMAGE_TYPE = BaseTag(0x00080008)
MODALITY = BaseTag(0x00080060)
SERIES_NUMBER = BaseTag(0x00200011)
ACQUISITION_NUMBER = BaseTag(0x00200012)
INSTANCE_NUMBER = BaseTag(0x00200013)
TEMPORAL_POSITION = BaseTag(0x00200100)
TRIGGER_TIME = BaseTag(0x00181060)
ECHO_TIME = BaseTag(0x00180081)
ECHO_NUMBERS = BaseTag(0x00180086)
B_VALUE = BaseTag(0x00189087)
KERNEL = BaseTag(0x00181210)
SLICE_THICKNESS = BaseTag(0x00180050)
SPACING_BETWEEN = BaseTag(0x00180088)
POSITION = BaseTag(0x00200032)
ORIENTATION = BaseTag(0x00200037)
SAMPLES = BaseTag(0x00280002)
PHOTOMETRIC = BaseTag(0x00280004)
FRAMES = BaseTag(0x00280008)
ROWS = BaseTag(0x00280010)
COLUMNS = BaseTag(0x00280011)
PIXEL_SPACING = BaseTag(0x00280030)
BITS_ALLOCATED = BaseTag(0x00280100)
BITS_STORED = BaseTag(0x00280101)
HIGH_BIT = BaseTag(0x00280102)
SIGNED = BaseTag(0x00280103)
PADDING = BaseTag(0x00280120)
INTERCEPT = BaseTag(0x00281052)
SLOPE = BaseTag(0x00281053)
RESCALE_TYPE = BaseTag(0x00281054)
LOSSY = BaseTag(0x00282110)
MODALITY_LUT = BaseTag(0x00283000)
UNITS = BaseTag(0x00541001)
PIXEL_DATA = BaseTag(0x7FE00010)

# Technical attributes that are kept with an image. None of them says who the patient is.
ACQUISITION = {
    "manufacturer": BaseTag(0x00080070),
    "model": BaseTag(0x00081090),
    "software": BaseTag(0x00181020),
    "body_part": BaseTag(0x00180015),
    "kvp": BaseTag(0x00180060),
    "kernel": KERNEL,
    "slice_thickness_mm": SLICE_THICKNESS,
    "field_strength_t": BaseTag(0x00180087),
    "scanning_sequence": BaseTag(0x00180020),
    "sequence_variant": BaseTag(0x00180021),
    "mr_acquisition_type": BaseTag(0x00180023),
    "repetition_time_ms": BaseTag(0x00180080),
    "echo_time_ms": ECHO_TIME,
    "inversion_time_ms": BaseTag(0x00180082),
    "flip_angle_deg": BaseTag(0x00181314),
    "gantry_tilt_deg": BaseTag(0x00181120),
    "patient_position": BaseTag(0x00185100),
    "image_type": IMAGE_TYPE,
    "units": UNITS,
    "lossy_compression": LOSSY,
}
_HEADER = (
    *(SOP_CLASS, SOP_INSTANCE, STUDY_UID, SERIES_UID, FRAME_OF_REFERENCE, MODALITY, SERIES_NUMBER),
    *(ACQUISITION_NUMBER, INSTANCE_NUMBER, TEMPORAL_POSITION, TRIGGER_TIME, ECHO_NUMBERS, B_VALUE),
    *(SPACING_BETWEEN, POSITION, ORIENTATION, SAMPLES, PHOTOMETRIC, FRAMES, ROWS, COLUMNS, PIXEL_SPACING),
    *(BITS_ALLOCATED, BITS_STORED, HIGH_BIT, SIGNED, PADDING, INTERCEPT, SLOPE, RESCALE_TYPE, MODALITY_LUT),
)
WANTED: list[BaseTag] = sorted({*_HEADER, *ACQUISITION.values()})


def show(tag: int) -> str:
    """Return a tag the way the standard writes it.

    >>> show(0x00200032)
    '(0020,0032)'
    """
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def texts(dataset: Dataset, tag: BaseTag) -> list[str]:
    """Return the values of a text element (CS, DS, IS, UI, LO, …), empty where it is absent or empty."""
    value = _value(dataset, tag)
    if value is None:
        return []
    if isinstance(value, bytes):
        value = value.decode("latin-1").strip(" \x00\t\r\n")
        return [part.strip(" \x00") for part in value.split("\\")] if value else []
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        value = [value]
    return [str(part).strip() for part in value]


def text(dataset: Dataset, tag: BaseTag) -> str:
    """Return the first value of a text element, '' where there is none."""
    found = texts(dataset, tag)
    return found[0] if found else ""


def floats(dataset: Dataset, tag: BaseTag) -> list[float] | None:
    """Return the numbers of a DS or FD element; None where it is absent, empty or not numeric."""
    raw = _value(dataset, tag)
    if isinstance(raw, bytes) and _vr(dataset, tag) == "FD" and len(raw) % 8 == 0:
        return list(struct.unpack(f"{_order(dataset)}{len(raw) // 8}d", raw)) or None
    try:
        return [float(part) for part in texts(dataset, tag)] or None
    except ValueError:
        return None


def number(dataset: Dataset, tag: BaseTag) -> float | None:
    """Return the first number of a DS, IS or FD element, or None."""
    found = floats(dataset, tag)
    return found[0] if found else None


def short(dataset: Dataset, tag: BaseTag, *, signed: bool = False) -> int | None:
    """Return the first value of a US or SS element, or None where it is absent or empty."""
    raw = _value(dataset, tag)
    if isinstance(raw, bytes):
        if len(raw) < 2:
            return None
        return int(struct.unpack(_order(dataset) + ("h" if signed else "H"), raw[:2])[0])
    return None if raw is None else int(raw[0] if isinstance(raw, list | tuple) else raw)


def has(dataset: Dataset, tag: BaseTag) -> bool:
    """Tell whether an element is there, empty or not."""
    return tag in dataset


def _value(dataset: Dataset, tag: BaseTag) -> Any:
    element = dataset.get_item(tag)
    return None if element is None else element.value


def _vr(dataset: Dataset, tag: BaseTag) -> str:
    element = dataset.get_item(tag)
    known = "" if element is None else str(element.VR or "")
    return "FD" if tag == B_VALUE else known


def _order(dataset: Dataset) -> str:
    return "<" if dataset.original_encoding[1] in (True, None) else ">"
