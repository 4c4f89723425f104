"""The counts of a report that are audited together, with the small ones among them as questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medimg.evaluation.protection.census import Axes
from medimg.evaluation.protection.disclosure import Audit, Lattice, Question
from medimg.evaluation.protection.outline import NOBODY, ROW, SITES, Outline


@dataclass
class Family:
    """Counts that are audited together: classes of one partition (or all together) in one unit.

    ``levels`` names what must be published for each class to be told; ``whole`` says that the classes together are
    the group's own number.
    """

    lattice: Lattice
    counts: list[Mapping[Axes, np.ndarray]]
    level: str
    whole: bool
    unit: Literal["patients", "cases"]
    audit: Audit


def families(outline: Outline, below: int) -> list[Family]:
    """Return what must be audited of an outline: counts of 1 to ``below`` - 1 must stay open."""
    return _Builder(outline, below).all()


class _Builder:
    def __init__(self, outline: Outline, below: int) -> None:
        self.outline, self.census, self.k, self.values = outline, outline.census, below, outline.values

    def _is_small(self, count: int) -> bool:
        return 0 < count < self.k

    def all(self) -> list[Family]:
        """Return the families that hold a small count."""
        census = self.census
        pairs = [pair for pair in census.pairs if self._is_used(pair)]
        everyone, people = census.cases.counts, census.patients.counts
        found = self._of_patients([people], ROW, pairs, lists=True)
        done: list[Mapping[Axes, np.ndarray]] = []
        for name, classes in census.classes.items():
            cases, patients = ([c.counts for c in side] for side in ([b for _, b in classes], [a for a, _ in classes]))
            if any(np.array_equal(cases[0][()], d[()]) and self._alike(cases[0], d) for d in done):
                continue
            done.append(cases[0])
            whole = all(np.array_equal(sum(c[axes] for c in cases), everyone[axes]) for axes in everyone)
            found.append(self._family(cases, patients, name, whole, "cases", list(census.values), pairs, people))
            if not census.plain:
                for table in patients:
                    found += self._of_patients([table], name, pairs)
        if not census.plain and not any(family.whole and family.unit == "cases" for family in found):
            found.append(self._family([everyone], [people], ROW, True, "cases", list(census.values), pairs, people))
        return [family for family in found if family.audit.questions]

    def _alike(self, one: Mapping[Axes, np.ndarray], other: Mapping[Axes, np.ndarray]) -> bool:
        return all(np.array_equal(one[axes], other[axes]) for axes in one)

    def _is_used(self, pair: Axes) -> bool:
        if pair == SITES and self.outline.matrix:
            return True
        return any(tuple(axis for axis, _ in place) == pair for place in self.outline.rows)

    def _of_patients(
        self, tables: list[Mapping[Axes, np.ndarray]], level: str, pairs: Sequence[Axes], *, lists: bool = False
    ) -> list[Family]:
        """Return the audits of counts of patients.

        Axes on which a patient may stand twice are audited on their own, as if it were known how often.
        """
        one = self.census.partitioned
        axes = [axis for axis in self.census.values if axis in one]
        within = [pair for pair in pairs if set(pair) <= one]
        extra = list(self.outline.lists) if lists else []
        if lists:
            tables = [self._with_lists(tables[0])]
            within += [("ancestry", name) for name in extra if NOBODY in self.outline.lists[name]]
        whole = level == ROW
        found = [self._family(tables, tables, level, whole, "patients", [*axes, *extra], within, tables[0])]
        for axis in [a for a in self.census.values if a not in one]:
            own = {(axis,): tables[0][(axis,)], (): tables[0][(axis,)].sum()}
            found.append(self._family([own], [own], level, whole, "patients", [axis], [], own))
        for pair in [pair for pair in pairs if not set(pair) <= one]:
            table = tables[0][pair]
            own = {pair: table, (pair[0],): table.sum(axis=1), (pair[1],): table.sum(axis=0), (): table.sum()}
            found.append(self._family([own], [own], level, whole, "patients", list(pair), [pair], own))
        return found

    def _with_lists(self, table: Mapping[Axes, np.ndarray]) -> Mapping[Axes, np.ndarray]:
        listed: dict[Axes, np.ndarray] = {
            (name,): np.array(list(found.values())) for name, found in self.outline.lists.items()
        }
        return {**table, **listed}

    def _family(
        self,
        counts: list[Mapping[Axes, np.ndarray]],
        small: list[Mapping[Axes, np.ndarray]],
        level: str,
        whole: bool,
        unit: Literal["patients", "cases"],
        axes: Sequence[str],
        pairs: Sequence[Axes],
        people: Mapping[Axes, np.ndarray],
    ) -> Family:
        lattice = Lattice({axis: len(self.values[axis]) for axis in axes}, [(p[0], p[1]) for p in pairs], len(counts))
        questions = []
        for key in [*((axis,) for axis in axes), *pairs]:
            if key not in counts[0]:
                continue
            for where in np.ndindex(counts[0][key].shape):
                kinds: list[tuple[int, ...]] = [
                    (k,) for k in range(len(counts)) if self._is_small(int(small[k][key][where]))
                ]
                if whole and len(counts) > 1 and self._is_small(int(people[key][where])):
                    kinds.append(tuple(range(len(counts))))
                for classes in kinds:
                    count = int(sum(int(counts[k][key][where]) for k in classes))
                    questions.append(Question(key, where, classes, count, self.k - 1, self.k - 2))
        # Lists of provenance first, then axes: what those give away needs no crossed group to be held back.
        questions.sort(key=lambda q: (q.axes[0] not in self.outline.lists, len(q.axes)))
        return Family(lattice, counts, level, whole, unit, Audit(lattice, questions))
