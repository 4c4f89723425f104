"""Rows of the evaluation tables as plain columns, and the worst outcome of failed cases.

A report asks for hundreds of groups of the same table, each for a few columns: a group is kept as row numbers, and
only the columns that a metric reads are gathered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medimg.evaluation.metrics.intervals import Floats
from medimg.evaluation.metrics.levels import Levels


@dataclass(frozen=True)
class Rows:
    """Some rows of a table of numbers.

    Attributes
    ----------
    columns : mapping of str to (n,) array
        Of the whole table.
    index : (k,) int64
        The rows that are meant.
    """

    columns: Mapping[str, NDArray[Any]]
    index: NDArray[np.int64]

    @classmethod
    def of(cls, table: pd.DataFrame, columns: Sequence[str]) -> Rows:
        """Return all rows of a table."""
        arrays = {name: table[name].to_numpy() for name in columns}
        return cls(arrays, np.arange(len(table)))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, column: str) -> NDArray[Any]:
        return self.columns[column][self.index]

    def where(self, mask: NDArray[np.bool_]) -> Rows:
        """Return the rows where ``mask`` (k,) holds."""
        return Rows(self.columns, self.index[mask])

    def known(self, *columns: str) -> Rows:
        """Return the rows where none of the columns is NaN."""
        mask = np.ones(len(self), bool)
        for column in columns:
            mask &= ~np.isnan(self[column])
        return self.where(mask)


LESION_COLUMNS = ("target", "patient", "case", "failed", "size", "in_pixels", "hit")


def no_lesions() -> Rows:
    """Return no lesion."""
    return Rows({name: np.empty(0) for name in LESION_COLUMNS}, np.empty(0, np.int64))


@dataclass(frozen=True)
class Selection:
    """The rows of one target in one group.

    Attributes
    ----------
    cases : Rows
        One row a case, with the integers ``patient`` and ``case`` and the flag ``failed``; the outcomes of failed
        cases are the worst.
    marks : Rows
        Marks with ``patient``, ``score`` and ``matched``.
    positive, negative : (cases, B) float64 or None
        Pixel score histograms; rows of NaN where a case has none.
    lesions : Rows
        True lesions with ``patient``, ``case``, ``failed``, ``size`` (NaN where not known), ``in_pixels`` and ``hit``:
        1 where a mark at the threshold found it.
    """

    cases: Rows
    marks: Rows
    positive: Floats | None = None
    negative: Floats | None = None
    lesions: Rows = field(default_factory=no_lesions)

    @cached_property
    def scored(self) -> Rows:
        """The cases with truth and score."""
        return self.cases.known("truth", "score")

    @cached_property
    def levels(self) -> Levels:
        """Truth and patients of the scored cases by distinct score."""
        rows = self.scored
        return Levels.of(rows["truth"] == 1, rows["score"], rows["patient"])


def true_lesions(cases: pd.DataFrame, lesions: pd.DataFrame) -> Rows:
    """Return the true lesions of the checked tables, each with whether a mark at the threshold found it.

    The case table says how many lesions of a case were found; they are those whose marks score highest.
    """
    keys = ["case_id", "target"]
    found = lesions[lesions["kind"] == "truth"].sort_values("score", ascending=False, kind="stable")
    if not len(found):
        return no_lesions()
    found = found.merge(cases[[*keys, "patient", "case", "failed", "n_hit"]], on=keys, how="inner")
    place = found.groupby(keys).cumcount()
    found["hit"] = np.where(found["n_hit"].isna(), np.nan, place < found["n_hit"])
    found["in_pixels"] = found["size_px"].notna().astype(np.float64)
    found["size"] = found["size_mm"].fillna(found["size_px"])
    return Rows.of(found, LESION_COLUMNS)


def worst_for_failures(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the checked case table with the outcome of every failed case set to the worst there is.

    Dice and NSD 0, structure or lesions missed, the wrong call, the score at the wrong end, the grade farthest from
    the truth. Calls and scores are only set on targets that have any.
    """
    failed = cases["status"] == "failed"
    if not failed.any():
        return cases
    table = cases.copy()
    positive = table["truth"] == 1
    segmented = failed & (table["task"] == "segmentation")
    table.loc[segmented, "dice"] = 0.0
    tested = (~failed).groupby(table["target"]).transform("any")
    for column, worst in (("nsd", 0.0), ("pred_empty", 1.0)):
        # A column that no case has is not the worst for those that failed, but undefined.
        used = table[column].notna().groupby(table["target"]).transform("any")
        table.loc[segmented & (used | ~tested), column] = worst
    table.loc[failed & (table["task"] == "detection"), "n_hit"] = 0.0
    judged = failed & ~segmented & table["truth"].notna()
    for column, for_positive, for_negative in (("score", -np.inf, np.inf), ("predicted", 0.0, 1.0)):
        used = table[column].notna().groupby(table["target"]).transform("any")
        table.loc[judged & used & positive, column] = for_positive
        table.loc[judged & used & ~positive, column] = for_negative
    graded = failed & table["grade_true"].notna()
    if graded.any():
        top = float(np.nanmax(table[["grade_true", "grade_pred"]].to_numpy()))
        table.loc[graded, "grade_pred"] = np.where(table.loc[graded, "grade_true"] > top / 2, 0.0, top)
    return table
