"""From activity concentration to the standardised uptake value by body weight (SUVbw).

Method: QIBA "SUV vendor-neutral pseudo-code" (happy path): SUVbw = C · w · 1000 / D(t), with the concentration C in
Bq/ml, the weight w in kg and the injected activity D in Bq, decayed to the moment t to which the image was
corrected. Times, doses and weights are read here and never leave this file, not even in a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from pydicom.dataset import Dataset

from medimg.io.dicom import tags
from medimg.io.dicom.groups import SHARED, first_item, values
from medimg.io.dicom.headers import Header
from medimg.io.dicom.parse import parse
from medimg.io.findings import Finding

_RADIOPHARMACEUTICAL = 0x00540016
_WEIGHT, _DOSE, _HALF_LIFE = 0x00101030, 0x00181074, 0x00181075
_START_TIME, _START = 0x00181072, 0x00181078
_SERIES_DATE, _SERIES_TIME = 0x00080021, 0x00080031
_ACQUISITION_DATE, _ACQUISITION_TIME, _ACQUISITION = 0x00080022, 0x00080032, 0x0008002A
_CORRECTED_TO, _IS_CORRECTED = 0x00189701, 0x00189758
_CORRECTIONS, _DECAY = 0x00280051, 0x00541102
_SUV_TYPE = 0x00541006
_UNASSIGNED = 0x00209170
_GE_SCAN_START = 0x0009100D
_GE_CREATOR, _GE_NAME = 0x00090010, "GEMS_PETD_01"
_PHILIPS_SUV, _PHILIPS_CREATOR, _PHILIPS_NAME = 0x70531000, 0x70530010, "Philips PET Private Group"
_PARSED = [
    *(_RADIOPHARMACEUTICAL, _WEIGHT, _SERIES_DATE, _SERIES_TIME, _ACQUISITION_DATE, _ACQUISITION_TIME, _ACQUISITION),
    *(_CORRECTED_TO, _IS_CORRECTED, _CORRECTIONS, _DECAY, _SUV_TYPE, tags.UNITS),
    *(_GE_CREATOR, _GE_SCAN_START, _PHILIPS_CREATOR, _PHILIPS_SUV, SHARED),
]
_LONGEST = timedelta(hours=24)
_PLAUSIBLE_KG = (0.5, 500.0)


@dataclass(frozen=True)
class Uptake:
    """How stored and rescaled PET values become SUV: the factor, None where they cannot; and what to say of it."""

    factor: float | None
    finding: Finding


class _Lacking(Exception):
    """What the file does not say; the text is for a person and holds no value."""


def uptake(headers: Sequence[Header]) -> Uptake:
    """Return the factor from the rescaled values of one PET stack to SUVbw (g/ml).

    Parameters
    ----------
    headers : sequence of Header
        All slices of the stack.
    """
    first = headers[0]
    file = str(first.path)
    units = {tags.text(header.elements, tags.UNITS).upper() or _rescale_unit(header) for header in headers}
    try:
        if len(units) > 1:
            raise _Lacking("the slices differ in Units (0054,1001)")
        factor, how = _factor(_with_unassigned(parse(first, _PARSED)), units.pop())
    except _Lacking as lacking:
        text = f"PET values were not converted to SUV: {lacking}."
        shown = tags.text(first.elements, tags.UNITS) or "absent"
        tag = tags.show(tags.UNITS)
        return Uptake(
            None, Finding("PET_NOT_SUV", "warning", text, file=file, tag=tag, value=shown, assumed="as stored")
        )
    return Uptake(factor, Finding("PET_SUV", "info", f"PET values are SUV by body weight: {how}.", file=file))


def _with_unassigned(dataset: Dataset) -> Dataset:
    """Add what a converter to an enhanced object could not assign and put aside (DICOM PS3.3 C.7.6.16.2.25)."""
    shared = first_item(dataset, SHARED)
    aside = first_item(shared, _UNASSIGNED) if shared is not None else None
    for tag in _PARSED if aside is not None else ():
        element = None if tag in dataset or aside is None else aside.get_item(tag)
        if element is not None:
            dataset[tag] = element
    return dataset


def _rescale_unit(header: Header) -> str:
    # Enhanced PET has no Units; its pixel value transformation names them.
    found = tags.text(header.elements, tags.RESCALE_TYPE).upper()
    return found if found in ("BQML", "GML", "CNTS") else ""


def _factor(dataset: Dataset, units: str) -> tuple[float, str]:
    if units == "GML":
        kind = _first(dataset, _SUV_TYPE).upper() or "BW"
        if kind != "BW":
            raise _Lacking(f"they are SUV already, but not by body weight: SUVType (0054,1006) = {kind[:8]}")
        return 1.0, "stated by Units (0054,1001) = GML"
    if units == "CNTS":
        if _first(dataset, _PHILIPS_CREATOR) == _PHILIPS_NAME:
            factor = _number(dataset, _PHILIPS_SUV, "the SUV scale factor (7053,1000) of this scanner")
            return factor, "counts times the scanner's own SUV scale factor (7053,1000)"
        raise _Lacking("Units (0054,1001) are counts, whose calibration is not known")
    if units != "BQML":
        raise _Lacking("Units (0054,1001) are not BQML, GML or CNTS")
    weight = _number(dataset, _WEIGHT, "PatientWeight (0010,1030)")
    if not _PLAUSIBLE_KG[0] <= weight <= _PLAUSIBLE_KG[1]:
        raise _Lacking("PatientWeight (0010,1030) is not that of a person in kg")
    tracer = first_item(dataset, _RADIOPHARMACEUTICAL)
    if tracer is None:
        raise _Lacking("RadiopharmaceuticalInformationSequence (0054,0016) is absent")
    dose = _number(tracer, _DOSE, "RadionuclideTotalDose (0018,1074)")
    if _decay_reference(dataset) == "ADMIN":
        return weight * 1000.0 / dose, "BQML, decay-corrected to the injection, weight and dose from the header"
    half_life_s = _number(tracer, _HALF_LIFE, "RadionuclideHalfLife (0018,1075)")
    elapsed_s = _elapsed(dataset, tracer).total_seconds()
    decayed = dose * 2.0 ** (-elapsed_s / half_life_s)
    return weight * 1000.0 / decayed, "BQML, dose decayed from the injection to the start of the scan"


def _decay_reference(dataset: Dataset) -> str:
    """Return START or ADMIN: to which moment the image was corrected for decay."""
    stated = _first(dataset, _DECAY).upper()
    if stated in ("START", "ADMIN"):
        corrections = [one.upper() for one in values(dataset, _CORRECTIONS)]
        if corrections and "DECY" not in corrections:
            raise _Lacking("CorrectedImage (0028,0051) lacks DECY: the image is not corrected for decay")
        return stated
    if stated == "NONE" or _first(dataset, _IS_CORRECTED).upper() == "NO":
        raise _Lacking("the image is not corrected for decay (DecayCorrection (0054,1102))")
    if _first(dataset, _IS_CORRECTED).upper() == "YES" and _first(dataset, _CORRECTED_TO):
        return "START"
    raise _Lacking("DecayCorrection (0054,1102) is absent")


def _elapsed(dataset: Dataset, tracer: Dataset) -> timedelta:
    """Return the time from the injection to the moment to which the image was corrected."""
    scan = _scan_start(dataset)
    stated = _moment(_first(tracer, _START))
    if stated is not None:
        elapsed = scan - stated
    else:
        clock = _first(tracer, _START_TIME)
        same_day = _moment(scan.strftime("%Y%m%d") + clock) if clock else None
        if same_day is None:
            raise _Lacking("RadiopharmaceuticalStartTime (0018,1072) is absent or malformed")
        # A time alone: injected before midnight, scanned after it.
        elapsed = scan - same_day if same_day <= scan else scan - same_day + timedelta(days=1)
    if not timedelta(0) <= elapsed <= _LONGEST:
        raise _Lacking("the injection is not within the 24 hours before the scan")
    return elapsed


def _scan_start(dataset: Dataset) -> datetime:
    corrected_to = _moment(_first(dataset, _CORRECTED_TO))
    if corrected_to is not None:
        return corrected_to
    series = _moment(_first(dataset, _SERIES_DATE) + _first(dataset, _SERIES_TIME))
    acquired = _moment(_first(dataset, _ACQUISITION)) or _moment(
        _first(dataset, _ACQUISITION_DATE) + _first(dataset, _ACQUISITION_TIME)
    )
    if series is not None and (acquired is None or series <= acquired):
        return series
    if _first(dataset, _GE_CREATOR) == _GE_NAME:
        started = _moment(_first(dataset, _GE_SCAN_START))
        if started is not None:
            return started
    if series is None:
        raise _Lacking("SeriesDate (0008,0021) or SeriesTime (0008,0031) is absent or malformed")
    raise _Lacking("SeriesTime (0008,0031) is after the acquisition, so the start of the scan is not known")


def _moment(text: str) -> datetime | None:
    """Parse YYYYMMDDHHMMSS.FFFFFF; offsets from UTC are left out, since all times of one scan share theirs."""
    plain = text.split("+")[0].split("-")[0].replace(":", "")
    whole, _, part = plain.partition(".")
    if len(whole) not in (12, 14) or not whole.isdigit() or (part and not part.isdigit()):
        return None
    try:
        moment = datetime.strptime(whole.ljust(14, "0"), "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return moment + timedelta(seconds=float(f"0.{part}") if part else 0.0)


def _first(dataset: Dataset, tag: int) -> str:
    found = values(dataset, tag)
    return found[0] if found else ""


def _number(dataset: Dataset, tag: int, name: str) -> float:
    try:
        value = float(_first(dataset, tag))
    except ValueError:
        raise _Lacking(f"{name} is absent or malformed") from None
    if not np.isfinite(value) or value <= 0:
        raise _Lacking(f"{name} is not positive")
    return value
