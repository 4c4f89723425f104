"""Synthetic DICOM in which every place that can hold an identity holds a marker, each marker once.

Two patients, two studies each, 45 days apart; CT, SR, SEG, ultrasound and a JPEG capture. InstanceNumber, which no
profile changes, is different in every file: by it a checker finds an input's output without knowing the key.
"""

from __future__ import annotations

import datetime
import io
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.datadict import DicomDictionary, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from medimg.pacs.deidentify.permitted import permitted
from medimg.pacs.deidentify.table import rules

CT, US, SC = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.7"
SR, SEG = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.66.4"
INTERVAL_DAYS = 45
# Rows that a file's own logic needs, or that lie where a dataset holds nothing.
NOT_PLANTED = {"00080018", "0020000d", "0020000e", "00200052", "00100010", "00100020", "00420011", "00101010"}
TEXTS = {"LO", "SH", "ST", "LT", "UT", "UC", "UR"}
SIDE = 32
BANNER_ROWS = 6


@dataclass
class Planted:
    """What was hidden: byte strings no output may hold, those an option may retain, each input by its number."""

    markers: list[bytes] = field(default_factory=list)
    retained: list[bytes] = field(default_factory=list)
    times: list[bytes] = field(default_factory=list)
    dates: list[bytes] = field(default_factory=list)
    files: dict[int, Path] = field(default_factory=dict)
    boxes: dict[int, int] = field(default_factory=dict)


class Factory:
    """Writes the files below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.planted, self._count, self._instance = folder, Planted(), 0, 0

    def word(self, upper: bool = False) -> str:
        """Return a new marker that reads like a name and is no word of any language."""
        self._count += 1
        number, letters = self._count, ""
        for _ in range(5):
            number, digit = divmod(number, 26)
            letters += chr(97 + digit)
        return self._mark(f"QZ{letters.upper()}XQ" if upper else f"Qz{letters}xq")

    def uid(self) -> str:
        self._count += 1
        return self._mark(f"1.2.826.0.1.3680043.2.1125.{self._count}.7713")

    def digits(self) -> str:
        self._count += 1
        return self._mark(f"7713{self._count:05d}")

    def date(self, day: int = 0) -> str:
        """Return a date of the years 2018 to 2020."""
        self._count += 1
        one = datetime.date(2018, 1, 1) + datetime.timedelta(days=day or self._count % 1000)
        self.planted.dates.append(f"{one:%Y%m%d}".encode())
        return f"{one:%Y%m%d}"

    def time(self) -> str:
        self._count += 1
        text = f"1011{self._count % 60:02d}.{self._count:06d}"
        self.planted.times.append(text.encode())
        return text

    def double(self) -> float:
        self._count += 1
        raw = struct.pack("<d", self._count * 1.000713)
        self.planted.markers.append(raw)
        return struct.unpack("<d", raw)[0]

    def _mark(self, text: str) -> str:
        self.planted.markers.append(text.encode())
        return text

    def value(self, vr: str, depth: int) -> object:
        """Return a new marker of a VR."""
        if vr == "SQ":
            item = Dataset()
            item.PatientName, item.StudyComments, item.StudyID = self.word(), self.word(), self.word()
            if depth < 2:
                item.add_new(0x00081115, "SQ", self.value("SQ", depth + 1))
            return Sequence([item])
        made = {
            "UI": self.uid,
            "DA": self.date,
            "TM": self.time,
            "DS": self.digits,
            "IS": self.digits,
            "DT": lambda: self.date() + self.time() + "+0100",
            "FD": self.double,
            "AS": lambda: "077Y",
            "CS": lambda: self.word(upper=True),
            "AE": lambda: self.word(upper=True),
            "PN": lambda: f"{self.word()}^{self.word()}={self.word()}",
        }.get(vr, self.word)
        if vr in ("US", "SS", "UL", "SL", "SV", "UV", "AT"):
            return 7713
        if vr == "FL":
            return 77.13
        text = made()
        return text.encode() + b" " * (len(str(text)) % 2) if vr in ("OB", "OW", "UN") else text

    def plant_table(self, dataset: Dataset) -> None:
        """Plant a marker under every row of PS3.15 E.1-1."""
        for row in rules():
            if (
                not row.isalnum()
                or "x" in row
                or row in NOT_PLANTED
                or row == "odd"
                or row[:4] in ("0000", "0002", "0004")
            ):
                continue
            tag = int(row, 16)
            try:
                vr = dictionary_VR(tag).split(" or ")[0]
            except KeyError:
                vr = "LO"
            if vr in ("OF", "OD", "OL", "OV"):
                continue
            before = len(self.planted.markers)
            dataset.add_new(tag, vr, self.value(vr, 0))
            if rules()[row].option("patient") == "K" and "Ethnic" not in rules()[row].name:
                # Stays where patient characteristics are kept: a weight is a number and a sex is a code.
                self.planted.retained += self.planted.markers[before:]
                del self.planted.markers[before:]

    def plant_unlisted(self, dataset: Dataset) -> None:
        """Plant a marker in every text of PS3.6 that the table does not list: recognisable where text may stay."""
        for tag, (vr, _, _, retired, _) in DicomDictionary.items():
            if f"{tag:08x}" in rules() or retired or tag >> 16 < 8 or (tag >> 16) % 2 or vr not in TEXTS | {"PN", "AE"}:
                continue
            if permitted(tag) == "terms":
                dataset.add_new(tag, vr, f"Dr. {self.word()}" if tag % 2 else f"{self.word()}@x.org")
            elif not permitted(tag):
                dataset.add_new(tag, vr, self.value(vr, 0))
        number = f"12 {self.word()}".ljust(16).encode()
        # No writer makes such a number; a file can hold it all the same.
        dataset[0x00181318] = RawDataElement(Tag(0x00181318), "DS", len(number), number, 0, False, True)
        dataset.add_new(0x00181022, "CS", self.word())
        dataset.add_new(0x00181020, "LO", f"A1\0{self.word()}")

    def plant_private(self, dataset: Dataset) -> None:
        """Plant markers in private elements of every VR, in their creators, and in private sequences."""
        vrs = ["LO", "SH", "UN", "OB", "PN", "DA", "UI", "DS", "CS", "LT", "UT", "SQ", "FD"]
        for group in range(0x0009, 0x0041, 4):
            dataset.add_new(group << 16 | 0x10, "LO", self.word())
            for element in range(24):
                vr = vrs[(element + group) % len(vrs)]
                dataset.add_new(group << 16 | 0x1000 | element, vr, self.value(vr, 1))

    def plant_planes(self, dataset: Dataset) -> None:
        """Plant markers in overlays and curves."""
        for group in (0x6000, 0x6002):
            for element, vr, value in (
                (0x0010, "US", 8),
                (0x0011, "US", 8),
                (0x0022, "LO", self.word()),
                (0x0040, "CS", "G"),
                (0x0050, "SS", [1, 1]),
                (0x0100, "US", 1),
                (0x0102, "US", 0),
                (0x1500, "LO", self.word()),
                (0x3000, "OW", self.value("OW", 0)),
                (0x4000, "LT", self.word()),
            ):
                dataset.add_new(group << 16 | element, vr, value)
        dataset.add_new(0x50000022, "LO", self.word())
        dataset.add_new(0x50003000, "OW", self.value("OW", 0))

    def write(self, dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
        """Write a file with markers in its name, its preamble and its meta information."""
        self._instance += 1
        dataset.InstanceNumber = self._instance
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
        meta.SourceApplicationEntityTitle = self.word(upper=True)
        meta.PrivateInformationCreatorUID, meta.PrivateInformation = self.uid(), self.word().encode()
        dataset.file_meta = meta
        dataset.preamble = self.word().encode().ljust(128, b"\0")
        path = self.folder / self.word() / f"{self.word()}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        self.planted.files[self._instance] = path
        return path


def _base(make: Factory, patient: tuple[str, str], study: str, series: str, frame: str, day: int) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientID, dataset.PatientName = patient
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = study, series, make.uid()
    dataset.FrameOfReferenceUID = frame
    dataset.StudyDate = dataset.SeriesDate = make.date(day)
    dataset.StudyTime = "101500"
    dataset.AcquisitionDateTime = f"{make.date(day)}101500.25+0100"
    dataset.PatientSex, dataset.PatientAge, dataset.PatientBirthDate = "F", "093Y", "19270304"
    dataset.EthnicGroup = "Asian"
    dataset.Manufacturer, dataset.BodyPartExamined = "ACME", "CHEST"
    family = str(patient[1]).split("^")[0]
    dataset.StudyDescription = f"CT CHEST WITH CONTRAST {family}"
    dataset.SeriesDescription = f"axial lung 5 mm for Dr. {make.word()}, tel +44 20 7946 0958"
    dataset.AccessionNumber, dataset.StudyID = make.word(), make.word()
    return dataset


def _pixels(dataset: Dataset, seed: int, frames: int = 1) -> None:
    noise = np.random.default_rng(seed).integers(0, 200, (frames, SIDE, SIDE), dtype=np.uint16)
    dataset.Rows = dataset.Columns = SIDE
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.PixelData = noise.tobytes()


def _image(make: Factory, sop_class: str, modality: str, *where: object) -> Dataset:
    dataset = _base(make, *where)
    dataset.SOPClassUID, dataset.Modality = sop_class, modality
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 1.5], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 1.5
    return dataset


def _ultrasound(make: Factory, *where: object, encoded: bool = False) -> Dataset:
    dataset = _image(make, US, "US", *where)
    dataset.ManufacturerModelName, dataset.BurnedInAnnotation = "SONO 1", "YES"
    _pixels(dataset, 7, frames=2)
    if encoded:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(RLELossless, generate_instance_uid=False)
    return dataset


def _capture(make: Factory, *where: object) -> Dataset:
    """A JPEG whose stream has a comment, application data, and bytes after its end."""
    dataset = _image(make, SC, "OT", *where)
    dataset.ConversionType, dataset.BurnedInAnnotation = "WSD", "NO"
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(3).integers(0, 255, (SIDE, SIDE), dtype=np.uint8)).save(file, "JPEG")
    raw = file.getvalue()
    comment, application = make.word().encode(), make.word().encode()
    extra = b"\xff\xfe" + struct.pack(">H", 2 + len(comment)) + comment
    extra += b"\xff\xe1" + struct.pack(">H", 2 + len(application)) + application
    stream = raw[:2] + extra + raw[2:] + make.word().encode()
    _pixels(dataset, 3)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True
    return dataset


def _reference(dataset: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    return item


def _derived(make: Factory, source: Dataset, *where: object) -> tuple[Dataset, Dataset]:
    """A SEG and an SR about an image: references in sequences, names in the content tree, three deep."""
    seg, report = _base(make, *where), _base(make, *where)
    seg.SOPClassUID, seg.Modality, report.SOPClassUID, report.Modality = SEG, "SEG", SR, "SR"
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = source.SeriesInstanceUID, [_reference(source)]
    seg.ReferencedSeriesSequence, seg.SourceImageSequence = [series], [_reference(source)]
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentDescription = 1, "Liver", f"Dr. {make.word()}"
    seg.SegmentSequence = [segment]
    _pixels(seg, 11)
    seg.BitsAllocated, seg.BitsStored, seg.HighBit = 16, 16, 15
    study = Dataset()
    study.StudyInstanceUID, study.ReferencedSeriesSequence = source.StudyInstanceUID, [series]
    report.CurrentRequestedProcedureEvidenceSequence = [study]
    report.ContentDate = make.date(100)
    report.VerifyingObserverSequence = [_content("PNAME", "VerifyingObserverName", make)]
    leaves = [
        _content("PNAME", "PersonName", make),
        _content("TEXT", "TextValue", make),
        _content("UIDREF", "UID", make),
        _content("DATE", "Date", make),
        _content("DATETIME", "DateTime", make),
        _content("TIME", "Time", make),
    ]
    image = Dataset()
    image.ValueType, image.ReferencedSOPSequence = "IMAGE", [_reference(source)]
    inner, outer = Dataset(), Dataset()
    inner.ValueType, inner.ContentSequence = "CONTAINER", [*leaves, image]
    outer.ValueType, outer.ContentSequence = "CONTAINER", [inner]
    report.ValueType, report.ContentSequence = "CONTAINER", [outer]
    return seg, report


def _content(kind: str, keyword: str, make: Factory) -> Dataset:
    item = Dataset()
    item.ValueType = kind
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "121106", "DCM", "Comment"
    item.ConceptNameCodeSequence = [name]
    vr = dictionary_VR(keyword)
    setattr(item, keyword, make.value(vr, 2))
    return item


def build(folder: Path) -> Planted:
    """Write all files and return what was planted in them."""
    make = Factory(folder)
    for number in range(2):
        patient = (make.digits(), f"{make.word()}^{make.word()}")
        frame = make.uid()
        for visit in range(2):
            where = (patient, make.uid(), make.uid(), frame, 100 + visit * INTERVAL_DAYS + number)
            first = _image(make, CT, "CT", *where)
            _pixels(first, 5)
            first.PixelData += make.word().encode() + b"\0"
            make.plant_planes(first)
            if visit == 0:
                _stuff(make, first, number)
            make.write(first, ImplicitVRLittleEndian if visit else ExplicitVRLittleEndian)
            for one in _derived(make, first, *where):
                make.write(one)
            make.write(_ultrasound(make, *where))
            make.planted.boxes[make._instance] = BANNER_ROWS
            make.write(_ultrasound(make, *where, encoded=True), RLELossless)
            make.planted.boxes[make._instance] = BANNER_ROWS
            make.write(_capture(make, *where), JPEGBaseline8Bit)
    return make.planted


def _stuff(make: Factory, dataset: Dataset, number: int) -> None:
    """Fill one image: the whole table at the top, and again three sequences deep."""
    kept = {str(element.keyword): element.value for element in dataset if element.tag.group in (8, 0x10, 0x20)}
    make.plant_unlisted(dataset)
    make.plant_private(dataset)
    if number == 0:
        make.plant_table(dataset)
    else:
        deep, middle, top = Dataset(), Dataset(), Dataset()
        make.plant_table(deep)
        make.plant_private(deep)
        middle.AnatomicRegionModifierSequence, top.AnatomicRegionModifierSequence = [deep], [middle]
        dataset.AnatomicRegionSequence = [top]
    for keyword, value in kept.items():
        setattr(dataset, keyword, value)
