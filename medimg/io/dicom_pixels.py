"""Pixels of DICOM files: stored values of every plane, then one rescale per slice.

Legend: Z slices, Y rows, X columns. Native pixels are read straight into the volume's memory; everything else
goes through pydicom and its decoders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import get_decoder
from pydicom.uid import (
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from medimg.errors import InputError, MissingDependency
from medimg.io import dicom_tags as tags
from medimg.io.dicom_headers import PYDICOM_ERRORS, Header, known_uid, quietly
from medimg.io.findings import Finding
from medimg.io.memory import check_allocation

# Measured fastest per syntax; where it fails or is missing, pydicom tries the others.
_FASTEST = {RLELossless: "pylibjpeg", JPEGLSLossless: "pyjpegls", JPEGLSNearLossless: "pyjpegls"}
_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class Rescale:
    """Slope and intercept of one slice (DICOM PS3.3 C.11.1): value = slope · stored + intercept."""

    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether integers stay integers."""
        return self.slope.is_integer() and self.intercept.is_integer()


def rescale_of(header: Header) -> Rescale | None:
    """Return the rescale of a slice; None where the file has none.

    Raises
    ------
    InputError
        One of the two is absent or not numeric, or the slope is 0.
    """
    elements = header.elements
    if not tags.texts(elements, tags.SLOPE) and not tags.texts(elements, tags.INTERCEPT):
        return None
    slope, intercept = tags.number(elements, tags.SLOPE), tags.number(elements, tags.INTERCEPT)
    if slope is None or intercept is None or not np.isfinite([slope, intercept]).all() or slope == 0:
        raise InputError(
            "The rescale of this slice cannot be used.",
            where=header.path,
            got=f"RescaleSlope (0028,1053) = {slope}, RescaleIntercept (0028,1052) = {intercept}",
            expected="two finite numbers, the slope not 0",
            fix="export the series again from the scanner or PACS",
        )
    return Rescale(slope, intercept)


def read_planes(headers: Sequence[Header], findings: list[Finding]) -> NDArray[Any]:
    """Read the stored values of all slices as (Z, Y, X).

    Returns
    -------
    (Z, Y, X) ndarray
        The stored integer type; the narrowest one that holds all slices where they differ. Bits above
        BitsStored are removed with a finding.

    Raises
    ------
    InputError
        Cut short, damaged, or of a bit depth other than 8, 16 or 32.
    MissingDependency
        The transfer syntax needs a decoder that is not installed.
    """
    first = headers[0]
    dtypes = {_stored_dtype(header) for header in headers}
    dtype = np.result_type(*dtypes)
    if dtype.kind != "i" and dtype.kind != "u":
        dtype = np.dtype(np.int64)
    shape = (len(headers), first.rows, first.columns)
    check_allocation(shape, dtype.itemsize, where=first.path)
    array = np.empty(shape, dtype)
    dirty = 0
    for plane, header in zip(array, headers, strict=True):
        if _is_native(header) and _stored_dtype(header) == dtype:
            _read_native(header, plane)
        else:
            plane[:] = decode(header)
        dirty += _clean(plane, header)
    if dirty:
        text = f"Bits above BitsStored were set in {dirty} slice(s), as overlays do; they were removed."
        findings.append(Finding("HIGH_BITS", "warning", text, tag=tags.show(tags.BITS_STORED), value=str(dirty)))
    return array


def _stored_dtype(header: Header) -> np.dtype[Any]:
    if header.bits_allocated not in (8, 16, 32) or not 0 < header.bits_stored <= header.bits_allocated:
        raise InputError(
            "Pixels of this depth are not supported.",
            where=header.path,
            got=f"BitsAllocated (0028,0100) = {header.bits_allocated}, BitsStored (0028,0101) = {header.bits_stored}",
            expected="8, 16 or 32 bits allocated, and no more stored",
        )
    return np.dtype(f"{'i' if header.signed else 'u'}{header.bits_allocated // 8}")


def _is_native(header: Header) -> bool:
    # 8-bit pixels in big-endian files may be packed in swapped 16-bit words: left to pydicom.
    return header.pixel_offset is not None and not (header.big_endian and header.bits_allocated == 8)


def _read_native(header: Header, plane: NDArray[Any]) -> None:
    expected, stated = plane.nbytes, header.pixel_length or 0
    if stated < expected:
        raise _short(header, stated, expected)
    try:
        with header.path.open("rb", buffering=0) as file:
            file.seek(header.pixel_offset or 0)
            got = file.readinto(plane.reshape(-1).view(np.uint8).data)
    except OSError as error:
        raise InputError("The file cannot be read.", where=header.path, got=error.strerror) from error
    if (got or 0) < expected:
        raise _short(header, got or 0, expected)
    if header.big_endian:
        plane.byteswap(inplace=True)


def _short(header: Header, got: int, expected: int) -> InputError:
    return InputError(
        "The pixels are cut short.",
        where=header.path,
        got=f"{got} bytes of PixelData (7FE0,0010)",
        expected=f"{expected} bytes for {header.rows}×{header.columns} pixels",
        fix="copy or fetch the file again; the transfer did not finish",
    )


def _clean(plane: NDArray[Any], header: Header) -> bool:
    """Remove what stands above BitsStored, in place; tell whether anything did."""
    bits = header.bits_stored
    if bits == header.bits_allocated:
        return False
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if header.signed else (0, (1 << bits) - 1)
    if low <= int(plane.min()) and int(plane.max()) <= high:
        return False
    unused = plane.dtype.itemsize * 8 - bits
    np.left_shift(plane, unused, out=plane)
    np.right_shift(plane, unused, out=plane)
    return True


def decode(header: Header, *, as_rgb: bool = False) -> NDArray[Any]:
    """Decode one file's pixels with pydicom: (Y, X), or (Y, X, 3) where ``as_rgb`` converts YBR.

    Raises
    ------
    InputError
        Damaged pixels, or pixels that do not fit the header.
    MissingDependency
        No decoder for the transfer syntax is installed.
    """
    syntax = known_uid(header.transfer_syntax)
    try:
        with quietly():
            dataset = pydicom.dcmread(header.path, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = syntax
        decoder = get_decoder(syntax)
        if not decoder.is_available:
            raise _no_decoder(header, "; or ".join(decoder.missing_dependencies))
        if syntax == JPEGExtended12Bit and header.bits_stored > 8 and "pylibjpeg" not in decoder.available_plugins:
            # gdcm and Pillow, which pydicom offers here too, decode 8 bits only.
            raise _no_decoder(header, "pylibjpeg and pylibjpeg-libjpeg (GPL), for 12 bits")
        plugin = _FASTEST.get(syntax, "")
        plugin = plugin if plugin in decoder.available_plugins else ""
        try:
            array, _ = decoder.as_array(dataset, index=0, raw=not as_rgb, decoding_plugin=plugin)
        except PYDICOM_ERRORS:
            if not plugin:
                raise
            array, _ = decoder.as_array(dataset, index=0, raw=not as_rgb)
    except NotImplementedError as error:
        raise InputError(
            "This version does not read this transfer syntax.",
            where=header.path,
            got=f"{syntax.name} ({syntax})",
            fix="ask the sender for an uncompressed, JPEG, JPEG-LS, JPEG 2000 or RLE export",
        ) from error
    except PYDICOM_ERRORS as error:
        raise InputError(
            "The pixels are damaged, cut short, or not in the stated transfer syntax.",
            where=header.path,
            got=f"{type(error).__name__} while decoding {syntax.name}",
            fix="copy or fetch the file again",
        ) from error
    expected = (header.rows, header.columns, *((header.samples,) if header.samples > 1 else ()))
    if array.shape != expected:
        raise InputError(
            "The decoded pixels do not fit the header.", where=header.path, got=array.shape, expected=expected
        )
    return np.asarray(array, dtype=array.dtype.newbyteorder("="))


def _no_decoder(header: Header, needed: str) -> MissingDependency:
    return MissingDependency(
        "No decoder for this transfer syntax is installed.",
        where=header.path,
        got=f"{known_uid(header.transfer_syntax).name} ({header.transfer_syntax}), {header.bits_stored} bits",
        expected=needed,
        fix="install the packages named, or ask the sender for an uncompressed export",
    )


def invert(planes: NDArray[Any], header: Header) -> None:
    """Turn MONOCHROME1 into MONOCHROME2, in place: the smallest stored value becomes the largest."""
    if header.signed:
        np.invert(planes, out=planes)
    else:
        np.subtract((1 << header.bits_stored) - 1, planes, out=planes)


def apply_rescale(planes: NDArray[Any], rescales: Sequence[Rescale]) -> NDArray[Any]:
    """Apply every slice's own rescale to (Z, Y, X) stored values.

    Returns
    -------
    (Z, Y, X) ndarray
        int16 (or the stored type, or int32) where all slopes and intercepts are whole and the values fit,
        computed in the memory of ``planes`` where the width allows it; else float32.
    """
    ends = [
        int(value) * rescale.slope + rescale.intercept
        for plane, rescale in zip(planes, rescales, strict=True)
        for value in (plane.min(), plane.max())
    ]
    identity = all(rescale == Rescale() for rescale in rescales)
    if identity and (planes.dtype.itemsize == 1 or max(ends) > _INT16.max):
        return planes
    fitting = [kind for kind in (np.int16, np.int32) if _fits(ends, kind)]
    if not fitting or not all(rescale.is_whole for rescale in rescales):
        out = np.empty(planes.shape, np.float32)
        # One plane at a time in float64: slope · stored and intercept may cancel.
        exact = np.empty(planes.shape[1:], np.float64)
        for target, plane, rescale in zip(out, planes, rescales, strict=True):
            np.multiply(plane, rescale.slope, out=exact)
            np.add(exact, rescale.intercept, out=target, casting="same_kind")
        return out
    dtype = np.dtype(fitting[0])
    planes = planes.view(dtype) if planes.dtype.itemsize == dtype.itemsize else planes.astype(dtype)
    if not identity:
        _integer_rescale(planes, rescales)
    return planes


def _fits(ends: Sequence[float], kind: type[np.signedinteger[Any]]) -> bool:
    return bool(np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max)


def _integer_rescale(planes: NDArray[Any], rescales: Sequence[Rescale]) -> None:
    # Two's complement arithmetic wraps, so that uint16 memory seen as int16 gives the right sum in the end.
    width = 8 * planes.dtype.itemsize
    for plane, rescale in zip(planes, rescales, strict=True):
        for value, operation in ((int(rescale.slope), np.multiply), (int(rescale.intercept), np.add)):
            wrapped = (value + (1 << (width - 1))) % (1 << width) - (1 << (width - 1))
            if (operation, wrapped) not in ((np.multiply, 1), (np.add, 0)):
                operation(plane, planes.dtype.type(wrapped), out=plane)
