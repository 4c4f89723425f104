"""The cells of two crossed axes: which of them occur, which hold enough to be reported, and how they do.

A cell below the declared number of patients is counted and not named: of many small cells some look bad by chance, and
each names few people. Patients whose group is unknown or declined on either axis are in no cell. Cells carry the
declared endpoints alone, and are compared with everyone outside the cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from medimg.evaluation.comparison.cells import CROSS, Cell, make_cell
from medimg.evaluation.comparison.complement import Everyone
from medimg.evaluation.document_parts import IntersectionCount
from medimg.evaluation.estimation.estimates import Measured
from medimg.evaluation.estimation.measurements import Measurements
from medimg.evaluation.evidence import OVERALL, Evidence, Key, Members
from medimg.evaluation.groups import LAST
from medimg.evaluation.metrics.intervals import SKEWNESS_CORRECTED
from medimg.evaluation.protocol import EndpointRule

MEASURED_BELOW = 20_000
"""Rows up to which the rest of a cell is measured; above, it follows from everyone and the cell."""


@dataclass(frozen=True)
class Intersections:
    """The cells that hold enough, by key with the value on either axis, and how many there are of each pair."""

    parts: Mapping[Key, dict[str, str]]
    counts: list[IntersectionCount]


def crossings(evidence: Evidence) -> Intersections:
    """Return the cells of the crossed axes that the protocol names.

    A pair with an axis that is not reported is passed over.
    """
    declared = evidence.declared
    enough = max(declared.min_patients, declared.suppress_below if declared.suppress else 0)
    shown: dict[Key, dict[str, str]] = {}
    counts = []
    for first, second in dict.fromkeys(declared.crossed):
        if first not in declared.axes or second not in declared.axes:
            continue
        crossed = evidence.crossed(first, second)
        if not crossed:
            # Counts of single axes say nothing about two.
            continue
        known = {key: parts for key, parts in crossed.items() if not set(LAST) & set(parts.values())}
        held = {key: parts for key, parts in known.items() if evidence.tally(key).n_patients >= enough}
        shown |= held
        counts.append(IntersectionCount(axes=(first, second), n_cells=len(known), n_shown=len(held)))
    return Intersections(shown, counts)


def crossed_cells(evidence: Evidence, intersections: Intersections) -> list[Cell]:
    """Return one cell per crossed group and declared endpoint, compared with everyone outside the group."""
    declared = evidence.declared
    measurements = Measurements(evidence, declared.endpoints)
    complements = _Complements(evidence, measurements)
    found = []
    for key in intersections.parts:
        members = evidence.members(key)
        measured = measurements.of(members)
        others = complements.of(key, members, measured)
        for rule in declared.endpoints:
            cell = make_cell(
                *key, rule, measured[rule.id], declared, reference="rest", reference_measured=others[rule.id]
            )
            found.append(_without_influence(cell))
    return found


def _without_influence(cell: Cell) -> Cell:
    """Return a cell without the patients' influences, which a hundred cells of a million patients cannot all keep.

    Means keep them: their simultaneous interval is made of them.
    """
    estimate = cell.measured.estimate
    if (estimate.method or "").endswith(SKEWNESS_CORRECTED):
        return cell
    light = replace(estimate, patients=np.empty(0, np.int64), influence=np.empty(0))
    return replace(cell, measured=replace(cell.measured, estimate=light))


class _Complements:
    """Everyone outside a cell, by subtraction where that gives the same and is worth it, else measured."""

    def __init__(self, evidence: Evidence, measurements: Measurements) -> None:
        self.evidence, self.measurements = evidence, measurements
        self.everyone = evidence.members(OVERALL)
        self._known: dict[str, Everyone] = {}
        self._whole: dict[str, bool] = {}

    def of(self, key: Key, members: Members, measured: Mapping[str, Measured]) -> dict[str, Measured]:
        """Return every declared endpoint outside a cell, by endpoint id."""
        declared = self.evidence.declared
        others: dict[str, Measured] = {}
        if self._subtractable(key, members):
            for rule in declared.endpoints:
                rest = self._of_everyone(rule).less(measured[rule.id], declared.confidence)
                if rest is not None:
                    others[rule.id] = rest
        missing = [rule for rule in declared.endpoints if rule.id not in others]
        if missing:
            others |= self._measure(key, missing)
        return others

    def _of_everyone(self, rule: EndpointRule) -> Everyone:
        if rule.id not in self._known:
            self._known[rule.id] = Everyone(rule, self.measurements.of(self.everyone)[rule.id])
        return self._known[rule.id]

    def _measure(self, key: Key, rules: list[EndpointRule]) -> dict[str, Measured]:
        _, outside = self.evidence.reference(key)
        return Measurements(self.evidence, rules).of(outside)

    def _subtractable(self, key: Key, members: Members) -> bool:
        rows = members.rows
        if len(rows) < MEASURED_BELOW or 2 * np.count_nonzero(rows) > len(rows) or members.table != self.everyone.table:
            return False
        return all(self._holds_whole_patients(axis) for axis in key[0].split(CROSS))

    def _holds_whole_patients(self, axis: str) -> bool:
        """Return whether every patient has all cases in one group of an axis."""
        if axis not in self._whole:
            groups = [self.evidence.tally(key).n_patients for key in self.evidence.keys if key[0] == axis]
            self._whole[axis] = sum(groups) == self.evidence.tally(OVERALL).n_patients
        return self._whole[axis]
