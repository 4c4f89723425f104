"""Frames that pydicom does not unpack: deflated ones, and bit-packed ones in RLE (DICOM PS3.5 A.4.13 and G)."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import RLELossless

from medimg.io.dicom.headers import Header

DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_MOST_COLUMNS = 65535


def frame_bytes(header: Header) -> int:
    """Return the bytes of one plain frame; single bits are packed."""
    return (header.rows * header.columns * header.samples * header.bits_allocated + 7) // 8


def inflate(frame: bytes, header: Header) -> NDArray[Any]:
    """Unpack one deflated frame to (Y, X) or (Y, X, samples).

    Raises
    ------
    ValueError
        More or fewer bytes than the header states: nothing is inflated beyond them.
    zlib.error
        Damaged.
    """
    expected = frame_bytes(header)
    plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, expected)
    if len(plain) != expected:
        raise ValueError("a deflated frame of another size")
    shape = (header.rows, header.columns, *((header.samples,) if header.samples > 1 else ()))
    if header.bits_allocated == 1:
        return _bits(plain, header)
    kind = "i" if header.signed else "u"
    return np.frombuffer(plain, np.dtype(f"<{kind}{header.bits_allocated // 8}")).reshape(shape)


def unpack_rle_bits(frame: bytes, header: Header) -> NDArray[np.uint8]:
    """Decode one RLE frame whose single bits are packed, to (Y, X) of 0 and 1.

    Raises
    ------
    ValueError, RuntimeError
        Damaged, or a size that cannot be written as rows of bytes.
    """
    n_bytes = frame_bytes(header)
    rows = next((rows for rows in range(1, n_bytes + 1) if n_bytes % rows == 0 and n_bytes // rows <= _MOST_COLUMNS), 0)
    options: dict[str, Any] = {
        "rows": rows,
        "columns": n_bytes // max(rows, 1),
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": 8,
        "bits_stored": 8,
        "pixel_representation": 0,
        "pixel_keyword": "PixelData",
    }
    plain, _ = get_decoder(RLELossless).as_array(encapsulate([frame], has_bot=False), index=0, raw=True, **options)
    return _bits(np.asarray(plain, np.uint8).tobytes(), header)


def _bits(plain: bytes, header: Header) -> NDArray[np.uint8]:
    bits = np.unpackbits(np.frombuffer(plain, np.uint8), bitorder="little", count=header.rows * header.columns)
    return bits.reshape(header.rows, header.columns)
