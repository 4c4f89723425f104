"""Read NIfTI-1 and NIfTI-2: single files and pairs, compressed or not.

Legend: i j k NIfTI axes (x, y, z), fastest first on disk, so the bytes as they lie are a C-ordered
(..., Z, Y, X) array; C channels from the fourth or fifth NIfTI dimension.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medimg import geometry
from medimg.errors import InputError
from medimg.io.findings import Finding
from medimg.io.image import Source, Volume
from medimg.io.memory import check_allocation
from medimg.io.nifti_affine import read_affine
from medimg.io.nifti_stream import open_stream, read_exactly
from medimg.io.sniff import Content, nifti_version, paired_header, sniff, wrong_extension

_HEADERS = {
    (1, False): nib.Nifti1Header,
    (1, True): nib.nifti1.Nifti1PairHeader,
    (2, False): nib.Nifti2Header,
    (2, True): nib.nifti2.Nifti2PairHeader,
}


def read_nifti(path: Path) -> Volume:
    """Read one NIfTI file as a Volume in its axis order on disk.

    Parameters
    ----------
    path : Path
        ``.nii``, ``.nii.gz``, or either half of an ``.hdr``/``.img`` pair.

    Returns
    -------
    Volume
        ``array`` (Z, Y, X), or (C, Z, Y, X) with a finding where the file has a fourth (or fifth) dimension
        longer than 1; dtype as stored, float32 (float64 for 32-bit integers) where ``scl_slope`` or
        ``scl_inter`` are not whole; ``affine`` zyx to LPS mm; ``unit`` 'arbitrary': NIfTI states none.

    Raises
    ------
    InputError
        Not NIfTI, damaged, cut short, complex or colour voxels, no usable geometry, larger than the memory.
    """
    header_path, data_path = _files(path)
    findings: list[Finding] = []
    content = sniff(header_path)
    if content.kind != "nifti":
        raise InputError("Not a NIfTI file.", where=header_path, got=content.name, expected="NIfTI-1 or NIfTI-2")
    findings += _extension_findings(header_path, content)
    header = _header(header_path)
    shape, dtype = _shape(header, header_path), _dtype(header, header_path)
    affine = read_affine(header, header_path, findings)
    stored = _voxels(header, header_path, data_path, shape, dtype)
    array = _channels(_scaled(stored, header, findings, str(path)), str(path), findings)
    findings += _not_finite(array, str(path))
    return Volume(
        array=array,
        affine=geometry.from_ras_ijk(affine),
        source=Source(paths=(path,), format="NIfTI"),
        findings=tuple(findings),
    )


def _files(path: Path) -> tuple[Path, Path]:
    lower = path.name.lower()
    if lower.endswith((".img", ".img.gz")) and (header := paired_header(path)) is not None:
        return header, path
    if not lower.endswith((".hdr", ".hdr.gz")):
        return path, path
    stem = path.name[: lower.rindex(".hdr")]
    for suffix in (".img", ".img.gz", ".IMG", ".IMG.gz"):
        if (path.parent / (stem + suffix)).is_file():
            return path, path.parent / (stem + suffix)
    raise InputError(
        "The data file of this NIfTI pair is missing.",
        where=path,
        expected=f"{stem}.img or {stem}.img.gz beside it",
        fix="put both files of the pair into one folder",
    )


def _extension_findings(path: Path, content: Content) -> list[Finding]:
    named_gz = path.name.lower().endswith(".gz")
    if not wrong_extension(path, "NIfTI") and named_gz == content.compressed:
        return []
    told = "compressed NIfTI" if content.compressed else "uncompressed NIfTI"
    text = f"The extension does not fit the content, which is {told}."
    return [Finding("WRONG_EXTENSION", "warning", text, file=str(path), assumed="the content")]


def _header(path: Path) -> Any:
    with open_stream(path) as stream:
        block = stream.read(540)
    version = nifti_version(block)
    single = block[344:346] == b"n+" if version == 1 else block[4:6] == b"n+"
    size = 348 if version == 1 else 540
    if len(block) < size:
        raise InputError("The NIfTI header is cut short.", where=path, got=f"{len(block)} bytes", expected=size)
    try:
        return _HEADERS[version, not single](block[:size], check=False)
    except (nib.spatialimages.HeaderDataError, ValueError) as error:
        raise InputError("The NIfTI header is damaged.", where=path, got=str(error)) from error


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    """Return the shape in array order (..., Z, Y, X), with one leading axis at most."""
    n_dim = int(header["dim"][0])
    sides = tuple(int(side) for side in header["dim"][1 : n_dim + 1]) if 1 <= n_dim <= 7 else ()
    if not sides or min(sides) < 1:
        raise InputError(
            "The NIfTI header states no usable size.",
            where=path,
            got=f"dim = {[int(side) for side in header['dim']]}",
            expected="1 to 7 dimensions, every side at least 1",
        )
    spatial, extra = (*sides, 1, 1)[:3], sides[3:]
    leading = [side for side in extra if side > 1]
    if len(leading) > 1:
        raise InputError(
            "The NIfTI file has more than one non-spatial dimension.",
            where=path,
            got=f"dim = {sides}",
            expected="(x, y, z) or (x, y, z, channels)",
            fix="split it, e.g. one file per time point",
        )
    return (*leading, *spatial[::-1])


def _dtype(header: Any, path: Path) -> np.dtype[Any]:
    try:
        dtype = np.dtype(header.get_data_dtype())
    except (KeyError, nib.spatialimages.HeaderDataError) as error:
        got = f"datatype = {int(header['datatype'])}"
        raise InputError("The NIfTI data type is not known.", where=path, got=got) from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputError(
            "Voxels of this type are not supported.",
            where=path,
            got=dtype.name if dtype.names is None else "colour voxels",
            expected="integers or floats of at most 64 bits",
            fix="save magnitude, phase or colour channels as separate files",
        )
    return dtype


def _voxels(
    header: Any, header_path: Path, data_path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    single = header_path == data_path
    offset = int(header["vox_offset"])
    lowest = int(header["sizeof_hdr"]) if single else 0
    if offset < lowest:
        if offset != 0:
            got = f"vox_offset = {offset}"
            raise InputError("The NIfTI voxels would start inside the header.", where=header_path, got=got)
        offset = lowest + 4
    check_allocation(shape, dtype.itemsize, where=data_path)
    array = np.empty(shape, dtype)
    read_exactly(data_path, offset, array)
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def _scaled(stored: NDArray[Any], header: Any, findings: list[Finding], file: str) -> NDArray[Any]:
    """Apply ``scl_slope`` and ``scl_inter``; integers stay integers where both are whole and they fit."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        return stored
    if not np.isfinite(inter):
        text = "scl_inter is not a number."
        findings.append(Finding("BAD_SCALE", "warning", text, file=file, tag="scl_inter", assumed="0"))
        inter = 0.0
    if (slope, inter) == (1.0, 0.0):
        return stored
    if stored.dtype.kind in "iu" and slope.is_integer() and inter.is_integer():
        ends = [int(value) * int(slope) + int(inter) for value in (stored.min(), stored.max())]
        for dtype in (np.int16, np.int32):
            if np.iinfo(dtype).min <= min(ends) and max(ends) <= np.iinfo(dtype).max:
                return (stored.astype(np.int64) * int(slope) + int(inter)).astype(dtype)
    wide = stored.dtype.itemsize > 4 or stored.dtype in (np.dtype(np.int32), np.dtype(np.uint32))
    scaled = stored.astype(np.float64 if wide else np.float32)
    np.multiply(scaled, slope, out=scaled)
    return np.add(scaled, inter, out=scaled)


def _channels(array: NDArray[Any], file: str, findings: list[Finding]) -> NDArray[Any]:
    if array.ndim == 4:
        text = "A fourth dimension was read as channels: the array is (C, Z, Y, X)."
        findings.append(
            Finding("CHANNELS", "info", text, file=file, tag="dim", value=str(array.shape[0]), assumed="channels")
        )
    return array


def _not_finite(array: NDArray[Any], file: str) -> list[Finding]:
    if array.dtype.kind != "f":
        return []
    planes = array.reshape(-1, *array.shape[-2:])
    count = sum(int(plane.size - np.isfinite(plane).sum()) for plane in planes)
    if not count:
        return []
    text = f"{count} of {array.size} voxels are not finite numbers; they were left as they are."
    return [Finding("NOT_FINITE", "warning", text, file=file, value=str(count))]
