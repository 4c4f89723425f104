"""What a report would publish, and what is held back of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from medimg.evaluation.evidence import Evidence
from medimg.evaluation.protection.census import Axes, Census, Place, census_of
from medimg.evaluation.protocol import EndpointRule
from medimg.evaluation.tables import DECLINED, UNKNOWN

ROW = ""
"""The level of a group's own numbers; every other level is the name of a partition."""
NOBODY = ""
"""Of patients whose ancestry is unknown or declined: the value on the axes of provenance and scheme."""
SITES: Axes = ("ancestry", "site")
"""The axes of the matrix of patients."""


@dataclass(frozen=True)
class Outline:
    """What a report would publish if nothing were held back.

    Attributes
    ----------
    census : Census
    rows : frozenset of Place
        Groups with a row of results.
    matrix : bool
        Whether patients by ancestry and site are printed in full.
    lists : mapping of str to mapping of str to int
        Patients by provenance, scheme and country.
    loose : frozenset of Place
        Entries of lists that do not add up to the patients: not audited, so not told.
    closed : frozenset of axes
        Pairs of axes whose counts do not add up to those of either, as where sites kept small groups to themselves.
    """

    census: Census
    rows: frozenset[Place]
    matrix: bool
    lists: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    loose: frozenset[Place] = frozenset()
    closed: frozenset[Axes] = frozenset()

    @property
    def values(self) -> dict[str, list[str]]:
        """The groups of every axis, and the entries of every list."""
        return {**self.census.values, **{name: list(found) for name, found in self.lists.items()}}


def outline_of(evidence: Evidence, places: Iterable[Place], rules: Sequence[EndpointRule]) -> Outline:
    """Return what a report of some evidence would publish.

    Parameters
    ----------
    evidence : Evidence
    places : iterable of Place
        Of its rows.
    rules : sequence of EndpointRule
        Its endpoints, whose targets and grades split the cases.
    """
    rows = frozenset(place for place in places if place)
    wanted = dict.fromkeys([SITES, *(_axes(place) for place in rows if len(place) == 2)])
    census = census_of(evidence, [(axes[0], axes[1]) for axes in wanted], rules)
    test_set = evidence.test_set
    n = int(census.patients.counts[()])
    unknown = sum(census.count(census.patients, (("ancestry", v),)) for v in (UNKNOWN, DECLINED))
    lists = {"countries": _told(test_set.countries)}
    for name in ("ancestry_sources", "ancestry_schemes"):
        lists[name] = _told(getattr(test_set, name))
        if sum(lists[name].values()) + unknown == n:
            lists[name][NOBODY] = unknown
    kept = {name: found for name, found in lists.items() if found and sum(found.values()) in (n, n - unknown)}
    loose = frozenset(((name, value),) for name, found in lists.items() if name not in kept for value in found)
    matrix = SITES in census.pairs
    return Outline(census, rows, matrix, kept, loose, frozenset(set(wanted) - set(census.pairs)))


def _told(counts: Mapping[str, int | None]) -> dict[str, int]:
    return {name: n for name, n in counts.items() if n is not None}


def _axes(place: Place) -> Axes:
    return tuple(axis for axis, _ in place)


@dataclass(frozen=True)
class Plan:
    """What is held back.

    Attributes
    ----------
    below : int
        The limit k.
    hidden : mapping of str to frozenset of Place
        By level: :data:`ROW`, or a partition whose classes are not told there.
    small : frozenset of Place
        Those with a small count of their own.
    unlabelled : frozenset of str
        Axes on which it is not even told which groups are the small ones, nor their verdicts.
    quiet : frozenset of (Place, str)
        Levels whose verdicts tell too much: there are enough negatives, so there are few positives.
    closed : frozenset of axes
        Pairs of axes of which nothing is told: their counts are incomplete and cannot be audited.
    dropped : frozenset of axes
        Pairs of axes without rows: they would have cost numbers of single axes.
    audit : str
    """

    below: int
    hidden: Mapping[str, frozenset[Place]]
    small: frozenset[Place]
    unlabelled: frozenset[str]
    audit: Literal["passed", "not needed"]
    quiet: frozenset[tuple[Place, str]] = frozenset()
    closed: frozenset[Axes] = frozenset()
    dropped: frozenset[Axes] = frozenset()

    def drops(self, place: Place) -> bool:
        """Return whether a crossed group has no row, since no group of its two axes has one."""
        return tuple(axis for axis, _ in place) in self.dropped

    def holds_back(self, place: Place, level: str = ROW) -> bool:
        """Return whether the numbers of a level are held back in a place."""
        if place in self.hidden.get(level, ()) or place in self.hidden[ROW]:
            return True
        return tuple(axis for axis, _ in place) in self.closed

    def label(self, place: Place) -> Literal["small", "complement"] | None:
        """Return why a group is held back; None where saying so would give something away."""
        if self.muted(place):
            return None
        return "small" if place in self.small else "complement"

    def muted(self, place: Place, level: str = ROW) -> bool:
        """Return whether the verdicts that go with held-back numbers are held back as well."""
        if (place, level) in self.quiet:
            return True
        return len(place) == 1 and place[0][0] in self.unlabelled and self.holds_back(place, level)
