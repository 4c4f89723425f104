"""Multi-frame sources: results name the frames that they were made from."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage
from scenes import MANIFEST, attributes, factory, predicted

import medimg
from medimg.io.image import Volume
from medimg.io.mask import read_mask
from medimg.pacs.results.write import write_results


def item(**elements: object) -> Sequence:
    dataset = Dataset()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return Sequence([dataset])


def enhanced(path: Path, voxels: np.ndarray) -> Path:
    """One file whose frames run from head to feet."""
    said = {name: value for name, value in attributes().items() if name != "KVP"}
    gone = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"))
    ds = factory().slice_dataset(voxels[0], (0, 0, 0), **gone, **said)
    for name in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        del ds[name]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.NumberOfFrames, ds.ContentDate, ds.ContentTime = len(voxels), "20260102", "101112"
    shared, frames = Dataset(), []
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.PixelMeasuresSequence = item(PixelSpacing=[0.8, 0.7], SliceThickness=2.5)
    shared.PixelValueTransformationSequence = item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
    for n in range(len(voxels)):
        frame = Dataset()
        frame.PlanePositionSequence = item(ImagePositionPatient=[-5.0, 3.0, 60.0 - 2.5 * n])
        frame.FrameContentSequence = item(StackID="1", InStackPositionNumber=n + 1)
        frames.append(frame)
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    ds.PixelData = voxels.astype("<u2").tobytes()
    return factory().save(ds, path)


def test_an_enhanced_ct_is_segmented_frame_by_frame(tmp_path: Path) -> None:
    voxels = np.full((8, 24, 20), 1024, np.uint16)
    voxels[2:4, 5:12, 6:16] = 2024
    path = enhanced(tmp_path / "in" / "ct.dcm", voxels)
    image = medimg.read(path)
    assert isinstance(image, Volume)
    labels = (image.array > 500).astype(np.uint8)
    kinds = ("seg", "sr", "sc", "gsps")
    files = write_results(predicted(image, labels), image, [path], MANIFEST, tmp_path / "out", kinds)
    assert len(files) == 4
    assert np.array_equal(read_mask(files[0], like=image).array, labels)
    seg = hd.seg.segread(files[0])
    named = set()
    for group in seg.PerFrameFunctionalGroupsSequence:
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        named.add(int(source.ReferencedFrameNumber))
    assert named == {3, 4}
    capture = pydicom.dcmread(files[2])
    assert capture.SourceImageSequence[0].ReferencedFrameNumber in (3, 4)
