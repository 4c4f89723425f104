"""Which transfer syntax a compressed frame is really in, by its first bytes: labels lie, code streams don't.

Sources: ITU-T T.81 B.1.1.3 (JPEG), T.87 (JPEG-LS), T.800 A.4 (JPEG 2000), T.814 (HTJ2K), DICOM PS3.5 G.5 (RLE).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
# Retired forms of lossy 12-bit JPEG (spectral selection, full progression), which one library still decodes.
RETIRED_JPEG = tuple(UID(f"1.2.840.10008.1.2.4.{end}") for end in (52, 53, 54, 55, 56))
_FAMILIES: tuple[tuple[str, tuple[UID, ...]], ...] = (
    ("JPEG", (JPEGBaseline8Bit, JPEGExtended12Bit, *RETIRED_JPEG)),
    ("lossless JPEG", (JPEGLosslessSV1, JPEGLossless)),
    ("JPEG-LS", (JPEGLSLossless, JPEGLSNearLossless)),
    ("JPEG 2000", (JPEG2000, JPEG2000Lossless)),
    ("HTJ2K", (HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL)),
    ("RLE", (RLELossless,)),
)
_JP2 = b"\x00\x00\x00\x0cjP  "
_ITEM = b"\xfe\xff\x00\xe0"
_RLE_HEADER = 64
_START_OF_SCAN, _APP0, _APP14 = 0xDA, 0xE0, 0xEE


def is_encapsulated(value: bytes) -> bool:
    """Tell whether pixel data begin with an item, as encapsulated ones do."""
    return value.startswith(_ITEM)


def family_of(syntax: str) -> str:
    """Return the name of the codec behind a transfer syntax, '' for native and unknown ones."""
    return next((name for name, members in _FAMILIES if syntax in members), "")


def true_syntax(stated: str, frame: bytes, *, segments: int) -> UID:
    """Return the transfer syntax of a compressed frame: the stated one unless the frame is plainly another.

    Parameters
    ----------
    stated : str
        Transfer syntax of the file.
    frame : bytes
        One compressed frame.
    segments : int
        Bytes a pixel (samples × bytes a sample), which is the number of segments of an RLE frame.
    """
    found = _codec(frame, segments)
    family = family_of(stated)
    if not found or (found == "JPEG 2000" and family == "HTJ2K"):
        return UID(stated)
    if found != family:
        return dict(_FAMILIES)[found][0]
    if stated == JPEGBaseline8Bit and precision(frame) > 8:
        return UID(JPEGExtended12Bit)
    return UID(stated)


def _codec(frame: bytes, segments: int) -> str:
    if frame.startswith((b"\xff\x4f\xff\x51", _JP2)):
        # The capability marker follows the size marker in HTJ2K streams alone.
        start = frame.find(b"\xff\x4f\xff\x51")
        length = int.from_bytes(frame[start + 4 : start + 6], "big") if start >= 0 else 0
        return "HTJ2K" if start >= 0 and frame[start + 4 + length : start + 6 + length] == b"\xff\x50" else "JPEG 2000"
    if frame.startswith(b"\xff\xd8"):
        marker, _ = _start_of_frame(frame)
        return {0xC0: "JPEG", 0xC1: "JPEG", 0xC2: "JPEG", 0xC3: "lossless JPEG", 0xF7: "JPEG-LS"}.get(marker, "")
    if len(frame) > _RLE_HEADER:
        count, first = struct.unpack("<2L", frame[:8])
        if count == segments and first == _RLE_HEADER:
            return "RLE"
    return ""


def _is_start_of_frame(marker: int) -> bool:
    # C4, C8 and CC stand among the start-of-frame markers and are none; F7 is that of JPEG-LS.
    return (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7


def precision(frame: bytes) -> int:
    """Return the bits a sample that a JPEG stream states, 0 where it states none."""
    _, place = _start_of_frame(frame)
    return frame[place] if 0 < place < len(frame) else 0


def _start_of_frame(frame: bytes) -> tuple[int, int]:
    """Return the start-of-frame marker of a JPEG stream and where its precision stands; zeros where there is none."""
    place = 2
    while place + 4 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if _is_start_of_frame(marker):
            return marker, place + 4
        if marker == _START_OF_SCAN:
            break
        place += 2 + int.from_bytes(frame[place + 2 : place + 4], "big")
    return 0, 0


class Stated(NamedTuple):
    """What a code stream states of its frame."""

    rows: int
    columns: int
    components: int
    bits: int
    signed: bool


def stated_of(frame: bytes) -> Stated | None:
    """Return what a JPEG, JPEG-LS or JPEG 2000 stream states of itself, None where it is none of these.

    Decoders allocate what the stream states, not what the file's header does: it is compared before decoding.
    """
    if frame.startswith(b"\xff\xd8"):
        _, place = _start_of_frame(frame)
        if not place or place + 6 > len(frame):
            return None
        bits, rows, columns, components = struct.unpack_from(">BHHB", frame, place)
        return Stated(rows, columns, components, bits, False) if rows else None
    start = frame.find(b"\xff\x4f\xff\x51") if frame.startswith((b"\xff\x4f\xff\x51", _JP2)) else -1
    if start < 0 or start + 43 > len(frame):
        return None
    right, bottom, left, top = struct.unpack_from(">4L", frame, start + 8)
    (components,) = struct.unpack_from(">H", frame, start + 40)
    depth = frame[start + 42]
    return Stated(bottom - top, right - left, components, (depth & 0x7F) + 1, bool(depth & 0x80))


def is_plain_jpeg(frame: bytes, samples: int, bits: int) -> bool:
    """Tell whether the header of a JPEG stream is without anything that a decoder would only warn of.

    Some builds of GDCM end the whole process at such a warning: stray bytes between segments, an unknown version
    of JFIF, an unknown Adobe transform, four components, a depth that does not fit ``bits`` allocated.
    """
    if not frame.startswith(b"\xff\xd8"):
        return False
    place, components = 2, 0
    while place + 4 <= len(frame) and frame[place] == 0xFF:
        marker, length = frame[place + 1], int.from_bytes(frame[place + 2 : place + 4], "big")
        body = frame[place + 4 : place + 2 + length]
        if not 0xC0 <= marker <= 0xFE or length < 2 or len(body) != length - 2:
            return False
        if marker == _START_OF_SCAN:
            return components == samples and samples in (1, 3)
        if (marker == _APP0 and body.startswith(b"JFIF\x00") and body[5:6] != b"\x01") or (
            marker == _APP14 and body.startswith(b"Adobe") and body[11:12] not in (b"\x00", b"\x01")
        ):
            return False
        if _is_start_of_frame(marker):
            fits = len(body) > 5 and 2 <= body[0] <= bits and (body[0] <= 8) == (bits == 8) and bits in (8, 16)
            components = body[5] if fits else 0
        place += 2 + length
    return False
