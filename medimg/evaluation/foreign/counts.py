"""True and false calls per group, when rows may not leave a hospital: the evidence of a report.

Groups of different axes are counted apart, so that nothing is known about two axes together: no intersections, no
ancestry within sites.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg.evaluation.document import CrossCount, TestSet
from medimg.evaluation.evidence import OVERALL, Evidence, Key, Members, Tally
from medimg.evaluation.groups import reference_of
from medimg.evaluation.metrics.intervals import Ints
from medimg.evaluation.protocol import Protocol
from medimg.evaluation.selection import Rows, Selection
from medimg.evaluation.tables import CASE_NUMBERS, DECLINED, UNKNOWN

CELLS = ("tp", "fp", "fn", "tn")
_TRUTH, _CALLED = np.array([1.0, 0.0, 1.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0])


@dataclass(frozen=True)
class Counted:
    """One group: true positives, false positives, false negatives and true negatives, and how many patients."""

    cells: Ints
    patients: int

    @property
    def n(self) -> int:
        """Number of cases."""
        return int(self.cells.sum())


@dataclass(frozen=True)
class Counts:
    """A checked table of counts.

    Attributes
    ----------
    groups : mapping of target to mapping of Key to Counted
        :data:`OVERALL` and the groups of every axis, which add up to it.
    sources, schemes : dict of str to int
        Patients of known ancestry by provenance and scheme.
    notes : tuple of str
        What had to be assumed, a sentence each.
    """

    groups: Mapping[str, Mapping[Key, Counted]]
    sources: dict[str, int]
    schemes: dict[str, int]
    notes: tuple[str, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the targets in the order of the table."""
        return tuple(self.groups)


class CountEvidence(Evidence):
    """The evidence of counts: every axis has a table of its own, with one row per counted case.

    Where a group has fewer patients than cases, nobody knows which cases belong together. The cases of a patient are
    then taken to be alike, which gives the widest intervals that patients of equal size allow.
    """

    def __init__(self, counts: Counts, declared: Protocol) -> None:
        self.declared, self._counts = declared, counts
        self.tasks = dict.fromkeys(counts.targets, "classification")
        first = next(iter(counts.groups.values()))
        self._first = first
        self.keys = list(first)
        self._values = {axis: [v for a, v in self.keys if a == axis] for axis in dict.fromkeys(a for a, _ in self.keys)}
        self._filled = {
            axis: np.array(
                [any(g[(axis, v)].n for g in counts.groups.values() if (axis, v) in g) for v in values], bool
            )
            for axis, values in self._values.items()
        }
        self._tables = {
            (axis, target): _expand([groups[(axis, value)] for value in values])
            for axis, values in self._values.items()
            for target, groups in counts.groups.items()
        }
        everyone = first[OVERALL]
        nobody_knows = sum(first[("ancestry", value)].patients for value in (UNKNOWN, DECLINED))
        self.test_set = TestSet(
            n_cases=everyone.n,
            n_patients=everyone.patients,
            n_sites=len([value for value in self._values.get("site", []) if value != UNKNOWN]),
            n_failed=0,
            ancestry_sources=counts.sources,
            ancestry_schemes=counts.schemes,
            fraction_unknown=nobody_knows / everyone.patients,
        )

    def members(self, key: Key) -> Members:
        """Return the cases of a group: a mask over the groups of its axis."""
        axis, value = key
        return Members(self._filled[axis] & [name == value for name in self._values[axis]], axis)

    def reference(self, key: Key) -> tuple[str, Members]:
        """Return the name and the cases of what a group is compared with."""
        axis = key[0]
        present = [value for value in self._values[axis] if self._first[(axis, value)].n]
        name = reference_of(axis, self.declared, present)
        if name == "rest":
            return name, Members(self._filled[axis] & ~self.members(key).rows, axis)
        return name, self.members((axis, name))

    def select(self, target: str, members: Members) -> Selection:
        """Return one row per counted case of one target."""
        rows, group = self._tables[(members.table, target)]
        return Selection(rows.where(members.rows[group]), Rows({}, np.empty(0, np.int64)))

    def tally(self, key: Key) -> Tally:
        """Return how many there are in a group, by the first target."""
        found = self._first[key]
        tp, fp, fn, tn = (int(n) for n in found.cells)
        return Tally(found.n, found.patients, tp + fn, fp + tn, 0)

    def crossed(self, first: str, second: str) -> Mapping[Key, dict[str, str]]:
        """Return nothing: counts of one axis say nothing about another."""
        return {}

    def remarks(self) -> list[str]:
        """Return what had to be assumed."""
        return list(self._counts.notes)

    def cross_count(self) -> CrossCount:
        """Return the ancestries without sites: counts do not say who was seen where."""
        ancestries = self._values["ancestry"]
        return CrossCount(ancestries=ancestries, sites=[], counts=[[] for _ in ancestries])


def _expand(groups: list[Counted]) -> tuple[Rows, NDArray[np.int64]]:
    """Return one row per counted case, and the place of its group."""
    cells = np.array([group.cells for group in groups])
    n = int(cells.sum())
    cell = np.repeat(np.tile(np.arange(4), len(groups)), cells.ravel())
    patient, taken = [], 0
    for group in groups:
        for count, people in zip(group.cells, _share_out(group)):
            patient.append(taken + np.arange(count) % max(people, 1))
            taken += int(people)
    nothing = np.full(n, np.nan)
    columns: dict[str, NDArray[np.generic]] = {
        **dict.fromkeys(CASE_NUMBERS, nothing),
        "truth": _TRUTH[cell],
        "predicted": _CALLED[cell],
        "patient": np.concatenate(patient).astype(np.int64),
        "case": np.arange(n),
        "failed": np.zeros(n, bool),
    }
    return Rows(columns, np.arange(n)), np.repeat(np.arange(len(groups)), cells.sum(axis=1))


def _share_out(group: Counted) -> Ints:
    """Return patients per cell: in proportion to its cases, at least one where there is a case, the sum kept."""
    cells, patients = group.cells, group.patients
    if patients >= group.n:
        return cells
    filled = cells > 0
    exact = cells * patients / group.n
    shares = np.where(filled, np.maximum(1, np.floor(exact)), 0).astype(np.int64)
    while shares.sum() < patients:
        shares[np.argmax(np.where(shares < cells, exact - shares, -np.inf))] += 1
    while shares.sum() > patients and (shares > 1).any():
        shares[np.argmax(np.where(shares > 1, shares - exact, -np.inf))] -= 1
    return shares
