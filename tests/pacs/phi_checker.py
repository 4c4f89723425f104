"""The ten kinds of check of the MIDI-B challenge, on outputs found by InstanceNumber and never through the key."""

from __future__ import annotations

import datetime
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom
from phi_factory import INTERVAL_DAYS, SC, Planted
from pydicom.dataset import Dataset

RETAINED_TAGS = (
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "BitsStored",
    "SliceThickness",
    "PixelData",
    "SOPClassUID",
    "PixelRepresentation",
)
RETAINED_TEXTS = ("Modality", "Manufacturer", "BodyPartExamined", "PatientSex", "SpecificCharacterSet", "SOPClassUID")
NOT_NULL = (
    "PatientID",
    "PatientName",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
)
DATES = ("StudyDate", "SeriesDate", "AcquisitionDateTime")

WORD = re.compile(rb"qz[a-z]{5}xq", re.IGNORECASE)

Score = dict[str, list[bool]]


def outputs(folder: Path) -> dict[int, Path]:
    """Return the written files by InstanceNumber."""
    return {int(pydicom.dcmread(path).InstanceNumber): path for path in folder.rglob("*.dcm")}


def leaks(planted: list[bytes], folder: Path) -> list[bytes]:
    """Return the markers that occur in the bytes or in the path of any file below a folder."""
    return _found(planted, [(path.read_bytes(), str(path.relative_to(folder))) for path in _files(folder)])


def present(planted: list[bytes], folder: Path) -> list[bytes]:
    """Return the markers that really lie in the inputs."""
    return leaks(planted, folder)


def _found(planted: list[bytes], files: list[tuple[bytes, str]]) -> list[bytes]:
    everything = b"\n".join(raw + b"\n" + name.encode() for raw, name in files)
    words = {word.upper() for word in WORD.findall(everything)}
    return [one for one in planted if one.upper() in words or (not WORD.fullmatch(one) and one in everything)]


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def check(planted: Planted, folder: Path) -> Score:
    """Return for each kind whether each of its checks holds."""
    found = outputs(folder)
    score: Score = defaultdict(list)
    pairs = {n: (pydicom.dcmread(path), pydicom.dcmread(found[n])) for n, path in planted.files.items()}
    mapping: dict[str, set[str]] = defaultdict(set)
    people: dict[str, set[str]] = defaultdict(set)
    for number, (before, after) in pairs.items():
        for keyword in RETAINED_TAGS:
            if keyword in before:
                score["tag_retained"].append(keyword in after)
        for keyword in RETAINED_TEXTS:
            score["text_retained"].append(before.get(keyword) == after.get(keyword))
        score["text_retained"].append(after.StudyDescription == "CT CHEST WITH CONTRAST")
        score["text_retained"].append(after.SeriesDescription == "axial lung 5 mm")
        for keyword in NOT_NULL:
            score["text_notnull"].append(bool(after.get(keyword)))
        people[before.PatientID].add(after.PatientID)
        _uids(before, after, mapping, score)
        _pixels(before, after, planted.boxes.get(number, 0), score)
    for new in mapping.values():
        score["uid_consistent"].append(len(new) == 1)
    score["uid_consistent"].append(len(set.union(*mapping.values())) == len(mapping))
    for new in people.values():
        score["patid_consistent"].append(len(new) == 1)
    score["patid_consistent"].append(len(set.union(*people.values())) == len(people))
    _dates(pairs, score)
    lost = {repr(one) for one in leaks(planted.markers, folder)}
    score["text_removed"] = [repr(one) not in lost for one in planted.markers]
    return score


def _uids(before: Dataset, after: Dataset, mapping: dict[str, set[str]], score: Score) -> None:
    """Walk both trees along the new one; every UID of an instance has changed, always to the same."""
    for element in after:
        if element.VR == "SQ" and element.tag in before:
            for old, new in zip(before[element.tag].value, element.value):
                _uids(old, new, mapping, score)
        elif (
            element.VR == "UI" and element.tag in before and not element.keyword.endswith("ClassUID") and element.value
        ):
            old = before[element.tag].value
            if str(old).startswith("1.2.826"):
                score["uid_changed"].append(old != element.value)
                mapping[str(old)].add(str(element.value))


def _pixels(before: Dataset, after: Dataset, banner: int, score: Score) -> None:
    if "PixelData" not in before:
        return
    old, new = np.atleast_3d(before.pixel_array), np.atleast_3d(after.pixel_array)
    rows = slice(banner, None)
    if old.shape[-1] == 1:
        old, new = old[..., 0][None], new[..., 0][None]
    score["pixels_retained"].append(bool(np.array_equal(old[:, rows], new[:, rows])))
    if banner:
        score["pixels_hidden"].append(int(np.ptp(new[:, :banner])) == 0 and int(np.ptp(old[:, :banner])) > 0)
    elif before.SOPClassUID == SC:
        score["pixels_retained"].append(after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID)


def _dates(pairs: dict[int, tuple[Dataset, Dataset]], score: Score) -> None:
    shifts: dict[str, set[int]] = defaultdict(set)
    visits: dict[str, set[str]] = defaultdict(set)
    for before, after in pairs.values():
        for keyword in DATES:
            days = (_day(before[keyword].value) - _day(after[keyword].value)).days
            score["date_shifted"].append(days > 0)
            shifts[before.PatientID].add(days)
        visits[after.PatientID].add(after.StudyDate)
    for days in shifts.values():
        score["date_shifted"].append(len(days) == 1)
    for dates in visits.values():
        first, second = sorted(map(_day, dates))
        score["date_shifted"].append((second - first).days == INTERVAL_DAYS)


def _day(text: str) -> datetime.date:
    return datetime.datetime.strptime(str(text)[:8], "%Y%m%d").date()
