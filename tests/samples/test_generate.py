from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from medimg.errors import ConfigError, InputError
from medimg.samples import generate
from medimg.samples.people import MODALITIES, draw_person


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    generate(folder, seed=5, subjects=2, scale=0.5)
    return folder


def test_rebuild_is_byte_identical(built: Path, tmp_path: Path) -> None:
    generate(tmp_path, seed=5, subjects=2, scale=0.5)
    assert digest(tmp_path) == digest(built)


def test_more_people_leave_the_first_ones_unchanged(built: Path, tmp_path: Path) -> None:
    generate(tmp_path, seed=5, subjects=3, scale=0.5, modalities=["fundus"])
    first = digest(built / "fundus")
    larger = digest(tmp_path / "fundus")
    pictures = [name for name in first if name.startswith(("images", "masks"))]
    assert pictures
    assert all(first[name] == larger[name] for name in pictures)
    assert rows(tmp_path / "fundus/subjects.csv")[:2] == rows(built / "fundus/subjects.csv")


def test_another_seed_gives_other_people(built: Path, tmp_path: Path) -> None:
    generate(tmp_path, seed=6, subjects=2, scale=0.5, modalities=["fundus"])
    assert rows(tmp_path / "fundus/subjects.csv") != rows(built / "fundus/subjects.csv")


@pytest.mark.parametrize("modality", MODALITIES)
def test_tables_agree_with_the_files(built: Path, modality: str) -> None:
    folder = built / modality
    index, people = rows(folder / "index.csv"), rows(folder / "subjects.csv")
    latents = json.loads((folder / "latents.json").read_text())
    listed = set()
    for row in index:
        for column, value in row.items():
            if value and column.startswith(("image", "mask")):
                assert (folder / value).exists(), value
                listed.add(value)
    on_disk = {path.relative_to(folder).as_posix() for sub in ("images", "masks") for path in (folder / sub).iterdir()}
    assert listed == on_disk
    assert {row["subject_id"] for row in index} == {row["subject_id"] for row in people} == set(latents["subjects"])
    assert {row["case_id"] for row in index} == set(latents["cases"])
    assert {row["subject_id"] for row in rows(folder / "events.csv")} <= {row["subject_id"] for row in people}
    assert not [path for path in built.iterdir() if path.name.startswith(".")]


def test_volume_and_mask_share_a_grid(built: Path) -> None:
    for row in rows(built / "ct/index.csv") + rows(built / "mri/index.csv"):
        folder = built / ("ct" if row["modality"] == "CT" else "mri")
        mask = nib.load(folder / row["mask"])
        names = [value for column, value in row.items() if column.startswith("image")]
        for name in names:
            if row["format"] == "nifti":
                image = nib.load(folder / name)
                assert image.shape == mask.shape
                np.testing.assert_allclose(image.affine, mask.affine, atol=1e-4)


@pytest.mark.parametrize(("modality", "series"), [("ct", 1), ("mri", 4)])
def test_one_person_is_dicom_with_the_geometry_of_the_mask(built: Path, modality: str, series: int) -> None:
    folder = built / modality
    cases = [row for row in rows(folder / "index.csv") if row["format"] == "dicom-series"]
    assert len(cases) == 1
    mask = nib.load(folder / cases[0]["mask"])
    paths = [folder / value for column, value in cases[0].items() if column.startswith("image")]
    assert len(paths) == series
    for path in paths:
        files = [pydicom.dcmread(file) for file in sorted(path.iterdir())]
        assert len(files) == mask.shape[2]
        assert len({file.SOPInstanceUID for file in files}) == len(files)
        assert len({file.SeriesInstanceUID for file in files}) == 1
        assert all(file.StudyInstanceUID.startswith("2.25.") for file in files)
        for index in (0, len(files) - 1):
            corner = mask.affine @ [0, 0, index, 1] * [-1, -1, 1, 1]
            np.testing.assert_allclose(np.array(files[index].ImagePositionPatient, float), corner[:3], atol=1e-3)
        assert not files[0].PatientBirthDate
        assert files[0].PatientIdentityRemoved == "YES"
        if modality == "ct":
            assert int((files[3].pixel_array.astype(int) + int(files[3].RescaleIntercept)).min()) == -1000


def test_fundus_masks_are_absent_where_there_is_no_lesion(built: Path) -> None:
    for row in rows(built / "fundus/index.csv"):
        for kind in ("MA", "HE", "EX"):
            if row[f"mask_{kind}"]:
                assert np.asarray(Image.open(built / "fundus" / row[f"mask_{kind}"])).any()
        if row["dr_grade"] == "0":
            assert not row["mask_MA"]
            assert not row["mask_HE"]


def test_one_population_can_be_asked_for(tmp_path: Path) -> None:
    generate(tmp_path, subjects=2, scale=0.5, modalities=["fundus"], population="C")
    latents = json.loads((tmp_path / "fundus/latents.json").read_text())
    assert {person["population"] for person in latents["subjects"].values()} == {"C"}


def test_some_people_have_no_known_ancestry() -> None:
    known = [draw_person(2026, "fundus", index).ancestry_known for index in range(400)]
    assert 0.85 < np.mean(known) < 0.99


def test_foreign_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "fundus").mkdir()
    (tmp_path / "fundus" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError):
        generate(tmp_path, subjects=1, modalities=["fundus"])
    assert (tmp_path / "fundus" / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("wrong", [{"modalities": ["fundis"]}, {"subjects": 0}, {"scale": 99.0}, {"population": "Z"}])
def test_wrong_arguments_name_what_is_expected(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ConfigError):
        generate(tmp_path, **wrong)
