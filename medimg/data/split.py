"""Splits by person, stratified by label, site and ancestry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medimg.data.cases import Case
from medimg.data.settings import SplitSettings
from medimg.errors import InputError

PARTS = ("train", "tuning", "held_out")


def make_split(cases: Sequence[Case], strata: Sequence[str], settings: SplitSettings) -> pd.DataFrame:
    """Assign every case to train, tuning or held_out; a person is never in two of them.

    Parameters
    ----------
    cases : sequence of Case
        What is to be divided.
    strata : sequence of str
        One text a case (label, site and ancestry joined); the shares hold within each as well as they can.
    settings : SplitSettings
        Method, shares and seed.

    Returns
    -------
    DataFrame
        Columns case_id, subject_id, site_id, split.

    Raises
    ------
    InputError
        A part would be empty, or the cohort's own split puts one person into two parts.
    """
    people = _people(cases, strata)
    rng = np.random.default_rng(np.random.SeedSequence([settings.seed, 20]))
    if settings.method == "column":
        parts = _by_column(cases, people, settings, rng)
    elif settings.method == "folds":
        folds = _deal(people, [1 / settings.folds] * settings.folds, rng)
        held_out = {person for person, fold in folds.items() if fold == settings.fold}
        parts = _carve(people, held_out, settings, rng)
    else:
        dealt = _deal(people, [settings.held_out, 1 - settings.held_out], rng)
        parts = _carve(people, {person for person, bin_ in dealt.items() if bin_ == 0}, settings, rng)
    table = pd.DataFrame(
        {
            "case_id": [case.case_id for case in cases],
            "subject_id": [case.subject_id for case in cases],
            "site_id": [case.site_id for case in cases],
            "split": [parts[case.subject_id] for case in cases],
        }
    )
    _require_parts(table)
    return table


def _people(cases: Sequence[Case], strata: Sequence[str]) -> dict[str, str]:
    """Return the stratum of every person: that of their first case in sorted order."""
    people: dict[str, str] = {}
    for case, stratum in sorted(zip(cases, strata), key=lambda pair: pair[0].case_id):
        people.setdefault(case.subject_id, stratum)
    return people


def _deal(people: dict[str, str], shares: list[float], rng: np.random.Generator) -> dict[str, int]:
    """Deal people to bins, stratum by stratum, always to the bin that is furthest below its share.

    The deficits carry over from stratum to stratum, so that many small strata still give the wanted totals.
    """
    by_stratum: dict[str, list[str]] = defaultdict(list)
    for person, stratum in sorted(people.items()):
        by_stratum[stratum].append(person)
    totals = np.zeros(len(shares))
    dealt: dict[str, int] = {}
    for stratum in sorted(by_stratum):
        members = [by_stratum[stratum][index] for index in rng.permutation(len(by_stratum[stratum]))]
        local = np.zeros(len(shares))
        for person in members:
            deficit = np.asarray(shares) * (local.sum() + 1) - local
            carried = np.asarray(shares) * (totals.sum() + 1) - totals
            chosen = int(np.argmax(deficit + 0.5 * carried))
            local[chosen] += 1
            totals[chosen] += 1
            dealt[person] = chosen
    return dealt


def _carve(
    people: dict[str, str], held_out: set[str], settings: SplitSettings, rng: np.random.Generator
) -> dict[str, str]:
    rest = {person: stratum for person, stratum in people.items() if person not in held_out}
    share = settings.tuning if settings.method != "holdout" else settings.tuning / (1 - settings.held_out)
    dealt = _deal(rest, [share, 1 - share], rng)
    parts = {person: ("tuning" if bin_ == 0 else "train") for person, bin_ in dealt.items()}
    return parts | dict.fromkeys(held_out, "held_out")


def _by_column(
    cases: Sequence[Case], people: dict[str, str], settings: SplitSettings, rng: np.random.Generator
) -> dict[str, str]:
    stated: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        stated[case.subject_id].add(case.split or "train")
    twice = sorted(person for person, parts in stated.items() if len(parts) > 1)
    if twice:
        raise InputError(
            "the cohort's own split puts one person into several parts",
            where="images.split",
            got=f"{len(twice)} people, the first {twice[:3]}",
            fix="correct the split column, or use data.split.method=holdout",
        )
    parts = {person: next(iter(values)) for person, values in stated.items()}
    parts = {person: ("held_out" if part == "external" else part) for person, part in parts.items()}
    if "tuning" in parts.values():
        return parts
    train = {person: stratum for person, stratum in people.items() if parts[person] == "train"}
    dealt = _deal(train, [settings.tuning, 1 - settings.tuning], rng)
    return parts | {person: "tuning" for person, bin_ in dealt.items() if bin_ == 0}


def _require_parts(table: pd.DataFrame) -> None:
    counts = {part: int((table["split"] == part).sum()) for part in PARTS}
    if min(counts.values()) == 0:
        raise InputError(
            "a part of the split is empty",
            where="data.split",
            got=", ".join(f"{part}: {count} cases" for part, count in counts.items()),
            expected="at least one person in each part",
            fix="add cases, or change data.split.held_out, data.split.tuning or data.split.method",
        )


def read_split(path: Path) -> pd.DataFrame:
    """Read a split that was written before.

    Raises
    ------
    InputError
        The file is missing, or one person stands in two parts.
    """
    if not path.is_file():
        raise InputError("the split is missing", where=path)
    table = pd.read_csv(path, dtype=str)
    if (table.groupby("subject_id")["split"].nunique() > 1).any():
        raise InputError("one person stands in two parts of the split", where=path)
    return table
