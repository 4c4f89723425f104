"""Endoscopy and fundus pictures: overlays, reports and segmentations that refer to them."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from scenes import attributes, dciodvfy_errors, factory, manifest_of, predicted

import medimg
from medimg.inference.prediction import Box
from medimg.io.image import Picture
from medimg.io.mask import read_mask
from medimg.packaging.manifest import Label
from medimg.pacs.results.write import write_results

LIGHT = "1.2.840.10008.5.1.4.1.1.77.1."
CLASSES = {"ES": f"{LIGHT}1", "OP": f"{LIGHT}5.1", "XC": f"{LIGHT}4"}
OF_SCANNERS = ("KVP", "PatientPosition", "PositionReferenceIndicator")
POLYP = Label(name="polyp", index=0, code="SNOMEDCT:285611007")


def picture(folder: Path, modality: str) -> tuple[Path, Picture, np.ndarray]:
    rows, columns = np.meshgrid(np.arange(60), np.arange(80), indexing="ij")
    mask = ((rows - 30) / 14) ** 2 + ((columns - 44) / 20) ** 2 <= 1
    pixels = np.full((60, 80, 3), 90, np.uint8)
    pixels[mask] = (200, 120, 100)
    gone = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
    said = {name: value for name, value in attributes().items() if name not in OF_SCANNERS}
    ds = factory().slice_dataset(
        pixels, (0, 0, 0), modality="CT", **dict.fromkeys(gone), **said, SOPClassUID=CLASSES[modality],
        ImageType=["ORIGINAL", "PRIMARY"], SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0,
    )  # fmt: skip
    for name in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        del ds[name]
    ds.Modality = modality
    ds.AcquisitionContextSequence = Sequence([])
    ds.LossyImageCompression, ds.ContentDate, ds.ContentTime = "00", "20260102", "101112"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.8.498.77.{ord(modality[0])}"
    if modality == "OP":
        ds.ImageLaterality, ds.BurnedInAnnotation, ds.NumberOfFrames = "R", "NO", 1
        ds.AnatomicRegionSequence = Sequence([Dataset()])
    path = factory().save(ds, folder / "picture.dcm")
    image = medimg.read(path)
    assert isinstance(image, Picture)
    return path, image, mask


@pytest.mark.parametrize("modality", ["ES", "OP", "XC"])
def test_a_region_of_a_picture(modality: str, tmp_path: Path) -> None:
    path, image, mask = picture(tmp_path / "in", modality)
    manifest = manifest_of(POLYP, modality="OP" if modality == "OP" else "ES", mode="multilabel")
    found = predicted(image, mask.astype(np.uint8), manifest)
    files = write_results(found, image, [path], manifest, tmp_path / "out")
    assert [one.name for one in files] == ["seg.dcm", "sr.dcm", "sc-1.dcm"]
    assert np.array_equal(read_mask(files[0], like=image).array > 0, mask)
    uid = str(pydicom.dcmread(path).SOPInstanceUID)
    for one in files:
        assert uid in str(pydicom.dcmread(one))
        assert dciodvfy_errors(one) == [], one.name
    (group,) = hd.sr.srread(files[1]).content.get_planar_roi_measurement_groups()
    assert group.tracking_identifier == "polyp 1"
    overlay = pydicom.dcmread(files[2]).pixel_array
    assert overlay.shape[1] >= 480
    assert overlay.shape[2] == 3


def test_boxes_scores_and_nothing(tmp_path: Path) -> None:
    path, image, mask = picture(tmp_path / "in", "ES")
    boxes = manifest_of(POLYP, modality="ES", kind="detection", mode="boxes")
    found = predicted(image, None, boxes, boxes=(Box("polyp", 0.8, (16, 24, 44, 64), None, True),))
    files = write_results(found, image, [path], boxes, tmp_path / "boxes")
    assert [one.name for one in files] == ["sr.dcm", "sc-1.dcm"]
    score = manifest_of(POLYP, modality="ES", kind="classification", mode="binary")
    found = predicted(image, None, score, scores={"polyp": 0.7}, decisions={"polyp": True}, grade=1)
    files += write_results(found, image, [path], score, tmp_path / "score")
    region = manifest_of(POLYP, modality="ES", mode="multilabel")
    found = predicted(image, np.zeros_like(mask, np.uint8), region)
    files += write_results(found, image, [path], region, tmp_path / "nothing")
    assert [one.name for one in files[2:]] == ["sr.dcm", "sc-1.dcm"] * 2
    for one in files:
        assert dciodvfy_errors(one) == [], one.name
