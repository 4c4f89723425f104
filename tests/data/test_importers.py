"""Importers: index.csv, nnU-Net folders, COCO boxes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medimg.data.cases import build_cases, read_images
from medimg.data.cohort import Cohort, DatasetInfo
from medimg.data.importers.coco import import_coco
from medimg.data.importers.csv_index import import_csv
from medimg.data.importers.nnunet import import_nnunet
from medimg.data.settings import CsvIndex
from medimg.errors import ConfigError, InputError
from medimg.io.write import write_nifti, write_picture


def test_rows_become_images_people_and_labels(cohort: Cohort) -> None:
    assert (len(cohort.images), len(cohort.subjects), len(cohort.labels)) == (24, 12, 72)
    first = cohort.images.iloc[0]
    assert (first["nz"], first["ny"], first["nx"]) == (12, 20, 24)
    assert first["spacing_z_mm"] == pytest.approx(2.0)
    assert len(first["sha256"]) == 64


def test_an_unreadable_image_is_listed_and_left_out(folder: Path, settings: CsvIndex) -> None:
    (folder / "images" / "case03.nii.gz").write_bytes(b"not a scan")
    imported = import_csv(folder, settings, modality="MR")
    unreadable = [finding for finding in imported.findings if finding.code == "UNREADABLE_IMAGE"]
    assert [finding.file for finding in unreadable] == ["images/case03.nii.gz"]
    assert len(imported.cohort(DatasetInfo(title="t"), folder).images) == 23


def test_a_missing_mask_is_a_finding(folder: Path, settings: CsvIndex) -> None:
    (folder / "masks" / "case05.nii.gz").unlink()
    imported = import_csv(folder, settings, modality="MR")
    assert {finding.code for finding in imported.findings} == {"MASK_MISSING"}


def test_a_wrong_column_names_the_nearest(folder: Path, settings: CsvIndex) -> None:
    settings.subject = "pateint"
    with pytest.raises(ConfigError, match="did you mean 'patient'"):
        import_csv(folder, settings, modality="MR")


def test_a_class_map_leaves_unlisted_texts_unlabelled(folder: Path, settings: CsvIndex) -> None:
    settings.classes = {"bad": {"column": "severity", "map": {"0": 0, "2": 1}}}
    cohort = import_csv(folder, settings, modality="MR").cohort(DatasetInfo(title="t"), folder)
    stated = cohort.labels[cohort.labels["name"] == "bad"]
    assert sorted(stated["value"].unique()) == ["0.0", "1.0"]
    assert len(stated) == 16


def test_without_subject_column_rows_are_people_and_it_is_said(folder: Path, settings: CsvIndex) -> None:
    settings.subject, settings.subjects = None, None
    imported = import_csv(folder, settings, modality="MR")
    assert "NO_SUBJECT_COLUMN" in {finding.code for finding in imported.findings}
    assert len({row["subject_id"] for row in imported.images}) == 24


def test_sessions_are_grouped_by_channel_and_gaps_are_named(folder: Path) -> None:
    table = pd.read_csv(folder / "index.csv")
    pairs = pd.DataFrame(
        {"t1": table["scan"][::2].values, "flair": table["scan"][1::2].values, "patient": table["patient"][::2].values}
    )
    pairs.loc[4, "flair"] = ""
    pairs.to_csv(folder / "pairs.csv", index=False)
    settings = CsvIndex(index="pairs.csv", images={"T1w": "t1", "FLAIR": "flair"}, subject="patient")
    cohort = import_csv(folder, settings, modality="MR").cohort(DatasetInfo(title="t"), folder)
    cases, findings = build_cases(cohort, ("T1w", "FLAIR"))
    assert len(cases) == 11
    assert [finding.code for finding in findings] == ["CHANNEL_ABSENT"]
    assert set(cases[0].images) == {"T1w", "FLAIR"}


def test_an_outline_is_an_image_that_states_its_unit(folder: Path, settings: CsvIndex) -> None:
    drawn = replace(settings, images={"image": "scan", "outline": "mask"}, outlines=["outline"], masks={})
    cohort = import_csv(folder, drawn, modality="MR").cohort(DatasetInfo(title="t"), folder)
    cases, _ = build_cases(cohort, ("image", "outline"))
    assert cases[0].units["outline"] == "label"
    assert cases[0].units["image"] != "label"
    assert read_images(cases[0])["outline"].unit == "label"
    with pytest.raises(ConfigError, match="outline"):
        replace(settings, outlines=["outlines"]).image_columns()


def test_nnunet_folders(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        for channel in ("0000", "0001"):
            scan = rng.normal(size=(4, 5, 6)).astype(np.float32)
            write_nifti(scan, tmp_path / f"imagesTr/{name}_{channel}.nii.gz", affine=np.eye(4))
        write_nifti(np.ones((4, 5, 6), np.uint8), tmp_path / f"labelsTr/{name}.nii.gz", affine=np.eye(4))
    description = {
        "channel_names": {"0": "T1w", "1": "FLAIR"},
        "labels": {"background": 0, "lesion": 1},
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    cohort = import_nnunet(tmp_path, modality="MR").cohort(DatasetInfo(title="t"), tmp_path)
    cases, _ = build_cases(cohort, ("T1w", "FLAIR"))
    assert [case.subject_id for case in cases] == ["a", "b"]
    assert cases[0].masks[0].value == 1


def test_coco_boxes(tmp_path: Path) -> None:
    write_picture(np.zeros((30, 40, 3), np.uint8), tmp_path / "images" / "one.png")
    document = {
        "images": [{"id": 1, "file_name": "one.png", "subject_id": "S1"}],
        "categories": [{"id": 7, "name": "polyp"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "bbox": [5, 10, 8, 6]},
            {"id": 2, "image_id": 1, "category_id": 7, "bbox": [0, 0, 1, 1], "iscrowd": 1},
        ],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    imported = import_coco(tmp_path, "annotations.json", modality="ES")
    cases, _ = build_cases(imported.cohort(DatasetInfo(title="t"), tmp_path), ("image",))
    assert cases[0].boxes[0].box == (10.0, 5.0, 16.0, 13.0)
    assert [finding.code for finding in imported.findings] == ["CROWD_BOX"]
    document["annotations"] = [{"id": 3, "image_id": 1, "category_id": 7, "bbox": [5, 10, 0, 6]}]
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="annotation 3"):
        import_coco(tmp_path, "annotations.json", modality="ES")
