"""Write small DICOM CT and MR series with known geometry and known traps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

ROOT = "1.2.826.0.1.3680043.8.498."


def uid(*parts: int) -> str:
    return ROOT + ".".join(str(part) for part in parts)


def slice_dataset(
    plane: np.ndarray,
    position: Any,
    *,
    number: int = 1,
    series: int = 1,
    modality: str = "CT",
    orientation: Any = (1, 0, 0, 0, 1, 0),
    spacing: Any = (0.8, 0.7),
    syntax: str = ExplicitVRLittleEndian,
    **elements: Any,
) -> Dataset:
    """One image object. ``elements`` sets keywords; None deletes one."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    ds.SOPInstanceUID = uid(9, series, number)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(1), uid(2, series)
    ds.FrameOfReferenceUID = uid(3)
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = modality, series, number
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.PatientName, ds.PatientID = "SECRET^NAME", "SECRET-ID"
    ds.ImagePositionPatient = [f"{v:.6f}" for v in position]
    ds.ImageOrientationPatient = [f"{v:.9g}" for v in orientation]
    ds.PixelSpacing = list(spacing)
    ds.SliceThickness = 2.5
    ds.Rows, ds.Columns = plane.shape[:2]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = plane.dtype.itemsize * 8
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(plane.dtype.kind == "i")
    if modality == "CT":
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
    ds.PixelData = plane.astype(plane.dtype.newbyteorder("<")).tobytes()
    ds["PixelData"].VR = "OW" if plane.dtype.itemsize > 1 else "OB"
    for keyword, value in elements.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def save(ds: Dataset, path: Path) -> Path:
    """Write a data set in the transfer syntax that its meta header states."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def planes(n: int, rows: int = 6, columns: int = 5, seed: int = 0, dtype: Any = np.uint16) -> np.ndarray:
    """(n, rows, columns) random stored values of 12 bits."""
    return np.random.default_rng(seed).integers(0, 4096, (n, rows, columns)).astype(dtype)


def series(
    folder: Path,
    voxels: np.ndarray,
    *,
    origin: Any = (-10.0, -20.0, 30.0),
    gap: float = 2.5,
    orientation: Any = (1, 0, 0, 0, 1, 0),
    prefix: str = "im",
    shuffle: bool = True,
    edit: Any = None,
    first_number: int = 1,
    **elements: Any,
) -> list[Path]:
    """Write a stack along its normal; ``edit(index, dataset)`` may change or drop (return False) a slice."""
    row, column = np.asarray(orientation[:3], float), np.asarray(orientation[3:], float)
    normal = np.cross(row, column)
    names = np.random.default_rng(1).permutation(len(voxels)) if shuffle else np.arange(len(voxels))
    paths = []
    for n, plane in enumerate(voxels):
        position = np.asarray(origin, float) + n * gap * normal
        ds = slice_dataset(plane, position, number=first_number + n, orientation=orientation, **elements)
        if edit is None or edit(n, ds) is not False:
            paths.append(save(ds, folder / f"{prefix}{names[n]:04d}.dcm"))
    return paths
