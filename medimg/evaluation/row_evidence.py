"""The evidence of a case table: rows, marks and pixel histograms, with groups as masks over the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.evaluation.document import CrossCount, Failure, WorstCase
from medimg.evaluation.evidence import OVERALL, Evidence, Key, Members, Tally
from medimg.evaluation.groups import assign_groups, group_values, reference_of
from medimg.evaluation.metrics.intervals import Floats, Ints, count_patients
from medimg.evaluation.protocol import Protocol
from medimg.evaluation.selection import Rows, Selection, true_lesions, worst_for_failures
from medimg.evaluation.summary import cross_count, describe, list_failures, worst_cases
from medimg.evaluation.tables import CASE_NUMBERS, check_cases, check_lesions, check_pixel_scores, check_subjects

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class _Persons:
    """One entry a case (not a target): its first row, its patient, and whether any of its targets is positive."""

    row: Ints
    patient: Ints
    positive: Mask
    failed: Mask


class RowEvidence(Evidence):
    """The checked tables of one test set.

    Parameters
    ----------
    cases, subjects, lesions, pixel_scores : DataFrame
        See :mod:`medimg.evaluation.tables`.
    declared : Protocol
    unreadable : sequence of Failure
        Cases of which not even the truth could be read.

    Raises
    ------
    InputError
        Where a table cannot be used.
    """

    def __init__(
        self,
        cases: pd.DataFrame,
        subjects: pd.DataFrame,
        declared: Protocol,
        *,
        lesions: pd.DataFrame | None = None,
        pixel_scores: pd.DataFrame | None = None,
        unreadable: Sequence[Failure] = (),
    ) -> None:
        table = check_cases(cases)
        people = check_subjects(subjects, table["subject_id"].unique())
        self._table = table = assign_groups(table, people, declared)
        self.declared, self._unreadable = declared, unreadable
        pairs = table.drop_duplicates("target")
        self.tasks = dict(zip(pairs["target"], pairs["task"]))
        self.test_set = describe(table, people, len(unreadable))
        names: dict[str, list[str]] = {axis: group_values(table, axis, declared) for axis in declared.axes}
        self.keys = [OVERALL, *((axis, value) for axis, values in names.items() for value in values)]
        self._names = names
        self._codes = {axis: _codes(table[f"axis_{axis}"], values) for axis, values in names.items()}
        self._targets = {target: (table["target"] == target).to_numpy() for target in self.tasks}
        checked = _known_lesions(table, lesions)
        self._marks = _marks(table, checked)
        self._histograms = _histograms(table, pixel_scores)
        settled = worst_for_failures(table)
        self._rows = Rows.of(settled, [*CASE_NUMBERS, "patient", "case", "failed"])
        self._lesions = true_lesions(settled, checked)
        self._persons = _persons(table)
        self._members: dict[Key, Members] = {}
        self.patient = self._rows.columns["patient"]
        self.target = np.select(list(self._targets.values()), np.arange(len(self._targets))).astype(np.int64)

    @property
    def table(self) -> pd.DataFrame:
        """The checked case table with its groups."""
        return self._table

    def members(self, key: Key) -> Members:
        """Return the cases of a group."""
        if key not in self._members:
            self._members[key] = Members(self._mask(key))
        return self._members[key]

    def _mask(self, key: Key) -> Mask:
        if key == OVERALL:
            return np.ones(len(self._table), bool)
        axis, value = key
        if "*" in axis:
            first, second = axis.split("*")
            parts = self.crossed(first, second)[key]
            return self._mask((first, parts[first])) & self._mask((second, parts[second]))
        names = self._names[axis]
        return self._codes[axis] == (names.index(value) if value in names else -1)

    def reference(self, key: Key) -> tuple[str, Members]:
        """Return the name and the cases of what a group is compared with."""
        axis, value = key
        name = reference_of(axis, self.declared, self._present(axis))
        if name == "rest":
            return name, Members(~self.members((axis, value)).rows)
        return name, self.members((axis, name))

    def _present(self, axis: str) -> list[str]:
        if axis not in self._names:
            return []
        filled = np.bincount(self._codes[axis], minlength=len(self._names[axis])) > 0
        return [name for name, there in zip(self._names[axis], filled) if there]

    def coded(self, axes: Sequence[str]) -> tuple[list[dict[str, str]], Ints]:
        """Return the groups of no axis, one, or two crossed ones, and the group of each row."""
        names: list[dict[str, str]] = [{}]
        codes = np.zeros(len(self._table), np.int64)
        for axis in axes:
            names = [{**parts, axis: value} for parts in names for value in self._names[axis]]
            codes = codes * len(self._names[axis]) + self._codes[axis]
        return names, codes

    def select(self, target: str, members: Members) -> Selection:
        """Return the rows of one target among some cases."""
        mask = self._targets[target]
        cases = self._rows.where(mask & members.rows)
        marks, lesions = (
            part.where((part["target"] == target) & np.isin(part["case"], cases["case"])) if len(part) else part
            for part in (self._marks, self._lesions)
        )
        if target not in self._histograms:
            return Selection(cases, marks, lesions=lesions)
        positive, negative = self._histograms[target]
        inside = members.rows[mask]
        return Selection(cases, marks, positive[inside], negative[inside], lesions)

    def tally(self, key: Key) -> Tally:
        """Return how many there are in a group."""
        return self.count(self.members(key))

    def count(self, members: Members) -> Tally:
        """Return how many there are among some cases."""
        persons = self._persons
        inside = members.rows[persons.row]
        n_positives = int(np.count_nonzero(persons.positive & inside))
        return Tally(
            n_cases=int(np.count_nonzero(inside)),
            n_patients=count_patients(persons.patient[inside]),
            n_positives=n_positives,
            n_negatives=int(np.count_nonzero(inside)) - n_positives,
            n_failed=int(np.count_nonzero(persons.failed & inside)),
        )

    def crossed(self, first: str, second: str) -> Mapping[Key, dict[str, str]]:
        """Return the groups of two crossed axes that hold a case, in order, with their value on either axis."""
        if first not in self._names or second not in self._names:
            return {}
        n = len(self._names[second])
        filled = np.bincount(self._codes[first].astype(np.int64) * n + self._codes[second])
        found: dict[Key, dict[str, str]] = {}
        for code in np.flatnonzero(filled):
            one, other = self._names[first][code // n], self._names[second][code % n]
            found[(f"{first}*{second}", f"{one}, {other}")] = {first: one, second: other}
        return found

    def cross_count(self) -> CrossCount:
        """Return the patients by ancestry and site."""
        return cross_count(self._table, self.declared)

    def in_pixels(self, target: str) -> bool:
        """Return whether distances and sizes of a target are in pixels."""
        mask, lesions = self._targets[target], self._lesions
        if len(lesions) and bool(np.any(lesions["in_pixels"][lesions["target"] == target] == 1)):
            return True
        return any(bool(np.any(~np.isnan(self._rows.columns[c][mask]))) for c in ("hd95_px", "area_true_px"))

    def worst_cases(self, overlays: Mapping[tuple[str, str], str]) -> list[WorstCase]:
        """Return the worst cases of each primary target."""
        return worst_cases(self._table, self.declared, overlays)

    def failures(self) -> list[Failure]:
        """Return every case without a prediction."""
        return list_failures(self._table, self._unreadable)


def _codes(column: pd.Series, names: Sequence[str]) -> NDArray[Any]:
    return pd.Categorical(column, categories=list(names)).codes.astype(np.int32)


def _persons(table: pd.DataFrame) -> _Persons:
    code, target = table["case"].to_numpy(), _is_positive(table)
    n = int(code.max()) + 1 if len(code) else 0
    row = np.empty(n, np.int64)
    row[code[::-1]] = np.arange(len(code))[::-1]
    failed = np.bincount(code, table["failed"].to_numpy(), minlength=n) > 0
    return _Persons(row, table["patient"].to_numpy()[row], np.bincount(code, target, minlength=n) > 0, failed)


def _is_positive(table: pd.DataFrame) -> Mask:
    truth, grade = table["truth"].to_numpy(), table["grade_true"].to_numpy()
    found = (truth == 1) | (np.isnan(truth) & (grade > 0))
    return np.asarray(found | (table["truth_empty"].to_numpy() == 0) | (table["n_lesions"].to_numpy() > 0))


def _known_lesions(table: pd.DataFrame, lesions: pd.DataFrame | None) -> pd.DataFrame:
    found = check_lesions(lesions)
    known = found["case_id"].isin(table["case_id"]) if len(found) else pd.Series(dtype=bool)
    if not known.all():
        raise InputError(
            "The lesion table names cases that are not in the case table.",
            where="lesions, column case_id",
            got=f"{int((~known).sum())} rows",
            fix="write both tables from the same run",
        )
    return found


def _marks(table: pd.DataFrame, lesions: pd.DataFrame) -> Rows:
    marks = lesions[lesions["kind"] == "detection"]
    if len(marks):
        codes = table.drop_duplicates("case_id").set_index("case_id")[["patient", "case"]]
        marks = marks.join(codes, on="case_id")
    else:
        marks = marks.assign(patient=0, case=0)
    return Rows.of(marks, ["target", "patient", "case", "score", "matched"])


def _histograms(table: pd.DataFrame, pixel_scores: pd.DataFrame | None) -> dict[str, tuple[Floats, Floats]]:
    pixels = check_pixel_scores(pixel_scores)
    shared = sorted(set(pixels["target"].unique()) & set(table["target"].unique()))
    return {target: _dense(table, pixels[pixels["target"] == target], target) for target in shared}


def _dense(table: pd.DataFrame, pixels: pd.DataFrame, target: str) -> tuple[Floats, Floats]:
    """Return the pixels of each class per case and bin: two (cases, B) arrays, rows of NaN where a case has none."""
    ids = table.loc[table["target"] == target, "case_id"].to_numpy()
    rows = pixels[pixels["case_id"].isin(ids)]
    place = pd.Index(ids).get_indexer(rows["case_id"])
    found = []
    for column in ("n_positive", "n_negative"):
        dense = np.zeros((len(ids), int(rows["bin"].max()) + 1 if len(rows) else 1))
        np.add.at(dense, (place, rows["bin"].to_numpy()), rows[column].to_numpy())
        dense[~np.isin(np.arange(len(ids)), place)] = np.nan
        found.append(dense)
    return found[0], found[1]
