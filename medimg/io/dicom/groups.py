"""Functional groups of multi-frame objects: which element of which macro stands for which tag of a single frame.

Source: DICOM PS3.3 C.7.6.16.2 (common macros), C.8.13 (MR), C.8.15 (CT), C.8.22 (PET). Nothing of a group that
could name a patient is read.
"""

from __future__ import annotations

import struct

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset

from medimg.io.dicom import tags

SHARED = 0x52009229
PER_FRAME = 0x52009230
STACK_ID = 0x00209056
GRADIENT = 0x00189089
DIMENSIONS = 0x00209157
DIMENSION_INDEX = 0x00209222
REAL_WORLD = 0x00409096

_FRAME_CONTENT = 0x00209111
_FRAME_TYPE, _COMPLEX_COMPONENT = 0x00089007, 0x00089208
_DIFFUSION, _DIRECTION = 0x00189117, 0x00189076
_POINTER = 0x00209165
_WORLD_SLOPE, _WORLD_INTERCEPT = 0x00409225, 0x00409224
_UNIT_CODE, _CODE_VALUE = 0x004008EA, 0x00080100
_UNASSIGNED = (
    *(tags.ECHO_TIME, tags.ECHO_NUMBERS, tags.TEMPORAL_POSITION, tags.ACQUISITION_NUMBER, tags.TRIGGER_TIME),
    *(tags.KERNEL, tags.B_VALUE, tags.UNITS, *tags.ACQUISITION.values()),
)

# Macro → element in it → tag of a single frame. Later macros win over earlier ones, so what a converter could
# not assign comes first, and a temporal index after a temporal offset.
_MACROS: dict[int, dict[int, int]] = {
    0x00209170: {tag: tag for tag in _UNASSIGNED},
    0x00209171: {tag: tag for tag in _UNASSIGNED},
    0x00209310: {0x0020930D: tags.TEMPORAL_POSITION},
    _FRAME_CONTENT: {
        0x00209128: tags.TEMPORAL_POSITION,
        0x00209156: tags.ACQUISITION_NUMBER,
        STACK_ID: STACK_ID,
    },
    0x00209113: {tags.POSITION: tags.POSITION},
    0x00209116: {tags.ORIENTATION: tags.ORIENTATION},
    0x00289110: {tag: tag for tag in (tags.PIXEL_SPACING, tags.SLICE_THICKNESS, tags.SPACING_BETWEEN)},
    0x00289145: {tag: tag for tag in (tags.SLOPE, tags.INTERCEPT, tags.RESCALE_TYPE)},
    0x00189112: {tags.ACQUISITION[name]: tags.ACQUISITION[name] for name in ("repetition_time_ms", "flip_angle_deg")},
    0x00189114: {0x00189082: tags.ECHO_TIME},
    _DIFFUSION: {0x00189087: tags.B_VALUE},
    0x00189118: {0x00209153: tags.TRIGGER_TIME},
    0x00189226: {_FRAME_TYPE: tags.IMAGE_TYPE},
    0x00189329: {_FRAME_TYPE: tags.IMAGE_TYPE},
    0x00189751: {_FRAME_TYPE: tags.IMAGE_TYPE},
    0x00189314: {tags.KERNEL: tags.KERNEL},
    0x00189325: {tags.ACQUISITION["kvp"]: tags.ACQUISITION["kvp"]},
}
# Dimensions that order the slices of one stack: position in the stack, patient position, slice location.
_SLICE_DIMENSIONS = {0x00209057, 0x00200032, 0x00209113, 0x00201041}
_NUMBERS = {"FD": "d", "FL": "f", "UL": "I", "SL": "i", "US": "H", "SS": "h"}


def group_values(groups: Dataset) -> dict[int, list[str]]:
    """Return what one item of functional groups states, as text under the tags of single-frame files."""
    found: dict[int, list[str]] = {}
    present = set(map(int, groups.keys()))
    for sequence, wanted in _MACROS.items():
        item = first_item(groups, sequence) if sequence in present else None
        if item is None:
            continue
        for inner, outer in wanted.items():
            stated = values(item, inner)
            if stated:
                found[outer] = stated
        if _FRAME_TYPE in wanted and tags.IMAGE_TYPE in found:
            # Magnitude and phase share a frame type; the component tells them apart.
            found[tags.IMAGE_TYPE] = [*found[tags.IMAGE_TYPE], *values(item, _COMPLEX_COMPONENT)]
        if sequence == _DIFFUSION:
            direction = first_item(item, _DIRECTION)
            found[GRADIENT] = values(direction, GRADIENT) if direction is not None else []
    mapped = first_item(groups, REAL_WORLD) if REAL_WORLD in present else None
    if mapped is not None:
        unit = first_item(mapped, _UNIT_CODE)
        code = values(unit, _CODE_VALUE) if unit is not None else []
        found[REAL_WORLD] = [*values(mapped, _WORLD_SLOPE), *values(mapped, _WORLD_INTERCEPT), *code]
    return found


def kept_dimensions(dataset: Dataset) -> list[int]:
    """Return the places of the dimension index that do not order the slices of a stack."""
    pointers = [values(item, _POINTER) for item in items(dataset, DIMENSION_INDEX)]
    return [n for n, pointer in enumerate(pointers) if pointer and int(pointer[0]) not in _SLICE_DIMENSIONS]


def dimension_values(groups: Dataset, kept: list[int]) -> list[str]:
    """Return a frame's dimension index values at the places kept."""
    content = first_item(groups, _FRAME_CONTENT)
    stated = values(content, DIMENSIONS) if content is not None else []
    return [stated[n] for n in kept if n < len(stated)]


def items(dataset: Dataset, tag: int) -> list[Dataset]:
    """Return the items of a sequence; none where it is absent, empty, or no sequence."""
    if tag not in dataset:
        return []
    found = dataset[tag].value
    if found is None or isinstance(found, (str, bytes)):
        return []
    return [item for item in found if isinstance(item, Dataset)]


def first_item(dataset: Dataset, tag: int) -> Dataset | None:
    """Return the first item of a sequence, or None."""
    found = items(dataset, tag)
    return found[0] if found else None


def values(dataset: Dataset, tag: int) -> list[str]:
    """Return the values of an element as text, binary numbers decoded; empty where it is absent or malformed."""
    element = dataset.get_item(tag)
    if element is None or element.value is None:
        return []
    value = element.value
    if not isinstance(value, bytes):
        many = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else value
        return [repr(float(one)) if isinstance(one, float) else str(one).strip() for one in many]
    vr = str(element.VR or "")
    if vr in ("", "UN") and dictionary_has_tag(tag):
        # Ambiguous ones, such as 'US or SS', are read unsigned.
        vr = dictionary_VR(tag).split(" or ")[0]
    order = "<" if getattr(element, "is_little_endian", True) else ">"
    if vr == "AT":
        return [str(high << 16 | low) for high, low in struct.iter_unpack(f"{order}2H", _whole(value, 4))]
    if vr in _NUMBERS:
        size = struct.calcsize(_NUMBERS[vr])
        return [repr(one) for (one,) in struct.iter_unpack(order + _NUMBERS[vr], _whole(value, size))]
    text = value.decode("latin-1").strip(" \x00\t\r\n")
    return [part.strip(" \x00") for part in text.split("\\")] if text else []


def _whole(value: bytes, size: int) -> bytes:
    return value[: len(value) // size * size]
