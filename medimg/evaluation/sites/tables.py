"""Counts of one target along one axis: what a site sends instead of its rows.

A *cell* is a value on the axis, a stratum of the main number, and the whole-number outcomes of a case. Cases are
counted three times: patients by the cells of all their cases (a *pattern*), so that every interval keeps the patient
as its unit; the numbers of each cell by fine bins; the marks of each cell by class and fine bin.

Legend: n cases, C cells, K cases of one patient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from medimg.evaluation.document_parts import Part
from medimg.evaluation.metrics.intervals import Floats, Ints
from medimg.evaluation.protocol import FrozenProtocol
from medimg.evaluation.selection import Rows, Selection
from medimg.evaluation.sites.score_grid import BINNED, MAIN, OUTCOMES, Grid, check_scores, grid_of

MARKS, LESIONS = ("hit", "false"), ("lesion_hit", "lesion_missed")
"""Marks and true lesions, those that were hit first."""

Count = Annotated[int, Field(strict=True, ge=0)]
Code = Annotated[int, Field(strict=True, ge=-1)]


class Bins(Part):
    """Filled bins, column by column: ``count`` cases (or marks) of a cell lie in a bin; -1 has no number."""

    cell: list[Count]
    bin: list[Code]
    count: list[Count]


class AxisCounts(Part):
    """The cases of one target by the values of one axis.

    Attributes
    ----------
    axis : str
        ``overall``, an axis, or two crossed ones such as ``ancestry*sex``.
    values : list of list of str
        The groups; one name, or one per crossed axis.
    cells : list of list of int
        Place of the group in ``values``, stratum, and the outcomes of the task in their order; -1 is missing.
    patterns : list of list of int
        Number of patients, then the cell of each of their cases.
    bins : dict of str to Bins
        By column of the task.
    attached : dict of str to Bins
        Marks by score and true lesions by size, by the cell of the case that they lie on.
    """

    axis: str
    target: str
    values: list[list[str]]
    cells: list[list[Code]]
    patterns: list[list[Count]]
    bins: dict[str, Bins]
    attached: dict[str, Bins] = Field(default_factory=dict)

    @staticmethod
    def nothing(axis: str, target: str) -> AxisCounts:
        """Return no case."""
        return AxisCounts(axis=axis, target=target, values=[], cells=[], patterns=[], bins={})


def grids(target: str, task: str, frozen: FrozenProtocol) -> dict[str, Grid]:
    """Return the grid of every binned column of a target, and those of its marks and lesions."""
    found = {column: grid_of(column, target, frozen) for column in BINNED[task]}
    return found | ({name: grid_of(name, target, frozen) for name in ("mark", "size")} if task == "detection" else {})


def count_cases(
    axis: str,
    target: str,
    task: str,
    selection: Selection,
    values: Sequence[Sequence[str]],
    value: Ints,
    grid: Mapping[str, Grid],
) -> AxisCounts:
    """Count the rows of one target along one axis.

    Parameters
    ----------
    selection : Selection
        All rows of the target, with its marks and lesions.
    values : sequence of sequence of str
        The groups.
    value : (n,) int64
        The group of each row.
    grid : mapping of str to Grid
        From :func:`grids`.
    """
    rows = selection.cases
    numbers = {column: binned_column(rows, column) for column in BINNED[task]}
    main = MAIN[task]
    stratum = grid[main].stratum(numbers[main]) if main else np.zeros(len(rows), np.int64)
    if main == "score":
        check_scores(numbers[main], f"scores of {target}")
    outcomes = [np.nan_to_num(rows[column].astype(np.float64), nan=-1).astype(np.int64) for column in OUTCOMES[task]]
    cells, cell = distinct(np.column_stack([value, stratum, *outcomes]))
    bins = {}
    for column, number in numbers.items():
        if not np.isnan(number).all():
            bins[column] = count_bins(cell, grid[column].bins(number))
    attached: dict[str, Bins] = {}
    for names, part, value_name, hit in (
        (MARKS, selection.marks, "score", "matched"),
        (LESIONS, selection.lesions, "size", "hit"),
    ):
        if len(part):
            of = _cells_of(part["case"], rows["case"], cell)
            place, found = grid["mark" if names == MARKS else "size"].bins(part[value_name]), part[hit] == 1
            attached |= {name: count_bins(of[mask], place[mask]) for name, mask in zip(names, (found, ~found))}
    return AxisCounts(
        axis=axis,
        target=target,
        values=[list(parts) for parts in values],
        cells=cells.tolist(),
        patterns=patterns(rows["patient"], cell),
        bins=bins,
        attached=attached,
    )


def _cells_of(case: Ints, known: Ints, cell: Ints) -> Ints:
    order = np.argsort(known)
    return cell[order[np.searchsorted(known[order], case)]]


def binned_column(rows: Rows, column: str) -> Floats:
    """Return a column that is counted in bins; volumes and areas as predicted minus true."""
    if column == "volume_bias_ml":
        return np.asarray(rows["volume_pred_ml"] - rows["volume_true_ml"], np.float64)
    if column == "area_bias_px":
        return np.asarray(rows["area_pred_px"] - rows["area_true_px"], np.float64)
    return np.asarray(rows[column], np.float64)


def distinct(matrix: Ints) -> tuple[Ints, Ints]:
    """Return the distinct rows of a matrix of small whole numbers, rising, and the place of each row among them."""
    if not len(matrix):
        return matrix, np.empty(0, np.int64)
    lowest = matrix.min(axis=0)
    sizes = matrix.max(axis=0) - lowest + 1
    code = np.zeros(len(matrix), np.int64)
    for column, (low, size) in enumerate(zip(lowest, sizes)):
        code = code * size + (matrix[:, column] - low)
    _, first, place = np.unique(code, return_index=True, return_inverse=True)
    return matrix[first], place.reshape(-1).astype(np.int64)


def count_bins(cell: Ints, place: Ints) -> Bins:
    """Count how often each bin occurs in each cell."""
    pairs, where = distinct(np.column_stack([cell, place]))
    return Bins(cell=pairs[:, 0].tolist(), bin=pairs[:, 1].tolist(), count=np.bincount(where).tolist())


def patterns(patient: Ints, cell: Ints) -> list[list[int]]:
    """Count the patients by the cells of all their cases: [how many, cell, cell, ...], rising."""
    order = np.lexsort((cell, patient))
    patient, cell = patient[order], cell[order]
    first = np.flatnonzero(np.append(True, patient[1:] != patient[:-1])) if len(patient) else np.empty(0, np.int64)
    length = np.diff(np.append(first, len(patient)))
    found: list[list[int]] = []
    for k in np.unique(length):
        # (patients with k cases, K)
        members = cell[first[length == k][:, None] + np.arange(k)]
        kinds, count = np.unique(members, axis=0, return_counts=True)
        found += np.column_stack([count, kinds]).tolist()
    return sorted(found, key=lambda pattern: (len(pattern), pattern[1:]))


def join(parts: Sequence[AxisCounts]) -> AxisCounts:
    """Add up the counts of several sites, of one axis and target; the result does not depend on their order."""
    values = sorted({tuple(value) for part in parts for value in part.values})
    place = {value: i for i, value in enumerate(values)}
    renamed = [[(place[tuple(part.values[cell[0]])], *cell[1:]) for cell in part.cells] for part in parts]
    cells = sorted({cell for found in renamed for cell in found})
    code = {cell: i for i, cell in enumerate(cells)}
    maps = [np.array([code[cell] for cell in found], np.int64) for found in renamed]
    columns = {name for part in parts for name in part.bins}
    counted: dict[tuple[int, ...], int] = {}
    for part, new in zip(parts, maps):
        for count, *members in part.patterns:
            key = tuple(sorted(new[members].tolist()))
            counted[key] = counted.get(key, 0) + count
    return AxisCounts(
        axis=parts[0].axis,
        target=parts[0].target,
        values=[list(value) for value in values],
        cells=[list(cell) for cell in cells],
        patterns=[[counted[key], *key] for key in sorted(counted, key=lambda key: (len(key), key))],
        bins=_join_bins([{**_unknown(part, columns), **part.bins} for part in parts], maps),
        attached=_join_bins([part.attached for part in parts], maps),
    )


def _unknown(part: AxisCounts, columns: Iterable[str]) -> dict[str, Bins]:
    """Return every case without a number, for columns that another site has."""
    n = cases_of(part).tolist()
    return {name: Bins(cell=list(range(len(n))), bin=[-1] * len(n), count=n) for name in columns}


def cases_of(table: AxisCounts) -> Ints:
    """Return the cases of each cell."""
    found = np.zeros(len(table.cells), np.int64)
    for count, *cells in table.patterns:
        for cell in cells:
            found[cell] += count
    return found


def _join_bins(parts: Sequence[Mapping[str, Bins]], maps: Sequence[NDArray[np.int64]]) -> dict[str, Bins]:
    found = {}
    for name in sorted({name for part in parts for name in part}):
        there = [(new, part[name]) for part, new in zip(parts, maps) if name in part]
        cell = _chain(new[np.asarray(bins.cell, np.int64)] for new, bins in there)
        place, count = _chain(bins.bin for _, bins in there), _chain(bins.count for _, bins in there)
        pairs, where = distinct(np.column_stack([cell, place]))
        total = np.zeros(len(pairs), np.int64)
        np.add.at(total, where, count)
        found[name] = Bins(cell=pairs[:, 0].tolist(), bin=pairs[:, 1].tolist(), count=total.tolist())
    return found


def _chain(parts: Iterable[Sequence[int] | Ints]) -> Ints:
    arrays = [np.asarray(part, np.int64) for part in parts]
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)
