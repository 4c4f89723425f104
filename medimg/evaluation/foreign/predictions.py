"""Predictions of any other toolkit as the case table and the subjects that every report is made from.

Nothing is assumed silently: what a table does not say stands among the notes, which become limitations of the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medimg.errors import ConfigError, InputError
from medimg.evaluation.comparison.verdicts import published
from medimg.evaluation.foreign.calls import add_calls
from medimg.evaluation.foreign.files import Table, read_table
from medimg.evaluation.foreign.people import read_people
from medimg.evaluation.foreign.settings import OWN_NAMES, Columns, ForeignSettings
from medimg.evaluation.foreign.times import earliest
from medimg.evaluation.protocol import Protocol

Kind = Literal["classification", "segmentation", "detection"]

CALLED = ("score", "predicted", "grade_pred")
"""Columns that only a classifier has, where nothing else says what a table is about."""

OUTCOMES: dict[Kind, tuple[str, ...]] = {
    "classification": CALLED,
    "segmentation": ("dice",),
    "detection": ("n_hit",),
}
"""What a case of each task has unless it failed: one of these."""

TRUTHS: dict[Kind, tuple[str, ...]] = {
    "classification": ("truth", "grade_true"),
    "segmentation": ("truth_empty",),
    "detection": ("n_lesions",),
}
"""What a case of each task has, failed or not: one of these."""

MARKS: dict[Kind, tuple[str, ...]] = {
    "segmentation": ("dice",),
    "detection": ("n_lesions",),
    "classification": ("truth", "grade_true"),
}
"""Columns by which a task is recognised, the more telling ones first."""

_FRACTIONS = ("score", "dice", "nsd")
_FLAGS = ("truth", "predicted", "truth_empty", "pred_empty")
_ROUNDING = 1e-6
"""By how much float32 probabilities may lie outside [0, 1]."""


@dataclass(frozen=True)
class Foreign:
    """What a table of predictions says.

    Attributes
    ----------
    cases : DataFrame
        As :mod:`medimg.evaluation.tables` wants them.
    persons : tuple of str
        Who each row of the file is about.
    kind, mode : str
        Of the task.
    targets : tuple of str
    table : Table
        The predictions as read, with digest and time of the file.
    predicted_at : datetime or None
        The earliest time in the column of times.
    notes : tuple of str
        What had to be assumed, a sentence each.
    """

    cases: pd.DataFrame
    persons: tuple[str, ...]
    kind: Kind
    mode: str
    targets: tuple[str, ...]
    table: Table
    predicted_at: datetime | None
    notes: tuple[str, ...]


def read_foreign(
    predictions: str | Path, settings: ForeignSettings, protocol: Protocol, thresholds: Mapping[str, float]
) -> Foreign:
    """Read predictions as ``settings`` says.

    Parameters
    ----------
    predictions : path
        CSV, TSV, Parquet, or nnU-Net's summary.json. One row per case and target, or one row per case with columns
        for every target.
    settings : ForeignSettings
    protocol : Protocol
        Names the target where there is just one, and says which counts may be told.
    thresholds : mapping of str to float
        The frozen operating points: a score at or above is a positive call.

    Raises
    ------
    ConfigError, InputError
        Names file, column, cells and the way out.
    """
    table = read_table(predictions)
    notes: list[str] = []
    keys = _keys(table, settings.columns, notes)
    layout = _layout(table, settings, protocol)
    kind = _kind(table, settings, layout)
    frames = [_one_target(table, settings, keys, kind, target, rows) for target, rows in layout.items()]
    cases = pd.concat(frames, ignore_index=True)
    _refuse_doubles(cases, table, settings.columns)
    cases = _settle(cases, kind, table, notes, lambda count: published(count, protocol))
    cases = add_calls(cases, thresholds, table, notes)
    stamps = table.column("columns.predicted_at", settings.columns.predicted_at, "predicted_at")
    return Foreign(
        cases=cases,
        persons=tuple(keys["subject_id"]),
        kind=kind,
        mode=_mode(cases, kind, settings.columns),
        targets=tuple(layout),
        table=table,
        predicted_at=None if stamps is None else earliest(table, stamps),
        notes=tuple(notes),
    )


def people_of(foreign: Foreign, subjects: str | Path | None, settings: ForeignSettings) -> pd.DataFrame:
    """Return who the people behind predictions are: one row each, for the report's table of subjects.

    Parameters
    ----------
    foreign : Foreign
    subjects : path or None
        A table with one row per person; None: the predictions' own columns say what is known.
    settings : ForeignSettings

    Raises
    ------
    ConfigError, InputError
        See :func:`medimg.evaluation.foreign.people.read_people`.
    """
    own = subjects is not None
    table = read_table(subjects) if subjects is not None else foreign.table
    return read_people(table, own, foreign.persons, settings)


def _own(table: Table, columns: Columns, role: str) -> str | None:
    """Return the column of a role: the stated one, that of medimg's own tables, or one called like the role."""
    stated = getattr(columns, role)
    found = table.column(f"columns.{role}", stated, OWN_NAMES.get(role, role))
    return role if found is None and role in table.frame else found


def _keys(table: Table, columns: Columns, notes: list[str]) -> pd.DataFrame:
    """Return who, where and when for every row."""
    found = {}
    for role in ("case", "subject", "site", "scanner", "status", "reason"):
        name = _own(table, columns, role)
        found[OWN_NAMES.get(role, role)] = pd.Series("", index=table.frame.index) if name is None else table.texts(name)
    keys = pd.DataFrame(found)
    case, subject = _own(table, columns, "case"), _own(table, columns, "subject")
    if case is None:
        keys["case_id"] = [f"row {number}" for number in range(1, len(keys) + 1)]
    else:
        table.refuse(keys["case_id"] == "", case, "a case in every row", "fill these cells")
    if subject is None:
        notes.append(
            "No column names the patient: every case counts as a patient of its own. Where patients repeat, "
            "the intervals are too narrow."
        )
        keys["subject_id"] = keys["case_id"]
    else:
        table.refuse(keys["subject_id"] == "", subject, "a person in every row", "fill these cells")
    status = _own(table, columns, "status")
    keys["status"] = keys["status"].str.lower().replace("", "ok")
    if status is not None:
        table.refuse(
            ~keys["status"].isin(["ok", "failed"]), status, "ok, failed, or an empty cell", "write one of them"
        )
    age = table.column("columns.age", columns.age, "age")
    keys["age"] = np.nan if age is None else table.numbers(age)
    return keys


def _layout(table: Table, settings: ForeignSettings, protocol: Protocol) -> dict[str, NDArray[np.bool_]]:
    """Return which rows hold each target."""
    every = np.ones(len(table.frame), bool)
    named = settings.columns.per_target()
    column = _own(table, settings.columns, "target")
    if named:
        return dict.fromkeys(named, every)
    if column is not None:
        texts = table.texts(column)
        table.refuse(texts == "", column, "a target in every row", "fill these cells")
        return {settings.labels.get(text, text): (texts == text).to_numpy() for text in sorted(texts.unique())}
    declared = list(dict.fromkeys(rule.target for rule in protocol.endpoints))
    target = settings.target or (declared[0] if len(declared) == 1 else None)
    if target is None:
        raise ConfigError(
            "Nothing says which target a row is about.",
            where=f"target, {table.path}",
            got=f"no column 'target'; the protocol declares {', '.join(declared)}",
            fix="set columns.target=NAME, or give each target its columns: columns.score={a: p_a, b: p_b}",
        )
    return {target: every}


def _kind(table: Table, settings: ForeignSettings, layout: Mapping[str, NDArray[np.bool_]]) -> Kind:
    if settings.task is not None:
        return cast(Kind, settings.task)
    found = [
        kind
        for kind, roles in MARKS.items()
        if any(_name(table, settings, role, target) for role in roles for target in layout)
    ]
    if not found and any(_name(table, settings, role, target) for role in CALLED for target in layout):
        found = ["classification"]
    # The table of a detector holds truth and score of the image too.
    if "detection" in found and "classification" in found:
        found.remove("classification")
    if len(found) == 1:
        return found[0]
    raise ConfigError(
        "The columns do not say what kind of task this is.",
        where=f"task, {table.path}",
        got=f"signs of {' and '.join(found)}" if found else f"columns {', '.join(table.frame.columns[:30])}",
        expected="truth (or grade_true) for classification, dice for segmentation, n_lesions for detection",
        fix="name the columns, such as columns.truth=label columns.score=probability; or set task=classification",
    )


def _name(table: Table, settings: ForeignSettings, role: str, target: str) -> str | None:
    """Return the column of a role for one target, or None."""
    stated = getattr(settings.columns, role)
    if isinstance(stated, dict):
        return None if target not in stated else table.column(f"columns.{role}.{target}", stated[target], "")
    if settings.columns.per_target() and stated is None:
        # Beside columns for every target, a column of medimg's own name would be anybody's.
        return None
    return table.column(f"columns.{role}", stated, role)


def _one_target(
    table: Table, settings: ForeignSettings, keys: pd.DataFrame, kind: Kind, target: str, rows: NDArray[np.bool_]
) -> pd.DataFrame:
    found = keys.assign(target=target, task=kind, line=np.arange(len(keys)))
    for role in Columns.numbers():
        name = _name(table, settings, role, target)
        if name is None:
            continue
        if role == "truth" and settings.columns.per_target() and not isinstance(settings.columns.truth, dict):
            found[role] = _one_of_classes(table, name, target, settings)
        else:
            found[role] = table.numbers(name, settings.truth_values if role == "truth" else None)
        _check_range(table, name, role, found[role])
        if role in _FRACTIONS:
            found[role] = found[role].clip(0, 1)
    return found[rows]


def _one_of_classes(table: Table, name: str, target: str, settings: ForeignSettings) -> pd.Series:
    """Return whether a column of class names holds ``target``; an empty cell is not labelled."""
    texts = table.texts(name)
    classes = settings.columns.per_target()
    table.refuse(
        ~texts.isin([*classes, ""]),
        name,
        f"one of the targets {', '.join(classes)}",
        "name a column of truth for each target, such as columns.truth={a: y_a, b: y_b}",
    )
    return (texts == target).astype(np.float64).where(texts != "")


def _check_range(table: Table, name: str, role: str, values: pd.Series) -> None:
    if role in _FRACTIONS:
        outside = values.notna() & ~values.between(-_ROUNDING, 1 + _ROUNDING)
        fix = "pass logits through a sigmoid, divide percentages by 100" if role == "score" else "divide by 100"
        table.refuse(outside, name, "between 0 and 1", fix)
    elif role in _FLAGS:
        fix = "write 0 or 1"
        if role == "truth":
            fix = "set truth_values={TEXT: NUMBER, ...}; leave cells empty where nobody could label the case"
        table.refuse(values.notna() & ~values.isin([0, 1]), name, "0 or 1", fix)


def _refuse_doubles(cases: pd.DataFrame, table: Table, columns: Columns) -> None:
    double = cases.duplicated(["case_id", "target"], keep=False)
    name = _own(table, columns, "case")
    if double.any() and name is not None:
        wrong = np.zeros(len(table.frame), bool)
        wrong[cases.loc[double, "line"]] = True
        fix = "keep one row of each; set columns.target=NAME if a column names the target"
        table.refuse(wrong, name, "one row per case and target", fix)


def _settle(
    cases: pd.DataFrame, kind: Kind, table: Table, notes: list[str], told: Callable[[int], str]
) -> pd.DataFrame:
    """Return the cases with what they must have: cases without truth left out, those without an outcome failed."""
    if kind == "segmentation":
        cases = _with_emptiness(cases, notes)
    truths, outcomes = TRUTHS[kind], OUTCOMES[kind]
    unlabelled = _lacks_all(cases, truths)
    if unlabelled.all():
        raise _nothing(table, "No case has a truth to compare with.", truths, "the reference standard")
    if unlabelled.any():
        notes.append(f"{told(int(unlabelled.sum()))} rows without a truth are left out.")
    cases = cases[~unlabelled].reset_index(drop=True)
    failed = _lacks_all(cases, outcomes)
    if failed.all():
        raise _nothing(table, "No case has a prediction.", outcomes, "the predictions")
    empty = failed & (cases["status"] == "ok")
    if empty.any():
        notes.append(f"{told(int(empty.sum()))} rows without a prediction count as failed, with the worst outcome.")
    cases.loc[failed, "status"] = "failed"
    cases.loc[empty & (cases["reason"] == ""), "reason"] = "the table of predictions holds none"
    return cases.drop(columns="line")


def _lacks_all(cases: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    there = [name for name in columns if name in cases]
    return cases[there].isna().all(axis=1) if there else pd.Series(True, index=cases.index)


def _nothing(table: Table, what: str, roles: Sequence[str], meaning: str) -> InputError:
    return InputError(
        what,
        where=table.path,
        got=f"columns {', '.join(table.frame.columns[:30])}",
        expected=f"a column of {' or '.join(roles)}",
        fix=f"name the column that holds {meaning}: columns.{roles[0]}=NAME",
    )


def _with_emptiness(cases: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Return the cases with whether truth and prediction are empty, from sizes where no column says so."""
    cases = cases.copy()
    for flag, sizes in (
        ("truth_empty", ("volume_true_ml", "area_true_px")),
        ("pred_empty", ("volume_pred_ml", "area_pred_px")),
    ):
        size = next((name for name in sizes if name in cases), None)
        if flag not in cases and size is not None:
            cases[flag] = (cases[size] == 0).astype(np.float64).where(cases[size].notna())
    if "truth_empty" not in cases:
        cases["truth_empty"] = 0.0
        notes.append(
            "No column says where the structure was absent (truth_empty): every case counts as one that shows it."
        )
    return cases


def _mode(cases: pd.DataFrame, kind: Kind, columns: Columns) -> str:
    several = cases["target"].nunique() > 1
    if kind == "classification":
        if "grade_true" in cases and cases["grade_true"].notna().any():
            return "ordinal"
        if several and columns.truth is not None and not isinstance(columns.truth, dict) and columns.per_target():
            return "multiclass"
        return "multilabel" if several else "binary"
    return "multilabel" if kind == "segmentation" else "boxes"
