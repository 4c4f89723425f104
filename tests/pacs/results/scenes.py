"""Series with a planted lesion, and what a perfect model would say of them."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import medimg
from medimg.data.preparation import Intensity, Preparation
from medimg.inference.prediction import Prediction
from medimg.io.image import Picture, Volume
from medimg.io.policy import ReadPolicy
from medimg.packaging.manifest import Label, Network, PackageManifest, Provenance, TaskSpec, Tiling

OBLIQUE = np.linalg.qr(np.array([[1.0, 0.2, -0.3], [0.1, 1.0, 0.4], [0.3, -0.2, 1.0]]))[0]
OBLIQUE *= np.sign(np.diag(OBLIQUE))
ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": tuple(float(v) for v in OBLIQUE[:, :2].T.ravel()),
}
GEOMETRIES = (*ORIENTATIONS, "reversed", "feet_first", "tilted", "straightened", "irregular", "missing")
# What is read as one even, upright stack of the files' own slices.
REGULAR = (*ORIENTATIONS, "reversed", "feet_first")
FACTORY_SETS = ("PatientName", "PatientID", "FrameOfReferenceUID")
SHAPE, SPACING, GAP = (14, 40, 36), (0.8, 0.7), 2.5
CENTRE, AXES = (7.3, 21.4, 14.6), (8.0, 7.0, 5.5)
"""Of the planted ellipsoid: its centre in (slice, row, column), its half axes in mm along slices, rows, columns."""


def factory() -> ModuleType:
    path = Path(__file__).parents[2] / "io" / "dicom_factory.py"
    spec = importlib.util.spec_from_file_location("dicom_factory", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def manifest_of(*labels: Label, modality: str = "CT", **task: Any) -> PackageManifest:
    dims = 3 if modality in ("CT", "MR") else 2
    kind = task.pop("kind", "segmentation")
    names = ("ct",) if dims == 3 else ("image",)
    spacing = {"spacing_mm": (1.0, 1.0, 1.0)} if dims == 3 else {}
    intensity = Intensity(rule="window", low=-1000, high=1000) if dims == 3 else Intensity(rule="rgb")
    return PackageManifest(
        name="lesions",
        version="1.2",
        modality=modality,
        intended_use="tests",
        task=TaskSpec(kind=kind, spatial_dims=dims, labels=labels, **task),
        preparation=Preparation(
            kind="volume" if dims == 3 else "picture", channels=names, intensity=intensity, **spacing
        ),
        tiling=Tiling(divisor=(1,) * dims),
        anchors={} if kind == "detection" else None,
        network=Network(name="tiny", onnx_opset=18, outputs=("logits",)),
        provenance=Provenance(medimg_version="0", torch_version="0", created=datetime(2026, 1, 2, tzinfo=UTC)),
        weights_sha256="0" * 64,
        onnx_sha256="1" * 64,
    )


LESION = Label(name="nodule", index=1, code="SNOMEDCT:27925004")
LIVER = Label(name="liver", index=2, code="SNOMEDCT:10200004")
MANIFEST = manifest_of(LESION, LIVER, mode="multiclass")


@dataclass(frozen=True, eq=False)
class Scene:
    """Files, how they are read, the volume, what the model says, and where the lesion was put (LPS mm)."""

    files: list[Path]
    image: Volume
    prediction: Prediction
    centre_mm: np.ndarray
    spacing_mm: tuple[float, float, float]


def attributes(**more: Any) -> dict[str, Any]:
    return {
        "PatientName": "SECRET^NAME",
        "PatientID": "SECRET-ID",
        "PatientBirthDate": "19500102",
        "PatientSex": "F",
        "PatientAge": "076Y",
        "EthnicGroup": "KALINAGO",
        "StudyDate": "20260102",
        "StudyTime": "101112",
        "AccessionNumber": "A1",
        "StudyID": "1",
        "StudyDescription": "CHEST",
        "ReferringPhysicianName": "",
        "Manufacturer": "Maker",
        "BodyPartExamined": "CHEST",
        "PositionReferenceIndicator": "",
        "AcquisitionNumber": 1,
        "KVP": 120,
        "PatientPosition": "HFS",
        **more,
    }


def planes_of(geometry: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positions (Z, 3), row and column cosines, and the step of the even stack."""
    orientation = np.asarray(ORIENTATIONS.get(geometry, ORIENTATIONS["axial"]), float)
    row, column = orientation[:3], orientation[3:]
    normal = np.cross(row, column)
    step = GAP * normal
    if geometry in ("tilted", "straightened"):
        step = step + np.tan(np.radians(15)) * GAP * column
    slots = np.arange(SHAPE[0], dtype=float)
    if geometry == "irregular":
        slots = slots + np.where(np.arange(SHAPE[0]) >= 9, 0.4, 0.0) + np.where(np.arange(SHAPE[0]) >= 11, 0.7, 0.0)
    if geometry == "missing":
        slots = np.delete(slots, 4)
    positions = np.asarray([-30.0, 12.0, 55.0]) + slots[:, None] * step
    return positions, row, column, step


POLICIES = {
    "tilted": ReadPolicy(tilt="shear"),
    "straightened": ReadPolicy(tilt="resample"),
    "irregular": ReadPolicy(irregular="resample"),
    "missing": ReadPolicy(missing="interpolate"),
}


def scene(folder: Path, geometry: str = "axial", *, series: int = 1, modality: str = "CT", **more: Any) -> Scene:
    """Write a series with an ellipsoid of 1000 HU, read it, and answer as a perfect model would."""
    dicom = factory()
    positions, row, column, step = planes_of(geometry)
    centre = positions[0] + CENTRE[0] * step + CENTRE[1] * SPACING[0] * column + CENTRE[2] * SPACING[1] * row
    normal = np.cross(row, column)
    rows, columns = np.meshgrid(np.arange(SHAPE[1]), np.arange(SHAPE[2]), indexing="ij")
    files = []
    for n, position in enumerate(positions):
        points = position + rows[..., None] * SPACING[0] * column + columns[..., None] * SPACING[1] * row - centre
        along = np.stack([points @ normal, points @ column, points @ row], axis=-1)
        inside = ((along / np.asarray(AXES)) ** 2).sum(axis=-1) <= 1.0
        plane = np.where(inside, 2024, 1034 + (columns % 7)).astype(np.uint16)
        number = len(positions) - n if geometry in ("reversed", "feet_first") else n + 1
        extra = attributes(**{"PatientPosition": "FFS"} if geometry == "feet_first" else {}, **more)
        extra = {name: value for name, value in extra.items() if value is not None or name in FACTORY_SETS}
        ds = dicom.slice_dataset(
            plane,
            position,
            number=number,
            series=series,
            modality=modality,
            orientation=row.tolist() + column.tolist(),
            spacing=SPACING,
            **extra,
        )
        files.append(dicom.save(ds, folder / f"{(7 * n) % 97:03d}.dcm"))
    image = medimg.read(folder, policy=POLICIES.get(geometry, ReadPolicy()))
    assert isinstance(image, Volume)
    labels = (image.array > 500).astype(np.uint8)
    return Scene(files, image, predicted(image, labels), centre, (GAP, *SPACING))


def predicted(
    image: Volume | Picture, labels: np.ndarray | None, manifest: PackageManifest = MANIFEST, **more: Any
) -> Prediction:
    return Prediction(
        manifest.task,
        labels=labels,
        affine=image.affine if isinstance(image, Volume) else None,
        package=f"{manifest.name} {manifest.version}",
        package_digest=manifest.digest,
        source=image.source,
        **more,
    )


def tool(name: str) -> str:
    """Path of a program of the test extra; skips where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def dciodvfy_errors(path: Path) -> list[str]:
    run = subprocess.run([tool("dciodvfy"), str(path)], capture_output=True, text=True, check=False)
    return [line for line in run.stderr.splitlines() if line.startswith("Error")]
