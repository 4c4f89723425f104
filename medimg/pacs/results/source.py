"""The source of a result: its datasets without pixels, in the order of the image's slices, and where each slice lies.

Patient attributes are taken out of the datasets while an object is built, so that no library can name them in a
message, and put back by `medimg.pacs.results.finish` as they were.

Legend: Z slices of the source (not of a volume that was resampled from it).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from medimg.errors import InputError
from medimg.io.dicom.headers import PYDICOM_ERRORS, quietly
from medimg.io.image import Picture, Volume
from medimg.io.plane_grid import Plane

_PATIENT = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID"),
    *("PatientBirthDate", "PatientBirthTime", "PatientSex", "OtherPatientIDsSequence", "QualityControlSubject"),
    *("PatientSpeciesDescription", "PatientSpeciesCodeSequence", "EthnicGroup"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID"),
    *("ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
    # Ethnic Group Code Sequence and Ethnic Groups; pydicom does not know the second one.
    *(0x00102161, 0x00102162),
)
_STUDY = (
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    *("IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "ProcedureCodeSequence", "PatientAge"),
    *("PatientSize", "PatientWeight", "LongitudinalTemporalInformationModified", "TimezoneOffsetFromUTC"),
)
_SERIES = ("BodyPartExamined", "Laterality")
# What every object must hold, empty where it is not known (type 2).
_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
_NEEDED = ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")
# As DICOM's predecessor wrote dates and times.
_OLD_DATE, _OLD_TIME = re.compile(r"(\d{4})\.(\d\d)\.(\d\d)"), re.compile(r"(\d\d):(\d\d):(\d\d)(\.\d+)?")
_WRITTEN_OLD = {"StudyDate": _OLD_DATE, "PatientBirthDate": _OLD_DATE, "StudyTime": _OLD_TIME}
_SEXES = ("", "M", "F", "O")


@dataclass(frozen=True, eq=False)
class SourceSlice:
    """One slice: its dataset, its frame there (from 0; None in a single-frame file), its place (None: no geometry)."""

    dataset: Dataset
    frame: int | None
    plane: Plane | None

    @property
    def uid(self) -> str:
        """SOP instance UID of its file."""
        return str(self.dataset.SOPInstanceUID)


@dataclass(frozen=True, eq=False)
class Sources:
    """What a result was made from.

    Attributes
    ----------
    datasets : tuple of Dataset
        One a file, without pixels and patient attributes.
    slices : tuple of SourceSlice
        In the order of the image's slices.
    carried, series : Dataset
        Attributes of patient and study, and of the series, that results repeat.
    names : tuple of str
        SOP instance UIDs, with frames where only some of a file's were used: what result UIDs are made from.
    """

    datasets: tuple[Dataset, ...]
    slices: tuple[SourceSlice, ...]
    carried: Dataset
    series: Dataset
    names: tuple[str, ...]

    @property
    def first(self) -> Dataset:
        """The dataset of the first slice."""
        return self.datasets[0]


def read_sources(image: Volume | Picture, files: Sequence[Path]) -> Sources:
    """Read the headers of the files that an image came from.

    Parameters
    ----------
    image : Volume or Picture
        As `medimg.read` returned it, from DICOM.
    files : sequence of Path
        Its files; others among them (doubled slices, other stacks) are passed over. Empty: those that it names.

    Raises
    ------
    InputError
        The image did not come from DICOM, or a file of it is missing or damaged.
    """
    wanted = image.source.instance_uids
    if image.source.format != "DICOM" or not wanted:
        raise InputError(
            "DICOM results need a DICOM source.",
            where=image.source.paths[0] if image.source.paths else None,
            got=image.source.format or "an image without a file",
            expected="a study of DICOM files",
            fix="leave dicom= out: masks and prediction.json are written for every kind of file",
        )
    read = [_read(path) for path in files or image.source.paths]
    by_uid = {str(dataset.get("SOPInstanceUID", "")): dataset for dataset in read}
    missing = [uid for uid in wanted if uid not in by_uid]
    if missing:
        raise InputError(
            "Files of the source are missing.", got=f"{len(wanted) - len(missing)} of {len(wanted)}",
            expected="every file that the image was read from",
        )  # fmt: skip
    datasets = [by_uid[uid] for uid in wanted]
    frames = image.source.frames
    if frames:
        slices = [SourceSlice(datasets[0], frame, _frame_plane(datasets[0], frame)) for frame in frames]
        names = (*wanted, *(f"frame {frame}" for frame in frames))
    else:
        placed = isinstance(image, Volume)
        if isinstance(image, Volume):
            _thicken(datasets, image.spacing_mm[0])
        slices = [SourceSlice(dataset, None, _plane(dataset, dataset) if placed else None) for dataset in datasets]
        names = wanted
    return _sources(datasets, slices, names)


def read_refused(files: Sequence[Path]) -> Sources:
    """Read the headers of files that made no image; those that cannot be read are left out.

    Raises
    ------
    InputError
        Not one of them says to which study it belongs.
    """
    datasets = []
    for path in files:
        try:
            dataset = _read(path)
        except InputError:
            continue
        if all(
            dataset.get(name) for name in ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")
        ):
            datasets.append(dataset)
    series = {str(dataset.SeriesInstanceUID) for dataset in datasets[:1]}
    datasets = [dataset for dataset in datasets if str(dataset.SeriesInstanceUID) in series]
    if not datasets:
        raise InputError(
            "No file says to which study a refusal would belong.", got=f"{len(files)} files", expected="a DICOM image"
        )
    datasets.sort(key=lambda dataset: str(dataset.SOPInstanceUID))
    slices = [SourceSlice(dataset, None, None) for dataset in datasets]
    return _sources(datasets, slices, tuple(str(dataset.SOPInstanceUID) for dataset in datasets))


def _read(path: Path) -> Dataset:
    try:
        with quietly():
            return pydicom.dcmread(path, stop_before_pixels=True, force=True)
    except PYDICOM_ERRORS as error:
        raise InputError("A file of the source cannot be read.", where=path, got=type(error).__name__) from error


def _sources(datasets: Sequence[Dataset], slices: Sequence[SourceSlice], names: Sequence[str]) -> Sources:
    first = datasets[0]
    if not all(dataset.get(name) for name in _NEEDED for dataset in datasets):
        raise InputError(
            "The source does not say to which study and series it belongs.",
            expected=", ".join(_NEEDED),
            fix="repair the files: results could not be put beside them",
        )
    try:
        with quietly():
            carried, series = _picked(first, (*_PATIENT, *_STUDY)), _picked(first, _SERIES)
            for dataset in datasets:
                _strip(dataset)
    except PYDICOM_ERRORS as error:
        raise InputError("The attributes of the source cannot be read.", got=type(error).__name__) from error
    return Sources(tuple(datasets), tuple(slices), carried, series, tuple(names))


def _picked(dataset: Dataset, names: Sequence[str | int]) -> Dataset:
    picked = Dataset()
    for name in names:
        tag = Tag(name)
        if tag in dataset:
            picked[tag] = copy.deepcopy(dataset[tag])
    for element in picked.iterall():
        # Texts are decoded here, with the character set of the source.
        _ = element.value
    for element in list(picked):
        known = dictionary_VR(element.tag) if dictionary_has_tag(element.tag) else element.VR
        if known != element.VR and "SQ" not in (known, element.VR):
            picked.add_new(element.tag, known, element.value)
    for name, written in _WRITTEN_OLD.items():
        value = written.fullmatch(str(picked.get(name, "") or ""))
        if value is not None:
            setattr(picked, name, "".join(part for part in value.groups() if part))
    if str(picked.get("PatientSex", "") or "") not in _SEXES:
        picked.PatientSex = ""
    for name in _EMPTY:
        if name in names and name not in picked:
            setattr(picked, name, "")
    return picked


def _strip(dataset: Dataset) -> None:
    """Take out what identifies the patient, and what libraries stumble over where it is missing or wrong."""
    for tag in [tag for tag in list(dataset.keys()) if tag.is_private]:
        del dataset[tag]
    for name in (*_PATIENT, *_STUDY):
        if name != "StudyInstanceUID" and Tag(name) in dataset:
            del dataset[Tag(name)]
    for name in _EMPTY:
        setattr(dataset, name, "")
    # Texts know their character set already; an unknown one must not stop a result.
    if "SpecificCharacterSet" in dataset:
        del dataset.SpecificCharacterSet
    for names in (("WindowWidth", "WindowCenter"), ("PixelSpacing",), ("ImagerPixelSpacing",)):
        if names[0] in dataset and not _all_positive(dataset[names[0]].value):
            for name in names:
                if name in dataset:
                    del dataset[name]


def _thicken(datasets: Sequence[Dataset], gap_mm: float) -> None:
    """State the distance of slices as thickness where files state none: objects made from them must."""
    for dataset in datasets:
        if not dataset.get("SliceThickness"):
            dataset.SliceThickness = round(gap_mm, 6)


def _all_positive(value: object) -> bool:
    many = value if isinstance(value, MultiValue) else [value]
    try:
        return all(float(str(one)) > 0 for one in many)
    except ValueError:
        return False


def _plane(where: Dataset, pixels: Dataset) -> Plane | None:
    try:
        origin = np.asarray([float(v) for v in where.ImagePositionPatient])
        cosines = np.asarray([float(v) for v in where.ImageOrientationPatient]).reshape(2, 3)
        rows_mm, columns_mm = (float(v) for v in pixels.PixelSpacing)
    except (AttributeError, TypeError, ValueError):
        return None
    shape = (int(where.get("Rows") or pixels.Rows), int(where.get("Columns") or pixels.Columns))
    return Plane(origin, cosines[1] * rows_mm, cosines[0] * columns_mm, shape)


def _frame_plane(dataset: Dataset, frame: int) -> Plane | None:
    def group(name: str) -> Dataset | None:
        for holder in (dataset.PerFrameFunctionalGroupsSequence[frame], *dataset.SharedFunctionalGroupsSequence):
            if holder.get(name):
                return holder[name].value[0]
        return None

    found = [group(name) for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")]
    together = Dataset()
    for one in found:
        if one is None:
            return None
        together.update(one)
    together.Rows, together.Columns = dataset.Rows, dataset.Columns
    return _plane(together, together)
