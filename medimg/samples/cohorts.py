"""Turn people into cases on disk: one function a modality, each writes a person's images and returns table rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.samples import ct, endoscopy, fundus, mri
from medimg.samples.ct_scanner import SCANNERS as CT_SCANNERS
from medimg.samples.dicom_writer import write_series
from medimg.samples.fundus_optics import CAMERAS
from medimg.samples.mri_signal import CONTRASTS
from medimg.samples.mri_signal import SCANNERS as MR_SCANNERS
from medimg.samples.people import Person, stream
from medimg.samples.writers import write_jpeg, write_mask_png, write_nifti

Row = dict[str, object]
Cases = list[tuple[Row, dict[str, Any]]]
Writer = Callable[[Person, int, Path, float, bool], Cases]

DICOM_SITE = "site-2"  # the first person of this site is written as DICOM, the others as NIfTI
FUNDUS_PX, ENDOSCOPY_PX = 96, 128
_STREAM_IMAGE = 10


def _case_row(person: Person, number: int, manufacturer: str, model: str, modality: str, file_format: str) -> Row:
    return {
        "case_id": f"{person.subject_id}-{number}",
        "subject_id": person.subject_id,
        "session_id": f"ses-{number}",
        "site_id": person.site_id,
        "manufacturer": manufacturer,
        "model": model,
        "modality": modality,
        "format": file_format,
    }


def fundus_cases(person: Person, seed: int, folder: Path, scale: float, _: bool = False) -> Cases:
    """Write one eye, or both eyes of every fourth person on average."""
    camera = CAMERAS[person.site_id]
    rng = stream(seed, "fundus", person.index, _STREAM_IMAGE)
    first = str(rng.choice(["R", "L"]))
    eyes = [first] if rng.random() < 0.75 else [first, "L" if first == "R" else "R"]
    cases: Cases = []
    for number, eye in enumerate(eyes, start=1):
        rng = stream(seed, "fundus", person.index, _STREAM_IMAGE + number)
        severity = person.severity + 0.25 * float(rng.normal())
        image = fundus.render_fundus(
            person.pigment_od500, severity, camera, rng, size_px=round(FUNDUS_PX * scale), laterality=eye
        )
        row = _case_row(person, number, camera.manufacturer, camera.model, "OP", "jpeg")
        row["session_id"] = "ses-1"
        row["laterality"] = eye
        row["image"] = f"images/{row['case_id']}.jpg"
        write_jpeg(image.rgb, folder / str(row["image"]))
        for kind, mask in image.masks.items():
            row[f"mask_{kind}"] = _write_mask(mask, folder, f"masks/{row['case_id']}_{kind}.png")
        row["dr_grade"] = image.dr_grade
        row["referable_dr"] = int(image.dr_grade >= 2)
        cases.append((row, {**image.latent, "lesions": [vars(lesion) for lesion in image.lesions]}))
    return cases


def endoscopy_cases(person: Person, seed: int, folder: Path, scale: float, _: bool = False) -> Cases:
    """Write one to three frames of one examination."""
    device = endoscopy.DEVICES[person.site_id]
    count = int(stream(seed, "endoscopy", person.index, _STREAM_IMAGE).choice([1, 2, 3], p=[0.4, 0.35, 0.25]))
    cases: Cases = []
    for number in range(1, count + 1):
        rng = stream(seed, "endoscopy", person.index, _STREAM_IMAGE + number)
        frame = endoscopy.render_endoscopy(
            device, rng, size_px=round(ENDOSCOPY_PX * scale), number=int(rng.integers(1000))
        )
        row = _case_row(person, number, device.manufacturer, device.model, "ES", "jpeg")
        row["session_id"] = "ses-1"
        row["light"] = "narrow-band" if frame.narrow_band else "white"
        row["image"] = f"images/{row['case_id']}.jpg"
        write_jpeg(frame.rgb, folder / str(row["image"]))
        row["mask_polyp"] = _write_mask(frame.polyp, folder, f"masks/{row['case_id']}_polyp.png")
        row["polyp_present"] = int(frame.polyp.any())
        row["paris_class"] = "+".join(sorted({p.paris for p in frame.polyps})) if frame.polyp.any() else ""
        cases.append((row, frame.latent))
    return cases


def _write_mask(mask: NDArray[np.bool_], folder: Path, name: str) -> str:
    """Write a mask unless it is empty; return the cell of the table."""
    if not mask.any():
        return ""
    write_mask_png(mask, folder / name)
    return name


def ct_cases(person: Person, seed: int, folder: Path, scale: float, as_dicom: bool) -> Cases:
    """Write one scan with its multi-class mask."""
    scanner = CT_SCANNERS[person.site_id]
    study = ct.render_ct(person.severity, scanner, stream(seed, "ct", person.index, _STREAM_IMAGE), scale=scale)
    row = _case_row(person, 1, scanner.manufacturer, scanner.model, "CT", "dicom-series" if as_dicom else "nifti")
    row.update(
        kernel=scanner.kernel,
        kvp=scanner.kvp,
        slice_thickness_mm=scanner.slice_mm,
        contrast="portal-venous" if study.latent["portal_venous"] else "none",
    )
    if as_dicom:
        row["image"] = f"images/{row['case_id']}"
        write_series(
            study.hu + np.int16(1024),
            study.affine,
            folder / str(row["image"]),
            modality="CT",
            identity=(str(seed), person.subject_id, "ct"),
            series_number=1,
            rescale=(1.0, -1024.0),
            attributes={
                "Manufacturer": scanner.manufacturer,
                "ManufacturerModelName": scanner.model,
                "KVP": f"{scanner.kvp:g}",
                "ConvolutionKernel": scanner.kernel,
                "SeriesDescription": "Simulated chest and upper abdomen",
                "BodyPartExamined": "CHEST",
                "WindowCenter": "40",
                "WindowWidth": "400",
            },
        )
    else:
        row["image"] = f"images/{row['case_id']}.nii.gz"
        write_nifti(study.hu, study.affine, folder / str(row["image"]))
    row["mask"] = f"masks/{row['case_id']}.nii.gz"
    write_nifti(study.labels, study.affine, folder / str(row["mask"]))
    nodules = [lesion for lesion in study.lesions if lesion["kind"] == "lung_nodule"]
    row["n_nodules"] = len(nodules)
    row["n_liver_lesions"] = len(study.lesions) - len(nodules)
    row["malignant_nodule"] = int(any(bool(lesion["malignant"]) for lesion in nodules))
    return [(row, {**study.latent, "lesions": list(study.lesions)})]


def mri_cases(person: Person, seed: int, folder: Path, scale: float, as_dicom: bool) -> Cases:
    """Write one session of four contrasts with its multi-class mask."""
    scanner = MR_SCANNERS[person.site_id]
    rng = stream(seed, "mri", person.index, _STREAM_IMAGE)
    study = mri.render_mri(person.severity, person.age, scanner, rng, scale=scale)
    row = _case_row(person, 1, scanner.manufacturer, scanner.model, "MR", "dicom-series" if as_dicom else "nifti")
    row["field_strength_t"] = scanner.field_t
    for number, contrast in enumerate(CONTRASTS, start=1):
        stem = f"images/{row['case_id']}_{contrast}"
        levels, sequence = study.contrasts[contrast], scanner.sequences[contrast]
        if as_dicom:
            row[f"image_{contrast}"] = stem
            attributes: dict[str, object] = {
                "Manufacturer": scanner.manufacturer,
                "ManufacturerModelName": scanner.model,
                "MagneticFieldStrength": f"{scanner.field_t:g}",
                "SeriesDescription": contrast,
                "ScanningSequence": "IR" if sequence.ti_ms else "SE",
                "SequenceVariant": "SK",
                "ScanOptions": "",
                "MRAcquisitionType": "2D",
                "RepetitionTime": f"{sequence.tr_ms:g}",
                "EchoTime": f"{sequence.te_ms:g}",
                "EchoTrainLength": 1,
                "BodyPartExamined": "BRAIN",
            }
            if sequence.ti_ms:
                attributes["InversionTime"] = f"{sequence.ti_ms:g}"
            write_series(
                levels.astype(np.int16) * scanner.unit_scale,
                study.affine,
                folder / stem,
                modality="MR",
                identity=(str(seed), person.subject_id, contrast),
                series_number=number,
                attributes=attributes,
                rescale=(1.0, 0.0),
            )
        else:
            row[f"image_{contrast}"] = f"{stem}.nii.gz"
            write_nifti(levels, study.affine, folder / f"{stem}.nii.gz", slope=float(scanner.unit_scale))
    row["mask"] = f"masks/{row['case_id']}.nii.gz"
    write_nifti(study.labels, study.affine, folder / str(row["mask"]))
    row["tumour"] = int(bool(study.latent["tumour"]))
    row["high_grade"] = int(bool(study.latent["high_grade"]))
    return [(row, study.latent)]


WRITERS: dict[str, Writer] = {
    "ct": ct_cases,
    "mri": mri_cases,
    "endoscopy": endoscopy_cases,
    "fundus": fundus_cases,
}
