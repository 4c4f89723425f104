"""The header of one DICOM file, as far as reading images needs it, and where its pixels lie.

Plain files are read by the walker (walk.py), all others by pydicom; both give the same headers.
"""

from __future__ import annotations

import io
import logging
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.config import IGNORE, disable_value_validation
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    UID_dictionary,
)

from medimg.errors import InputError
from medimg.io.dicom import tags
from medimg.io.dicom.layouts import Layouts
from medimg.io.dicom.tags import Elements
from medimg.io.dicom.walk import HEAD_BYTES, deflated_from, walk
from medimg.io.memory import check_expansion
from medimg.io.sniff import Content, content_of, open_regular

# What pydicom and the decoders behind it raise on damaged files.
PYDICOM_ERRORS = (
    MemoryError,
    ArithmeticError,
    InvalidDicomError,
    BytesLengthException,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_CODE = re.compile(r"[A-Z0-9_]{1,16}")
_UNDEFINED = 0xFFFFFFFF
_WANTED = frozenset(tags.WANTED)
_INFLATE_BYTES, _HEADER_BYTES = 1 << 20, 1 << 22
_MOST_FRAMES, _FAR = 1 << 31, 1e7

# SOP classes whose pixels are not one plane of one grid, or not a scan at all.
_STORAGE = "1.2.840.10008.5.1.4.1.1."
NOT_SCANS = {
    "1.2.840.10008.1.3.10": "a DICOMDIR index",
    _STORAGE + "66.4": "a segmentation",
    _STORAGE + "66.7": "a label-map segmentation",
    _STORAGE + "4.2": "MR spectroscopy",
}


@dataclass(frozen=True, eq=False)
class Header:
    """What the reader needs of one DICOM file. Lengths in mm; values as the file states them.

    ``frame`` is the index of the frame in its file; the headers of one multi-frame file share everything but
    what its functional groups say of each frame. ``pixel_offset`` and ``pixel_length`` say where native pixels
    lie in the file; they are None where pydicom has to find and decode them. ``orientation`` and ``position``
    are None where absent or malformed.
    """

    path: Path
    elements: Elements
    transfer_syntax: str
    sop_class: str
    instance_uid: str
    series_uid: str
    modality: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    samples: int
    frames: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    big_endian: bool
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    pixel_offset: int | None
    pixel_length: int | None
    frame: int = 0
    encapsulated_offset: int | None = None

    @property
    def is_image(self) -> bool:
        """Whether the file states rows and columns and is a kind of image at all."""
        return self.rows > 0 and self.columns > 0 and self.sop_class not in NOT_SCANS

    @property
    def has_geometry(self) -> bool:
        """Whether the file places its one grey plane in the patient."""
        known = self.position is not None and self.orientation is not None and self.pixel_spacing is not None
        return known and self.samples == 1 and self.photometric.startswith("MONOCHROME")

    @property
    def kind(self) -> str:
        """What the file is, for messages."""
        if self.sop_class in NOT_SCANS:
            return NOT_SCANS[self.sop_class]
        uid = known_uid(self.sop_class)
        return f"DICOM {self.modality or 'object'} ({uid.name if uid in UID_dictionary else 'no known SOP class'})"


class _Quiet:
    """pydicom's global settings while somebody reads; counted, since several threads may."""

    def __init__(self) -> None:
        self._lock, self._readers, self._settings = threading.Lock(), 0, ExitStack()

    def enter(self) -> None:
        with self._lock:
            if self._readers == 0:
                self._settings.enter_context(disable_value_validation())
                self._settings.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                self._settings.callback(setattr, _LOGGER, "disabled", _LOGGER.disabled)
                _LOGGER.disabled = True
            self._readers += 1

    def leave(self) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._settings.close()


_LOGGER = logging.getLogger("pydicom")
_QUIET = _Quiet()


@contextmanager
def quietly() -> Iterator[None]:
    """Keep pydicom from printing values that it finds malformed: they might name a patient.

    Its settings, and those of warnings and logging, are global: the first thread to enter changes them, the last
    one to leave restores them.
    """
    _QUIET.enter()
    try:
        yield
    finally:
        _QUIET.leave()


def known_uid(value: str) -> UID:
    """Return a pydicom UID without validation, which would print the value."""
    return UID(value, validation_mode=IGNORE)


def probe(path: Path, *, max_bytes: int | None = None, layouts: Layouts | None = None) -> Header | Content:
    """Tell what a file is and, where it is DICOM, read its header, in one go.

    Parameters
    ----------
    path : Path
    max_bytes : int, optional
        Limit of what a deflated file may grow to.
    layouts : Layouts, optional
        What was seen in other files of the same scan; it makes this one faster to read, and is added to.

    Returns
    -------
    Header or Content
        Content for everything but uncompressed DICOM.

    Raises
    ------
    InputError
        The file is missing, empty, unreadable, not a regular file, or DICOM damaged before the pixels.
    """
    with open_regular(path) as file:
        head = _read(file, path)
        content = content_of(path, head)
        if content.kind == "dicom" and not content.compressed:
            return _open_header(path, file, head, max_bytes, layouts)
        return content


def read_header(path: Path, *, max_bytes: int | None = None) -> Header:
    """Read one file's header without its pixels, whatever its first bytes say.

    Raises
    ------
    InputError
        Not DICOM, or damaged before the pixels.
    """
    with open_regular(path) as file:
        return _open_header(path, file, _read(file, path), max_bytes, None)


def _read(file: io.FileIO, path: Path) -> bytes:
    try:
        return file.read(HEAD_BYTES) or b""
    except OSError as error:
        raise InputError("The file cannot be read.", where=path, got=error.strerror) from error


def _open_header(path: Path, file: io.FileIO, head: bytes, max_bytes: int | None, layouts: Layouts | None) -> Header:
    size = os.fstat(file.fileno()).st_size
    try:
        walked = walk(file, head, size, _WANTED, layouts)
        if walked is None:
            return _pydicom_header(path, file, head, size, max_bytes)
    except PYDICOM_ERRORS as error:
        raise InputError(
            "The DICOM file is damaged; its header cannot be parsed.",
            where=path,
            got=type(error).__name__,
            fix="copy or export the file again",
        ) from error
    offset, length = walked.pixel_offset, walked.pixel_length
    where = (offset, length if length is None or offset is None else min(length, size - offset))
    return _header(path, walked.elements, walked.meta, walked.transfer_syntax, where, walked.encapsulated_offset)


def _pydicom_header(path: Path, file: io.FileIO, head: bytes, size: int, max_bytes: int | None) -> Header:
    start = deflated_from(file, head, size)
    if start is not None:
        _check_inflated(file, start, path, size, max_bytes)
    file.seek(0)
    buffered = io.BufferedReader(file)
    try:
        with quietly():
            dataset = pydicom.dcmread(buffered, stop_before_pixels=True, force=True, specific_tags=tags.WANTED)
            syntax = _transfer_syntax(dataset)
            where = _native_pixels(buffered, dataset, size) if syntax in _NATIVE else (None, None)
            elements, meta = Elements.of(dataset, tags.WANTED), Elements.of(dataset.file_meta)
    finally:
        # The caller closes the file; a reader left behind would warn of an unclosed one.
        buffered.detach()
    if not meta.raw and not len(dataset):
        raise InputError("Not a DICOM file, or one without content.", where=path, fix="export the file again")
    return _header(path, elements, meta, syntax, where, None)


def _check_inflated(file: io.FileIO, start: int, path: Path, size: int, max_bytes: int | None) -> None:
    """Inflate a deflated data set once without keeping it, so that a bomb is known before pydicom inflates it."""
    file.seek(start)
    inflater, total, left = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
    while not inflater.eof and (left or (left := file.read(_INFLATE_BYTES) or b"")):
        total += len(inflater.decompress(left, _INFLATE_BYTES))
        left = inflater.unconsumed_tail
        check_expansion(total, size, where=path, max_bytes=None if max_bytes is None else max_bytes + _HEADER_BYTES)


def _transfer_syntax(dataset: Any) -> str:
    stated = tags.text(Elements.of(dataset.file_meta), tags.TRANSFER_SYNTAX)
    if stated:
        return stated
    implicit, little = dataset.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)


def _native_pixels(file: BinaryIO, dataset: Any, size: int) -> tuple[int | None, int | None]:
    """Return offset and length of the pixel data; pydicom has stopped just before its tag."""
    implicit, little = dataset.original_encoding
    start, order = file.tell(), "<" if little else ">"
    head = file.read(12)
    if len(head) < 12 or struct.unpack(f"{order}HH", head[:4]) != (0x7FE0, 0x0010):
        return None, None
    if implicit:
        offset, (length,) = start + 8, struct.unpack("<L", head[4:8])
    else:
        offset, (length,) = start + 12, struct.unpack(f"{order}L", head[8:12])
    if length == _UNDEFINED or (not implicit and head[4:6] not in (b"OW", b"OB", b"UN")):
        return None, None
    return offset, min(length, size - offset)


def _header(
    path: Path,
    elements: Elements,
    meta: Elements,
    syntax: str,
    pixels: tuple[int | None, int | None],
    encapsulated_offset: int | None,
) -> Header:
    allocated = tags.short(elements, tags.BITS_ALLOCATED) or 0
    frames = tags.number(elements, tags.FRAMES)
    modality = tags.text(elements, tags.MODALITY).upper()
    return Header(
        path=path,
        elements=elements,
        transfer_syntax=syntax,
        sop_class=tags.text(elements, tags.SOP_CLASS) or tags.text(meta, tags.MEDIA_SOP_CLASS),
        instance_uid=tags.text(elements, tags.SOP_INSTANCE),
        series_uid=tags.text(elements, tags.SERIES_UID),
        modality=modality if _CODE.fullmatch(modality) else "",
        image_type=tuple(tags.texts(elements, tags.IMAGE_TYPE)),
        rows=tags.short(elements, tags.ROWS) or 0,
        columns=tags.short(elements, tags.COLUMNS) or 0,
        samples=tags.short(elements, tags.SAMPLES) or 1,
        frames=int(frames) if frames is not None and 1 <= frames < _MOST_FRAMES else 1,
        photometric=tags.text(elements, tags.PHOTOMETRIC).upper(),
        bits_allocated=allocated,
        bits_stored=tags.short(elements, tags.BITS_STORED) or allocated,
        signed=tags.short(elements, tags.SIGNED) == 1,
        big_endian=syntax == ExplicitVRBigEndian,
        position=_vector(elements, tags.POSITION, 3),
        orientation=_vector(elements, tags.ORIENTATION, 6),
        pixel_spacing=_vector(elements, tags.PIXEL_SPACING, 2),
        pixel_offset=pixels[0],
        pixel_length=pixels[1],
        encapsulated_offset=encapsulated_offset,
    )


def _vector(elements: Elements, tag: int, length: int) -> tuple[float, ...] | None:
    found = tags.floats(elements, tag)
    if found is None or len(found) != length or not all(map(_FAR.__gt__, map(abs, found))):
        return None
    return tuple(found)


def acquisition(header: Header) -> dict[str, Any]:
    """Return the technical attributes that are kept with an image: numbers where they are numbers."""
    kept: dict[str, Any] = {}
    for name, tag in tags.ACQUISITION.items():
        values = tags.texts(header.elements, tag)
        if any(values):
            value = "\\".join(values)
            numeric = name.endswith(("_mm", "_t", "_ms", "_deg", "kvp"))
            as_number = tags.number(header.elements, tag) if numeric else None
            kept[name] = value if as_number is None else as_number
    if header.transfer_syntax == DeflatedExplicitVRLittleEndian or header.transfer_syntax not in _NATIVE:
        kept["transfer_syntax"] = header.transfer_syntax
    return kept
