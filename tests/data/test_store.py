"""The prepared store, fingerprint, plan and checks on a small cohort."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from medimg.data.cases import build_cases
from medimg.data.checks import check
from medimg.data.cohort import Cohort, DatasetInfo
from medimg.data.fingerprint import fingerprint
from medimg.data.importers.csv_index import import_csv
from medimg.data.plan import Plan, make_plan
from medimg.data.settings import CsvIndex, PlanSettings
from medimg.data.store import build_store, store_key
from medimg.data.targets import Targets
from medimg.data.truth import component_boxes
from medimg.errors import InputError
from medimg.io.write import write_nifti
from medimg.models.registry import build

TARGETS = Targets(kind="segmentation", mode="multiclass", names=("core", "rim"))


@pytest.fixture
def planned(cohort: Cohort) -> tuple[list, Plan]:
    cases, _ = build_cases(cohort, ("image",))
    facts, findings = fingerprint(cases, TARGETS, ("image",))
    assert not findings
    return cases, make_plan(facts, TARGETS, PlanSettings())


def test_the_plan_gives_a_reason_for_each_number(planned: tuple[list, Plan], tmp_path: Path) -> None:
    _, plan = planned
    assert plan.preparation.spacing_mm == (2.0, 1.0, 1.0)
    assert plan.preparation.intensity.rule == "zscore"
    for key in ("spacing_mm", "size_zyx", "window", "patch", "batch_size", "network"):
        assert plan.reasons[key]
    plan.save(tmp_path / "plan.yaml")
    assert Plan.load(tmp_path / "plan.yaml") == plan


def test_a_stated_key_wins_and_says_so(planned: tuple[list, Plan]) -> None:
    _, plan = planned
    stated = make_plan(plan.fingerprint, TARGETS, PlanSettings(spacing_mm=[3.0, 2.0, 2.0], batch_size=7))
    assert stated.preparation.spacing_mm == (3.0, 2.0, 2.0)
    assert stated.batch_size == 7
    assert "configuration" in stated.reasons["spacing_mm"]


def test_a_derived_patch_fits_the_default_detector(planned: tuple[list, Plan]) -> None:
    _, plan = planned
    targets = Targets(kind="detection", mode="boxes", names=("core",), boxes_from_masks=True)
    patch = make_plan(plan.fingerprint, targets, PlanSettings()).patch
    network = build("retinanet", in_channels=1, out_channels=1, spatial_dims=3)
    assert patch is not None
    assert [side % step for side, step in zip(patch, network.divisor)] == [0, 0, 0]


def test_prepared_cases_hold_image_label_and_foreground(planned: tuple[list, Plan], tmp_path: Path) -> None:
    cases, plan = planned
    prepared, findings = build_store(cases, TARGETS, plan.preparation, tmp_path / "store")
    assert not findings
    assert [one.case_id for one in prepared] == [case.case_id for case in cases]
    one = prepared[0]
    assert one.image.shape == (1, 12, 20, 24)
    assert one.image.dtype == np.int16
    assert set(np.unique(one.label)) == {0, 1, 2}
    for name, index in (("core", 1), ("rim", 2)):
        assert (one.label[tuple(one.foreground[name].T)] == index).all()
    assert isinstance(one.image, np.memmap)
    assert len(pickle.dumps(one)) < 2000, "a worker must never be sent the arrays"


def test_a_second_build_writes_nothing_and_a_half_written_case_is_made_again(
    planned: tuple[list, Plan], tmp_path: Path
) -> None:
    cases, plan = planned
    root = tmp_path / "store"
    first, _ = build_store(cases, TARGETS, plan.preparation, root)
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*.npy")}
    broken = first[3].folder
    shutil.copytree(broken, broken.with_name(broken.name + ".part"))
    (broken / "case.json").unlink()
    again, _ = build_store(cases, TARGETS, plan.preparation, root)
    changed = {path for path in root.rglob("*.npy") if times.get(path) != path.stat().st_mtime_ns}
    assert {path.parent for path in changed} == {broken}
    assert (again[3].folder / "case.json").is_file()


def test_the_key_follows_content(planned: tuple[list, Plan]) -> None:
    cases, plan = planned
    other = plan.preparation.model_copy(update={"spacing_mm": (2.0, 2.0, 2.0)})
    assert store_key(cases[0], TARGETS, plan.preparation) != store_key(cases[0], TARGETS, other)
    assert store_key(cases[0], TARGETS, plan.preparation) == store_key(cases[0], TARGETS, plan.preparation)


def test_a_mask_of_another_shape_is_listed_and_the_others_are_prepared(
    planned: tuple[list, Plan], folder: Path, tmp_path: Path
) -> None:
    cases, plan = planned
    write_nifti(np.zeros((12, 20, 25), np.uint8), folder / "masks" / "case04.nii.gz", affine=np.eye(4))
    prepared, findings = build_store(cases, TARGETS, plan.preparation, tmp_path / "store")
    assert len(prepared) == 23
    assert "another grid" in findings[0].message
    assert "(12, 20, 25)" in findings[0].message


def test_checks_find_what_was_planted(folder: Path, settings: CsvIndex) -> None:
    shutil.copy(folder / "images" / "case00.nii.gz", folder / "images" / "case20.nii.gz")
    strange = np.zeros((12, 20, 24), np.uint8)
    strange[2, 3, 4] = 9
    cohort = import_csv(folder, settings, modality="MR").cohort(DatasetInfo(title="t"), folder)
    write_nifti(strange, folder / "masks" / "case07.nii.gz", affine=cases_affine())
    write_nifti(strange[:, :, :-1], folder / "masks" / "case09.nii.gz", affine=cases_affine())
    cohort.subjects.loc[0, "ancestry_group"] = None
    cases, _ = build_cases(cohort, ("image",))
    report = check(cohort, cases, TARGETS)
    codes = {finding.code for finding in report.findings}
    assert {"DUPLICATE_PIXELS", "LABEL_OUT_OF_RANGE", "UNUSABLE_CASE", "DEMOGRAPHY_MISSING"} <= codes
    assert report.missing["ancestry_group"] == 1
    assert report.counts["subjects"] == 12


def cases_affine() -> np.ndarray:
    return np.array([[0, 0, 1.0, 5], [0, 1.0, 0, -3], [2.0, 0, 0, 7], [0, 0, 0, 1]])


def test_a_clean_cohort_has_no_errors(cohort: Cohort) -> None:
    cases, _ = build_cases(cohort, ("image",))
    assert not check(cohort, cases, TARGETS).errors


def test_leakage_in_a_stated_split_is_an_error(cohort: Cohort) -> None:
    cohort.images["split"] = ["train", "held_out"] * 12
    cases, _ = build_cases(cohort, ("image",))
    assert "PATIENT_LEAKAGE" in {finding.code for finding in check(cohort, cases, None).errors}


def test_components_become_half_open_boxes() -> None:
    drawn = np.zeros((5, 8, 9), np.uint8)
    drawn[1:3, 2:5, 3:4] |= 1
    drawn[4, 7, 8] |= 2
    boxes, labels = component_boxes(drawn, 2, 1)
    assert boxes.tolist() == [[1, 2, 3, 3, 5, 4], [4, 7, 8, 5, 8, 9]]
    assert labels.tolist() == [0, 1]
    assert len(component_boxes(drawn, 2, 2)[0]) == 1


def test_missing_annotation_is_an_error_that_names_the_target(cohort: Cohort) -> None:
    cohort.labels.drop(cohort.labels[cohort.labels["name"] == "rim"].index, inplace=True)
    cases, _ = build_cases(cohort, ("image",))
    with pytest.raises(InputError):
        fingerprint(cases, TARGETS, ("image",))
