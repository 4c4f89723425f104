"""Voxels of a NIfTI file as numbers: `scl_slope` and `scl_inter` applied, in the type that holds them.

Legend: C channels, Z slices, Y rows, X columns; S samples of a colour voxel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from medimg.errors import InputError
from medimg.io.memory import check_allocation
from medimg.io.nifti.header import NiftiHeader
from medimg.io.nifti.stream import Convert, read_converted, read_exactly

# float32 holds whole numbers up to here.
_EXACT = 1 << 24
_BLOCK = 1 << 16


def wanted_dtype(dtype: DTypeLike | None) -> np.dtype[Any] | None:
    """Return float32 or float64 (or None for the stored type).

    Raises
    ------
    InputError
        Another type: integers would lose what the scale made of them.
    """
    if dtype is None:
        return None
    try:
        wanted = np.dtype(dtype)
    except TypeError as error:
        raise InputError("Not a type of number.", got=dtype, expected="float32 or float64") from error
    if wanted not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InputError("Values can be read as floats only.", got=wanted.name, expected="float32 or float64, or None")
    return wanted


def read_voxels(
    header: NiftiHeader, path: Path, dtype: np.dtype[Any] | None, *, max_bytes: int | None = None
) -> tuple[NDArray[Any], int]:
    """Read the voxels of a file.

    Parameters
    ----------
    header : NiftiHeader
    path : Path
        The file with the voxels.
    dtype : dtype or None
        float32 or float64; None keeps integers where the scale does, and takes float32 otherwise (float64 for
        stored integers and floats that float32 cannot hold).
    max_bytes : int, optional
        Largest array that may be allocated.

    Returns
    -------
    array : ndarray
        In the shape of the header; (S, ..., Z, Y, X) where a voxel has several samples.
    surplus : int
        Bytes that the file holds behind the voxels.

    Raises
    ------
    InputError
        Damaged, cut short, or larger than the memory or the limit.
    """
    if header.samples > 1:
        return _colour(header, path, dtype, max_bytes)
    scaled = (header.slope, header.intercept) != (1.0, 0.0)
    if dtype is None and not scaled:
        return _stored(header, path, max_bytes)
    if dtype is None and header.stored.kind in "iu" and header.slope.is_integer() and header.intercept.is_integer():
        array, surplus = _stored(header, path, max_bytes)
        whole = _whole(array, int(header.slope), int(header.intercept))
        if whole is not None:
            return whole, surplus
        return _as_float(array, header, _float_type(header.stored)), surplus
    target = dtype if dtype is not None else _float_type(header.stored)
    check_allocation(header.shape, target.itemsize, where=path, max_bytes=max_bytes)
    out = np.empty(header.shape, target)
    surplus = read_converted(path, header.offset, header.stored, out, _converter(header, target))
    return out, surplus


def _float_type(stored: np.dtype[Any]) -> np.dtype[Any]:
    wide = stored.itemsize > 4 or (stored.kind in "iu" and stored.itemsize == 4)
    return np.dtype(np.float64 if wide else np.float32)


def _stored(header: NiftiHeader, path: Path, max_bytes: int | None) -> tuple[NDArray[Any], int]:
    check_allocation(header.shape, header.stored.itemsize, where=path, max_bytes=max_bytes)
    array = np.empty(header.shape, header.stored)
    surplus = read_exactly(path, header.offset, array)
    if not array.dtype.isnative:
        array = array.byteswap(inplace=True).view(header.stored.newbyteorder("="))
    return array, surplus


def _converter(header: NiftiHeader, target: np.dtype[Any]) -> Convert:
    slope, intercept = header.slope, header.intercept
    if (slope, intercept) == (1.0, 0.0):
        return _copy
    if target == np.float32 and _exact_in_float32(header):

        def in_float32(stored: NDArray[Any], out: NDArray[Any]) -> None:
            np.multiply(stored, np.float32(slope), out=out)
            np.add(out, np.float32(intercept), out=out)

        return in_float32

    def in_float64(stored: NDArray[Any], out: NDArray[Any]) -> None:
        # slope · stored and intercept may cancel: rounded once, at the end.
        exact = stored.astype(np.float64)
        np.multiply(exact, slope, out=exact)
        np.add(exact, intercept, out=exact)
        out[...] = exact

    return in_float64


def _copy(stored: NDArray[Any], out: NDArray[Any]) -> None:
    with np.errstate(over="ignore"):
        out[...] = stored


def _exact_in_float32(header: NiftiHeader) -> bool:
    """Tell whether whole numbers stay whole and below 2**24 on every step."""
    if header.stored.kind not in "iu" or header.stored.itemsize > 2:
        return False
    whole = header.slope.is_integer() and header.intercept.is_integer()
    return whole and 65536 * abs(header.slope) + abs(header.intercept) <= _EXACT


def _as_float(array: NDArray[Any], header: NiftiHeader, target: np.dtype[Any]) -> NDArray[Any]:
    out = np.empty(array.shape, target)
    flat_in, flat_out, convert = array.reshape(-1), out.reshape(-1), _converter(header, target)
    for start in range(0, flat_in.size, _BLOCK):
        convert(flat_in[start : start + _BLOCK], flat_out[start : start + _BLOCK])
    return out


def _whole(array: NDArray[Any], slope: int, intercept: int) -> NDArray[Any] | None:
    """Scale whole numbers by whole numbers to int16 or int32; None where the result is larger."""
    ends = [int(value) * slope + intercept for value in (array.min(), array.max())]
    for dtype in (np.int16, np.int32):
        if np.iinfo(dtype).min <= min(ends) and max(ends) <= np.iinfo(dtype).max:
            # In the same memory where the width allows it: a block is copied before it is overwritten.
            same_width = array.dtype.itemsize == np.dtype(dtype).itemsize
            out = array.view(dtype) if same_width else np.empty(array.shape, dtype)
            flat_in, flat_out = array.reshape(-1), out.reshape(-1)
            for start in range(0, flat_in.size, _BLOCK):
                block = flat_in[start : start + _BLOCK].astype(np.int64)
                flat_out[start : start + _BLOCK] = block * slope + intercept
            return out
    return None


def _colour(
    header: NiftiHeader, path: Path, dtype: np.dtype[Any] | None, max_bytes: int | None
) -> tuple[NDArray[Any], int]:
    shape = (*header.shape, header.samples)
    target = dtype if dtype is not None else header.stored
    check_allocation(shape, target.itemsize + header.stored.itemsize, where=path, max_bytes=max_bytes)
    voxels = np.empty(shape, header.stored)
    surplus = read_exactly(path, header.offset, voxels)
    return np.ascontiguousarray(np.moveaxis(voxels, -1, 0), dtype=target), surplus
