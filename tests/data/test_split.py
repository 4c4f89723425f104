"""Splits: by person, in the wanted shares, stratified, repeatable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg.data.cases import Case
from medimg.data.settings import SplitSettings
from medimg.data.split import make_split, read_split
from medimg.errors import ConfigError, InputError


def people(count: int, scans: int = 1, seed: int = 0) -> tuple[list[Case], list[str]]:
    rng = np.random.default_rng(seed)
    cases, strata = [], []
    for person in range(count):
        stratum = str(rng.integers(3))
        for scan in range(scans):
            cases.append(Case(f"c{person}_{scan}", f"p{person}", "s", "x", "CT", {"image": Path("x")}))
            strata.append(stratum)
    return cases, strata


@settings(max_examples=40, deadline=None)
@given(count=st.integers(20, 120), scans=st.integers(1, 3), seed=st.integers(0, 1000))
def test_no_person_is_in_two_parts_and_shares_hold(count: int, scans: int, seed: int) -> None:
    cases, strata = people(count, scans, seed)
    table = make_split(cases, strata, SplitSettings(held_out=0.25, tuning=0.15, seed=seed))
    assert (table.groupby("subject_id")["split"].nunique() == 1).all()
    shares = table.groupby("split")["subject_id"].nunique() / count
    assert shares["held_out"] == pytest.approx(0.25, abs=1.5 / count + 0.02)
    assert shares["tuning"] == pytest.approx(0.15, abs=2.5 / count + 0.02)


def test_strata_are_spread() -> None:
    cases, strata = people(300)
    table = make_split(cases, strata, SplitSettings(held_out=0.2, tuning=0.1)).assign(stratum=strata)
    by_stratum = table.groupby("stratum")["split"].apply(lambda parts: (parts == "held_out").mean())
    assert by_stratum.max() - by_stratum.min() < 0.02


def test_folds_hold_every_person_out_once() -> None:
    cases, strata = people(53, 2)
    held_out: list[str] = []
    for fold in range(5):
        table = make_split(cases, strata, SplitSettings(method="folds", folds=5, fold=fold))
        held_out += list(table.loc[table["split"] == "held_out", "case_id"])
    assert sorted(held_out) == sorted(case.case_id for case in cases)


def test_the_same_seed_gives_the_same_split_whatever_the_order() -> None:
    cases, strata = people(40, 2)
    order = np.random.default_rng(1).permutation(len(cases))
    first = make_split(cases, strata, SplitSettings())
    second = make_split([cases[i] for i in order], [strata[i] for i in order], SplitSettings())
    pd.testing.assert_frame_equal(
        first.sort_values("case_id").reset_index(drop=True), second.sort_values("case_id").reset_index(drop=True)
    )


def test_a_stated_split_with_a_person_in_two_parts_is_refused() -> None:
    cases, strata = people(10, 2)
    mixed = [
        Case(case.case_id, case.subject_id, "s", "x", "CT", case.images, split="train" if i % 2 else "held_out")
        for i, case in enumerate(cases)
    ]
    with pytest.raises(InputError, match="one person into several parts"):
        make_split(mixed, strata, SplitSettings(method="column"))


def test_too_few_people_are_refused() -> None:
    cases, strata = people(1)
    with pytest.raises(InputError, match="part of the split is empty"):
        make_split(cases, strata, SplitSettings())


@pytest.mark.parametrize("values", [{"held_out": 1.2}, {"fold": 5}, {"method": "hold"}])
def test_impossible_settings(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        SplitSettings(**values)  # type: ignore[arg-type]


def test_a_leaking_split_file_is_refused(tmp_path: Path) -> None:
    table = pd.DataFrame({"case_id": ["a", "b"], "subject_id": ["p", "p"], "split": ["train", "held_out"]})
    table.to_csv(tmp_path / "split.csv", index=False)
    with pytest.raises(InputError, match="two parts"):
        read_split(tmp_path / "split.csv")
