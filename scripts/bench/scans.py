"""A chest of ellipses with the noise of a scanner: DICOM series, plain or compressed, and NIfTI, for timing."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from scipy.ndimage import gaussian_filter

ORIGIN_MM, SPACING_MM, GAP_MM = (-175.0, -175.0, -100.0), 0.68, 1.0
_ROOT = "1.2.826.0.1.3680043.8.498.1"


def chest_hu(slices: int, side: int = 512) -> NDArray[np.int16]:
    """Return (Z, Y, X) HU of a thin-slice chest: fat, muscle, lungs with vessels, spine, and a scanner's noise."""
    rng = np.random.default_rng(20)
    y, x = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    tissue = gaussian_filter(rng.standard_normal((side, side), dtype=np.float32), 5)
    tissue *= 60 / tissue.std()
    vessels = gaussian_filter(rng.standard_normal((side, side), dtype=np.float32), 2)
    vessels = np.where(vessels > 1.5 * vessels.std(), 700, 0).astype(np.float32)
    volume = np.empty((slices, side, side), np.int16)
    for n in range(slices):
        size = 0.25 + 0.05 * np.sin(np.pi * n / slices)
        shift = (n, 2 * n)
        plane = np.full((side, side), -1000.0, np.float32)
        body = (y / 0.7) ** 2 + (x / 0.9) ** 2 < 1
        plane[body] = np.roll(tissue, shift, (0, 1))[body] - 20
        for middle in (-0.38, 0.38):
            lung = (y / 0.4) ** 2 + ((x - middle) / size) ** 2 < 1
            plane[lung] = np.roll(vessels, shift, (0, 1))[lung] - 860
        plane[((y - 0.5) / 0.1) ** 2 + (x / 0.1) ** 2 < 1] = 600
        noise = gaussian_filter(rng.standard_normal((side, side), dtype=np.float32), 0.4)
        plane += noise * (35 / noise.std())
        plane[y**2 + x**2 > 1] = -1024
        volume[n] = np.clip(np.rint(plane), -1024, 3071)
    return volume


def write_series(volume: NDArray[np.int16], folder: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a CT series the way scanners do (12 bits in 16, intercept -1024), compressed where the syntax says so."""
    folder.mkdir(parents=True)
    for n, plane in enumerate(volume):
        ds = _slice(plane, n)
        if syntax != ExplicitVRLittleEndian:
            ds.compress(UID(syntax), generate_instance_uid=False)
        ds.save_as(folder / f"IM{n:05d}.dcm", enforce_file_format=True)
    return folder


def _slice(plane: NDArray[np.int16], n: int) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"{_ROOT}.3.{n + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = f"{_ROOT}.1", f"{_ROOT}.2", f"{_ROOT}.4"
    ds.SpecificCharacterSet, ds.ImageType, ds.Modality = "ISO_IR 100", ["ORIGINAL", "PRIMARY", "AXIAL"], "CT"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20200102"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101112"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Phantom", "P1", "19700101", "O"
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "1", "1", ""
    ds.StudyDescription, ds.SeriesDescription, ds.ProtocolName = "Chest", "Chest 1.0", "Chest"
    ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = "Bench", "Ellipses", "1"
    ds.InstitutionName, ds.StationName, ds.BodyPartExamined, ds.PatientPosition = "Bench", "B1", "CHEST", "HFS"
    ds.KVP, ds.XRayTubeCurrent, ds.ExposureTime, ds.Exposure, ds.FilterType = 120, 200, 500, 100, "BODY"
    ds.ConvolutionKernel, ds.SliceThickness, ds.GantryDetectorTilt, ds.TableHeight = "STANDARD", GAP_MM, 0, 150
    ds.ReconstructionDiameter, ds.DataCollectionDiameter, ds.RotationDirection = 348.16, 500, "CW"
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = 3, 1, n + 1
    place = [*ORIGIN_MM[:2], ORIGIN_MM[2] + n * GAP_MM]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = place, [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceLocation, ds.PositionReferenceIndicator = [SPACING_MM] * 2, place[2], ""
    for element in range(0x10, 0x30):
        ds.add_new(0x00091000 | element, "LO", f"private {element}")
    ds.add_new(0x00090010, "LO", "BENCH")
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = plane.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth, ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 40, 400, -1024, 1, "HU"
    ds.PixelData = (plane.astype(np.int32) + 1024).astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def write_gz(volume: NDArray[np.int16], path: Path) -> Path:
    """Write (Z, Y, X) as .nii.gz with nibabel, at its own level of compression."""
    affine = np.diag([-SPACING_MM, -SPACING_MM, GAP_MM, 1.0])
    nib.save(nib.Nifti1Image(volume.transpose(2, 1, 0), affine), path)
    return path
