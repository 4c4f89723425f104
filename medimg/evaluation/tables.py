"""Columns of the evaluation tables, and the check that a table keeps to them.

``cases``: one row per image and target. ``lesions``: one row per true lesion and per mark. ``subjects``: one row per
person. ``pixel_scores``: one row per image, target and filled score bin. Missing numbers are NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from medimg.errors import InputError

KEYS = ("case_id", "subject_id", "site_id", "scanner", "target", "task", "status", "reason")
CLASSIFICATION = ("truth", "score", "predicted", "grade_true", "grade_pred")
SEGMENTATION = ("dice", "nsd", "hd95_mm", "hd95_px", "volume_true_ml", "volume_pred_ml")
SEGMENTATION_PX = ("area_true_px", "area_pred_px")
EMPTY = ("truth_empty", "pred_empty")
DETECTION = ("n_lesions", "n_hit", "n_false_positives", "truth", "score", "predicted")
CASE_NUMBERS = tuple(dict.fromkeys((*CLASSIFICATION, *SEGMENTATION, *SEGMENTATION_PX, *EMPTY, *DETECTION, "age")))
"""Every number of the case table, all float64; ``truth_empty`` and ``pred_empty`` are 0 or 1."""

LESION_TEXTS = ("case_id", "subject_id", "site_id", "target", "kind")
LESION_NUMBERS = ("score", "iou", "size_mm", "size_px", "matched")
LESION_KINDS = ("truth", "detection", "duplicate")
"""``duplicate``: a mark on a lesion that was hit already, where the protocol ignores those."""

PIXEL_COLUMNS = ("case_id", "subject_id", "target", "bin", "n_positive", "n_negative")

ANCESTRY_SOURCES = (
    "self_report",
    "proxy_report",
    "clinician_observed",
    "administrative",
    "genetic",
    "legacy_unknown",
    "synthetic",
)
UNKNOWN, DECLINED = "unknown", "declined"
WITHHELD = "withheld"
"""Stands for groups that a site did not send because they are small there."""
_UNKNOWN = {"", "unk", "unknown", "nan", "none", "null", "na", "n/a", "not recorded", "not stated"}
_DECLINED = {"asku", "declined", "refused", "prefer not to say"}
SEXES = {"f": "female", "female": "female", "m": "male", "male": "male", "x": "other", "other": "other"}

NEEDED: dict[str, tuple[str, ...]] = {
    "classification": ("truth",),
    "segmentation": ("truth_empty",),
    "detection": ("n_lesions",),
}
"""What every case must have, failed or not, for its task."""

SCORED: dict[str, tuple[str, ...]] = {
    "classification": ("score",),
    "segmentation": ("dice", "nsd", "pred_empty"),
    "detection": ("n_hit", "n_false_positives"),
}
"""What a case must have unless it failed."""

INSTEAD = {"truth": ("grade_true",), "score": ("grade_pred", "predicted")}
"""What may stand in for a column: grades for a binary truth, grades or calls for a score."""

OPTIONAL = ("nsd", "pred_empty")
"""Columns that a table of another toolkit may lack as a whole; its metrics are then undefined."""


def check_cases(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the case table with its dtypes settled, in the order of target and case.

    Parameters
    ----------
    cases : DataFrame
        With the columns of ``KEYS`` (``scanner``, ``status``, ``reason`` may be missing) and those of its tasks.

    Raises
    ------
    InputError
        Where columns are missing, a case appears twice for a target, a task or status is unknown, an outcome is
        missing or out of range, or the rows of one case disagree on subject, site or scanner.
    """
    _require(cases, ("case_id", "subject_id", "site_id", "target", "task"), "cases")
    table = cases.copy(deep=False)
    for column in ("case_id", "subject_id", "target", "task"):
        _refuse(table[column].isna(), "cases", column, "a value in every row")
    defaults = {"site_id": UNKNOWN, "scanner": UNKNOWN, "status": "ok"}
    for column in KEYS:
        table[column] = _filled(_text(table, column), defaults.get(column, ""))
    for column in CASE_NUMBERS:
        table[column] = _numbers(table, column, "cases")
    _refuse(_not_among(table["task"], NEEDED), "cases", "task", f"one of {', '.join(NEEDED)}")
    _refuse(_not_among(table["status"], ("ok", "failed")), "cases", "status", "ok or failed")
    if table["case_id"].duplicated().any():
        _refuse(table.duplicated(["case_id", "target"]), "cases", "case_id", "one row per case and target")
        for column in ("subject_id", "site_id", "scanner", "age"):
            _refuse(_disagreeing(table, "case_id", column), "cases", column, "the same in all rows of a case")
    _refuse(_disagreeing(table, "target", "task"), "cases", "task", "one task per target")
    _check_outcomes(table)
    if table["target"].nunique() == 1 and table["case_id"].is_monotonic_increasing:
        return table.reset_index(drop=True)
    return table.sort_values(["target", "case_id"], kind="stable").reset_index(drop=True)


def _check_outcomes(table: pd.DataFrame) -> None:
    ok = table["status"] == "ok"
    for needed, rows, expected in (
        (NEEDED, ok | True, "a number, also where the case failed"),
        (SCORED, ok, "a number for every case that did not fail"),
    ):
        for task, columns in needed.items():
            for column in columns:
                mine = rows & (table["task"] == task)
                if column in OPTIONAL and table.loc[mine, column].isna().all():
                    continue
                absent = table[[column, *INSTEAD.get(column, ())]].isna().all(axis=1)
                _refuse(mine & absent, "cases", column, expected)
    for column in ("truth", "predicted", *EMPTY):
        _refuse(~(table[column].isna() | table[column].isin([0, 1])), "cases", column, "0 or 1")
    for column in ("dice", "nsd"):
        _refuse(~(table[column].isna() | table[column].between(0, 1)), "cases", column, "between 0 and 1")
    for mm, px in (("hd95_mm", "hd95_px"), ("volume_pred_ml", "area_pred_px")):
        if table[mm].isna().all() or table[px].isna().all():
            continue
        in_mm = table[mm].notna().groupby(table["target"]).transform("any")
        _refuse(in_mm & table[px].notna(), "cases", px, f"one unit per target, but {mm} is there too")


def _disagreeing(table: pd.DataFrame, key: str, column: str) -> pd.Series:
    pairs = table[[key, column]].drop_duplicates()
    double = pairs.loc[pairs[key].duplicated(), key]
    return table[key].isin(double) if len(double) else pd.Series(False, index=table.index)


def check_lesions(lesions: pd.DataFrame | None) -> pd.DataFrame:
    """Return the lesion table with its dtypes settled, in a fixed order; an empty one for None."""
    if lesions is None:
        lesions = pd.DataFrame(columns=[*LESION_TEXTS, *LESION_NUMBERS])
    _require(lesions, ("case_id", "target", "kind", "score", "matched"), "lesions")
    table = lesions.copy()
    for column in LESION_TEXTS:
        table[column] = table[column].astype(str) if column in table else UNKNOWN
    for column in LESION_NUMBERS:
        table[column] = _numbers(table, column, "lesions")
    _refuse(_not_among(table["kind"], LESION_KINDS), "lesions", "kind", f"one of {', '.join(LESION_KINDS)}")
    marks = table["kind"] == "detection"
    _refuse(marks & ~table["matched"].isin([0, 1]), "lesions", "matched", "true or false for every mark")
    _refuse(marks & table["score"].isna(), "lesions", "score", "a number for every mark")
    order = ["target", "case_id", "kind", "score", "matched"]
    return table.sort_values(order, kind="stable").reset_index(drop=True)


def check_pixel_scores(pixel_scores: pd.DataFrame | None) -> pd.DataFrame:
    """Return the pixel score table with its dtypes settled; an empty one for None."""
    if pixel_scores is None:
        pixel_scores = pd.DataFrame(columns=list(PIXEL_COLUMNS))
    _require(pixel_scores, ("case_id", "target", "bin", "n_positive", "n_negative"), "pixel_scores")
    table = pixel_scores.copy()
    for column in ("case_id", "target"):
        table[column] = table[column].astype(str)
    for column in ("bin", "n_positive", "n_negative"):
        numbers = _numbers(table, column, "pixel_scores")
        _refuse(~(numbers >= 0), "pixel_scores", column, "a count")
        table[column] = numbers.astype(np.int64)
    return table.sort_values(["target", "case_id", "bin"], kind="stable").reset_index(drop=True)


def check_subjects(subjects: pd.DataFrame, needed: Iterable[str]) -> pd.DataFrame:
    """Return the persons named in ``needed``, indexed by subject_id, with settled groups.

    Ancestry, sex and provenance get the values that the report prints: ``ancestry`` is the given group,
    ``unknown`` or ``declined``.

    Raises
    ------
    InputError
        Where a subject is missing or double, or the ancestry's provenance is ``inferred`` or unknown: ancestry
        is supplied, never worked out from pixels, names or places.
    """
    _require(subjects, ("subject_id",), "subjects")
    table = subjects.copy()
    table["subject_id"] = table["subject_id"].astype(str)
    _refuse(table["subject_id"].duplicated(), "subjects", "subject_id", "one row per person")
    wanted = pd.Index(pd.Series(needed, dtype="str").unique()).sort_values()
    place = pd.Index(table["subject_id"]).get_indexer(wanted)
    missing = int(np.count_nonzero(place < 0))
    if missing:
        raise InputError(
            "Some cases belong to nobody in the table of subjects.",
            where="subjects",
            got=f"{missing} subjects without a row",
            expected="one row per person, ancestry 'unknown' where it was not collected",
            fix="add the missing subjects to subjects.parquet",
        )
    table = table.iloc[place].set_index("subject_id")
    source = _filled(_text(table, "ancestry_source"), "legacy_unknown")
    if (source == "inferred").any():
        raise InputError(
            "Inferred ancestry is not admissible.",
            where="subjects, column ancestry_source",
            got=f"'inferred' for {int((source == 'inferred').sum())} subjects",
            expected=", ".join(ANCESTRY_SOURCES),
            fix="use what the person or the site reported, or set the ancestry to 'unknown'",
        )
    _refuse(_not_among(source, ANCESTRY_SOURCES), "subjects", "ancestry_source", ", ".join(ANCESTRY_SOURCES))
    sex = _text(table, "sex_at_birth").str.lower()
    return pd.DataFrame(
        {
            "ancestry": _renamed(_text(table, "ancestry_group"), ancestry_name),
            "ancestry_source": source,
            "ancestry_scheme": _filled(_text(table, "ancestry_scheme"), UNKNOWN),
            "sex": _renamed(sex, lambda value: SEXES.get(value, UNKNOWN)),
            "age": _numbers(table, "age", "subjects"),
            "country": _filled(_text(table, "country"), UNKNOWN),
        },
        index=table.index,
    )


def ancestry_name(value: str) -> str:
    """Return a group as the report prints it: as given, or ``unknown`` or ``declined``."""
    plain = value.strip().lower()
    if plain in _UNKNOWN:
        return UNKNOWN
    return DECLINED if plain in _DECLINED else value.strip()


def _not_among(values: pd.Series, allowed: Iterable[str]) -> ArrayLike:
    wrong = set(values.unique()) - set(allowed)
    return values.isin(wrong) if wrong else np.zeros(len(values), bool)


def _renamed(values: pd.Series, rule: Callable[[str], str]) -> pd.Series:
    # The rule runs once a distinct value.
    return values.map({value: rule(value) for value in values.unique()})


def _text(table: pd.DataFrame, column: str) -> pd.Series:
    if column not in table:
        return pd.Series("", index=table.index, dtype="str")
    values = table[column]
    if isinstance(values.dtype, pd.StringDtype):
        return values.fillna("").astype("str")
    return values.astype(object).where(values.notna(), "").astype("str")


def _filled(values: pd.Series, default: str) -> pd.Series:
    empty = values == ""
    return values.mask(empty, default) if empty.any() else values


def _numbers(table: pd.DataFrame, column: str, name: str) -> pd.Series:
    if column not in table:
        return pd.Series(np.nan, index=table.index, dtype=np.float64)
    numbers = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
    _refuse(numbers.isna() & table[column].notna(), name, column, "numbers")
    _refuse(np.isinf(numbers), name, column, "finite numbers")
    return numbers


def _require(table: pd.DataFrame, columns: Sequence[str], name: str) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise InputError(
            f"The table of {name} lacks columns.",
            where=name,
            got=f"without {', '.join(missing)}",
            expected=", ".join(columns),
            fix="write the table with the row builders of medimg.evaluation.rows",
        )


def _refuse(wrong: ArrayLike, name: str, column: str, expected: str) -> None:
    rows = np.flatnonzero(np.asarray(wrong, bool))
    if len(rows):
        listed = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
        raise InputError(
            f"The table of {name} holds values that cannot be used.",
            where=f"{name}, column {column}",
            got=f"{len(rows)} rows (0-based: {listed})",
            expected=expected,
            fix="correct these rows",
        )
