"""Rows that have just the counts of a site's table, so that what reads rows reads counts too.

What the counts fix is the same as in the site's rows: outcomes, strata, who belongs to one patient. What they leave
open is dealt by a seeded generator: which of the cases of one cell has which of the cell's bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.evaluation.metrics.bootstrap import stream
from medimg.evaluation.metrics.intervals import Floats, Ints
from medimg.evaluation.selection import Rows, no_lesions
from medimg.evaluation.sites.score_grid import OUTCOMES, Grid
from medimg.evaluation.sites.tables import LESIONS, MARKS, AxisCounts, Bins
from medimg.evaluation.tables import CASE_NUMBERS


@dataclass(frozen=True)
class Dealt:
    """Rows of one target along one axis.

    Attributes
    ----------
    rows, marks, lesions : Rows
        As in a selection; ``case`` of marks and lesions is the place of their row.
    value : (n,) int64
        The group of each row, as its place in ``values``.
    values : sequence of tuple of str
    """

    rows: Rows
    marks: Rows
    lesions: Rows
    value: Ints
    values: Sequence[tuple[str, ...]]


def deal(table: AxisCounts, task: str, grid: Mapping[str, Grid], seed: int, *, in_pixels: bool = False) -> Dealt:
    """Return rows, marks and lesions that have just these counts.

    Parameters
    ----------
    table : AxisCounts
    task : str
    grid : mapping of str to Grid
        From :func:`medimg.evaluation.sites.tables.grids`.
    seed : int
    in_pixels : bool
        Whether sizes of lesions are in pixels.
    """
    cell, patient = _patients(table)
    cells = np.array(table.cells, np.int64).reshape(-1, 2 + len(OUTCOMES[task]))
    columns: dict[str, NDArray[Any]] = dict.fromkeys(CASE_NUMBERS, np.full(len(cell), np.nan))
    for i, name in enumerate(OUTCOMES[task]):
        outcome = cells[cell, 2 + i].astype(np.float64)
        columns[name] = np.where(outcome < 0, np.nan, outcome)
    columns["failed"] = columns["failed"] == 1
    name = f"deal|{table.axis}|{table.target}"
    for column, bins in table.bins.items():
        order = _shuffled(cell, stream(seed, f"{name}|{column}"))
        columns.update(_as_columns(column, grid[column].values(_dealt(bins, order))))
    columns["patient"], columns["case"] = patient, np.arange(len(cell))
    order = _shuffled(cell, stream(seed, f"{name}|marks"))
    bound = np.searchsorted(cell[order], np.arange(len(cells) + 1))
    marks, lesions = (
        _attached(table, names, columns, order, bound, grid[which]) if task == "detection" else no_lesions()
        for names, which in ((MARKS, "mark"), (LESIONS, "size"))
    )
    lesions = Rows({**lesions.columns, "in_pixels": np.full(len(lesions), float(in_pixels))}, lesions.index)
    values = [tuple(value) for value in table.values]
    return Dealt(Rows(columns, np.arange(len(cell))), marks, lesions, cells[cell, 0], values)


def _patients(table: AxisCounts) -> tuple[Ints, Ints]:
    """Return the cell and the patient of each row."""
    counts = np.array([pattern[0] for pattern in table.patterns], np.int64)
    lengths = np.array([len(pattern) - 1 for pattern in table.patterns], np.int64)
    flat = np.array([cell for pattern in table.patterns for cell in pattern[1:]], np.int64)
    kind = np.repeat(np.arange(len(counts)), counts)
    patient = np.repeat(np.arange(len(kind)), lengths[kind])
    first = np.cumsum(lengths[kind]) - lengths[kind]
    within = np.arange(len(patient)) - first[patient]
    return flat[(np.cumsum(lengths) - lengths)[kind[patient]] + within], patient


def _shuffled(cell: Ints, rng: np.random.Generator) -> Ints:
    """Return the rows by cell, in random order within each."""
    return np.lexsort((rng.random(len(cell)), cell))


def _dealt(bins: Bins, order: Ints) -> Ints:
    """Return a bin for each row, so that each cell gets just its bins."""
    place, count, of = (np.asarray(part, np.int64) for part in (bins.bin, bins.count, bins.cell))
    by_cell = np.argsort(of, kind="stable")
    found = np.empty(len(order), np.int64)
    found[order] = np.repeat(place[by_cell], count[by_cell])
    return found


def _as_columns(column: str, values: Floats) -> dict[str, Floats]:
    zero = np.where(np.isnan(values), np.nan, 0.0)
    if column == "volume_bias_ml":
        return {"volume_true_ml": zero, "volume_pred_ml": values}
    if column == "area_bias_px":
        return {"area_true_px": zero, "area_pred_px": values}
    return {column: values}


def _attached(
    table: AxisCounts, names: Sequence[str], columns: Mapping[str, NDArray[Any]], order: Ints, bound: Ints, grid: Grid
) -> Rows:
    """Deal marks or lesions of each cell to its cases in turn; the first of ``names`` are those that were hit.

    Highest first, so that of equal cases each gets the hits and false marks that it has at the threshold.
    """
    parts: list[tuple[Ints, Floats, Floats]] = []
    for k, name in enumerate(names):
        if name not in table.attached:
            continue
        bins = table.attached[name]
        of, place, count = (np.asarray(part, np.int64) for part in (bins.cell, bins.bin, bins.count))
        of, place = np.repeat(of, count), np.repeat(place, count)
        by_cell = np.lexsort((-place, of))
        of, place = of[by_cell], place[by_cell]
        turn = np.arange(len(of)) - np.searchsorted(of, of)
        case = order[bound[of] + turn % np.maximum(bound[of + 1] - bound[of], 1)]
        parts.append((case, grid.values(place), np.full(len(case), float(k == 0))))
    case = np.concatenate([part[0] for part in parts]) if parts else np.empty(0, np.int64)
    number, hit = (np.concatenate([part[i] for part in parts]) if parts else np.empty(0) for i in (1, 2))
    found = {
        "target": np.full(len(case), table.target, dtype=object),
        "patient": columns["patient"][case],
        "case": case,
        "failed": columns["failed"][case],
    }
    found |= {"score": number, "matched": hit} if names == MARKS else {"size": number, "hit": hit}
    return Rows(found, np.arange(len(case)))
