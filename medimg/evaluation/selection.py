"""Rows of the evaluation tables as plain columns, and the worst outcome of failed cases.

A report asks for hundreds of groups of the same table, each for a few columns: a group is kept as row numbers, and
only the columns that a metric reads are gathered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medimg.evaluation.intervals import Floats


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
    """

    cases: Rows
    marks: Rows
    positive: Floats | None = None
    negative: Floats | None = None


def worst_for_failures(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the checked case table with the outcome of every failed case set to the worst there is.

    Dice and NSD 0, structure or lesions missed, the wrong call, the score at the wrong end, the grade farthest from
    the truth. Calls and scores are only set on targets that have any.
    """
    table = cases.copy()
    failed = table["status"] == "failed"
    if not failed.any():
        return table
    positive = table["truth"] == 1
    segmented = failed & (table["task"] == "segmentation")
    table.loc[segmented, ["dice", "nsd"]] = 0.0
    table.loc[segmented, "pred_empty"] = 1.0
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
