"""The data sets of a CT or MR image series: what all slices share, and what each has of its own.

Legend: Z slices, Y rows, X columns. Lengths in LPS mm; decimal strings hold what 16 characters can.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from medimg import geometry
from medimg.errors import InputError
from medimg.io.dicom.headers import quietly
from medimg.io.dicom.stored_values import Stored
from medimg.io.dicom.uid import uid_from

SOP_CLASS = {"CT": CTImageStorage, "MR": MRImageStorage}
_IMAGE_TYPE = {"CT": ["DERIVED", "SECONDARY", "AXIAL"], "MR": ["DERIVED", "SECONDARY", "OTHER"]}
# Empty where the standard wants them present (type 2).
_EMPTY = (
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientBirthDate", "PatientSex"),
    *("StudyID", "PositionReferenceIndicator", "PatientName", "PatientID", "PatientPosition", "Laterality"),
)
_EMPTY_OF = {
    "CT": ("KVP", "AcquisitionNumber"),
    "MR": ("RepetitionTime", "EchoTime", "EchoTrainLength", "MRAcquisitionType"),
}
# Below are file meta elements and command groups.
_FIRST_TAG = 0x00080000
# What the volume decides, so that nobody can say otherwise.
_RESERVED = frozenset(
    {"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality"}
    | {"ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"}
    | {"SliceLocation", "InstanceNumber", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"}
    | {"BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "NumberOfFrames"}
    | {"RescaleSlope", "RescaleIntercept", "RescaleType", "GantryDetectorTilt"}
)


def shared_elements(
    planes: NDArray[Any], affine: NDArray[np.float64], stored: Stored, unit: str, modality: str
) -> Dataset:
    """Return what all slices have in common, without UIDs of study and series.

    Parameters
    ----------
    planes : (Z, Y, X) ndarray of int16 or uint16
    affine : (4, 4) ndarray
        zyx to LPS mm, the slices running along row × column.
    stored : Stored
        Slope and intercept.
    unit : str
        Of the volume.
    modality : {'CT', 'MR'}
    """
    directions, spacing = geometry.directions(affine), geometry.spacing_mm(affine)
    normal = np.cross(directions[:, 2], directions[:, 1])
    gap = abs(float(affine[:3, 0] @ normal))
    shared = Dataset()
    shared.SpecificCharacterSet = "ISO_IR 192"
    shared.ImageType = _IMAGE_TYPE[modality]
    shared.SOPClassUID = SOP_CLASS[modality]
    shared.Modality = modality
    for keyword in (*_EMPTY, *_EMPTY_OF[modality]):
        setattr(shared, keyword, None)
    if modality == "MR":
        shared.ScanningSequence, shared.SequenceVariant, shared.ScanOptions = "RM", "NONE", ""
    shared.Manufacturer = "medimg"
    shared.BurnedInAnnotation = "NO"
    shared.ImageOrientationPatient = [_ds(value) for value in (*directions[:, 2], *directions[:, 1])]
    shared.PixelSpacing = [_ds(spacing[1]), _ds(spacing[2])]
    shared.SliceThickness = shared.SpacingBetweenSlices = _ds(gap)
    shared.Rows, shared.Columns = planes.shape[1:]
    shared.SamplesPerPixel, shared.PhotometricInterpretation = 1, "MONOCHROME2"
    shared.BitsAllocated = shared.BitsStored = 16
    shared.HighBit = 15
    shared.PixelRepresentation = int(planes.dtype.kind == "i")
    if modality == "CT" or (stored.slope, stored.intercept) != (1.0, 0.0):
        shared.RescaleIntercept, shared.RescaleSlope = _ds(stored.intercept), _ds(stored.slope)
        # CT numbers are only called Hounsfield units where the volume is in them.
        shared.RescaleType = "HU" if unit == "HU" else "US"
    return shared


def _ds(value: float) -> str:
    """Return a number as the 16 characters that a decimal string may have hold it best."""
    number = float(value)
    return format_number_as_ds(0.0 if number == 0 else number)


def new_uid(seed: str | None, *names: object) -> UID:
    """Return a UID: random, or made from a seed and names."""
    return generate_uid(prefix=None) if seed is None else uid_from(seed, *names)


def add_attributes(shared: Dataset, attributes: Mapping[str, object], folder: Path) -> None:
    """Add what the caller states; where that is nothing, say that the files are de-identified.

    Raises
    ------
    InputError
        Not a DICOM keyword, one that the volume decides, or a value that cannot be encoded.
    """
    for keyword, value in attributes.items():
        tag = tag_for_keyword(keyword)
        if tag is None or tag < _FIRST_TAG or keyword in _RESERVED:
            raise InputError(
                "This attribute cannot be given.",
                where=folder,
                got=keyword,
                expected="a DICOM keyword that does not state geometry, pixels or UIDs",
            )
        try:
            # Without pydicom's warnings, which print the value: it may name a patient.
            with quietly():
                alone = Dataset()
                setattr(alone, keyword, value)
                dcmwrite(BytesIO(), alone, implicit_vr=False, little_endian=True)
                shared[keyword] = alone[keyword]
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
            raise InputError(
                "The value of this attribute cannot be encoded.", where=folder, got=keyword, expected="its DICOM type"
            ) from error
    if not attributes:
        shared.PatientIdentityRemoved = "YES"
        shared.DeidentificationMethod = "Written without patient data"


def slice_dataset(
    plane: NDArray[Any], affine: NDArray[np.float64], index: int, shared: Dataset, uid_seed: str | None
) -> Dataset:
    """Return slice number ``index`` with its position, UID and (Y, X) pixels, ready to be saved."""
    dataset = Dataset()
    dataset.update(shared)
    position = affine[:3, 3] + index * affine[:3, 0]
    normal = np.cross(affine[:3, 2], affine[:3, 1])
    dataset.SOPInstanceUID = new_uid(uid_seed, "series", shared.SeriesNumber, "instance", index)
    dataset.InstanceNumber = index + 1
    dataset.ImagePositionPatient = [_ds(value) for value in position]
    dataset.SliceLocation = _ds(float(position @ normal / np.linalg.norm(normal)))
    dataset.PixelData = np.ascontiguousarray(plane, dtype=plane.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OW"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = shared.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    return dataset
