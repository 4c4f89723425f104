"""Cohorts: what goes in comes out, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from medimg.data.cohort import Cohort
from medimg.data.schema import validate
from medimg.errors import InputError


def test_a_saved_cohort_opens_with_the_same_tables(cohort: Cohort, tmp_path: Path) -> None:
    again = Cohort.open(cohort.save(tmp_path / "cohort"))
    assert again.image_root == cohort.image_root
    for name in ("images", "subjects", "labels"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(cohort, name), check_dtype=False)


def test_csv_tables_are_accepted(cohort: Cohort, tmp_path: Path) -> None:
    folder = cohort.save(tmp_path / "cohort")
    for name in ("images", "subjects", "labels", "events"):
        table = pd.read_parquet(folder / f"{name}.parquet")
        table.to_csv(folder / f"{name}.csv", index=False)
        (folder / f"{name}.parquet").unlink()
    assert len(Cohort.open(folder).images) == 24


def test_a_folder_without_dataset_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no cohort"):
        Cohort.open(tmp_path)


def test_every_bad_row_is_listed() -> None:
    table = pd.DataFrame({"subject_id": ["a", "a", "c"], "age": [-1, 50, 60], "ancestry_source": [None, "guess", None]})
    with pytest.raises(InputError) as caught:
        validate("subjects", table, "here")
    text = str(caught.value)
    assert "row 0, column age: -1.0" in text
    assert "row 1, column ancestry_source: 'guess'" in text
    assert "column subject_id: 'a'" in text


def test_inferred_ancestry_is_refused() -> None:
    table = pd.DataFrame({"subject_id": ["a"], "ancestry_group": ["X"], "ancestry_source": ["inferred"]})
    with pytest.raises(InputError, match="never from guesses"):
        validate("subjects", table, "here")


def test_a_label_of_an_unknown_image_is_refused(cohort: Cohort) -> None:
    labels = cohort.labels.assign(image_id="nowhere")
    tables = {"images": cohort.images, "subjects": cohort.subjects, "labels": labels}
    with pytest.raises(InputError, match="name a image_id that no row defines"):
        Cohort.build(cohort.info, cohort.image_root, tables, "here")


def test_a_path_may_not_leave_the_image_root(cohort: Cohort) -> None:
    with pytest.raises(InputError, match="leaves its folder"):
        cohort.resolve("../outside.nii.gz")
