"""What all objects of one result share: UIDs, equipment, algorithm, words, and the finishing of each object."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM

from medimg import __version__
from medimg.errors import InputError
from medimg.io.dicom.headers import PYDICOM_ERRORS, quietly
from medimg.packaging.manifest import PackageManifest
from medimg.pacs.results.laterality import set_laterality
from medimg.pacs.results.source import Sources
from medimg.pacs.results.uids import result_uid

MAKER = "medimg"
RESEARCH_ONLY = "Research use only. Not for clinical decisions."
PARTIAL = "PARTIAL INPUT"
_LONG_STRING = 64
_SERIES_NUMBERS = {"seg": 9101, "sr": 9102, "sc": 9103, "gsps": 9104, "pm": 9105}
_NAMES = {
    "seg": "segmentation",
    "sr": "report",
    "sc": "key images",
    "gsps": "presentation state",
    "pm": "probability map",
}
# When the object was made: replaced, so that making it again gives the same bytes.
_MOMENTS = (
    *("ContentDate", "ContentTime", "SeriesDate", "SeriesTime", "PresentationCreationDate"),
    *("PresentationCreationTime", "DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
)
_DATED = (("ContentDate", "ContentTime"), ("AcquisitionDate", "AcquisitionTime"), ("SeriesDate", "SeriesTime"))


@dataclass(frozen=True, eq=False)
class Making:
    """One result in the making.

    Attributes
    ----------
    sources : Sources
    manifest : PackageManifest
    partial : str or None
        What was missing of the input.
    marked : bool
        Whether the series description says so too (a service that marks files itself does not want it twice).
    """

    sources: Sources
    manifest: PackageManifest
    partial: str | None = None
    marked: bool = False

    def uid(self, kind: str, *parts: object) -> UID:
        """Return the UID of a part of this result."""
        return result_uid(self.sources.names, self.manifest.digest, kind, *parts, self.partial or "")

    def device_uid(self) -> UID:
        """Return the UID of the package as a device: the same for every source."""
        return result_uid((), self.manifest.digest, "device")

    @property
    def title(self) -> str:
        """Package name and version."""
        return f"{self.manifest.name} {self.manifest.version}"

    def identity(self, kind: str, number: int = 1) -> dict[str, Any]:
        """Return what highdicom's constructors want to know of an object."""
        return {
            "series_instance_uid": self.uid(f"{kind} series"),
            "series_number": _SERIES_NUMBERS[kind],
            "sop_instance_uid": self.uid(f"{kind} instance", number),
            "instance_number": number,
            "manufacturer": MAKER,
        }

    def equipment(self) -> dict[str, Any]:
        """Return the equipment arguments of highdicom's constructors; the digest is the serial number."""
        return {
            "manufacturer_model_name": self.title[:_LONG_STRING],
            "software_versions": (f"medimg {__version__}"[:_LONG_STRING], self.title[:_LONG_STRING]),
            "device_serial_number": self.manifest.digest,
        }

    def algorithm(self) -> hd.AlgorithmIdentificationSequence:
        """Return the algorithm identification of image objects."""
        return hd.AlgorithmIdentificationSequence(
            name=self.manifest.name[:_LONG_STRING],
            family=codes.DCM.ArtificialIntelligence,
            version=self.manifest.version[:_LONG_STRING],
            source=MAKER,
            parameters={"package_digest": self.manifest.digest},
        )

    def finish(self, dataset: Dataset, kind: str) -> Dataset:
        """Put back the attributes of patient and study, and make everything the same whenever it is made."""
        with quietly():
            self._finish(dataset, kind)
        return dataset

    def _finish(self, dataset: Dataset, kind: str) -> None:
        for element in self.sources.carried if kind == "sr" else (*self.sources.carried, *self.sources.series):
            dataset[element.tag] = copy.deepcopy(element)
        set_laterality(dataset, kind)
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.ManufacturerModelName = self.title[:_LONG_STRING]
        dataset.SoftwareVersions = [f"medimg {__version__}"[:_LONG_STRING], self.title[:_LONG_STRING]]
        dataset.DeviceSerialNumber = self.manifest.digest
        said = f"medimg {self.title} {_NAMES[kind]}, research use only"
        said = said if len(said) <= _LONG_STRING else f"medimg {_NAMES[kind]}, research use only"
        dataset.SeriesDescription = f"{PARTIAL} {said}"[:_LONG_STRING] if self.marked else said
        self._timeless(dataset)
        for number, item in enumerate(dataset.get("DimensionOrganizationSequence", ())):
            old, new = item.DimensionOrganizationUID, self.uid(f"{kind} dimensions", dataset.InstanceNumber, number)
            for holder in (item, *(one for one in dataset.DimensionIndexSequence)):
                if holder.get("DimensionOrganizationUID") == old:
                    holder.DimensionOrganizationUID = new

    def _timeless(self, dataset: Dataset) -> None:
        for name in ("InstanceCreationDate", "InstanceCreationTime"):
            if name in dataset:
                del dataset[name]
        for item in dataset.get("ContributingEquipmentSequence", ()):
            if "ContributionDateTime" in item:
                del item.ContributionDateTime
        date, time = self.moment()
        for name in _MOMENTS:
            if name in dataset:
                setattr(dataset, name, date if "Date" in name else time)

    def moment(self) -> tuple[str, str]:
        """Return date and time of the source: results bear them, since a clock would make every copy another one."""
        for date_name, time_name in _DATED:
            date, time = self.sources.first.get(date_name), self.sources.first.get(time_name)
            if _date(date):
                return str(date), str(time) if time and _time(time) else "000000"
        study_date = self.sources.carried.get("StudyDate")
        if _date(study_date):
            time = self.sources.carried.get("StudyTime")
            return str(study_date), str(time) if time and _time(time) else "000000"
        return self.manifest.provenance.created.strftime("%Y%m%d"), "000000"


def _date(value: object) -> bool:
    try:
        return re.fullmatch(r"\d{8}", str(value)) is not None and DA(str(value)) is not None
    except (ValueError, TypeError):
        return False


def _time(value: object) -> bool:
    try:
        return re.fullmatch(r"\d{2,6}(\.\d{1,6})?", str(value)) is not None and TM(str(value)) is not None
    except (ValueError, TypeError):
        return False


@contextmanager
def building(kind: str) -> Iterator[None]:
    """Keep libraries from printing what a header says, and turn what they raise into an InputError.

    Raises
    ------
    InputError
        The source lacks what such an object needs.
    """
    try:
        with quietly():
            yield
    except InputError:
        raise
    except PYDICOM_ERRORS as error:
        raise InputError(
            f"No {_NAMES[kind]} can be made from this source.",
            got=type(error).__name__,
            expected="files with the attributes that their own SOP class requires",
            fix=f"leave {kind} out of the results, or repair the source",
        ) from error


EXPLICIT = ExplicitVRLittleEndian
