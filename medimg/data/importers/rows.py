"""What every importer does with one image: read it, measure it, give it a row; or name why it was left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from medimg.data.cohort import Cohort, DatasetInfo
from medimg.data.digest import digest_path
from medimg.errors import InputError, MedimgError
from medimg.io.findings import Finding
from medimg.io.image import Picture, Volume
from medimg.io.policy import STRICT, ReadPolicy
from medimg.io.read import read_still

FORMAT_BY_SUFFIX = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".tif": "tiff", ".tiff": "tiff"}


@dataclass(frozen=True)
class Imported:
    """Rows of the four tables, and what the importer noticed."""

    images: list[dict[str, Any]]
    subjects: list[dict[str, Any]]
    labels: list[dict[str, Any]]
    events: pd.DataFrame = field(default_factory=pd.DataFrame)
    findings: list[Finding] = field(default_factory=list)

    def cohort(self, info: DatasetInfo, image_root: Path) -> Cohort:
        """Return the validated cohort.

        Raises
        ------
        InputError
            No image could be used, or a table is invalid.
        """
        if not self.images:
            reasons = "; ".join(finding.message for finding in self.findings[:3])
            raise InputError("no image could be indexed", where=image_root, got=reasons or "an empty list of images")
        kept = {str(row["image_id"]) for row in self.images}
        people = {str(row["subject_id"]) for row in self.images}
        tables = {
            "images": pd.DataFrame(self.images),
            "subjects": pd.DataFrame([row for row in self.subjects if str(row["subject_id"]) in people]),
            "labels": pd.DataFrame([row for row in self.labels if str(row["image_id"]) in kept]),
            "events": self.events,
        }
        if len(self.events):
            tables["events"] = self.events[self.events["subject_id"].astype(str).isin(people)]
        return Cohort.build(info, image_root.resolve(), tables, image_root)


def measure_all(
    rows: Iterable[dict[str, Any]], root: Path, threads: int = 2, *, reading: ReadPolicy = STRICT
) -> tuple[list[dict[str, Any]], list[Finding]]:
    """Add format, grid and digest to image rows; rows that cannot be read become findings.

    Parameters
    ----------
    rows : iterable of dict
        Each with at least ``image_id`` and ``path`` (relative to ``root``).
    root : Path
        Folder of the scans.
    threads : int
        Files read at once.
    reading : ReadPolicy
        What is done where a series is not what a volume needs.
    """
    rows = list(rows)
    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(lambda row: _measured(row, root, reading), rows))
    good = [result for result in results if isinstance(result, dict)]
    return good, [result for result in results if isinstance(result, Finding)]


def _measured(row: dict[str, Any], root: Path, reading: ReadPolicy) -> dict[str, Any] | Finding:
    path = root / str(row["path"])
    try:
        image = read_still(path, policy=reading)
        # What the index states (an outline's unit) wins over what the file says.
        return {**_facts(image), **row, "format": _format(path, image), "sha256": digest_path(path)}
    except MedimgError as error:
        return Finding("UNREADABLE_IMAGE", "error", error.what, file=str(row["path"]), value=str(error.got or ""))


def _format(path: Path, image: Volume | Picture) -> str:
    if path.suffix.lower() in FORMAT_BY_SUFFIX:
        return FORMAT_BY_SUFFIX[path.suffix.lower()]
    return "nifti" if ".nii" in path.name or path.suffix in {".hdr", ".img"} else "dicom-series"


def _facts(image: Volume | Picture) -> dict[str, Any]:
    if isinstance(image, Volume):
        (nz, ny, nx), spacing = image.shape_zyx, image.spacing_mm
        return {
            "nz": nz,
            "ny": ny,
            "nx": nx,
            "spacing_z_mm": spacing[0],
            "spacing_y_mm": spacing[1],
            "spacing_x_mm": spacing[2],
            "intensity_unit": image.unit,
        }
    height, width = image.array.shape[:2]
    return {
        "nz": 1,
        "ny": height,
        "nx": width,
        "intensity_unit": "srgb16" if image.array.dtype.itemsize > 1 else "srgb8",
    }


def state_unit(imported: Imported, unit: str | None) -> Imported:
    """Give CT volumes without a unit the stated one; NIfTI files state none.

    Parameters
    ----------
    imported : Imported
        Rows as measured.
    unit : str or None
        None assumes HU, the convention for CT in NIfTI, and says so in a finding.
    """
    silent = [row for row in imported.images if row["modality"] == "CT" and row.get("intensity_unit") == "arbitrary"]
    if not silent:
        return imported
    for row in silent:
        row["intensity_unit"] = unit or "HU"
    if unit is None:
        imported.findings.append(
            Finding(
                "UNIT_ASSUMED",
                "warning",
                f"{len(silent)} CT volumes state no unit of their values (data.unit=… states it)",
                file=str(silent[0]["path"]),
                assumed="HU",
            )
        )
    return imported


def once(rows: Iterable[dict[str, Any]], key: Callable[[dict[str, Any]], str]) -> list[dict[str, Any]]:
    """Return the first row for every key, in order."""
    seen: dict[str, dict[str, Any]] = {}
    for row in rows:
        seen.setdefault(key(row), row)
    return list(seen.values())
