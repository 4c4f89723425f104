"""One DICOM file: read, judge, change, mark, write under its new name."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medimg.errors import InputError
from medimg.io.atomic import replacing
from medimg.pacs.deidentify.ancestry import AncestryTable
from medimg.pacs.deidentify.burned_in import Entry, may_show_text
from medimg.pacs.deidentify.elements import UNREADABLE, readable
from medimg.pacs.deidentify.keyed import Key
from medimg.pacs.deidentify.known import identifying
from medimg.pacs.deidentify.markers import mark
from medimg.pacs.deidentify.masking import mask
from medimg.pacs.deidentify.ocr import sees_text
from medimg.pacs.deidentify.pixel_bytes import clear_overlay_bits, strip
from medimg.pacs.deidentify.private import SafeList
from medimg.pacs.deidentify.report import Actions, element_name
from medimg.pacs.deidentify.settings import DeidentifySettings
from medimg.pacs.deidentify.text import Cleaner
from medimg.pacs.deidentify.walk import Walker

_DIRECTORY = "1.2.840.10008.1.3.10"
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_NO_VALUE = "unknown"


@dataclass(frozen=True)
class Tools:
    """What every file of a run is treated with."""

    settings: DeidentifySettings
    key: Key
    safe_private: SafeList
    catalogue: list[Entry]
    names: set[str] = field(default_factory=set)
    ancestry: AncestryTable | None = None


class Refused(InputError):
    """A file that cannot be made safe."""


class Skipped(InputError):
    """A DICOM file that is no object to de-identify."""


@dataclass
class Outcome:
    """A de-identified dataset, its place below the output folder, and what somebody should look at."""

    dataset: Dataset
    name: Path
    actions: Actions
    flags: list[str]


def deidentify_file(path: Path, tools: Tools) -> Outcome:
    """Read a file and de-identify what it holds; the file itself is not touched.

    Raises
    ------
    InputError
        It cannot be read; :class:`Refused`: it cannot be made safe; :class:`Skipped`: a DICOMDIR.
    """
    with _quiet():
        dataset = _read(path)
        try:
            return deidentify(dataset, tools)
        except UNREADABLE as error:
            raise InputError("The file holds values that cannot be read.", got=type(error).__name__) from error


def deidentify(dataset: Dataset, tools: Tools) -> Outcome:
    """De-identify a dataset in place; its file meta information is made anew.

    Raises
    ------
    Refused
        It holds a document, or may show text in its pixels.
    """
    settings = tools.settings
    actions = Actions()
    for tag in list(dataset.keys()):
        if readable(dataset, tag) is None:
            del dataset[tag]
            actions.add(element_name(tag), "X", "E.1.1 unreadable value")
    if not all(isinstance(dataset.get(key), str) and dataset.get(key) for key in ("SOPInstanceUID", "SOPClassUID")):
        raise InputError("The file says neither what it is nor which one.", expected="SOP Class and Instance UID")
    if "EncapsulatedDocument" in dataset:
        raise Refused("A document inside DICOM cannot be cleaned.", fix="leave it out")
    patient = _patient(dataset)
    if tools.ancestry is not None:
        tools.ancestry.add(tools.key.pseudonym(patient), dataset)
    flags, masked = _pixels(dataset, tools, actions)
    retained = {name for name in ("device", "institution") if getattr(settings, name) == "keep"}
    cleaner = Cleaner(identifying(dataset, retained) | tools.names)
    walker = Walker(settings, tools.key, patient, cleaner, tools.safe_private, actions)
    walker.walk(dataset)
    dataset.PatientID = dataset.PatientName = tools.key.pseudonym(patient)
    if "ValueType" in dataset:
        # Removed from images, where it is optional; in SR it must be there, if only empty (PS3.3 C.17.1).
        dataset.ReferencedPerformedProcedureStepSequence = []
    mark(dataset, settings, masked)
    _renew_meta(dataset)
    folders = (dataset.get("PatientID"), dataset.get("StudyInstanceUID"), dataset.get("SeriesInstanceUID"))
    name = Path(*(one if isinstance(one, str) and one else _NO_VALUE for one in folders))
    name /= f"{dataset.SOPInstanceUID}.dcm"
    return Outcome(dataset, name, actions, flags)


def write(outcome: Outcome, folder: Path) -> None:
    """Write a de-identified dataset below a folder, atomically.

    Raises
    ------
    InputError
        It cannot be written.
    """
    with _quiet(), replacing(folder / outcome.name) as part:
        try:
            pydicom.dcmwrite(part, outcome.dataset, enforce_file_format=True)
        except UNREADABLE as error:
            raise InputError("The object cannot be written.", got=type(error).__name__) from error


def _read(path: Path) -> Dataset:
    try:
        dataset = pydicom.dcmread(path, force=True)
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        directory = dataset.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY
        keys = len(dataset)
    except (*UNREADABLE, InvalidDicomError) as error:
        raise InputError("The file cannot be read as DICOM.", got=type(error).__name__) from error
    if directory or "DirectoryRecordSequence" in dataset:
        raise Skipped("A DICOMDIR lists files by their old names; it is not copied.")
    if not keys:
        raise InputError("The file holds no elements.")
    if not syntax:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        syntax = dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    if not isinstance(syntax, UID) or not (syntax.is_transfer_syntax or syntax.is_private):
        raise InputError("The file is written in no transfer syntax that is known.")
    return dataset


def _patient(dataset: Dataset) -> str:
    """Return what a patient is known by; without an ID or a name, every study is a patient of its own."""
    found = str(dataset.get("PatientID", "") or "").strip(" \0")
    if found:
        return found
    name, birth = (str(dataset.get(key, "") or "").strip(" \0^") for key in ("PatientName", "PatientBirthDate"))
    return f"{name}\n{birth}" if name and birth else f"study\n{dataset.get('StudyInstanceUID', '')}"


def _pixels(dataset: Dataset, tools: Tools, actions: Actions) -> tuple[list[str], bool]:
    """Clean the pixel data; return what to look at, and whether boxes that cover all text were masked."""
    if not any(keyword in dataset for keyword in _PIXELS):
        return [], False
    flags = []
    if strip(dataset):
        actions.add("PixelData", "C bytes", "E.1.1 what is no pixel")
    overlay = any(0x6000 <= tag.group <= 0x60FF for tag in list(dataset.keys()))
    if overlay and tools.settings.overlays == "remove" and clear_overlay_bits(dataset):
        actions.add("PixelData", "C overlay bits", "E.3.3 overlay")
    elif overlay and tools.settings.overlays == "keep":
        flags.append("overlay planes kept unseen")
    entry = next((one for one in tools.catalogue if one.fits(dataset)), None)
    boxes = entry.boxes(dataset) if entry and "PixelData" in dataset else []
    covered = bool(boxes) and entry is not None and entry.complete
    if may_show_text(dataset) and not covered:
        if tools.settings.burned_in == "refuse":
            raise Refused(
                "The image may show a name in its pixels.",
                expected="BurnedInAnnotation NO, or a region",
                fix="add its regions to the catalogue, or set burned_in=flag and look",
            )
        flags.append("may show text in the pixels")
    if boxes:
        mask(dataset, boxes)
        actions.add("PixelData", "masked", "E.3.1 C")
    if tools.settings.ocr and sees_text(dataset):
        flags.append("OCR sees text in the pixels")
    return flags, covered


def _renew_meta(dataset: Dataset) -> None:
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    dataset.file_meta = meta
    dataset.preamble = bytes(128)


@contextmanager
def _quiet() -> Iterator[None]:
    """Let pydicom say nothing: its warnings quote values."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
