"""nnU-Net v2 dataset folders: ``dataset.json``, ``imagesTr/CASE_0000.nii.gz``, ``labelsTr/CASE.nii.gz``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medimg.data.importers.rows import Imported, measure_all, once
from medimg.errors import InputError
from medimg.io.findings import Finding
from medimg.io.policy import STRICT, ReadPolicy


def import_nnunet(root: Path, *, modality: str, site: str = "unknown", reading: ReadPolicy = STRICT) -> Imported:
    """Read an nnU-Net v2 dataset; ``imagesTs`` is taken as held-out.

    Every case counts as a person of its own, since the format names none; this is a finding.

    Raises
    ------
    InputError
        ``dataset.json`` is missing or does not say channels, labels and file ending.
    """
    description = _description(root)
    ending = str(description["file_ending"])
    channels = {int(number): str(name) for number, name in description["channel_names"].items()}
    labels = {str(name): value for name, value in description["labels"].items() if value not in (0, [0])}
    images, label_rows = [], []
    for folder, split in (("imagesTr", None), ("imagesTs", "held_out")):
        for path in sorted((root / folder).glob(f"*_0000{ending}")):
            case = path.name.removesuffix(f"_0000{ending}")
            rows = [_row(root, folder, case, f"{number:04d}{ending}", name, modality, site, split)
                    for number, name in channels.items()]  # fmt: skip
            images += rows
            mask = f"{folder.replace('images', 'labels')}/{case}{ending}"
            if (root / mask).is_file():
                label_rows += _label_rows(rows[0], mask, labels)
    measured, findings = measure_all(images, root, reading=reading)
    findings.append(
        Finding(
            "NO_SUBJECT_COLUMN",
            "warning",
            "nnU-Net folders name no person; every case counts as a person of its own",
            file="dataset.json",
            assumed="one subject a case",
        )
    )
    subjects = once([{"subject_id": row["subject_id"]} for row in images], lambda row: row["subject_id"])
    return Imported(images=measured, subjects=subjects, labels=label_rows, findings=findings)


def _description(root: Path) -> dict[str, Any]:
    path = root / "dataset.json"
    if not path.is_file():
        raise InputError("dataset.json is missing", where=root.resolve(), expected="an nnU-Net v2 dataset folder")
    try:
        description: dict[str, Any] = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise InputError("dataset.json cannot be read", where=path, got=str(error)) from error
    for key in ("channel_names", "labels", "file_ending"):
        if key not in description:
            raise InputError(f"dataset.json does not state {key}", where=path, expected="the nnU-Net v2 form")
    return description


def _row(
    root: Path, folder: str, case: str, tail: str, channel: str, modality: str, site: str, split: str | None
) -> dict[str, Any]:
    return {
        "image_id": f"{folder}_{case}_{channel}",
        "subject_id": case,
        "session_id": case,
        "site_id": site,
        "path": f"{folder}/{case}_{tail}",
        "modality": modality,
        "sequence": channel,
        "split": split,
    }


def _label_rows(image: dict[str, Any], mask: str, labels: dict[str, Any]) -> list[dict[str, Any]]:
    base = {"subject_id": image["subject_id"], "image_id": image["image_id"], "kind": "mask", "value": mask}
    rows = []
    for name, value in labels.items():
        if isinstance(value, list):
            raise InputError(
                "nnU-Net region labels are not supported",
                where="dataset.json",
                got=f"{name}: {value}",
                fix="give every region its own integer label, or index with one mask a target",
            )
        rows.append({**base, "name": name, "mask_value": int(value)})
    return rows
