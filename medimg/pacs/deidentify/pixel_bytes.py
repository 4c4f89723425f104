"""What pixel data can carry besides pixels: comments in JPEG streams, bytes after the last frame, overlay bits."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import RLELossless

from medimg.errors import InputError
from medimg.pacs.deidentify.elements import UNREADABLE

_START, _SCAN, _TILE, _END = 0xD8, 0xDA, 0x90, b"\xff\xd9"
_COMMENT, _COMMENT_2000 = 0xFE, 0x64
# APP0 (JFIF), APP8 (colour transform of JPEG-LS) and APP14 (Adobe's) say how to decode; the others are free.
_NEEDED_APPLICATIONS = {0xE0, 0xE8, 0xEE}
_VIDEO = "1.2.840.10008.1.2.4.10"
_RLE_SEGMENTS = 15


def strip(dataset: Dataset) -> bool:
    """Take out, in place, what is no pixel; return whether anything was. Pixels keep their values.

    Raises
    ------
    InputError
        The stream cannot be taken apart, so nobody knows what else it carries.
    """
    if "PixelData" not in dataset or not isinstance(dataset.PixelData, bytes):
        return False
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return _truncate(dataset)
    if syntax.startswith(_VIDEO):
        return False
    try:
        count = int(dataset.get("NumberOfFrames", 1) or 1)
        frames = list(generate_frames(dataset.PixelData, number_of_frames=count))
    except UNREADABLE as error:
        raise _unreadable() from error
    if syntax == RLELossless and all(frame[1:4] == bytes(3) and frame[0] <= _RLE_SEGMENTS for frame in frames):
        return False
    clean = [without_comments(frame) for frame in frames]
    if clean == frames:
        return False
    dataset.PixelData = encapsulate(clean)
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            del dataset[keyword]
    return True


def without_comments(stream: bytes) -> bytes:
    """Return a JPEG, JPEG-LS or JPEG 2000 stream without comments, free application data, and bytes after its end.

    Raises
    ------
    InputError
        It is no such stream.
    """
    if stream[:2] not in (b"\xff\xd8", b"\xff\x4f"):
        raise _unreadable()
    modern = stream[1] == 0x4F
    parts, place = [stream[:2]], 2
    for marker, start, end in _segments(stream, modern):
        free = (
            marker == _COMMENT_2000
            if modern
            else (marker == _COMMENT or (0xE0 <= marker <= 0xEF and marker not in _NEEDED_APPLICATIONS))
        )
        if not free:
            parts.append(stream[start:end])
        place = end
    tail = stream[place:]
    cut = tail.rfind(_END)
    return b"".join([*parts, tail[: cut + 2] if cut >= 0 else tail])


def _segments(stream: bytes, modern: bool) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of the header's segments."""
    place, last = 2, _TILE if modern else _SCAN
    while place + 4 <= len(stream) and stream[place] == 0xFF and stream[place + 1] != last:
        marker = stream[place + 1]
        (length,) = struct.unpack_from(">H", stream, place + 2)
        end = place + 2 + length
        if length < 2 or end > len(stream):
            break
        yield marker, place, end
        place = end
    if stream[place : place + 2] != bytes((0xFF, last)):
        raise _unreadable()


def _unreadable() -> InputError:
    return InputError("The encoded pixels cannot be taken apart.", expected="frames as the transfer syntax says")


def _truncate(dataset: Dataset) -> bool:
    try:
        bits = int(dataset.BitsAllocated) * int(dataset.get("SamplesPerPixel", 1))
        if dataset.PhotometricInterpretation == "YBR_FULL_422":
            bits = bits * 2 // 3
        pixels = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames", 1) or 1)
    except UNREADABLE as error:
        raise _unreadable() from error
    length = (pixels * bits + 7) // 8
    kept = dataset.PixelData[:length] + b"\0" * (length % 2)
    longer = len(dataset.PixelData) > length and dataset.PixelData != kept
    if longer:
        dataset.PixelData = kept
    return longer


def clear_overlay_bits(dataset: Dataset) -> bool:
    """Clear, in place, the bits above the stored ones, where old files hide overlay planes; values stay."""
    if "PixelData" not in dataset or dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return False
    allocated, stored = dataset.get("BitsAllocated"), dataset.get("BitsStored")
    if allocated != 16 or not stored or not 0 < stored < 16 or dataset.get("HighBit") != stored - 1:
        return False
    order = ">" if dataset.original_encoding[1] is False else "<"
    values = np.frombuffer(dataset.PixelData[: len(dataset.PixelData) // 2 * 2], f"{order}u2").astype(np.uint16)
    clean = values & ((1 << stored) - 1)
    if dataset.get("PixelRepresentation"):
        clean |= np.where(clean >> (stored - 1), np.uint16(0xFFFF << stored & 0xFFFF), np.uint16(0))
    if np.array_equal(clean, values):
        return False
    dataset.PixelData = clean.astype(f"{order}u2").tobytes()
    return True
