"""Verdicts on groups whose truth is known: equal ones, and one with a planted gap."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from coverage_people import Table, called_people, first_images, graded_people, images_of, joined, selection
from scipy import special

from medimg.evaluation.comparison.cells import Cell, adjust, make_cell
from medimg.evaluation.estimation.estimates import measure
from medimg.evaluation.metrics.bootstrap import stream
from medimg.evaluation.metrics.intervals import Ints
from medimg.evaluation.protocol import Protocol

SIZES = (400, 200, 100, 60, 40, 30)
"""Patients with a positive in the six equal groups; as many have a negative."""
RATE = 0.85


@dataclass(frozen=True)
class Family:
    """Groups that are judged together, over two primary endpoints.

    ``endpoints``: sensitivity and specificity (beta-binomial calls), or AUC and sensitivity (calls of scores).
    ``sizes``: patients with a positive, or positive images (``images``). ``gap``: by how much the sensitivity of the
    second group lies below the others'. ``icc`` 0: one image a patient.
    """

    endpoints: tuple[str, str]
    icc: float
    sizes: tuple[int, ...] = SIZES
    rate: float = RATE
    gap: float = 0.0
    images: bool = False
    quick: bool = False

    @property
    def name(self) -> str:
        """Key of the results and of the random stream."""
        what = f"gap {self.gap}" if self.gap else "equal"
        unit = "images" if self.images else "patients"
        return f"{what}|{'+'.join(self.endpoints)}|{self.rate}|{'/'.join(map(str, self.sizes))} {unit}|{self.icc}"


_CALLS, _SCORES = ("sensitivity", "specificity"), ("auc", "sensitivity")
_PLANTED = Family(_CALLS, 0.3, (800, 400, 400, 400), gap=0.12)
FAMILIES = [
    *(Family(_CALLS, icc, quick=icc == 0.3) for icc in (0.0, 0.3, 0.6)),
    *(Family(_CALLS, 0.6, rate=rate) for rate in (0.7, 0.95)),
    *(Family(_CALLS, icc, (100,) * 6) for icc in (0.3, 0.6)),
    *(Family(_SCORES, icc) for icc in (0.3, 0.6)),
    replace(_PLANTED, icc=0.0, quick=True),
    *(replace(_PLANTED, icc=icc) for icc in (0.3, 0.6)),
    *(replace(_PLANTED, icc=icc, images=True) for icc in (0.3, 0.6)),
    replace(_PLANTED, icc=0.6, sizes=(400,) * 6, images=True),
]


def protocol_of(family: Family) -> Protocol:
    """Return the protocol: floors at the truth, margin 0."""
    area = float(special.ndtr(np.sqrt(2) * special.ndtri(family.rate)))
    floors = {"auc": area, "sensitivity": family.rate, "specificity": family.rate}
    rules = [
        {"metric": metric, "target": "t", "primary": True, "floor": floors[metric], "gap_margin": 0.0}
        for metric in family.endpoints
    ]
    return Protocol(endpoints=rules)


def draw_group(rng: np.random.Generator, family: Family, n: int, gap: float) -> Table:
    """Return one group's people; ``gap`` is its loss of sensitivity."""
    if "auc" in family.endpoints:
        area = float(special.ndtr(np.sqrt(2) * special.ndtri(family.rate)))
        table = graded_people(rng, (n, n), family.icc, area)
        return {**table, "predicted": (table["score"] >= special.ndtri(family.rate)) * 1.0}
    design = "own" if family.icc else "single"
    parts = []
    for value in (1, 0):
        patient = first_images(rng, n) if family.images else images_of(rng, n, design)
        rate = family.rate - gap * value
        parts.append(called_people(rng, patient, value, rate, max(family.icc, 1e-6)))
    return joined(*parts)


def drawn_groups(rng: np.random.Generator, family: Family) -> tuple[Table, Ints]:
    """Return all groups' people, and the group of each image."""
    tables = [draw_group(rng, family, n, family.gap * (i == 1)) for i, n in enumerate(family.sizes)]
    return joined(*tables), np.repeat(np.arange(len(tables)), [len(table["patient"]) for table in tables])


def judged_groups(table: Table, group: Ints, protocol: Protocol) -> list[Cell]:
    """Return every group's adjusted verdicts."""
    cells = []
    for i in range(int(group.max()) + 1):
        mine, rest = selection(table, group == i), selection(table, group != i)
        for rule in protocol.endpoints:
            found, other = measure(rule, mine, protocol), measure(rule, rest, protocol)
            cells.append(
                make_cell("ancestry", f"g{i}", rule, found, protocol, reference="rest", reference_measured=other)
            )
    return adjust(cells, protocol.confidence)


def study_family(family: Family, runs: int, seed: int) -> dict[str, Any]:
    """Return shares of runs in which anything DOES NOT MEET, and in which the planted gap is flagged."""
    rng = stream(seed, family.name)
    protocol = protocol_of(family)
    floor = gap = either = flagged = 0
    for _ in range(runs):
        cells = judged_groups(*drawn_groups(rng, family), protocol)
        floors = any(c.floor_verdict == "DOES NOT MEET" for c in cells)
        gaps = any(c.gap_verdict == "DOES NOT MEET" for c in cells)
        floor, gap, either = floor + floors, gap + gaps, either + (floors or gaps)
        flagged += any(
            c.gap_verdict == "DOES NOT MEET" for c in cells if (c.value, c.rule.metric) == ("g1", "sensitivity")
        )
    found = {"runs": runs, "floor": floor / runs, "gap": gap / runs, "any": either / runs}
    return found | ({"flagged": flagged / runs} if family.gap else {})
