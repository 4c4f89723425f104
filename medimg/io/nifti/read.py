"""Read NIfTI-1 and NIfTI-2: single files and pairs, compressed or not.

Legend: i j k NIfTI axes (x, y, z), fastest first on disk, so the bytes as they lie are a C-ordered
(..., Z, Y, X) array; C channels from colour samples and from the fourth and further NIfTI dimensions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from medimg import geometry
from medimg.errors import InputError
from medimg.io.findings import Finding
from medimg.io.image import Source, Volume
from medimg.io.nifti.affine import Prefer, read_affine
from medimg.io.nifti.header import NiftiHeader, read_nifti_header
from medimg.io.nifti.voxels import read_voxels, wanted_dtype
from medimg.io.sniff import Content, paired_header, sniff, wrong_extension


# Absurd headers overflow on the way; what is not finite is looked for and refused or reported afterwards.
@np.errstate(over="ignore", invalid="ignore")
def read_nifti(
    path: Path,
    *,
    dtype: DTypeLike | None = None,
    prefer: Prefer = "sform",
    flatten: bool = False,
    max_bytes: int | None = None,
) -> Volume:
    """Read one NIfTI file as a Volume in its axis order on disk.

    Parameters
    ----------
    path : Path
        ``.nii``, ``.nii.gz``, or either half of an ``.hdr``/``.img`` pair.
    dtype : float32 or float64, optional
        What the values are wanted as; faster than to convert afterwards, since nothing is stored twice. None keeps
        the stored type: float32 (float64 for 32-bit integers) where ``scl_slope`` or ``scl_inter`` are not whole.
    prefer : {'sform', 'qform', 'error'}
        Which of two different statements about geometry to believe; 'error' refuses such a file.
    flatten : bool
        Whether several dimensions beyond the third (time and vector components) are laid one after the other as
        channels, the vector component slowest; without it such a file is refused.
    max_bytes : int, optional
        Largest array that may be allocated.

    Returns
    -------
    Volume
        ``array`` (Z, Y, X), or (C, Z, Y, X) with a finding where the file has colour voxels or a fourth (or fifth)
        dimension longer than 1; ``affine`` zyx to LPS mm; ``unit`` 'arbitrary': NIfTI states none. Seconds between
        time points are ``source.acquisition['time_step_s']``.

    Raises
    ------
    InputError
        Not NIfTI, damaged, cut short, complex voxels, no usable geometry, larger than the memory or the limit.
    """
    wanted = wanted_dtype(dtype)
    header_path, data_path = _files(path)
    findings: list[Finding] = []
    content = sniff(header_path)
    if content.kind != "nifti":
        raise InputError("Not a NIfTI file.", where=header_path, got=content.name, expected="NIfTI-1 or NIfTI-2")
    findings += _extension_findings(header_path, content)
    header = read_nifti_header(header_path, findings, single=header_path == data_path)
    _check_dimensions(header, flatten, header_path)
    affine = read_affine(header.raw, header_path, findings, prefer=prefer)
    voxels, surplus = read_voxels(header, data_path, wanted, max_bytes=max_bytes)
    if surplus:
        text = "The file holds more bytes than its header says; they were left alone."
        findings.append(Finding("TRAILING_BYTES", "warning", text, file=str(data_path), value=str(surplus)))
    array = _channels(voxels, header, str(path), findings)
    findings += _not_finite(array, header, str(path))
    return Volume(
        array=array,
        affine=geometry.from_ras_ijk(affine),
        source=Source(
            paths=(path,),
            format="NIfTI",
            acquisition={} if header.time_step_s is None else {"time_step_s": header.time_step_s},
        ),
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


def _check_dimensions(header: NiftiHeader, flatten: bool, path: Path) -> None:
    leading = len(header.shape) - 3 + (header.samples > 1)
    if leading > 1 and not flatten:
        raise InputError(
            "The NIfTI file has more than one non-spatial dimension.",
            where=path,
            got=f"dim = {[int(side) for side in header.raw['dim'][1 : int(header.raw['dim'][0]) + 1]]}"
            + (f" of {header.samples} colours" if header.samples > 1 else ""),
            expected="(x, y, z) or (x, y, z, channels)",
            fix="pass flatten=True to read them as channels one after the other, or save one file a time point",
        )


def _channels(array: NDArray[Any], header: NiftiHeader, file: str, findings: list[Finding]) -> NDArray[Any]:
    """Bring all leading axes into one, with a finding that says what it is made of."""
    if array.ndim == 3:
        return array
    parts = [f"{header.samples} colours"] if header.samples > 1 else []
    names = {4: "time points" if header.time_step_s else "fourth dimension", 5: "fifth dimension"}
    dims = [int(side) for side in header.raw["dim"]]
    parts += [f"{dims[n]} {names.get(n, f'dimension {n}')}" for n in range(min(dims[0], 7), 3, -1) if dims[n] > 1]
    value = " × ".join(parts)
    if header.samples > 1:
        text = "Colour voxels were read as channels: the array is (C, Z, Y, X) of red, green, blue" + (
            ", alpha." if header.samples == 4 else "."
        )
        findings.append(Finding("RGB_CHANNELS", "info", text, file=file, tag="datatype", value=value))
    if len(header.shape) > 3:
        text = "Dimensions beyond the third were read as channels: the array is (C, Z, Y, X)."
        findings.append(Finding("CHANNELS", "info", text, file=file, tag="dim", value=value, assumed="channels"))
    return array.reshape(-1, *array.shape[-3:])


def _not_finite(array: NDArray[Any], header: NiftiHeader, file: str) -> list[Finding]:
    # Whole numbers times a finite scale stay finite in float64, and in float32 up to 3.4e38.
    bound = abs(header.slope) * 2.0**64 + abs(header.intercept)
    if array.dtype.kind != "f" or (header.stored.kind != "f" and bound < float(np.finfo(np.float32).max)):
        return []
    planes = array.reshape(-1, *array.shape[-2:])
    count = sum(int(plane.size - np.isfinite(plane).sum()) for plane in planes)
    if not count:
        return []
    text = f"{count} of {array.size} voxels are not finite numbers; they were left as they are."
    return [Finding("NOT_FINITE", "warning", text, file=file, value=str(count))]
