"""Every configuration that is shipped composes under its schema, and its parts fit each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from medimg.evaluation.protocol import declare
from medimg.pipelines.compose import compose, config_folder, typed
from medimg.pipelines.steps import targets_of
from medimg.transforms.settings import AugmentSettings

EXPERIMENTS = sorted(
    path.relative_to(config_folder() / "experiment").with_suffix("").as_posix()
    for path in (config_folder() / "experiment").rglob("*.yaml")
)
NEEDED = {
    "ct_nodule_segmentation",
    "ct_nodule_malignancy",
    "ct_lesion_detection",
    "mri_hippocampus",
    "mri_lesion_segmentation",
    "endoscopy_polyp_segmentation",
    "endoscopy_polyp_detection",
    "fundus_lesion_segmentation",
    "fundus_dr_grading",
    "demo/ct",
    "demo/mri",
    "demo/endoscopy",
    "demo/fundus",
}


def test_the_promised_experiments_are_there() -> None:
    assert set(EXPERIMENTS) >= NEEDED


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_composes_and_is_consistent(name: str) -> None:
    config = typed(compose("train", [f"experiment={name}", "data.root=somewhere"]))
    targets = targets_of(config.task)
    declare(config.evaluation)
    values = dict(config.transforms)
    kind = "volume" if config.data.modality in {"CT", "MR"} else "picture"
    AugmentSettings.preset(values.pop("preset", "none"), kind).updated(values)
    labelled = {**config.data.csv.mask_columns(), **config.data.csv.class_columns()}
    assert set(targets.names) <= set(labelled)
    config.data.csv.image_columns()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_opens_with_its_command(name: str) -> None:
    lines = (config_folder() / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith(f"# medimg train experiment={name}")


@pytest.mark.parametrize("group", ["trainer/gpu", "trainer/ddp", "transforms/strong", "transforms/none"])
def test_groups_compose(group: str) -> None:
    folder, name = group.split("/")
    assert (Path(config_folder()) / f"{group}.yaml").is_file()
    compose("train", [f"{folder}={name}"])
