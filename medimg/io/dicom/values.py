"""What the stored numbers of a volume mean: rescale, unit, modality LUT, SUV, padding, MONOCHROME1.

Legend: Z Y X of a volume. Display (window, VOI LUT, overlays) never changes a volume's values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.io.dicom import tags
from medimg.io.dicom.groups import REAL_WORLD
from medimg.io.dicom.headers import PYDICOM_ERRORS, Header, quietly
from medimg.io.dicom.lut import Table, modality_table
from medimg.io.dicom.parse import interpreting, parse
from medimg.io.dicom.pet import uptake
from medimg.io.dicom.pixels import Rescale, read_planes, rescale_of
from medimg.io.findings import Finding
from medimg.io.image import Unit

_IDENTITY = Rescale()
_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
# Units in which a number says the same whatever a screen makes of it.
_ABSOLUTE = ("HU", "SUV")


@dataclass(frozen=True)
class Meaning:
    """How the stored values of every slice become values, and in which unit they then are.

    Attributes
    ----------
    rescales : list of Rescale
        One a slice; the factor to SUV is in it.
    unit : {'HU', 'SUV', 'arbitrary'}
    inverted : bool
        Whether MONOCHROME1 turns the stored values round first.
    """

    rescales: list[Rescale]
    unit: Unit
    inverted: bool


def meaning_of(headers: Sequence[Header], findings: list[Finding]) -> Meaning:
    """Decide what the stored values of one stack mean.

    Raises
    ------
    InputError
        A rescale that cannot be used, or that only some slices have.
    """
    first = headers[0]
    rescales, unit = _rescales(headers, findings)
    if first.modality == "PT":
        with interpreting(first, "the radiopharmaceutical (0054,0016) or the units (0054,1001)"):
            rescales, unit = _suv(headers, rescales, findings)
    elif first.sop_class == _DOSE:
        findings.append(_dose(first))
    findings += _padding(first, rescales)
    if tags.has(first.elements, REAL_WORLD):
        findings.append(_real_world(first))
    return Meaning(rescales, unit, _inverted(first, unit, findings))


def has_modality_table(headers: Sequence[Header]) -> bool:
    """Tell whether any slice has a ModalityLUTSequence."""
    return any(tags.has(header.elements, tags.MODALITY_LUT) for header in headers)


def looked_up(headers: Sequence[Header], findings: list[Finding], max_bytes: int | None) -> tuple[NDArray[Any], Unit]:
    """Read a stack whose stored values go through modality look-up tables: (Z, Y, X) uint8 or uint16.

    Raises
    ------
    InputError
        Some slices have no table, or one is damaged.
    """
    tables: dict[Path, Table] = {}
    for header in headers:
        if header.path not in tables:
            tables[header.path] = _table(header)
    planes = read_planes(headers, findings, max_bytes=max_bytes)
    wide = max(int(table.entries.max()) for table in tables.values()) > 255
    array = np.empty(planes.shape, np.uint16 if wide else np.uint8)
    for target, plane, header in zip(array, planes, headers, strict=True):
        target[:] = tables[header.path](plane)
    first, kinds = headers[0], {table.kind for table in tables.values()}
    unit: Unit = "HU" if kinds == {"HU"} and first.modality == "CT" else "arbitrary"
    text = "The modality look-up table was applied."
    file, value = str(first.path), ", ".join(sorted(kinds - {""})) or None
    findings.append(Finding("MODALITY_LUT", "info", text, file=file, tag=tags.show(tags.MODALITY_LUT), value=value))
    findings += _padding(first, ())
    if _inverted(first, unit, findings):
        np.subtract(array.dtype.type((1 << int(array.max()).bit_length()) - 1), array, out=array)
    return array, unit


def _table(header: Header) -> Table:
    try:
        with quietly():
            table = modality_table(parse(header))
    except PYDICOM_ERRORS as error:
        raise InputError(
            "The modality look-up table cannot be used.",
            where=header.path,
            got=f"{type(error).__name__} in ModalityLUTSequence (0028,3000)",
            fix="export the series again from the scanner or PACS",
        ) from error
    if table is None:
        raise InputError(
            "Some slices of the series have a modality look-up table and some have none.",
            where=header.path,
            got="no ModalityLUTSequence (0028,3000)",
            expected="all or none",
            fix="export the series again from the scanner or PACS",
        )
    return table


def _rescales(headers: Sequence[Header], findings: list[Finding]) -> tuple[list[Rescale], Unit]:
    found, first = [rescale_of(header) for header in headers], headers[0]
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
    kinds = {tags.text(header.elements, tags.RESCALE_TYPE).upper() for header in headers}
    if kinds <= {"", "HU"}:
        return [rescale or _IDENTITY for rescale in found], "HU"
    text = "The RescaleType of this CT is not HU."
    value = ", ".join(sorted(kinds))
    findings.append(Finding("NOT_HU", "warning", text, file=file, tag=tags.show(tags.RESCALE_TYPE), value=value))
    return [rescale or _IDENTITY for rescale in found], "arbitrary"


def _suv(headers: Sequence[Header], rescales: list[Rescale], findings: list[Finding]) -> tuple[list[Rescale], Unit]:
    found = uptake(headers)
    findings.append(found.finding)
    if found.factor is None:
        return rescales, "arbitrary"
    factor = found.factor
    return [Rescale(rescale.slope * factor, rescale.intercept * factor) for rescale in rescales], "SUV"


def _dose(first: Header) -> Finding:
    scaled = tags.has(first.elements, tags.SLOPE)
    text = (
        "Dose values were scaled by DoseGridScaling." if scaled else "A dose without DoseGridScaling: values as stored."
    )
    unit = tags.text(first.elements, 0x30040002).upper()
    return Finding(
        "DOSE", "info" if scaled else "warning", text, file=str(first.path), tag="(3004,000E)", value=unit or None
    )


def _padding(first: Header, rescales: Sequence[Rescale]) -> list[Finding]:
    value = tags.short(first.elements, tags.PADDING, signed=first.signed)
    if value is None:
        return []
    limit = tags.short(first.elements, tags.PADDING_LIMIT, signed=first.signed)
    shown = str(value) if limit is None else f"{min(value, limit)} … {max(value, limit)}"
    text = "Pixels outside the scanned field hold a padding value; they were kept and rescaled like the others."
    # What a mask of the padding has to look for, where every slice is rescaled alike.
    same = rescales[0] if len(set(rescales)) == 1 else None
    now = None if same is None else f"{value * same.slope + same.intercept:g} after the rescale"
    tag = tags.show(tags.PADDING)
    return [Finding("PIXEL_PADDING", "info", text, file=str(first.path), tag=tag, value=shown, assumed=now)]


def _real_world(first: Header) -> Finding:
    text = "A map to real-world values is there and was not applied."
    stated = [part for part in tags.texts(first.elements, REAL_WORLD) if part]
    shown = "slope {}, intercept {}, unit {}".format(*stated) if len(stated) == 3 else None
    return Finding(
        "REAL_WORLD_VALUES",
        "info",
        text,
        file=str(first.path),
        tag=tags.show(REAL_WORLD),
        value=shown,
        assumed="stored",
    )


def _inverted(first: Header, unit: Unit, findings: list[Finding]) -> bool:
    if first.photometric != "MONOCHROME1":
        return False
    file, tag = str(first.path), tags.show(tags.PHOTOMETRIC)
    kept = unit in _ABSOLUTE
    what = f"{unit} values were kept as they are" if unit == "SUV" else "Hounsfield units were kept as they are"
    text = f"MONOCHROME1 is about display; {what}." if kept else "MONOCHROME1 (small values bright) was inverted."
    assumed = unit if kept else "inverted"
    findings.append(Finding("MONOCHROME1", "info", text, file=file, tag=tag, value="MONOCHROME1", assumed=assumed))
    return not kept


def lossy(first: Header) -> list[Finding]:
    """Say that the pixels were compressed with loss before, where the file says so."""
    if tags.text(first.elements, tags.LOSSY) != "01":
        return []
    text = "The pixels were compressed with loss before."
    return [Finding("LOSSY", "info", text, file=str(first.path), tag=tags.show(tags.LOSSY), value="01")]
