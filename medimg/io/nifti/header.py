"""What a NIfTI header says, checked: size, type, scale, where the voxels begin, and what else is worth a word.

Legend: the header's dim counts x, y, z, then time, then vector components (fastest first); array order is reversed.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.nifti1 import intent_codes
from nibabel.spatialimages import HeaderDataError

from medimg.errors import InputError
from medimg.io.findings import Finding
from medimg.io.nifti.stream import read_head
from medimg.io.sniff import nifti_version

_HEADERS = {
    (1, False): nib.Nifti1Header,
    (1, True): nib.nifti1.Nifti1PairHeader,
    (2, False): nib.Nifti2Header,
    (2, True): nib.nifti2.Nifti2PairHeader,
}
_RGB, _RGBA = 128, 2304
# Intents whose channels are vectors in space: their numbers mean the file's own axes.
_VECTORS = {1006, 1007}
_CIFTI = range(3000, 3100)
_TIME_UNITS_S = {8: 1.0, 16: 1e-3, 24: 1e-6}
_MOST_EXTENSION_BYTES = 1 << 24
_EXTENSIONS = {0: "unknown", 2: "DICOM", 4: "AFNI", 6: "comment", 8: "XCEDE", 32: "CIFTI", 44: "MRtrix"}


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """A header that can be read on.

    Attributes
    ----------
    raw : nibabel header
        For the geometry.
    shape : tuple of int
        (Z, Y, X), (C, Z, Y, X) or (V, T, Z, Y, X), as the voxels lie; without the samples of colour voxels.
    stored : dtype
        Of one number in the file, in the file's byte order.
    samples : int
        Numbers a voxel: 1, or 3 and 4 for RGB and RGBA.
    offset : int
        First byte of the voxels in the data file.
    slope, intercept : float
        ``value = slope · stored + intercept``; (1, 0) where the file states none.
    time_step_s : float or None
        Seconds between time points, where the fourth dimension is time in a known unit.
    """

    raw: Any
    shape: tuple[int, ...]
    stored: np.dtype[Any]
    samples: int
    offset: int
    slope: float
    intercept: float
    time_step_s: float | None


def read_nifti_header(path: Path, findings: list[Finding], *, single: bool) -> NiftiHeader:
    """Read and check the header of a NIfTI file.

    Parameters
    ----------
    path : Path
        The file with the header.
    findings : list of Finding
        What was noticed is added.
    single : bool
        Whether the voxels follow in the same file.

    Raises
    ------
    InputError
        Cut short, damaged, of no usable size, type or offset.
    """
    block = read_head(path, 544)
    raw = _raw(block, path)
    if int(raw["intent_code"]) in _CIFTI:
        raise InputError(
            "A CIFTI file holds values on brain surfaces, not a scan.",
            where=path,
            got=f"intent_code = {int(raw['intent_code'])}",
            expected="voxels on a grid",
        )
    _consistency(raw, path, findings)
    shape = _shape(raw, path)
    stored, samples = _dtype(raw, path)
    slope, intercept = (1.0, 0.0) if samples > 1 else _scale(raw, path, findings)
    offset = _offset(raw, path, single)
    _extensions(raw, block, path, offset if single else None, findings)
    _intent(raw, shape, path, findings)
    return NiftiHeader(raw, shape, stored, samples, offset, slope, intercept, _time_step_s(raw))


def _raw(block: bytes, path: Path) -> Any:
    version = nifti_version(block)
    if version == 0:
        raise InputError("Not a NIfTI file.", where=path, expected="NIfTI-1 or NIfTI-2")
    single = block[344:346] == b"n+" if version == 1 else block[4:6] == b"n+"
    size = 348 if version == 1 else 540
    if len(block) < size:
        raise InputError("The NIfTI header is cut short.", where=path, got=f"{len(block)} bytes", expected=size)
    try:
        return _HEADERS[version, not single](block[:size], check=False)
    except (HeaderDataError, ValueError) as error:
        raise InputError("The NIfTI header is damaged.", where=path, got=type(error).__name__) from error


def _consistency(raw: Any, path: Path, findings: list[Finding]) -> None:
    size = int(raw["sizeof_hdr"])
    if size != raw.template_dtype.itemsize:
        text = "The header states another length than it has."
        findings.append(Finding("BAD_HEADER", "warning", text, file=str(path), tag="sizeof_hdr", value=str(size)))
    try:
        bits = np.dtype(raw.get_data_dtype()).itemsize * 8
    except (KeyError, HeaderDataError):
        return
    if int(raw["bitpix"]) != bits:
        text = "The stated bits a voxel do not fit the data type; the type was believed."
        value = f"bitpix {int(raw['bitpix'])}, datatype {int(raw['datatype'])}"
        findings.append(
            Finding("BAD_HEADER", "warning", text, file=str(path), tag="bitpix", value=value, assumed=f"{bits} bits")
        )


def _shape(raw: Any, path: Path) -> tuple[int, ...]:
    """Return the shape in array order (..., Z, Y, X), leading axes longer than 1 alone."""
    n_dim = int(raw["dim"][0])
    sides = tuple(int(side) for side in raw["dim"][1 : n_dim + 1]) if 1 <= n_dim <= 7 else ()
    if not sides or min(sides) < 1:
        raise InputError(
            "The NIfTI header states no usable size.",
            where=path,
            got=f"dim = {[int(side) for side in raw['dim']]}",
            expected="1 to 7 dimensions, every side at least 1",
        )
    leading = [side for side in sides[3:] if side > 1]
    return (*leading[::-1], *(*sides, 1, 1)[:3][::-1])


def _dtype(raw: Any, path: Path) -> tuple[np.dtype[Any], int]:
    code = int(raw["datatype"])
    if code in (_RGB, _RGBA):
        return np.dtype(np.uint8), 3 if code == _RGB else 4
    try:
        dtype = np.dtype(raw.get_data_dtype())
    except (KeyError, HeaderDataError) as error:
        raise InputError("The NIfTI data type is not known.", where=path, got=f"datatype = {code}") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputError(
            "Voxels of this type are not supported.",
            where=path,
            got=dtype.name if dtype.kind in "cf" else f"datatype = {code}",
            expected="integers or floats of at most 64 bits, RGB or RGBA",
            fix="save magnitude and phase, or real and imaginary parts, as separate files",
        )
    return dtype, 1


def _scale(raw: Any, path: Path, findings: list[Finding]) -> tuple[float, float]:
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    if not math.isfinite(intercept):
        text = "scl_inter is not a number."
        findings.append(Finding("BAD_SCALE", "warning", text, file=str(path), tag="scl_inter", assumed="0"))
        intercept = 0.0
    return slope, intercept


def _offset(raw: Any, path: Path, single: bool) -> int:
    stated = float(raw["vox_offset"])
    lowest = int(raw.template_dtype.itemsize) if single else 0
    if not math.isfinite(stated) or stated != int(stated) or (stated < lowest and stated != 0):
        raise InputError(
            "The NIfTI voxels would start inside the header.",
            where=path,
            got=f"vox_offset = {stated:g}",
            expected=f"a whole number from {lowest} on",
        )
    return int(raw["vox_offset"]) if stated else (lowest + 4 if single else 0)


def _extensions(raw: Any, block: bytes, path: Path, offset: int | None, findings: list[Finding]) -> None:
    """Name the extensions of a header; their content is never read: it may name a patient."""
    start = int(raw.template_dtype.itemsize)
    if block[start : start + 1] in (b"", b"\x00"):
        return
    # In a pair they fill the rest of the header's file.
    end = _MOST_EXTENSION_BYTES if offset is None else min(offset, _MOST_EXTENSION_BYTES)
    data, codes, pos = read_head(path, end), [], start + 4
    while pos + 8 <= len(data):
        size, code = struct.unpack_from(f"{raw.endianness}ii", data, pos)
        if size < 8 or pos + size > len(data):
            break
        codes.append(f"{code} ({_EXTENSIONS[code]})" if code in _EXTENSIONS else str(code))
        pos += size
    if codes:
        text = "The header has extensions, which were not read."
        value = ", ".join(codes[:10])
        findings.append(
            Finding("NIFTI_EXTENSION", "info", text, file=str(path), tag="extension", value=value, assumed="ignored")
        )
    if not codes or pos < len(data) - 16:
        text = "The header announces an extension whose length cannot be right; it was ignored."
        findings.append(Finding("BAD_EXTENSION", "warning", text, file=str(path), tag="extension"))


def _intent(raw: Any, shape: tuple[int, ...], path: Path, findings: list[Finding]) -> None:
    code = int(raw["intent_code"])
    if code == 0:
        return
    name = str(intent_codes.label[code]) if code in intent_codes.value_set() else str(code)
    text = "The file states what its values are; they were read as they stand."
    findings.append(Finding("INTENT", "info", text, file=str(path), tag="intent_code", value=name))
    if code in _VECTORS and len(shape) > 3:
        text = "The channels are vectors in space: their parts mean the file's own axes (RAS), and were not turned."
        findings.append(Finding("VECTOR_AXES", "warning", text, file=str(path), tag="intent_code", value=name))


def _time_step_s(raw: Any) -> float | None:
    unit = _TIME_UNITS_S.get(int(raw["xyzt_units"]) & 0x38)
    step = float(raw["pixdim"][4])
    is_time = int(raw["dim"][0]) >= 4 and int(raw["dim"][4]) > 1 and unit is not None
    return step * unit if is_time and unit is not None and math.isfinite(step) and step > 0 else None
