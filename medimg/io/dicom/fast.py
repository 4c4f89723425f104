"""The short way for grey frames, and what a code stream must state before any decoder sees it.

JPEG 2000, HTJ2K and JPEG-LS go through imagecodecs where it is installed, because it lets other threads work
meanwhile, which pydicom's plug-ins do not; so do the segments of RLE. All that only where the code stream says the same
of size, depth and sign as the header: the rest, and everything that fails here, is left to pydicom (decode.py).

Legend: Y rows, X columns of a frame.
"""

from __future__ import annotations

import struct
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from medimg.io.dicom.codestream import Stated, stated_of
from medimg.io.dicom.headers import Header

_CODECS: dict[str, str] = {
    JPEG2000: "jpeg2k",
    JPEG2000Lossless: "jpeg2k",
    HTJ2K: "htj2k",
    HTJ2KLossless: "htj2k",
    HTJ2KLosslessRPCL: "htj2k",
    JPEGLSLossless: "jpegls",
    JPEGLSNearLossless: "jpegls",
}
_IMAGE_END = b"\xff\xd9"
_RLE_HEADER = 64


def decode_fast(frame: bytes, header: Header, syntax: str) -> NDArray[Any] | None:
    """Decode one grey frame the short way, or return None where pydicom should.

    Parameters
    ----------
    frame : bytes
        The code stream.
    header : Header
    syntax : str
        Transfer syntax that the code stream is really in.

    Returns
    -------
    (Y, X) ndarray of the stored values, or None

    Raises
    ------
    ValueError
        A JPEG-LS stream without its end (decoders take seconds to see that).
    """
    stated = stated_of(frame)
    codec = _CODECS.get(syntax)
    if codec == "jpegls" and not frame.rstrip(b"\0").endswith(_IMAGE_END):
        raise ValueError("a JPEG-LS stream without its end")
    if header.samples != 1 or header.bits_allocated not in (8, 16):
        return None
    try:
        array = _unpack_rle(frame, header) if syntax == RLELossless else _by_imagecodecs(frame, header, codec, stated)
    except (RuntimeError, ValueError, TypeError, MemoryError, ImportError, struct.error):
        return None
    return array if array is not None and array.shape == (header.rows, header.columns) else None


def _unpack_rle(frame: bytes, header: Header) -> NDArray[Any] | None:
    """Unpack one RLE frame (DICOM PS3.5 G): a segment for each byte of the word, the highest first."""
    library, size = _imagecodecs(), header.rows * header.columns
    width = header.bits_allocated // 8
    offsets = struct.unpack_from("<16L", frame)
    limits = [*offsets[1 : width + 1], len(frame)]
    dtype = np.dtype(f"{'<i' if header.signed else '<u'}{width}")
    if library is None or offsets[0] != width or limits[0] < _RLE_HEADER or limits != sorted(limits):
        return None
    # A segment may end with a byte that makes its length even, which unpacks to nothing or to too much.
    parts = [
        np.frombuffer(library.packbits_decode(frame[start:end], out=size + 256), np.uint8, size)
        for start, end in pairwise(limits)
    ]
    values = parts[0].astype(f"<u{width}")
    for part in parts[1:]:
        np.left_shift(values, 8, out=values)
        np.bitwise_or(values, part, out=values)
    return values.view(dtype).reshape(header.rows, header.columns)


def _by_imagecodecs(frame: bytes, header: Header, codec: str | None, stated: Stated | None) -> NDArray[Any] | None:
    # JPEG-LS knows no sign: a signed value of fewer bits than its word would have to be extended.
    signed = header.signed and not (codec == "jpegls" and header.bits_stored == header.bits_allocated)
    library = _imagecodecs()
    if codec is None or library is None or stated is None or stated[2:] != (1, header.bits_stored, signed):
        return None
    array = np.asarray(getattr(library, f"{codec}_decode")(frame))
    if array.dtype.kind not in "iu" or array.dtype.itemsize * 8 > header.bits_allocated:
        return None
    return array.view(array.dtype.str.replace("u", "i")) if header.signed and array.dtype.kind == "u" else array


@cache
def _imagecodecs() -> Any:
    try:
        import imagecodecs
    except ImportError:
        return None
    return imagecodecs
