"""The whole files that fuzz_reading.py damages: generated ones, those of pydicom and nibabel, and a folder's."""

from __future__ import annotations

import gzip
import importlib.util
import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, generate_uid

LARGEST_BYTES = 300_000
SECRET = "SECRET^PERSON"
PACKAGES = (("pydicom", "data/test_files"), ("nibabel", "tests/data"), ("nibabel", "nicom/tests/data"))
_IMPLICIT, _EXPLICIT, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
_DEFLATED, _RLE, _JPEG_LS, _J2K = f"{_EXPLICIT}.99", "1.2.840.10008.1.2.5", f"{_IMPLICIT}.4.80", f"{_IMPLICIT}.4.90"
_STORAGE = "1.2.840.10008.5.1.4.1.1."


@dataclass(frozen=True)
class Seed:
    """A whole file: ``companions`` lie beside it; where ``folder`` is true the folder is read, not the file."""

    name: str
    kind: str
    data: bytes
    companions: dict[str, bytes] = field(default_factory=dict)
    folder: bool = False


def seeds(folder: Path | None) -> list[Seed]:
    """Return all seeds, in an order that depends on the installed packages and the folder alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [*_dicom_seeds(), *_nifti_seeds()]
    for package, inside in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            found += _files(Path(spec.origin).parent / inside, package)
    for name in ("dicom-conformance", "nifti-conformance") if folder else ():
        found += _files(Path(folder or "") / name, name)
    return found


def _files(folder: Path, prefix: str) -> list[Seed]:
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        kind = _kind(path.name, data)
        if kind and len(data) <= LARGEST_BYTES:
            found.append(Seed(f"{prefix}/{path.relative_to(folder).as_posix()}", kind, data))
    return found


def _kind(name: str, data: bytes) -> str:
    if data[128:132] == b"DICM" or (name.endswith(".dcm") and data[:1] in (b"\x02", b"\x08")):
        return "dicom"
    return "nifti" if name.endswith((".nii", ".nii.gz")) and len(data) > 352 else ""


def _dicom_seeds() -> list[Seed]:
    found = [Seed(f"ct {uid}", "dicom", _written(_slice(uid))) for uid in (_EXPLICIT, _IMPLICIT, _BIG, _DEFLATED)]
    found += [Seed(f"ct {uid}", "dicom", _written(_compressed(uid))) for uid in (_RLE, _JPEG_LS, _J2K)]
    series = {f"{n}.dcm": _written(_slice(_EXPLICIT, n)) for n in range(4)}
    found.append(Seed("one slice of a series", "dicom", series.pop("2.dcm"), series, folder=True))
    makers = (_enhanced, _cine, _palette, _monochrome1, _ophthalmic, _pet, _segmentation, _contours)
    return found + [Seed(maker.__name__[1:], "dicom", _written(maker())) for maker in makers]


def _written(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _dataset(sop_class: str, modality: str, syntax: str = _EXPLICIT) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(_STORAGE + sop_class), _uid(sop_class)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = map(_uid, ("1", "2", "3"))
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = modality, 1, 1
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = SECRET, "SECRET-ID", "19010203"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    return dataset


def frame_of_reference() -> str:
    """Return the frame of reference of all generated DICOM files."""
    return str(_uid("3"))


def _uid(entropy: str) -> UID:
    return generate_uid(entropy_srcs=[entropy])


def _pixels(dataset: Dataset, array: np.ndarray, photometric: str = "MONOCHROME2", samples: int = 1) -> Dataset:
    bits = array.dtype.itemsize * 8
    dataset.Rows, dataset.Columns = array.shape[-2 - (samples > 1) : array.ndim - (samples > 1)]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = samples, photometric
    if samples > 1:
        dataset.PlanarConfiguration = 0
    if array.ndim > 2 + (samples > 1):
        dataset.NumberOfFrames = array.shape[0]
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, int(array.dtype.kind == "i")
    order = ">" if dataset.file_meta.TransferSyntaxUID == _BIG else "<"
    data = array.astype(array.dtype.newbyteorder(order)).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    return dataset


def _values(*shape: int, dtype: Any = np.uint16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def _slice(syntax: str, n: int = 0, rows: int = 16) -> Dataset:
    dataset = _dataset("2", "CT", syntax)
    dataset.SOPInstanceUID, dataset.InstanceNumber = _uid(f"slice {n}"), n + 1
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 2.5 * n], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.8, 0.7], 2.5
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1024, "HU"
    return _pixels(dataset, _values(rows, rows - 4))


def _compressed(syntax: str) -> Dataset:
    dataset = _slice(_EXPLICIT, rows=68)
    dataset.compress(UID(syntax), encoding_plugin={_RLE: "pydicom", _JPEG_LS: "pyjpegls", _J2K: "pylibjpeg"}[syntax])
    return dataset


def _enhanced() -> Dataset:
    dataset = _dataset("4.1", "MR")
    shared, measures, orientation, values = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.8, 0.7], 2.5
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 2, -5, "US"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    shared.PixelValueTransformationSequence = [values]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for n in range(4):
        frame, place, content = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient, content.DimensionIndexValues = [0, 0, 2.5 * n], [1, n + 1]
        content.StackID, content.InStackPositionNumber = "1", n + 1
        frame.PlanePositionSequence, frame.FrameContentSequence = [place], [content]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    return _pixels(dataset, _values(4, 8, 6))


def _cine() -> Dataset:
    dataset = _dataset("3.1", "US")
    dataset.FrameTime, dataset.FrameIncrementPointer = "40", 0x00181063
    return _pixels(dataset, _values(3, 8, 6, 3, dtype=np.uint8), "RGB", 3)


def _palette() -> Dataset:
    dataset = _pixels(_dataset("6.1", "US"), _values(8, 6, dtype=np.uint8), "PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", np.arange(256, dtype="<u2").tobytes())
    return dataset


def _monochrome1() -> Dataset:
    dataset = _dataset("1.1", "DX")
    dataset.ImagerPixelSpacing = [0.14, 0.14]
    dataset.WindowCenter, dataset.WindowWidth = 100, 200
    return _pixels(dataset, _values(8, 6), "MONOCHROME1")


def _ophthalmic() -> Dataset:
    return _pixels(_dataset("77.1.5.1", "OP"), _values(8, 6, 3, dtype=np.uint8), "YBR_FULL", 3)


def _pet() -> Dataset:
    dataset, tracer = _dataset("128", "PT"), Dataset()
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = 370e6, 6586
    tracer.RadiopharmaceuticalStartTime = "100000"
    dataset.RadiopharmaceuticalInformationSequence = [tracer]
    dataset.Units, dataset.PatientWeight, dataset.DecayCorrection = "BQML", 70, "START"
    dataset.SeriesDate, dataset.SeriesTime, dataset.AcquisitionTime = "20200101", "110000", "110000"
    dataset.CorrectedImage = ["ATTN", "DECY"]
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [4, 4], 4
    dataset.RescaleSlope, dataset.RescaleIntercept = 1.5, 0
    return _pixels(dataset, _values(8, 6, dtype=np.int16))


def _segmentation() -> Dataset:
    dataset, segment = _enhanced(), Dataset()
    dataset.SOPClassUID, dataset.Modality = UID(_STORAGE + "66.4"), "SEG"
    dataset.SegmentationType = "BINARY"
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentAlgorithmType = 1, "part", "MANUAL"
    dataset.SegmentSequence = [segment]
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        named = Dataset()
        named.ReferencedSegmentNumber = 1
        frame.SegmentIdentificationSequence = [named]
    del dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    bits = np.packbits(_values(4, 8, 6).ravel() > 100, bitorder="little").tobytes()
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit, dataset.PixelData = 0, bits
    dataset["PixelData"].VR = "OB"
    return dataset


def _contours() -> Dataset:
    dataset, region, drawn, contour = _dataset("481.3", "RTSTRUCT"), Dataset(), Dataset(), Dataset()
    region.ROINumber, region.ROIName, region.ReferencedFrameOfReferenceUID = 1, "part", _uid("3")
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
    contour.ContourData = [1, 1, 2.5, 5, 1, 2.5, 5, 7, 2.5, 1, 7, 2.5]
    drawn.ReferencedROINumber, drawn.ContourSequence = 1, [contour]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [region], [drawn]
    return dataset


def _nifti_seeds() -> list[Seed]:
    volume, affine = _values(6, 5, 4, dtype=np.int16), np.diag([0.7, 0.8, 2.5, 1])
    images = {
        "small.nii": nib.Nifti1Image(volume, affine),
        "float.nii": nib.Nifti1Image(volume.astype(np.float32), affine),
        "second.nii": nib.Nifti2Image(volume, affine),
        "four.nii": nib.Nifti1Image(_values(6, 5, 4, 3, dtype=np.uint8), affine),
        "big.nii": nib.Nifti1Image(volume, affine, header=nib.Nifti1Header(endianness=">")),
        "colour.nii": nib.Nifti1Image(
            _values(6, 5, 4, 3, dtype=np.uint8).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0], affine
        ),
    }
    images["second.nii"].header.set_slope_inter(0.5, 3)
    found = [Seed(name, "nifti", image.to_bytes()) for name, image in images.items()]
    found += [Seed(f"{one.name}.gz", "nifti", gzip.compress(one.data, mtime=0)) for one in found[:3]]
    header = bytearray(found[0].data[:348])
    header[344:348], header[108:112] = b"ni1\0", bytes(4)
    found.append(Seed("pair.hdr", "nifti", bytes(header), {"pair.img": found[0].data[352:]}))
    return found


def identifying(data: bytes) -> tuple[str, ...]:
    """Return the values of a DICOM file that no message may show."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(data), force=True, stop_before_pixels=True)
            names = ("PatientName", "PatientID", "PatientBirthDate", "InstitutionName", "ReferringPhysicianName")
            found = [str(dataset.get(name, "")) for name in names]
    except Exception:  # noqa: BLE001 - a seed that pydicom cannot parse has nothing that could be looked for
        return ()
    return tuple(text for text in found if len(text) > 5)
