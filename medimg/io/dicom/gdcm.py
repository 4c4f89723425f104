"""GDCM, kept on a lead: it is the only free decoder of lossless JPEG and of lossy JPEG of 12 bits.

Damaged streams make it print, and some of them make it end the process; so it sees none whose header is not plain,
its messages are muffled, and it is asked for nothing that another decoder does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import MissingDependency
from medimg.io.dicom.codestream import is_plain_jpeg, precision
from medimg.io.dicom.headers import Header

_STANDARD_ERROR = 2
_MUFFLED = threading.Lock()


def decode_twelve_bits(frame: bytes, header: Header, syntax: str) -> NDArray[Any]:
    """Decode one JPEG frame of up to 12 bits to (Y, X) uint16 or int16.

    Raises
    ------
    MissingDependency
        python-gdcm is not installed.
    RuntimeError, ValueError
        The frame cannot be decoded, or to another size.
    """
    try:
        import gdcm
    except ImportError as error:
        raise MissingDependency(
            "No decoder for this transfer syntax is installed.",
            where=header.path,
            got=f"JPEG of {header.bits_stored} bits ({syntax})",
            expected="python-gdcm",
            fix="pip install python-gdcm",
        ) from error
    if header.bits_allocated != 16 or not is_plain_jpeg(frame, header.samples, 16):
        raise ValueError("the header of the JPEG stream is not plain")
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((header.columns, header.rows, 1))
    kinds = gdcm.PhotometricInterpretation
    kind = kinds.MONOCHROME1 if header.photometric == "MONOCHROME1" else kinds.MONOCHROME2
    image.SetPhotometricInterpretation(kinds(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    stored = precision(frame)
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, stored, stored - 1, int(header.signed)))
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image.SetDataElement(element)
    with muffled():
        text = image.GetBuffer()
    if text is None:
        raise RuntimeError("GDCM returned no pixels")
    values = np.frombuffer(text.encode("utf-8", "surrogateescape"), "<i2" if header.signed else "<u2")
    if header.samples != 1 or values.size != header.rows * header.columns:
        raise ValueError("GDCM returned another number of pixels")
    return values.reshape(header.rows, header.columns)


@contextmanager
def muffled() -> Iterator[None]:
    """Send the standard error stream nowhere: C libraries write there what Python cannot catch."""
    with _MUFFLED:
        try:
            kept = os.dup(_STANDARD_ERROR)
        except OSError:
            # The process has no such stream: there is nothing to muffle.
            yield
            return
        silent = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(silent, _STANDARD_ERROR)
            yield
        finally:
            os.dup2(kept, _STANDARD_ERROR)
            os.close(kept)
            os.close(silent)
