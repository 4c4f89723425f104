"""Every endpoint in every group: measured, compared and judged."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medimg.evaluation.comparison.cells import Cell, make_cell
from medimg.evaluation.estimation.estimates import Measured, measure
from medimg.evaluation.evidence import Evidence, Key, Members
from medimg.evaluation.metrics.intervals import Ints
from medimg.evaluation.protocol import EndpointRule

_REMEMBERED = 4


class Measurements:
    """The endpoints measured on groups of one body of evidence.

    A group of one axis is often the rest of another, such as of two sexes: the last few are remembered. More would
    fill the memory with the influences of a million patients.
    """

    def __init__(self, evidence: Evidence, rules: Sequence[EndpointRule]) -> None:
        self.evidence, self.rules = evidence, rules
        self._known: OrderedDict[bytes, dict[str, Measured]] = OrderedDict()

    def of(self, members: Members) -> dict[str, Measured]:
        """Return every endpoint on some cases, by endpoint id."""
        if members.identity not in self._known:
            self._known[members.identity] = self._measure(members)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(members.identity)
        return self._known[members.identity]

    def _measure(self, members: Members) -> dict[str, Measured]:
        targets = dict.fromkeys(rule.target for rule in self.rules)
        selections = {target: self.evidence.select(target, members) for target in targets}
        codes: list[Ints] = []
        found = {}
        for rule in self.rules:
            measured = measure(rule, selections[rule.target], self.evidence.declared)
            estimate = replace(measured.estimate, patients=_shared(measured.estimate.patients, codes))
            found[rule.id] = replace(measured, estimate=estimate)
        return found

    def cells(self, keys: Sequence[Key]) -> list[Cell]:
        """Return one cell per group and endpoint, compared with the group's reference where it has one."""
        found = []
        for key in keys:
            members = self.evidence.members(key)
            measured, name, others = self.of(members), "", {}
            if key[0] != "overall" and members.rows.any():
                name, outside = self.evidence.reference(key)
                if name != key[1]:
                    others = self.of(outside)
            for rule in self.rules:
                found.append(
                    make_cell(
                        *key,
                        rule,
                        measured[rule.id],
                        self.evidence.declared,
                        reference=name,
                        reference_measured=others.get(rule.id),
                    )
                )
        return found


def _shared(patients: Ints, known: list[Ints]) -> Ints:
    """Return the same codes as an array that is known already, so that each set of patients is kept once."""
    for codes in known:
        if len(codes) == len(patients) and np.array_equal(codes, patients):
            return codes
    known.append(patients)
    return patients
