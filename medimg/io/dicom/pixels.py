"""Values of DICOM slices: stored values of every plane, and one rescale per slice.

Legend: Z slices, Y rows, X columns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.io.dicom import tags
from medimg.io.dicom.headers import Header
from medimg.io.dicom.slice_reader import allocate, common_dtype, read_slices
from medimg.io.findings import Finding

_INT16 = np.iinfo(np.int16)
# float32 holds every whole number up to this.
_WHOLE_FLOATS = 1 << 24
_ROWS_AT_ONCE = 32


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


def read_planes(headers: Sequence[Header], findings: list[Finding], *, max_bytes: int | None = None) -> NDArray[Any]:
    """Read the stored values of all slices as (Z, Y, X).

    Parameters
    ----------
    headers : sequence of Header
        Of one size.
    findings : list of Finding
        What is noticed is added here.
    max_bytes : int, optional
        Largest array that may be allocated.

    Returns
    -------
    (Z, Y, X) ndarray
        The stored type; the narrowest one that holds all slices where they differ. Bits above BitsStored are
        removed with a finding.

    Raises
    ------
    InputError
        Cut short, damaged, larger than the limit, or of a bit depth other than 8, 16 or 32.
    MissingDependency
        The transfer syntax needs a decoder that is not installed.
    """
    dtype = common_dtype(headers)
    array = allocate(headers, dtype, max_bytes)
    findings += read_slices(headers, dtype, array.__getitem__, lambda n, plane: None)
    return array


def read_values(
    headers: Sequence[Header],
    rescales: Sequence[Rescale],
    findings: list[Finding],
    *,
    inverted: bool = False,
    dtype: type[np.float32] | None = None,
    max_bytes: int | None = None,
) -> NDArray[Any]:
    """Read the rescaled values of all slices, each finished while it is in the processor's cache.

    Parameters
    ----------
    headers : sequence of Header
        Of one size.
    rescales : sequence of Rescale
        One a slice.
    findings : list of Finding
        What is noticed is added here.
    inverted : bool
        Whether the stored values are MONOCHROME1 and are inverted before the rescale.
    dtype : numpy.float32, optional
        float32 in any case; the default is the narrowest type that holds all values, as `apply_rescale` says.
    max_bytes : int, optional
        Largest array that may be allocated.

    Returns
    -------
    (Z, Y, X) ndarray

    Raises
    ------
    InputError, MissingDependency
        As `read_planes`.
    """
    stored = common_dtype(headers)
    if dtype is not None or stored.kind == "f" or not all(rescale.is_whole for rescale in rescales):
        array, work = _floats(headers, rescales, stored, inverted, max_bytes)
        findings += read_slices(headers, stored, *work)
        return array
    array = allocate(headers, stored, max_bytes)
    ends = [(0, 0)] * len(headers)
    # In two's complement, 16-bit memory seen as int16 gives the right sum in the end, and a sum can be undone.
    shifted = array.view(np.int16) if stored.itemsize == 2 and _only_shifts(rescales) else None

    def finish(n: int, plane: NDArray[Any]) -> None:
        if inverted:
            invert(plane, headers[n])
        ends[n] = int(plane.min()), int(plane.max())
        if shifted is not None:
            np.add(shifted[n], _wrapped(rescales[n].intercept, np.int16), out=shifted[n])

    findings += read_slices(headers, stored, array.__getitem__, finish)
    if shifted is not None:
        if _fits(_rescaled(ends, rescales), np.int16):
            return shifted
        for plane, rescale in zip(shifted, rescales, strict=True):
            np.subtract(plane, _wrapped(rescale.intercept, np.int16), out=plane)
    return apply_rescale(array, rescales, ends)


def _floats(
    headers: Sequence[Header],
    rescales: Sequence[Rescale],
    stored: np.dtype[Any],
    inverted: bool,
    max_bytes: int | None,
) -> tuple[NDArray[np.float32], tuple[Callable[[int], NDArray[Any]], Callable[[int, NDArray[Any]], None]]]:
    """Return the float32 array to fill, and how to fill it from one slice's memory a thread."""
    array = allocate(headers, np.dtype(np.float32), max_bytes)
    local = threading.local()

    def memory(_: int) -> NDArray[Any]:
        if not hasattr(local, "plane"):
            local.plane = np.empty(array.shape[1:], stored)
        return cast("NDArray[Any]", local.plane)

    def finish(n: int, plane: NDArray[Any]) -> None:
        if inverted and stored.kind != "f":
            invert(plane, headers[n])
        _to_float(plane, rescales[n], array[n])

    return array, (memory, finish)


def _to_float(plane: NDArray[Any], rescale: Rescale, target: NDArray[np.float32]) -> None:
    """Rescale (Y, X) stored values into float32, rounding once."""
    largest = (1 << 8 * plane.dtype.itemsize) * abs(rescale.slope) + abs(rescale.intercept)
    if plane.dtype.kind == "f" or not rescale.is_whole or largest > _WHOLE_FLOATS:
        _exactly(plane, rescale, target)
    # All numbers on the way are whole and held exactly.
    elif rescale.slope == 1:
        np.add(plane, np.float32(rescale.intercept), out=target)
    else:
        np.multiply(plane, np.float32(rescale.slope), out=target)
        np.add(target, np.float32(rescale.intercept), out=target)


# What overflows float32 becomes infinite, which is looked for afterwards.
@np.errstate(over="ignore", invalid="ignore")
def _exactly(plane: NDArray[Any], rescale: Rescale, target: NDArray[np.float32]) -> None:
    # In float64, since slope · stored and intercept may cancel; a few rows at a time, which stay in the cache.
    for start in range(0, len(plane), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        exact = np.multiply(plane[rows], rescale.slope, dtype=np.float64)
        np.add(exact, rescale.intercept, out=target[rows], casting="same_kind")


def invert(planes: NDArray[Any], header: Header) -> None:
    """Turn MONOCHROME1 into MONOCHROME2, in place: the smallest stored value becomes the largest."""
    if header.signed:
        np.invert(planes, out=planes)
    else:
        np.subtract((1 << header.bits_stored) - 1, planes, out=planes)


def apply_rescale(
    planes: NDArray[Any], rescales: Sequence[Rescale], ends: Sequence[tuple[int, int]] | None = None
) -> NDArray[Any]:
    """Apply every slice's own rescale to (Z, Y, X) stored values.

    Parameters
    ----------
    planes : (Z, Y, X) ndarray
    rescales : sequence of Rescale
        One a slice.
    ends : sequence of (int, int), optional
        Smallest and largest stored value of each slice, where they are known.

    Returns
    -------
    (Z, Y, X) ndarray
        int16 (or the stored type, or int32) where all slopes and intercepts are whole and the values fit,
        computed in the memory of ``planes`` where the width allows it; else float32.
    """
    if planes.dtype.kind != "f" and all(rescale.is_whole for rescale in rescales):
        limits = _rescaled(ends or [(int(plane.min()), int(plane.max())) for plane in planes], rescales)
        identity = all(rescale == Rescale() for rescale in rescales)
        if identity and (planes.dtype.itemsize == 1 or max(limits) > _INT16.max):
            return planes
        for kind in (np.int16, np.int32):
            if _fits(limits, kind):
                dtype = np.dtype(kind)
                same = planes.dtype.itemsize == dtype.itemsize
                planes = planes.view(dtype) if same else planes.astype(dtype)
                if not identity:
                    _integer_rescale(planes, rescales)
                return planes
    out = np.empty(planes.shape, np.float32)
    for target, plane, rescale in zip(out, planes, rescales, strict=True):
        _exactly(plane, rescale, target)
    return out


def _only_shifts(rescales: Sequence[Rescale]) -> bool:
    return all(rescale.slope == 1 for rescale in rescales) and any(rescale.intercept != 0 for rescale in rescales)


def _rescaled(ends: Sequence[tuple[int, int]], rescales: Sequence[Rescale]) -> list[float]:
    return [
        value * rescale.slope + rescale.intercept
        for both, rescale in zip(ends, rescales, strict=True)
        for value in both
    ]


def _fits(ends: Sequence[float], kind: type[np.signedinteger[Any]]) -> bool:
    return bool(np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max)


def _wrapped(value: float, kind: type[np.signedinteger[Any]]) -> np.signedinteger[Any]:
    """Return a whole number modulo the width of a signed type."""
    width = np.iinfo(kind).bits
    return kind((int(value) + (1 << (width - 1))) % (1 << width) - (1 << (width - 1)))


def _integer_rescale(planes: NDArray[Any], rescales: Sequence[Rescale]) -> None:
    # Two's complement arithmetic wraps, so that uint16 memory seen as int16 gives the right sum in the end.
    for plane, rescale in zip(planes, rescales, strict=True):
        for value, operation in ((rescale.slope, np.multiply), (rescale.intercept, np.add)):
            wrapped = _wrapped(value, planes.dtype.type)
            if (operation, int(wrapped)) not in ((np.multiply, 1), (np.add, 0)):
                operation(plane, wrapped, out=plane)
