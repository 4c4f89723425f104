"""The attributes that say that, and how, an object was de-identified (PS3.15 E.1.1, PS3.16 CID 7050)."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medimg import __version__
from medimg.pacs.deidentify.settings import DeidentifySettings
from medimg.pacs.deidentify.table import EDITION

MEANINGS = {
    "113100": "Basic Application Confidentiality Profile",
    "113101": "Clean Pixel Data Option",
    "113103": "Clean Graphics Option",
    "113104": "Clean Structured Content Option",
    "113105": "Clean Descriptors Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
    "113109": "Retain Device Identity Option",
    "113111": "Retain Safe Private Option",
    "113112": "Retain Institution Identity Option",
}


def codes(settings: DeidentifySettings, masked: bool) -> list[str]:
    """Return the codes of the profile and of the options that were applied."""
    stated = {
        "113100": True,
        "113101": masked,
        "113103": settings.graphics == "clean" and settings.overlays == "remove",
        "113104": settings.structured == "clean",
        "113105": settings.text != "remove",
        "113107": settings.dates == "shift",
        "113108": settings.patient == "keep",
        "113109": settings.device == "keep",
        "113111": bool(settings.safe_private),
        "113112": settings.institution == "keep",
    }
    return [code for code, applied in stated.items() if applied]


def mark(dataset: Dataset, settings: DeidentifySettings, masked: bool) -> None:
    """Set the markers, in place."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = [f"medimg {__version__}", f"{EDITION} Table E.1-1"]
    dataset.DeidentificationMethodCodeSequence = Sequence([_coded(code) for code in codes(settings, masked)])
    dataset.LongitudinalTemporalInformationModified = "MODIFIED" if settings.dates == "shift" else "REMOVED"
    if masked:
        dataset.BurnedInAnnotation = "NO"


def _coded(code: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", MEANINGS[code]
    return item
