"""COCO detection files: boxes ``[x, y, width, height]`` in pixels on pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medimg.data.importers.rows import Imported, measure_all, once
from medimg.errors import InputError
from medimg.io.findings import Finding


def import_coco(
    root: Path, annotations: str, *, modality: str, image_folder: str = "images", site: str = "unknown"
) -> Imported:
    """Read COCO boxes; crowd annotations are left out with a finding.

    A picture's ``subject_id`` key is taken where it is present, else every picture counts as a person of its own.

    Raises
    ------
    InputError
        The annotation file is missing, is no COCO file, or a box has no area.
    """
    document = _document(root / annotations)
    names = {item["id"]: str(item["name"]) for item in document["categories"]}
    images = [_image_row(item, modality, image_folder, site) for item in document["images"]]
    by_id = {item["id"]: row for item, row in zip(document["images"], images)}
    labels, findings = [], []
    for item in document["annotations"]:
        if item.get("iscrowd"):
            findings.append(Finding("CROWD_BOX", "warning", "a crowd box is left out", file=annotations))
            continue
        labels.append(_label_row(item, by_id, names, annotations))
    if any("subject_id" not in item for item in document["images"]):
        findings.append(
            Finding(
                "NO_SUBJECT_COLUMN",
                "warning",
                "pictures without subject_id count as a person each",
                file=annotations,
                assumed="one subject a picture",
            )
        )
    measured, unread = measure_all(images, root)
    subjects = once([{"subject_id": row["subject_id"]} for row in images], lambda row: row["subject_id"])
    return Imported(images=measured, subjects=subjects, labels=labels, findings=findings + unread)


def _document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError("the COCO annotation file is missing", where=path.resolve())
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise InputError("the COCO annotation file cannot be read", where=path, got=str(error)) from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise InputError(f"the COCO file has no list '{key}'", where=path)
    return document


def _image_row(item: dict[str, Any], modality: str, folder: str, site: str) -> dict[str, Any]:
    stem = Path(str(item["file_name"])).stem
    subject = str(item.get("subject_id", stem))
    return {
        "image_id": stem,
        "subject_id": subject,
        "session_id": stem,
        "site_id": str(item.get("site_id", site)),
        "path": f"{folder}/{item['file_name']}" if folder else str(item["file_name"]),
        "modality": modality,
    }


def _label_row(
    item: dict[str, Any], images: dict[Any, dict[str, Any]], names: dict[Any, str], where: str
) -> dict[str, Any]:
    x, y, width, height = (float(number) for number in item["bbox"])
    if item["image_id"] not in images or item["category_id"] not in names or width <= 0 or height <= 0:
        raise InputError(
            "a COCO annotation is not valid",
            where=where,
            got=f"annotation {item.get('id')}: image {item['image_id']}, category {item['category_id']}, "
            f"bbox {item['bbox']}",
            expected="a known image and category, and a box with an area",
        )
    image = images[item["image_id"]]
    return {
        "subject_id": image["subject_id"],
        "image_id": image["image_id"],
        "kind": "box",
        "name": names[item["category_id"]],
        "value": json.dumps([y, x, y + height, x + width]),
    }
