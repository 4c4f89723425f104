"""Where the elements of a DICOM file lie, nested ones too: a flat scanner that follows what can be followed."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import dictionary_VR

LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
ALL_VRS = (*LONG_VRS, b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"FD", b"FL", b"IS", b"LO", b"SH", b"UI", b"UL", b"US")
SYNTAXES = (
    *("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"),
    *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 100, 102, 103, 106, 107, 201, 202, 203)),
    *("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8.1", "1.2.3.4.5", "", "1.2.840.10008.1.2.1\0\0\0\0"),
)
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


@dataclass(frozen=True)
class Element:
    """Where one element of a file lies: of its tag, its length field and its value."""

    tag: int
    vr: bytes
    start: int
    length_at: int
    length_size: int
    value_at: int
    length: int


@dataclass(frozen=True)
class Scanned:
    """Elements of a file, nested ones too, and how its main part is encoded."""

    elements: tuple[Element, ...]
    body_at: int
    explicit: bool
    little: bool

    @property
    def order(self) -> str:
        """Byte order for struct."""
        return "<" if self.little else ">"


@lru_cache(maxsize=16)
def scan(data: bytes) -> Scanned:
    """List the elements of a DICOM file, as far as they can be followed."""
    at = 132 if data[128:132] == b"DICM" else 0
    elements, explicit, little = [], True, True
    syntax, meta = "", True
    while at + 8 <= len(data):
        if meta and data[at : at + 2] != b"\x02\x00":
            meta = False
            explicit = data[at + 4 : at + 6] in ALL_VRS if not syntax else syntax != SYNTAXES[0]
            little = syntax != SYNTAXES[2]
            body_at = at
        element = _element(data, at, explicit or meta, little or meta)
        if element is None:
            break
        elements.append(element)
        if element.tag == 0x00020010:
            syntax = data[element.value_at : element.value_at + element.length].decode("latin-1").strip("\0 ")
        enters = element.vr == b"SQ" or element.tag in (ITEM, ITEM_END, SEQUENCE_END) or element.length == 0xFFFFFFFF
        at = element.value_at + (0 if enters else element.length)
    return Scanned(tuple(elements), len(data) if meta else body_at, explicit, little)


def _element(data: bytes, at: int, explicit: bool, little: bool) -> Element | None:
    order = "<" if little else ">"
    group, number = struct.unpack_from(f"{order}HH", data, at)
    tag = group << 16 | number
    if tag in (ITEM, ITEM_END, SEQUENCE_END) or not explicit:
        (length,) = struct.unpack_from(f"{order}L", data, at + 4)
        return Element(tag, b"" if group == 0xFFFE else _vr(tag), at, at + 4, 4, at + 8, length)
    vr = data[at + 4 : at + 6]
    if vr in LONG_VRS:
        if at + 12 > len(data):
            return None
        (length,) = struct.unpack_from(f"{order}L", data, at + 8)
        return Element(tag, vr, at, at + 8, 4, at + 12, length)
    if not vr.isalpha():
        return None
    (length,) = struct.unpack_from(f"{order}H", data, at + 6)
    return Element(tag, vr, at, at + 6, 2, at + 8, length)


def _vr(tag: int) -> bytes:
    try:
        return dictionary_VR(tag).encode()[:2]
    except KeyError:
        return b"UN"


def header_end(data: bytes) -> int:
    """Return about where the header ends and the pixels begin."""
    if data[128:132] != b"DICM":
        return min(len(data), 560)
    pixels = [one.value_at for one in scan(data).elements if one.tag == 0x7FE00010]
    return pixels[0] + 64 if pixels else len(data)
