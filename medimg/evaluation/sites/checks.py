"""What is looked at when a site's summary arrives: protocol, sizes, signs, and margins that have to agree."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medimg.errors import InputError
from medimg.evaluation.evidence import OVERALL
from medimg.evaluation.protocol import FrozenProtocol, check_frozen
from medimg.evaluation.sites.score_grid import BINNED, OUTCOMES, Grid
from medimg.evaluation.sites.summary import SiteSummary, axes_of, axis_name
from medimg.evaluation.sites.tables import LESIONS, MARKS, AxisCounts, Bins, cases_of, grids
from medimg.evaluation.tables import ANCESTRY_SOURCES, WITHHELD


def check_summary(summary: SiteSummary, protocol: FrozenProtocol) -> None:
    """Refuse a summary that cannot be true.

    Signs and whole numbers are settled by its schema. Here: the protocol's digest; every table that is due, and no
    other; codes within their tables; every case of a cell in one bin of each column; the same cases and patients of
    a target along every axis; groups that add up to everyone; no small group in a summary that calls itself
    protected. It cannot be seen from counts whether they were counted truly.

    Raises
    ------
    InputError
        Names the sender, the axis and the target.
    """
    check_frozen(protocol)
    problem = next(_problems(summary, protocol), None)
    if problem:
        where, got, expected = problem
        raise InputError(
            "A site's summary does not hold together.",
            where=f"summary of {', '.join(summary.senders)}: {where}",
            got=got,
            expected=expected,
            fix="have the site count again with `summarise_site`, under the frozen protocol",
        )


_Problem = tuple[str, str, str]


def _problems(summary: SiteSummary, protocol: FrozenProtocol) -> Iterator[_Problem]:
    if summary.protocol_sha256 != protocol.sha256:
        yield "protocol_sha256", summary.protocol_sha256[:12], protocol.sha256[:12]
        return
    if not summary.senders or not summary.tasks:
        yield "senders, tasks", "none", "at least one of each"
        return
    sources = set(summary.ancestry_sources) - {*ANCESTRY_SOURCES, WITHHELD}
    if sources:
        yield "ancestry_sources", ", ".join(sorted(sources)), ", ".join(ANCESTRY_SOURCES)
        return
    axes = [axis_name(axes) for axes in axes_of(protocol.declared)]
    due = {(axis, target) for axis in axes for target in summary.tasks}
    there = [(table.axis, table.target) for table in summary.tables]
    if set(there) != due or len(there) != len(due):
        yield "tables", f"{len(there)} tables", f"{len(due)}: each target along each of {', '.join(axes)}"
        return
    yield from _group_problems(summary, axes, protocol)
    for target, task in summary.tasks.items():
        grid = grids(target, task, protocol)
        whole = summary.table(OVERALL[0], target)
        for axis in axes:
            table = summary.table(axis, target)
            if table is None or whole is None:
                continue
            where = f"axis {axis}, target {target}"
            problem = _table_problem(table, task, grid) or _margin_problem(table, whole, summary, protocol)
            if problem:
                yield (where, *problem)
                return


def _group_problems(summary: SiteSummary, axes: list[str], protocol: FrozenProtocol) -> Iterator[_Problem]:
    below = protocol.declared.suppress_below
    overall = [group for group in summary.groups if group.axis == OVERALL[0]]
    if len(overall) != 1:
        yield "groups", f"{len(overall)} rows of everyone", "one"
        return
    for axis in axes:
        members = [group for group in summary.groups if group.axis == axis]
        if len({tuple(group.value) for group in members}) < len(members):
            yield f"groups of {axis}", "a group twice", "every group once"
        for name in ("n_cases", "n_positives", "n_negatives", "n_failed"):
            total, whole = sum(getattr(group, name) for group in members), getattr(overall[0], name)
            if total != whole:
                yield f"groups of {axis}, {name}", str(total), f"{whole}, as overall"
        for group in members:
            where = f"group {', '.join(group.value)} of {axis}"
            if group.n_positives + group.n_negatives != group.n_cases or group.n_failed > group.n_cases:
                yield where, "positives, negatives or failures that do not fit the cases", f"{group.n_cases} cases"
            if not (0 < group.n_patients <= group.n_cases) or group.n_patients > overall[0].n_patients:
                yield where, f"{group.n_patients} patients", "at least one, at most one per case"
            if summary.protected and group.n_patients < below:
                yield where, f"fewer than {below} patients", f"such groups under {WITHHELD!r} (protected)"


def _table_problem(table: AxisCounts, task: str, grid: dict[str, Grid]) -> tuple[str, str] | None:
    """Check codes against their tables, and each column against the cases of its cells."""
    width = 2 + len(OUTCOMES[task])
    n = len(table.cells)
    if any(len(cell) != width or not 0 <= cell[0] < len(table.values) for cell in table.cells):
        return "a cell without its group or outcomes", f"{width} numbers, the first within the groups"
    if any(len(pattern) < 2 or pattern[0] < 1 or max(pattern[1:]) >= n for pattern in table.patterns):
        return "a pattern of no patient or of an unknown cell", f"a count, then cells below {n}"
    cases = cases_of(table)
    known = set(BINNED[task])
    if not set(table.bins) <= known or not set(table.attached) <= {*MARKS, *LESIONS}:
        return f"columns {', '.join(sorted({*table.bins, *table.attached}))}", f"among {', '.join(sorted(known))}"
    for name, bins in [*table.bins.items(), *table.attached.items()]:
        of = "mark" if name in MARKS else "size" if name in LESIONS else name
        if of not in grid:
            return f"{name} of a {task} target", "none"
        problem = _bins_problem(bins, n, grid[of].n_bins)
        if problem:
            return f"column {name}: {problem[0]}", problem[1]
    for name, bins in table.bins.items():
        found = np.bincount(np.asarray(bins.cell, np.int64), np.asarray(bins.count, np.float64), minlength=n)
        if not np.array_equal(found.astype(np.int64), cases):
            return f"column {name}: {int(found.sum())} cases in bins", f"{int(cases.sum())}, cell by cell"
    return None


def _bins_problem(bins: Bins, n_cells: int, n_bins: int) -> tuple[str, str] | None:
    if not len(bins.cell) == len(bins.bin) == len(bins.count):
        return "lists of different lengths", "one cell and one count a bin"
    if bins.cell and (max(bins.cell) >= n_cells or max(bins.bin) >= n_bins):
        return "an unknown cell or bin", f"cells below {n_cells}, bins below {n_bins}"
    if bins.count and min(bins.count) < 1:
        return "an empty bin", "filled bins alone"
    return None


def _margin_problem(
    table: AxisCounts, whole: AxisCounts, summary: SiteSummary, protocol: FrozenProtocol
) -> tuple[str, str] | None:
    """Check a table against that of everyone, outcome by outcome and bin by bin."""
    mine, all_of_them = _outcomes(table), _outcomes(whole)
    if mine != all_of_them:
        return f"{sum(mine.values())} cases by outcome", f"{sum(all_of_them.values())}, the same as overall"
    patients, expected = (sum(pattern[0] for pattern in t.patterns) for t in (table, whole))
    if patients != expected:
        return f"{patients} patients", f"{expected}, as overall"
    for name in whole.bins:
        if name not in table.bins or _by_bin(table.bins[name]) != _by_bin(whole.bins[name]):
            return f"column {name}: other bins", "the same as overall"
    if summary.protected:
        below = protocol.declared.suppress_below
        small = [i for i, n in enumerate(patients_by_value(table)) if 0 < n < below]
        if small:
            return f"{', '.join(table.values[small[0]])}: fewer than {below} patients", "none (protected)"
    return None


def patients_by_value(table: AxisCounts) -> list[int]:
    """Return the patients of each group; one of two groups counts in both."""
    found = [0] * len(table.values)
    for count, *cells in table.patterns:
        for value in {table.cells[cell][0] for cell in cells}:
            found[value] += count
    return found


def _outcomes(table: AxisCounts) -> dict[tuple[int, ...], int]:
    found: dict[tuple[int, ...], int] = {}
    for cell, n in zip(table.cells, cases_of(table).tolist()):
        found[tuple(cell[1:])] = found.get(tuple(cell[1:]), 0) + n
    return found


def _by_bin(bins: Bins) -> dict[int, int]:
    found: dict[int, int] = {}
    for place, count in zip(bins.bin, bins.count):
        found[place] = found.get(place, 0) + count
    return found
