"""A worker that writes captures without pixels worth looking at; SLOW_S in the environment makes it slow."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from medimg.inference.prediction import Prediction
from medimg.io.dicom.uid import uid_from
from medimg.io.image import Picture, Volume
from medimg.packaging.manifest import PackageManifest
from medimg.pacs.serve.child import child_main
from medimg.pacs.serve.running import Writers
from medimg.pacs.serve.worker import run


def capture(said: str, sources: Sequence[Path], manifest: PackageManifest, folder: Path, kind: str) -> list[Path]:
    heads = [pydicom.dcmread(path, stop_before_pixels=True) for path in sources]
    uids = sorted(str(head.SOPInstanceUID) for head in heads)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = uid_from(manifest.digest, kind, *uids)
    dataset.SeriesInstanceUID = uid_from(manifest.digest, kind, "series", *uids)
    dataset.StudyInstanceUID = heads[0].StudyInstanceUID
    dataset.Modality, dataset.Manufacturer, dataset.SeriesDescription = "OT", "medimg", said
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.Rows = dataset.Columns = 2
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = bytes(4)
    dataset.NumberOfFrames = 1
    dataset.ImageComments = f"{len(uids)} sources"
    folder.mkdir(parents=True, exist_ok=True)
    dataset.save_as(folder / f"{kind}.dcm", enforce_file_format=True)
    return [folder / f"{kind}.dcm"]


def results(
    prediction: Prediction,
    image: Volume | Picture,
    sources: Sequence[Path],
    manifest: PackageManifest,
    folder: Path,
    kinds: Sequence[str],
) -> list[Path]:
    time.sleep(float(os.environ.get("SLOW_S", "0")))
    return [path for kind in kinds for path in capture("result", sources, manifest, folder, kind)]


def refusal(reason: str, sources: Sequence[Path], manifest: PackageManifest, folder: Path) -> list[Path]:
    return capture("refusal", sources, manifest, folder, "refusal")


if __name__ == "__main__":
    raise SystemExit(child_main("worker", lambda child: run(child, Writers(results, refusal))))
