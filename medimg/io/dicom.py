"""Make a Volume of a stack of DICOM files, or a Picture of a single one.

Legend: Z Y X of a volume; H rows, W columns of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import apply_color_lut

from medimg.errors import InputError
from medimg.io import dicom_tags as tags
from medimg.io.dicom_geometry import Arrangement
from medimg.io.dicom_headers import PYDICOM_ERRORS, Header, acquisition, quietly
from medimg.io.dicom_pixels import Rescale, apply_rescale, decode, invert, read_planes, rescale_of
from medimg.io.dicom_series import Stack
from medimg.io.findings import Finding
from medimg.io.image import Picture, Source, Unit, Volume
from medimg.io.picture import replicated

_IDENTITY = Rescale()


def load(stack: Stack, findings: Sequence[Finding] = ()) -> Volume | Picture:
    """Read the pixels of a stack.

    Returns
    -------
    Volume
        Where the files state position, orientation and spacing: (Z, Y, X) along the slice normal, int16 where
        the rescale is whole, else float32; ``unit`` 'HU' for CT whose RescaleType is HU or absent.
    Picture
        Where a single colour (or grey, without geometry) file stands alone: (H, W, 3).

    Raises
    ------
    InputError
        The stack's own problem, damaged pixels, or an unusable rescale.
    MissingDependency
        A decoder is missing.
    """
    if stack.problem is not None:
        raise stack.problem
    if stack.arrangement is not None:
        return _volume(stack.arrangement, list(findings))
    return _picture(stack.headers[0], list(findings))


def _volume(arrangement: Arrangement, findings: list[Finding]) -> Volume:
    headers, first = arrangement.headers, arrangement.headers[0]
    findings += arrangement.findings
    rescales, unit = _rescales(headers, findings)
    planes = read_planes(headers, findings)
    findings += _padding(first)
    if first.photometric == "MONOCHROME1":
        _monochrome1(planes, first, unit, findings)
    array = apply_rescale(planes, rescales)
    return Volume(
        array=array,
        affine=arrangement.affine,
        unit=unit,
        frame_of_reference_uid=tags.text(first.elements, tags.FRAME_OF_REFERENCE) or None,
        source=_source(headers),
        findings=tuple(findings + _lossy(first)),
    )


def _source(headers: Sequence[Header]) -> Source:
    first = headers[0]
    return Source(
        paths=tuple(header.path for header in headers),
        format="DICOM",
        modality=first.modality,
        series_uid=first.series_uid or None,
        study_uid=tags.text(first.elements, tags.STUDY_UID) or None,
        instance_uids=tuple(header.instance_uid for header in headers),
        acquisition=acquisition(first),
    )


def _rescales(headers: Sequence[Header], findings: list[Finding]) -> tuple[list[Rescale], Unit]:
    found, first = [rescale_of(header) for header in headers], headers[0]
    kinds = {tags.text(header.elements, tags.RESCALE_TYPE).upper() for header in headers}
    lacking = sum(rescale is None for rescale in found)
    if 0 < lacking < len(found):
        raise InputError(
            "Some slices of the series have a rescale and some have none.",
            where=f"series {first.series_uid} in {first.path.parent}",
            got=f"RescaleSlope (0028,1053) absent in {lacking} of {len(found)} slices",
            expected="all or none",
            fix="export the series again from the scanner or PACS",
        )
    if first.modality != "CT":
        return [rescale or _IDENTITY for rescale in found], "arbitrary"
    file, tag = str(first.path), tags.show(tags.SLOPE)
    if lacking:
        text = "A CT without RescaleSlope and RescaleIntercept: its values are not known to be HU."
        findings.append(Finding("MISSING_RESCALE", "warning", text, file=file, tag=tag, assumed="stored values"))
        return [_IDENTITY] * len(found), "arbitrary"
    if kinds <= {"", "HU"}:
        return [rescale or _IDENTITY for rescale in found], "HU"
    text = "The RescaleType of this CT is not HU."
    value = ", ".join(sorted(kinds))
    findings.append(Finding("NOT_HU", "warning", text, file=file, tag=tags.show(tags.RESCALE_TYPE), value=value))
    return [rescale or _IDENTITY for rescale in found], "arbitrary"


def _monochrome1(planes: NDArray[Any], first: Header, unit: Unit, findings: list[Finding]) -> None:
    file, tag = str(first.path), tags.show(tags.PHOTOMETRIC)
    if unit == "HU":
        text = "MONOCHROME1 is about display; Hounsfield units were kept as they are."
        findings.append(Finding("MONOCHROME1", "info", text, file=file, tag=tag, value="MONOCHROME1", assumed="HU"))
        return
    invert(planes, first)
    text = "MONOCHROME1 (small values bright) was inverted."
    findings.append(Finding("MONOCHROME1", "info", text, file=file, tag=tag, value="MONOCHROME1", assumed="inverted"))


def _padding(first: Header) -> list[Finding]:
    value = tags.short(first.elements, tags.PADDING, signed=first.signed)
    if value is None:
        return []
    text = "Pixels outside the scanned field hold a padding value; they were kept and rescaled like the others."
    return [Finding("PIXEL_PADDING", "info", text, file=str(first.path), tag=tags.show(tags.PADDING), value=str(value))]


def _lossy(first: Header) -> list[Finding]:
    if tags.text(first.elements, tags.LOSSY) != "01":
        return []
    text = "The pixels were compressed with loss before."
    return [Finding("LOSSY", "info", text, file=str(first.path), tag=tags.show(tags.LOSSY), value="01")]


def _picture(header: Header, findings: list[Finding]) -> Picture:
    array = decode(header, as_rgb=True)
    if header.photometric == "PALETTE COLOR":
        array = _palette(header, array)
        text = "Palette colours were looked up."
        findings.append(Finding("PALETTE_EXPANDED", "info", text, file=str(header.path)))
    elif header.samples == 1:
        array = _grey(header, array, findings)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype not in (np.uint8, np.uint16):
        raise InputError(
            "Pictures with such pixels are not supported.",
            where=header.path,
            got=f"{array.dtype} of shape {array.shape}",
            expected="8 or 16 bits a sample, one or three samples a pixel",
        )
    spacing = header.pixel_spacing
    return Picture(
        array=np.ascontiguousarray(array),
        spacing_mm=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        source=_source([header]),
        findings=tuple(findings + _lossy(header)),
    )


def _palette(header: Header, indices: NDArray[Any]) -> NDArray[Any]:
    try:
        with quietly():
            dataset = pydicom.dcmread(header.path, force=True, stop_before_pixels=True)
        return np.asarray(apply_color_lut(indices, dataset))
    except PYDICOM_ERRORS as error:
        raise InputError(
            "The palette of this picture cannot be used.",
            where=header.path,
            got=f"{type(error).__name__} in the palette look-up tables (0028,1101) to (0028,1203)",
        ) from error


def _grey(header: Header, array: NDArray[Any], findings: list[Finding]) -> NDArray[Any]:
    """Turn one grey plane without patient geometry into RGB over the full range of its type."""
    file = str(header.path)
    if header.signed or not header.photometric.startswith("MONOCHROME") or header.bits_allocated not in (8, 16):
        raise InputError(
            "A grey picture of this kind is not supported.",
            where=header.path,
            got=f"PhotometricInterpretation (0028,0004) = {header.photometric or 'absent'}, "
            f"{header.bits_allocated} bits, {'signed' if header.signed else 'unsigned'}",
            expected="MONOCHROME1 or MONOCHROME2, 8 or 16 bits, unsigned",
        )
    array = np.bitwise_and(array, (1 << header.bits_stored) - 1)
    if header.photometric == "MONOCHROME1":
        _monochrome1(array, header, "arbitrary", findings)
    unused = header.bits_allocated - header.bits_stored
    if unused:
        text = f"{header.bits_stored}-bit values were spread over {header.bits_allocated} bits."
        findings.append(
            Finding("DEPTH_SPREAD", "info", text, file=file, tag=tags.show(tags.BITS_STORED), value=f"× {1 << unused}")
        )
        array = np.left_shift(array, unused)
    findings.append(replicated(file))
    return np.repeat(array[..., None], 3, axis=2)
