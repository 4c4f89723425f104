"""Walk the elements of a DICOM file's head and keep the bytes of the few that are wanted.

Most files of a scan are plain: a preamble, a meta header that names the transfer syntax, elements in rising order
of their tags, pixels at the end. Of those this walker finds the same bytes as pydicom does, several times faster.
Whatever is not plain it hands over: `walk` returns None, and pydicom decides. That is so for other transfer
syntaxes (deflated, big-endian, private), a missing preamble or meta header, tags twice or out of order, value
representations that the standard does not know, lengths beyond the end of the file, undefined lengths of anything
but sequences and pixels, and headers of more than 4 MB.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Container
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR
from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from medimg.io.dicom.layouts import Element, Layouts
from medimg.io.dicom.layouts import Raw as _Raw
from medimg.io.dicom.tags import CHARACTER_SET, TRANSFER_SYNTAX, Elements

HEAD_BYTES = 1 << 14
_MOST_BYTES = 1 << 22
_DEEPEST = 16
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_META_LENGTH, _AFTER_META = 0x00020000, 0x00030000
_PIXELS_FIRST, _PIXEL_DATA = 0x7FE00008, 0x7FE00010
# Value representations with 8 and with 12 bytes before the value.
_SHORT = {str(vr).encode() for vr in EXPLICIT_VR_LENGTH_16}
_LONG = {str(vr).encode() for vr in EXPLICIT_VR_LENGTH_32}
_TEXT = ("CS", b"")
_CHARACTER_SETS = re.compile(rb"[A-Z0-9_ \\]*\0?")
_IMPLICIT, _EXPLICIT = str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian)
_SYNTAXES = {str(uid) for uid in AllTransferSyntaxes} - {
    str(DeflatedExplicitVRLittleEndian),
    str(ExplicitVRBigEndian),
}
_element = struct.Struct("<HH2sH").unpack_from
_tag_length = struct.Struct("<HHL").unpack_from
_long = struct.Struct("<L").unpack_from


@dataclass(frozen=True, eq=False)
class Walked:
    """What the walker found.

    Attributes
    ----------
    elements, meta : Elements
        The wanted elements of the data set, and all of the file meta header.
    transfer_syntax : str
    pixel_offset, pixel_length : int or None
        Where native PixelData lies in the file, and its length as stated.
    encapsulated_offset : int or None
        Where the first item of encapsulated PixelData lies.
    """

    elements: Elements
    meta: Elements
    transfer_syntax: str
    pixel_offset: int | None = None
    pixel_length: int | None = None
    encapsulated_offset: int | None = None


class _NotPlain(Exception):
    """The file is not plain enough for the walker."""


class _Head:
    """The beginning of a file, of which more is read when it is asked for."""

    __slots__ = ("_file", "data", "size")

    def __init__(self, file: io.FileIO, data: bytes, size: int) -> None:
        self._file, self.data, self.size = file, data, size

    def reach(self, end: int) -> bytes:
        """Return the head, at least up to ``end``."""
        if end > len(self.data):
            if end > self.size or end > _MOST_BYTES:
                raise _NotPlain
            self._file.seek(0)
            self.data = self._file.read(min(max(end, 4 * len(self.data)), self.size))
            if end > len(self.data):
                raise _NotPlain
        return self.data


def walk(
    file: io.FileIO, head: bytes, size: int, wanted: Container[int], layouts: Layouts | None = None
) -> Walked | None:
    """Find the wanted elements of a plain DICOM file.

    Parameters
    ----------
    file : FileIO
        Open for reading; its position is changed where ``head`` is not enough.
    head : bytes
        The beginning of the file.
    size : int
        Bytes in the file.
    wanted : container of int
        Tags to keep; it must hold SpecificCharacterSet (0008,0005), which tells whether pydicom would go on.
    layouts : Layouts, optional
        What was seen in other files of the scan, walked for the same tags; what this one has is added.

    Returns
    -------
    Walked or None
        None where pydicom should read this file.
    """
    try:
        return _walk_file(_Head(file, head, size), wanted, layouts)
    except (_NotPlain, struct.error):
        return None


def deflated_from(file: io.FileIO, head: bytes, size: int) -> int | None:
    """Return where the deflated part of a DICOM file begins; None where the file is not deflated."""
    try:
        _, syntax, pos = _walk_meta(_Head(file, head, size), None)
    except (_NotPlain, struct.error):
        return None
    return pos if syntax == DeflatedExplicitVRLittleEndian else None


def _walk_meta(head: _Head, layouts: Layouts | None) -> tuple[_Raw, str, int]:
    """Return the file meta header, the transfer syntax that it states, and where it ends."""
    if head.data[128:132] != b"DICM":
        raise _NotPlain
    meta: _Raw = {}
    pos = _walk_elements(head, 132, _AFTER_META, False, range(_META_LENGTH, _AFTER_META), meta, layouts)
    # The first element tells pydicom whether it understood the meta header.
    if next(iter(meta), 0) != _META_LENGTH or [len(meta[_META_LENGTH][1]), meta[_META_LENGTH][0]] != [4, "UL"]:
        raise _NotPlain
    vr, value = meta.get(TRANSFER_SYNTAX, ("", b""))
    if vr != "UI":
        raise _NotPlain
    return meta, value.removesuffix(b"\0").decode("latin-1"), pos


def _walk_file(head: _Head, wanted: Container[int], layouts: Layouts | None) -> Walked:
    meta, syntax, pos = _walk_meta(head, layouts)
    if syntax not in _SYNTAXES:
        raise _NotPlain
    implicit = syntax == _IMPLICIT
    if implicit == _looks_explicit(head.reach(pos + 8), pos):
        raise _NotPlain
    raw: _Raw = {}
    pos = _walk_elements(head, pos, _PIXELS_FIRST, implicit, wanted, raw, layouts)
    _check_character_set(*raw.get(CHARACTER_SET, _TEXT))
    found = Elements(raw), Elements(meta), syntax
    if pos == head.size:
        return Walked(*found)
    group, number, vr_bytes, _ = _element(head.reach(pos + 12), pos)
    if group << 16 | number != _PIXEL_DATA or (not implicit and vr_bytes not in (b"OW", b"OB", b"UN")):
        raise _NotPlain
    start = pos + (8 if implicit else 12)
    (length,) = _long(head.data, start - 4)
    if length != _UNDEFINED:
        return Walked(*found, start, length) if syntax in (_IMPLICIT, _EXPLICIT) else Walked(*found)
    return Walked(*found) if syntax in (_IMPLICIT, _EXPLICIT) else Walked(*found, encapsulated_offset=start)


def _check_character_set(vr: str, value: bytes) -> None:
    """Leave odd names to pydicom, which looks them up and fails on some."""
    if vr not in ("", "CS") or not _CHARACTER_SETS.fullmatch(value):
        raise _NotPlain


def _looks_explicit(data: bytes, pos: int) -> bool:
    """Tell whether two capital letters stand where an explicit value representation would."""
    return 0x40 < data[pos + 4] < 0x5B and 0x40 < data[pos + 5] < 0x5B


def _walk_elements(
    head: _Head, pos: int, stop: int, implicit: bool, wanted: Container[int], raw: _Raw, layouts: Layouts | None
) -> int:
    """Keep the wanted elements before the tag ``stop``; return the position of the element that ended it."""
    last, ended = -1, False
    while not ended:
        if layouts is not None:
            pos, last = layouts.take(head.data, pos, last, (stop, implicit), raw)
        pos, last, ended, walked = _walk_run(head, pos, last, stop, implicit, wanted, raw)
        if layouts is not None:
            layouts.learn(head.data, walked, (stop, implicit))
    return pos


def _walk_run(
    head: _Head, pos: int, last: int, stop: int, implicit: bool, wanted: Container[int], raw: _Raw
) -> tuple[int, int, bool, list[Element]]:
    """Keep the wanted elements behind the tag ``last``, until the tag ``stop`` or behind an undefined length.

    The bytes of this loop run once for every element that no layout holds, so that it is written for speed.

    Returns
    -------
    pos, last, ended, walked : int, int, bool, list of Element
        Where the next element is, the tag before it, whether that is all, and the elements of stated length.
    """
    walked: list[Element] = []
    data, limit = head.data, len(head.data) - 12
    while True:
        if pos > limit:
            if pos == head.size:
                return pos, last, True, walked
            data = head.reach(min(pos + 12, head.size))
            limit = len(data) - 12
        group, number, vr_bytes, length = _element(data, pos)
        tag = group << 16 | number
        if not last < tag < stop:
            if tag >= stop:
                return pos, last, True, walked
            raise _NotPlain
        last, begin = tag, pos
        if implicit:
            start = pos + 8
            (length,) = _long(data, pos + 4)
        elif vr_bytes in _SHORT:
            start = pos + 8
        else:
            start, length = _long_form(data, pos, vr_bytes)
        if length == _UNDEFINED:
            pos = _end_of_sequence(head, start, tag, vr_bytes, implicit, 0)
            if tag in wanted:
                raw[tag] = ("SQ", b"")
            return pos, last, False, walked
        pos, vr = start + length, None
        if tag in wanted:
            if pos > len(data):
                data = head.reach(pos)
                limit = len(data) - 12
            vr = "" if implicit else vr_bytes.decode("ascii")
            raw[tag] = (vr, data[start:pos])
        walked.append((tag, begin, start, pos, vr))


def _long_form(data: bytes, pos: int, vr_bytes: bytes) -> tuple[int, int]:
    """Return start and length of an element whose length takes four bytes after two reserved ones."""
    if vr_bytes not in _LONG:
        raise _NotPlain
    return pos + 12, _long(data, pos + 8)[0]


def _end_of_sequence(head: _Head, pos: int, tag: int, vr_bytes: bytes, implicit: bool, depth: int) -> int:
    """Return where a sequence of undefined length ends, having walked its items."""
    known = _is_sequence(tag, head.reach(pos + 8), pos) if implicit else vr_bytes in (b"SQ", b"UN")
    if not known or depth > _DEEPEST:
        raise _NotPlain
    while True:
        group, number, length = _tag_length(head.reach(pos + 8), pos)
        tag, pos = group << 16 | number, pos + 8
        if tag == _SEQUENCE_END:
            return pos
        if tag != _ITEM:
            raise _NotPlain
        pos = _end_of_item(head, pos, None if length == _UNDEFINED else pos + length, implicit, depth)


def _is_sequence(tag: int, data: bytes, pos: int) -> bool:
    """Tell whether an element without value representation is a sequence, the way pydicom does."""
    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        group, number, _ = _tag_length(data, pos)
        return bool(group << 16 | number == _ITEM)


def _end_of_item(head: _Head, pos: int, end: int | None, implicit: bool, depth: int) -> int:
    """Return where an item ends; its elements must fill a stated length exactly."""
    if pos == end:
        return pos
    # An explicit file may hold implicit items (PS3.5 6.2.2), not the other way round.
    implicit = implicit or not _looks_explicit(head.reach(pos + 8), pos)
    while pos != end:
        data = head.reach(min(pos + 12, head.size))
        group, number, vr_bytes, length = _element(data, pos)
        tag = group << 16 | number
        if tag == _ITEM_END and end is None:
            return pos + 8
        if group == 0xFFFE or (end is not None and pos > end):
            raise _NotPlain
        if implicit:
            (length,) = _long(data, pos + 4)
            pos += 8
        elif vr_bytes in _SHORT:
            pos += 8
        else:
            pos, length = _long_form(data, pos, vr_bytes)
        if tag == CHARACTER_SET:
            _check_character_set(
                "" if implicit else vr_bytes.decode("ascii"), head.reach(pos + length)[pos : pos + length]
            )
        pos = _end_of_sequence(head, pos, tag, vr_bytes, implicit, depth + 1) if length == _UNDEFINED else pos + length
    return pos
