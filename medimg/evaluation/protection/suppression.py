"""Which counts are held back, so that no small one can be worked out from those that are published.

Small: 1 to k - 1 patients in a group, or 1 to k - 1 patients with or without the finding (or of a grade) in it. Then
the next smallest counts beside them (complements), until linear programming over the table behind the report
(:mod:`medimg.evaluation.protection.disclosure`) leaves every small count open: its range reaches k - 1 and is as wide
as that of any number from 1 to k - 1. A group that is held back takes its crossed groups with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from medimg.evaluation.evidence import Evidence
from medimg.evaluation.protection.audited import Family, families
from medimg.evaluation.protection.census import ANY, Axes, Place
from medimg.evaluation.protection.disclosure import Question, Told
from medimg.evaluation.protection.outline import NOBODY, ROW, SITES, Outline, Plan, outline_of
from medimg.evaluation.protocol import EndpointRule, Protocol
from medimg.evaluation.tables import DECLINED, UNKNOWN


def plan_for(evidence: Evidence, places: Iterable[Place], rules: Sequence[EndpointRule]) -> Plan:
    """Return what a report of some evidence must hold back; see :func:`outline_of`."""
    declared = evidence.declared
    if not declared.suppress:
        return Plan(declared.suppress_below, {ROW: frozenset()}, frozenset(), frozenset(), "not needed")
    # Grades that the panel adds are held back by the axis (see veil), so that they never cost a declared number.
    return widest_plan(outline_of(evidence, places, [rule for rule in rules if not is_panel_grade(rule)]), declared)


def is_panel_grade(rule: EndpointRule) -> bool:
    """Return whether an endpoint on a grade was added by the panel."""
    return rule.family == "panel" and rule.grade is not None


def widest_plan(outline: Outline, protocol: Protocol) -> Plan:
    """Return a plan in which crossed groups cost the groups of single axes nothing.

    Pairs of axes are printed one after the other, as long as no number of a single axis, of a list or of the matrix
    of ancestry and site has to be held back for them; a pair that would cost one is not printed at all.
    """
    crossed = {axes for axes in map(_axes_of, outline.rows) if len(axes) == 2}
    rows = frozenset(place for place in outline.rows if len(place) != 2)
    plan = make_plan(replace(outline, rows=rows), protocol)
    dropped = set()
    for pair in [pair for pair in outline.census.pairs if pair in crossed]:
        more = rows | {place for place in outline.rows if _axes_of(place) == pair}
        trial = make_plan(replace(outline, rows=more), protocol)
        if _cost(trial) == _cost(plan):
            rows, plan = more, trial
        else:
            dropped.add(pair)
    return replace(plan, dropped=frozenset(dropped))


def _axes_of(place: Place) -> Axes:
    return tuple(axis for axis, _ in place)


def _cost(plan: Plan) -> tuple[frozenset[object], ...]:
    """Return what a plan holds back beside crossed rows."""
    hidden = {
        (level, place)
        for level, places in plan.hidden.items()
        for place in places
        if len(place) < 2 or (level == ROW and _axes_of(place) == SITES)
    }
    quiet = {(place, level) for place, level in plan.quiet if len(place) < 2}
    return frozenset(hidden), frozenset(plan.unlabelled), frozenset(quiet)


def make_plan(outline: Outline, protocol: Protocol) -> Plan:
    """Return what must be held back of what a report would publish."""
    search = _Search(outline, protocol)
    search.hide_small()
    needed = any(search.hidden.values())
    if needed:
        search.hide_complements()
    return Plan(
        protocol.suppress_below,
        {level: frozenset(places) | outline.loose for level, places in search.hidden.items()},
        frozenset(search.small),
        frozenset(search.unlabelled),
        "passed" if needed else "not needed",
        frozenset(search.quiet),
        outline.closed,
    )


class _Search:
    """The search for what must be held back. Whatever is held back later only opens the other counts further."""

    def __init__(self, outline: Outline, protocol: Protocol) -> None:
        self.outline, self.protocol, self.census = outline, protocol, outline.census
        self.k = protocol.suppress_below
        self.hidden: dict[str, set[Place]] = {ROW: set(), **{name: set() for name in self.census.classes}}
        self.small: set[Place] = set()
        self.unlabelled: set[str] = set()
        self.quiet: set[tuple[Place, str]] = set()
        self.values = outline.values
        self._rank = {axis: {v: i for i, v in enumerate(names)} for axis, names in self.values.items()}

    def is_small(self, count: float) -> bool:
        return 0 < count < self.k

    def hide_small(self) -> None:
        """Hold back what is small itself."""
        census = self.census
        for axes in [(), *((axis,) for axis in census.values), *census.pairs]:
            for place in census.places(axes):
                if self.is_small(census.count(census.patients, place)):
                    self.small.add(place)
                    self.hide(place, ROW)
                for name, classes in census.classes.items():
                    counts = [census.count(patients, place) for patients, _ in classes]
                    if any(map(self.is_small, counts)):
                        self.hide(place, name)
                        self._hush(place, name, counts)
        for name, found in self.outline.lists.items():
            for value, count in found.items():
                if self.is_small(count):
                    self.small.add(((name, value),))
                    self.hide(((name, value),), ROW)

    def _hush(self, place: Place, level: str, counts: Sequence[int]) -> None:
        """Hold back verdicts as well where that there are enough of one class tells that there are few of the other."""
        n = self.census.count(self.census.patients, place)
        least = [self._between(count, self._steps())[0] for count in counts]
        if any(self.is_small(c) and n - (sum(least) - low) < self.k - 1 for c, low in zip(counts, least)):
            self.quiet.add((place, level))

    def _steps(self) -> list[int]:
        """Return the numbers of patients of a class from which on there are verdicts."""
        declared = self.protocol
        steps = {declared.min_positives, declared.min_negatives, declared.min_positives_auc}
        return [0, *sorted(max(self.k, step) for step in steps)]

    def hide(self, place: Place, level: str) -> None:
        """Hold back a level of a place, and what would give it away at once."""
        if place in self.hidden[level]:
            return
        self.hidden[level].add(place)
        if level == ROW and place and place[0][0] in self.outline.lists:
            self._hide_listed(place)
            return
        for other in self._implied(place, level):
            self.hide(place, other)
        for inner in self._inside(place):
            self.hide(inner, level)

    def _implied(self, place: Place, level: str) -> Iterable[str]:
        if level == ROW:
            return [name for name in self.hidden if name != ROW]
        found = {ANY, f"{level}, grades"} & set(self.hidden)
        if level == ANY:
            # Where there is just one target, its positives are those of the row.
            found |= {name for name in self.census.classes if self._same(name, ANY)}
        return found

    def _same(self, one: str, other: str) -> bool:
        first, second = ([c.counts[()] for _, c in self.census.classes[name]] for name in (one, other))
        return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second))

    def _inside(self, place: Place) -> Iterable[Place]:
        if len(place) > 1:
            return
        for pair in self.census.pairs:
            for inner in self.census.places(pair):
                if set(place) <= set(inner):
                    yield inner
        if not place:
            for axis in self.census.values:
                yield from self.census.places((axis,))

    def _hide_listed(self, place: Place) -> None:
        # The share of unknown ancestry is one number, whichever list it is left out of.
        if place[0][1] == NOBODY:
            for name, found in self.outline.lists.items():
                if NOBODY in found:
                    self.hide(((name, NOBODY),), ROW)

    def visible(self, place: Place, level: str, unit: str) -> bool:
        """Return whether a number is published so far."""
        if place in self.hidden[level] or place in self.hidden[ROW]:
            return False
        if not place or place in self.outline.rows:
            return True
        if level != ROW or unit != "patients":
            return False
        axes = tuple(axis for axis, _ in place)
        return axes[0] in self.outline.lists or (axes == SITES and self.outline.matrix)

    def hide_complements(self) -> None:
        """Hold back complements until every small count is open."""
        for family in families(self.outline, self.k):
            while (question := family.audit.first_closed(self._told(family))) is not None:
                self._answer(family, question)

    def _answer(self, family: Family, question: Question) -> None:
        """Hold back one more count beside one that is not open; or say less, or leave it, where none is left."""
        place = self._place(question)
        level = ROW if family.whole and len(question.classes) == len(family.counts) else family.level
        chosen = self._rectangle(place, level, family, question) if len(place) == 2 else []
        chosen = chosen or (self._tellers() if place[0][1] == NOBODY else [])
        chosen = chosen or self._complement(place, level, family, question)
        for other in chosen:
            self.hide(other, ROW if other[0][0] in self.outline.lists else level)
        if chosen:
            return
        if len(place) == 1 and place[0][0] not in {*self.unlabelled, *self.outline.lists}:
            self.unlabelled.add(place[0][0])
        else:
            # Nothing is left beside it: its range is the one that the totals leave.
            family.audit.give_up(question)

    def _place(self, question: Question) -> Place:
        return tuple((axis, self.values[axis][i]) for axis, i in zip(question.axes, question.where))

    def _rectangle(self, place: Place, level: str, family: Family, question: Question) -> list[Place]:
        """Return the cheapest corners to hold back beside one of two crossed axes, so that counts can move round.

        What the count gains its row and its column lose, and the fourth corner gains: sums stay. Corners that can give
        as much as is needed go first, then those with the fewest patients in them.
        """
        (first, one), (second, other) = place
        index, people = self._rank, self.census.patients.counts[(first, second)]
        table = np.sum([family.counts[k][(first, second)] for k in question.classes], axis=0)
        i, j = index[first][one], index[second][other]
        need = question.reach - question.count
        best: tuple[tuple[bool, int, int], list[Place]] | None = None
        for i2, j2 in np.ndindex(people.shape):
            gain = min(int(table[i, j2]), int(table[i2, j]))
            if i2 == i or j2 == j or not gain:
                continue
            corners = [(i, j2), (i2, j), (i2, j2)]
            named = {at: ((first, self.values[first][at[0]]), (second, self.values[second][at[1]])) for at in corners}
            new = [at for at in corners if self.visible(named[at], level, family.unit)]
            cost = int(sum(people[at] for at in new))
            rank = (gain < need, cost if gain >= need else -gain, cost)
            if new and (best is None or rank < best[0]):
                best = rank, [named[at] for at in new]
        return best[1] if best else []

    def _complement(self, place: Place, level: str, family: Family, question: Question) -> list[Place]:
        """Return the smallest published count beside one; none where all are held back."""
        for places in self._beside(place):
            found = [p for p in places if p != place and self.visible(p, level, family.unit)]
            if found:
                return [min(found, key=lambda p: self._weight(p, family, question))]
        return []

    def _tellers(self) -> list[Place]:
        """Return what tells how many have no known ancestry: of the ancestries and each list, the smallest entry.

        Where an entry is held back already, that line tells no longer.
        """
        people = self.census.patients
        ancestries = {value: self.census.count(people, (("ancestry", value),)) for value in self.values["ancestry"]}
        lists = {name: found for name, found in self.outline.lists.items() if NOBODY in found}
        lines: list[dict[Place, int]] = [
            {((axis, value),): n for value, n in found.items()}
            for axis, found in [("ancestry", ancestries), *lists.items()]
        ]
        chosen: list[Place] = []
        for line in lines:
            known = {place: n for place, n in line.items() if n and place[0][1] not in (UNKNOWN, DECLINED, NOBODY)}
            if known and all(self.visible(place, ROW, "patients") for place in known):
                chosen.append(min(known, key=lambda place: (known[place], place)))
        return chosen

    def _weight(self, place: Place, family: Family, question: Question) -> tuple[bool, bool, int, Place]:
        axes, where = self._index(place)
        tables = [family.counts[k] for k in question.classes]
        count = int(sum(int(table[axes][where]) for table in tables if axes in table))
        return (count == 0, "=".join(place[0]) == self.protocol.reference, count, place)

    def _beside(self, place: Place) -> Iterable[list[Place]]:
        """Return the places on the lines of one, then all of its tables, then those that cross one of its axes."""
        if len(place) == 1:
            axis = place[0][0]
            yield [((axis, value),) for value in self.values[axis]]
            if axis == "ancestry":
                yield [((name, value),) for name, found in self.outline.lists.items() for value in found]
            yield [p for pair in self.census.pairs if axis in pair for p in self.census.places(pair)]
            return
        pair = tuple(axis for axis, _ in place)
        yield [p for p in self.census.places(pair) if set(p) & set(place)]
        yield list(self.census.places(pair))
        yield [p for other in self.census.pairs if set(other) & set(pair) for p in self.census.places(other)]

    def _index(self, place: Place) -> tuple[Axes, tuple[int, ...]]:
        return tuple(axis for axis, _ in place), tuple(self._rank[axis][value] for axis, value in place)

    def _told(self, family: Family) -> list[Told]:
        """Return what is published about the counts of a family, and what else is known of them."""
        every = tuple(range(len(family.counts)))
        found = []
        for key in [axes for axes in family.counts[0] if set(axes) <= set(family.lattice.sizes)]:
            if len(key) == 2 and not family.lattice.crosses(key):
                continue
            for where in np.ndindex(np.shape(family.counts[0][key])):
                place = tuple((axis, self.values[axis][i]) for axis, i in zip(key, where))
                counts = [float(table[key][where]) for table in family.counts]
                if self.visible(place, family.level, family.unit):
                    found += [Told(key, where, (k,), count, count) for k, count in enumerate(counts)]
                    continue
                if family.whole and self.visible(place, ROW, family.unit):
                    found.append(Told(key, where, every, sum(counts), sum(counts)))
                if place:
                    found += self._bounds(family, key, where, place)
        return found + self._impossible(family)

    def _bounds(self, family: Family, key: Axes, where: tuple[int, ...], place: Place) -> list[Told]:
        """Return what the label and the verdicts of a group tell that is held back."""
        # Crossed groups that are held back have no row; those whose classes are have one, with verdicts.
        spoken = family.level != ROW and place in self.outline.rows and place not in self.hidden[ROW]
        if len(place) == 2 and not spoken:
            return []
        every = tuple(range(len(family.counts)))
        count = sum(int(table[key][where]) for table in family.counts)
        if key[0] in self.outline.lists or key[0] in self.unlabelled:
            return [Told(key, where, every, 1.0)] if family.level == ROW and count else []
        if family.unit != "patients" and not self.census.plain:
            return []
        found = []
        if family.whole and place in self.hidden[ROW]:
            steps = sorted({1, self.k, max(self.k, self.protocol.min_patients)})
            found.append(Told(key, where, every, *self._between(count, steps)))
        if family.level != ROW and (place, family.level) not in self.quiet:
            limits = [self._between(int(table[key][where]), self._steps()) for table in family.counts]
            found += [Told(key, where, (k,), low, high) for k, (low, high) in enumerate(limits)]
        return found

    @staticmethod
    def _between(count: int, steps: Sequence[int]) -> tuple[float, float]:
        """Return between which of some steps a count lies."""
        low = max((step for step in steps if step <= count), default=0)
        return float(low), float(min((step - 1 for step in steps if step > count), default=np.inf))

    def _impossible(self, family: Family) -> list[Told]:
        """Return which provenance goes with no ancestry: one of unknown ancestry has none, every other has one."""
        found = []
        for name in [name for name in self.outline.lists if name in family.lattice.sizes]:
            if not family.lattice.crosses(("ancestry", name)):
                continue
            for i, ancestry in enumerate(self.values["ancestry"]):
                for j, value in enumerate(self.values[name]):
                    if (ancestry in (UNKNOWN, DECLINED)) != (value == NOBODY):
                        found.append(Told(("ancestry", name), (i, j), (0,), 0.0, 0.0))
        return found
