"""The short way for grey frames, and what a code stream must state before any decoder sees it.

JPEG 2000, HTJ2K and JPEG-LS go through imagecodecs where it is installed, because it lets other threads work
meanwhile, which pydicom's plug-ins do not; so do the segments of RLE. All that only where the code stream says the same
of size, depth and sign as the header: the rest, and everything that fails here, is left to pydicom (decode.py).

Legend: Y rows, X columns of a frame.
"""

from __future__ import annotations

import struct
import sys
import threading
from functools import cache
from itertools import pairwise
from typing import Any, cast

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
_LOCAL, _NOTHING = threading.local(), np.empty(0, np.uint8)


def decode_fast(frame: bytes, header: Header, syntax: str, out: NDArray[Any] | None = None) -> NDArray[Any] | None:
    """Decode one grey frame the short way, or return None where pydicom should.

    Parameters
    ----------
    frame : bytes
        The code stream.
    header : Header
    syntax : str
        Transfer syntax that the code stream is really in.
    out : (Y, X) ndarray, optional
        C-contiguous memory to fill where it fits the stored values; fresh memory for every frame costs page faults.

    Returns
    -------
    (Y, X) ndarray of the stored values, or None
        A view of ``out`` where that was filled.

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
        memory = _memory(header, out)
        if syntax == RLELossless:
            array = _unpack_rle(frame, header, memory)
        else:
            array = _by_imagecodecs(frame, header, codec, stated, memory)
    except (RuntimeError, ValueError, TypeError, MemoryError, ImportError, struct.error):
        return None
    return array if array is not None and array.shape == (header.rows, header.columns) else None


def _memory(header: Header, out: NDArray[Any] | None) -> NDArray[Any]:
    """Return memory of the shape and type of a frame: ``out`` where it fits."""
    shape = (header.rows, header.columns)
    dtype = np.dtype(f"{'i' if header.signed else 'u'}{header.bits_allocated // 8}")
    fits = out is not None and out.shape == shape and out.dtype == dtype and out.flags.c_contiguous
    return out if out is not None and fits else np.empty(shape, dtype)


def _unpack_rle(frame: bytes, header: Header, out: NDArray[Any]) -> NDArray[Any] | None:
    """Unpack one RLE frame (DICOM PS3.5 G): a segment for each byte of the word, the highest first."""
    library, size = _imagecodecs(), header.rows * header.columns
    width = header.bits_allocated // 8
    offsets = struct.unpack_from("<16L", frame)
    limits = [*offsets[1 : width + 1], len(frame)]
    if library is None or offsets[0] != width or limits[0] < _RLE_HEADER or limits != sorted(limits):
        return None
    # A segment may end with a byte that makes its length even, which unpacks to nothing or to too much.
    segment, places = _scratch(size + 256), out.reshape(-1).view(np.uint8).reshape(size, width)
    for place, (start, end) in zip(_significance(width), pairwise(limits), strict=True):
        unpacked = library.packbits_decode(frame[start:end], out=segment)
        if unpacked.size < size:
            return None
        places[:, place] = unpacked[:size]
    return out


def _significance(width: int) -> range:
    """Return the places of a word's bytes in memory, the most significant first."""
    return range(width - 1, -1, -1) if sys.byteorder == "little" else range(width)


def _scratch(size: int) -> NDArray[np.uint8]:
    """Return memory of this thread that its last frame of the same size used too."""
    if getattr(_LOCAL, "segment", _NOTHING).size != size:
        _LOCAL.segment = np.empty(size, np.uint8)
    return cast("NDArray[np.uint8]", _LOCAL.segment)


def _by_imagecodecs(
    frame: bytes, header: Header, codec: str | None, stated: Stated | None, out: NDArray[Any]
) -> NDArray[Any] | None:
    # JPEG-LS knows no sign: a signed value of fewer bits than its word would have to be extended.
    signed = header.signed and not (codec == "jpegls" and header.bits_stored == header.bits_allocated)
    library = _imagecodecs()
    if codec is None or library is None or stated is None or stated[2:] != (1, header.bits_stored, signed):
        return None
    memory = None
    if codec != "htj2k" and header.bits_allocated == (8 if header.bits_stored <= 8 else 16):
        # JPEG-LS is decoded as if it were unsigned, and cast below.
        memory = out.view(out.dtype.str.replace("i", "u")) if codec == "jpegls" else out
    array = np.asarray(getattr(library, f"{codec}_decode")(frame, out=memory))
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
