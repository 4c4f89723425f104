"""A small cohort on disk: blobs in NIfTI volumes, two sites, two ancestries, an index.csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medimg.data.cohort import Cohort, DatasetInfo
from medimg.data.importers.csv_index import import_csv
from medimg.data.settings import CsvIndex
from medimg.io.write import write_nifti

AFFINE = np.array([[0, 0, 1.0, 5], [0, 1.0, 0, -3], [2.0, 0, 0, 7], [0, 0, 0, 1]])


def blob(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a (12, 20, 24) int16 image and its mask with labels 1 and 2."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((12, 20, 24), np.uint8)
    z, y, x = rng.integers(2, 8), rng.integers(3, 12), rng.integers(3, 16)
    mask[z : z + 3, y : y + 4, x : x + 4] = 1
    mask[z : z + 3, y + 4 : y + 6, x : x + 4] = 2
    image = rng.normal(0, 20, mask.shape) + 100.0 * mask
    return image.astype(np.int16), mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """24 volumes of 12 people."""
    rows, people = [], []
    for number in range(24):
        image, mask = blob(number)
        write_nifti(image, tmp_path / "images" / f"case{number:02d}.nii.gz", affine=AFFINE)
        write_nifti(mask, tmp_path / "masks" / f"case{number:02d}.nii.gz", affine=AFFINE)
        person = number // 2
        rows.append(
            {
                "scan": f"images/case{number:02d}.nii.gz",
                "mask": f"masks/case{number:02d}.nii.gz",
                "patient": f"P{person:02d}",
                "site": "one" if person % 3 else "two",
                "severity": str(number % 3),
            }
        )
    for person in range(12):
        people.append(
            {
                "subject_id": f"P{person:02d}",
                "ancestry_group": "A" if person % 2 else "B",
                "ancestry_scheme": "synthetic",
                "ancestry_source": "synthetic",
                "sex_at_birth": "F" if person < 6 else "M",
                "age": 40 + person,
            }
        )
    pd.DataFrame(rows).to_csv(tmp_path / "index.csv", index=False)
    pd.DataFrame(people).to_csv(tmp_path / "subjects.csv", index=False)
    return tmp_path


@pytest.fixture
def settings() -> CsvIndex:
    """Columns of the index."""
    return CsvIndex(
        images={"image": "scan"},
        subject="patient",
        site="site",
        masks={"core": {"column": "mask", "value": 1}, "rim": {"column": "mask", "value": 2}},
        classes={"severity": {"column": "severity", "grade": True}},
        subjects="subjects.csv",
    )


@pytest.fixture
def cohort(folder: Path, settings: CsvIndex) -> Cohort:
    """The folder, indexed."""
    return import_csv(folder, settings, modality="MR").cohort(DatasetInfo(title="blobs"), folder)
