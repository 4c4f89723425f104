"""Pixel spacing of pictures: what a pixel measures, and where that holds.

A projection has no one spacing: DICOM states it at the detector (ImagerPixelSpacing), sometimes corrected to the
patient (PixelSpacing with a calibration, PS3.3 10.7). Which one was taken is always said.
"""

from __future__ import annotations

import math

from pydicom.dataset import Dataset

from medimg.io.dicom import tags
from medimg.io.dicom.groups import items, values
from medimg.io.findings import Finding

_PIXEL, _IMAGER, _NOMINAL, _IMAGE_PLANE = 0x00280030, 0x00181164, 0x00182010, 0x30020011
_CALIBRATION, _MAGNIFICATION, _ASPECT = 0x00280A02, 0x00181114, 0x00280034
_REGIONS, _FORMAT = 0x00186011, 0x00186012
_UNITS = (0x00186026, 0x00186024)
_DELTAS = (0x0018602E, 0x0018602C)
_TWO_D, _CENTIMETRES = "1", "3"
_PROJECTIONS = {"CR", "DX", "MG", "XA", "RF", "IO", "PX", "RG", "RTIMAGE"}
_SAME = 1e-3

Spacing = tuple[float, float]


def picture_spacing(dataset: Dataset, modality: str, file: str) -> tuple[Spacing | None, list[Finding]]:
    """Return the (row, column) spacing of a picture in mm and what is to be said of it.

    Parameters
    ----------
    dataset : Dataset
        The whole header.
    modality : str
        Decides which rule holds.
    file : str
        For the findings.
    """
    findings = _aspect(dataset, file)
    if modality == "US":
        spacing, more = _ultrasound(dataset, file)
    elif modality in _PROJECTIONS:
        spacing, more = _projection(dataset, file)
    else:
        spacing, more = _plain(dataset, file)
    return spacing, findings + more


def _projection(dataset: Dataset, file: str) -> tuple[Spacing | None, list[Finding]]:
    pixel, imager, nominal = (_pair(dataset, tag) for tag in (_PIXEL, _IMAGER, _NOMINAL))
    calibration = values(dataset, _CALIBRATION)[:1]
    if pixel is not None and (calibration in (["GEOMETRY"], ["FIDUCIAL"]) or (imager and not _equal(pixel, imager))):
        text = "PixelSpacing is calibrated to the patient; it differs from that of the detector."
        return pixel, [_finding("SPACING_CALIBRATED", "info", text, file, _PIXEL)]
    plane = _pair(dataset, _IMAGE_PLANE)
    at_detector = imager or pixel or plane
    if at_detector is not None:
        tag = _IMAGER if imager else _PIXEL if pixel else _IMAGE_PLANE
        factor = _number(dataset, _MAGNIFICATION)
        if factor is not None and factor > 1 and imager:
            text = "The spacing at the detector was divided by the estimated magnification."
            finding = _finding("SPACING_MAGNIFICATION", "info", text, file, _MAGNIFICATION)
            return (imager[0] / factor, imager[1] / factor), [finding]
        text = "The spacing is that at the detector: sizes in the patient are smaller by an unknown magnification."
        return at_detector, [_finding("SPACING_AT_DETECTOR", "warning", text, file, tag)]
    if nominal is not None:
        text = "The spacing is that of the scanned film."
        return nominal, [_finding("SPACING_OF_FILM", "warning", text, file, _NOMINAL)]
    return None, []


def _plain(dataset: Dataset, file: str) -> tuple[Spacing | None, list[Finding]]:
    pixel, nominal = _pair(dataset, _PIXEL), _pair(dataset, _NOMINAL)
    if pixel is None and nominal is not None:
        text = "The spacing is that of the scanned film."
        return nominal, [_finding("SPACING_OF_FILM", "warning", text, file, _NOMINAL)]
    return pixel, []


def _ultrasound(dataset: Dataset, file: str) -> tuple[Spacing | None, list[Finding]]:
    regions = items(dataset, _REGIONS)
    found = []
    for region in regions:
        flat = values(region, _FORMAT)[:1] == [_TWO_D]
        deltas = [_number(region, tag) for tag in _DELTAS]
        if flat and all(values(region, tag)[:1] == [_CENTIMETRES] for tag in _UNITS) and all(deltas):
            found.append((abs(deltas[0] or 0) * 10.0, abs(deltas[1] or 0) * 10.0))
    if found and all(_equal(found[0], other) for other in found):
        text = "The spacing holds inside the ultrasound region alone, not in the text and scales around it."
        return found[0], [
            _finding("US_REGION", "info", text, file, _REGIONS, f"{len(found)} of {len(regions)} regions")
        ]
    if found:
        text = "The picture has ultrasound regions of different spacing; none was taken."
        return None, [_finding("US_REGIONS_DIFFER", "warning", text, file, _REGIONS, str(len(found)))]
    return (None, []) if regions else _plain(dataset, file)


def _aspect(dataset: Dataset, file: str) -> list[Finding]:
    stated = values(dataset, _ASPECT)
    if len(stated) != 2 or len(set(stated)) == 1 or _pair(dataset, _ASPECT) is None:
        return []
    text = "The pixels are not square; the picture was not stretched."
    return [_finding("PIXEL_ASPECT", "warning", text, file, _ASPECT, ":".join(stated))]


def _pair(dataset: Dataset, tag: int) -> Spacing | None:
    try:
        found = [float(value) for value in values(dataset, tag)]
    except ValueError:
        return None
    if len(found) != 2 or not all(math.isfinite(value) and 0 < value < 1e6 for value in found):
        return None
    return found[0], found[1]


def _number(dataset: Dataset, tag: int) -> float | None:
    try:
        value = float((values(dataset, tag) or ["nan"])[0])
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _equal(a: Spacing, b: Spacing) -> bool:
    return all(abs(x - y) <= _SAME * max(x, y) for x, y in zip(a, b, strict=True))


def _finding(code: str, severity: str, text: str, file: str, tag: int, value: str | None = None) -> Finding:
    return Finding(
        code, "warning" if severity == "warning" else "info", text, file=file, tag=tags.show(tag), value=value
    )
