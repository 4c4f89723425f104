"""Codes of labels, units and findings: SNOMED CT (SCT), DICOM (DCM), UCUM, and 99MEDIMG for what has none."""

from __future__ import annotations

import hashlib
import re
from functools import cache

from highdicom.sr import CodedConcept
from pydicom.sr.codedict import Collection, codes
from pydicom.sr.coding import Code

from medimg.packaging.manifest import Label

PRIVATE = "99MEDIMG"
_SCHEMES = {"SNOMEDCT": "SCT", "SCT": "SCT", "SNOMED": "SCT", "RADLEX": "RADLEX", "DCM": "DCM", "FMA": "FMA"}
_CURIE = re.compile(r"\s*([A-Za-z]+):\s*([A-Za-z0-9.-]{1,16})\s*")
_ABNORMAL = re.compile(
    r"lesion|tumou?r|nodule|mass|polyp|cancer|carcinoma|metasta|h(a)?emorrhage|bleed|infarct|stroke|cyst|abscess|"
    r"(o)?edema|effusion|pneumo|fracture|ulcer|exudate|aneurysm|embol|necro|enhanc|hyperintens|plaque|thromb|calcif",
    re.IGNORECASE,
)

MILLIMETER = CodedConcept("mm", "UCUM", "millimeter")
MILLILITER = CodedConcept("mL", "UCUM", "milliliter")
SQUARE_MILLIMETER = CodedConcept("mm2", "UCUM", "square millimeter")
PIXELS = CodedConcept("{pixels}", "UCUM", "pixels")
NO_UNITS = CodedConcept("1", "UCUM", "no units")
LONG_AXIS = CodedConcept("103339001", "SCT", "Long Axis")
SHORT_AXIS = CodedConcept("103340004", "SCT", "Short Axis")
VOLUME = CodedConcept("118565006", "SCT", "Volume")
AREA = CodedConcept("42798000", "SCT", "Area")
MEAN = CodedConcept("373098007", "SCT", "Mean")
PRESENT = CodedConcept("52101004", "SCT", "Present")
ABSENT = CodedConcept("272519000", "SCT", "Absent")
FINDING = CodedConcept("121071", "DCM", "Finding")
COMMENT = CodedConcept("121106", "DCM", "Comment")
CENTER_OF_MASS = CodedConcept("128138", "DCM", "Center of Mass")
SUMMARY = CodedConcept("111065", "DCM", "Summary of Analyses")
SUCCEEDED = CodedConcept("111222", "DCM", "Succeeded")
PARTLY_SUCCEEDED = CodedConcept("111223", "DCM", "Partially Succeeded")
NOT_ATTEMPTED = CodedConcept("111225", "DCM", "Not Attempted")
_UNITS = {
    "HU": CodedConcept("[hnsf'U]", "UCUM", "Hounsfield unit"),
    "SUV": CodedConcept("{SUVbw}g/ml", "UCUM", "Standardized Uptake Value body weight"),
}
_QUANTITIES = {
    "HU": CodedConcept("112031", "DCM", "Attenuation Coefficient"),
    "SUV": CodedConcept("126401", "DCM", "SUVbw"),
}
_INTENSITY = CodedConcept("110852", "DCM", "MR signal intensity")
_PROCEDURES = {
    "CT": CodedConcept("77477000", "SCT", "Computed tomography"),
    "MR": CodedConcept("113091000", "SCT", "Magnetic resonance imaging"),
    "PT": CodedConcept("82918005", "SCT", "Positron emission tomography"),
    "ES": CodedConcept("423827005", "SCT", "Endoscopy"),
}
_IMAGING = CodedConcept("363679005", "SCT", "Imaging procedure")


def private(name: str) -> CodedConcept:
    """Return a 99MEDIMG code for a name: the name itself where it fits 16 characters, else its hash."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_")
    if plain != name or not plain or len(plain) > 16:
        plain = hashlib.sha256(name.encode()).hexdigest()[:16]
    return CodedConcept(plain, PRIVATE, name[:64])


def type_of(label: Label) -> CodedConcept:
    """Return what a label stands for: its code of the manifest with the standard's wording, else a private one."""
    found = _CURIE.fullmatch(label.code or "")
    scheme = _SCHEMES.get(found[1].upper()) if found else None
    if found is None or scheme is None:
        return private(label.name)
    return CodedConcept(found[2], scheme, _meanings().get((found[2], scheme), label.name)[:64])


def category_of(label: Label) -> CodedConcept:
    """Return the segmented property category (CID 7150): a lesion by its code or its name, else anatomy."""
    kind = type_of(label)
    known = _anatomy()
    if (kind.value, kind.scheme_designator) in _lesions():
        abnormal = True
    elif (kind.value, kind.scheme_designator) in known:
        abnormal = False
    else:
        abnormal = _ABNORMAL.search(label.name) is not None
    code = codes.SCT.MorphologicallyAbnormalStructure if abnormal else codes.SCT.AnatomicalStructure
    return CodedConcept.from_code(code)


def unit_of(unit: str) -> CodedConcept:
    """Return the UCUM code of a volume's unit."""
    return _UNITS.get(unit, NO_UNITS)


def quantity_of(unit: str, modality: str) -> CodedConcept | None:
    """Return what a volume's values are, where that is known."""
    return _QUANTITIES.get(unit) or (_INTENSITY if modality == "MR" else None)


def procedure_of(modality: str) -> CodedConcept:
    """Return the procedure that a study of this modality is."""
    return _PROCEDURES.get(modality, _IMAGING)


@cache
def _group(*collections: str) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for name in collections:
        for code in Collection(name).concepts.values():
            if isinstance(code, Code):
                found[code.value, code.scheme_designator] = code.meaning
    return found


def _lesions() -> dict[tuple[str, str], str]:
    return _group("CID7159", "CID7194")


def _anatomy() -> dict[tuple[str, str], str]:
    return {key: text for key, text in _group("CID7192", "CID7151", "CID4031").items() if key not in _lesions()}


@cache
def _meanings() -> dict[tuple[str, str], str]:
    return {**_anatomy(), **_lesions()}
