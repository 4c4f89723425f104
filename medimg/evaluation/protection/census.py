"""Who stands where: the counts behind everything that a report publishes, for its protection.

A place is a group of one axis or of two crossed ones: ``(("ancestry", "AFR"),)``,
``(("ancestry", "AFR"), ("sex", "female"))``. A partition splits the cases of a target by their truth; its classes are
counted in every place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medimg.evaluation.evidence import OVERALL, Evidence, Key
from medimg.evaluation.metrics.intervals import count_patients
from medimg.evaluation.protocol import EndpointRule

Ints = NDArray[np.int64]
Place = tuple[tuple[str, str], ...]
Axes = tuple[str, ...]

ANY = "any target"
"""The partition by whether any target of a case is positive."""


@dataclass(frozen=True)
class Tables:
    """Counts of one kind in every place: an integer array per set of axes, ``()`` being everyone.

    Attributes
    ----------
    counts : mapping of axes to (n1, ...) int64
    """

    counts: Mapping[Axes, Ints]


@dataclass(frozen=True)
class Census:
    """The counts of a test set.

    Attributes
    ----------
    values : mapping of str to list of str
        Groups of each axis, in order.
    pairs : sequence of (str, str)
        Axes that are crossed somewhere in the report.
    patients, cases : Tables
    classes : mapping of str to list of (Tables, Tables)
        Partition to (patients, cases) of each of its classes.
    partitioned : frozenset of str
        Axes on which every patient stands in one group alone.
    plain : bool
        Whether every patient has one case: counts of patients and cases are then the same.
    """

    values: Mapping[str, list[str]]
    pairs: Sequence[tuple[str, str]]
    patients: Tables
    cases: Tables
    classes: Mapping[str, list[tuple[Tables, Tables]]]
    partitioned: frozenset[str]
    plain: bool
    _rank: dict[str, dict[str, int]] = field(default_factory=dict, repr=False)

    def index(self, place: Place) -> tuple[Axes, tuple[int, ...]]:
        """Return axes and indices of a place."""
        if not self._rank:
            self._rank.update({axis: {v: i for i, v in enumerate(values)} for axis, values in self.values.items()})
        return tuple(axis for axis, _ in place), tuple(self._rank[axis][value] for axis, value in place)

    def count(self, tables: Tables, place: Place) -> int:
        """Return one count; ``place`` is ``()`` for everyone."""
        axes, where = self.index(place)
        return int(tables.counts[axes][where])

    def places(self, axes: Axes) -> Iterator[Place]:
        """Return every place of some axes, empty ones among them."""
        for combination in product(*(self.values[axis] for axis in axes)):
            yield tuple(zip(axes, combination))


def census_of(evidence: Evidence, pairs: Sequence[tuple[str, str]], rules: Sequence[EndpointRule]) -> Census:
    """Count patients and cases of any evidence; pairs that it cannot cross, or not fully, are left out."""
    values: dict[str, list[str]] = {}
    for axis, value in evidence.keys[1:]:
        values.setdefault(axis, []).append(value)
    table = evidence.table
    if table is None:
        return _tallied(evidence, values, pairs)
    if "site" not in values:
        values["site"] = sorted(table["site_id"].unique())
    return take_census(table, values, [pair for pair in pairs if set(pair) <= set(values)], rules)


def _tallied(
    evidence: Evidence,
    values: Mapping[str, Sequence[str]],
    pairs: Sequence[tuple[str, str]],
) -> Census:
    """Count groups that are known by their tallies alone."""
    names = {axis: list(groups) for axis, groups in values.items()}
    crossed = {pair: evidence.crossed(*pair) for pair in pairs if set(pair) <= set(names)}
    places: dict[Place, Key] = {(): OVERALL, **{((key[0], key[1]),): key for key in evidence.keys[1:]}}
    for found in crossed.values():
        places |= {tuple(parts.items()): key for key, parts in found.items()}
    keys: list[Axes] = [(), *((axis,) for axis in names), *crossed]
    columns = [_Tallied.of(evidence, key, list(evidence.tasks)) for key in places.values()]

    def tables(counts: Sequence[int]) -> Tables:
        blank = {axes: np.zeros(tuple(len(names[axis]) for axis in axes), np.int64) for axes in keys}
        for place, count in zip(places, counts):
            where = tuple(names[axis].index(value) for axis, value in place)
            blank[tuple(axis for axis, _ in place)][where] = count
        return Tables(blank)

    patients, cases = (tables([getattr(column, unit) for column in columns]) for unit in ("patients", "cases"))
    classes = {
        name: [
            (tables([c.classes[name][k][0] for c in columns]), tables([c.classes[name][k][1] for c in columns]))
            for k in range(2)
        ]
        for name in columns[0].classes
    }
    whole = [pair for pair in crossed if _adds_up(patients, pair) and _adds_up(cases, pair)]
    total = int(patients.counts[()])
    partitioned = frozenset(axis for axis in names if int(patients.counts[(axis,)].sum()) == total)
    return Census(names, whole, patients, cases, classes, partitioned, _alike(patients, cases))


@dataclass(frozen=True)
class _Tallied:
    """The counts of one group: patients and cases, and of each class of each partition."""

    patients: int
    cases: int
    classes: Mapping[str, list[tuple[int, int]]]

    @classmethod
    def of(cls, evidence: Evidence, key: Key, targets: Sequence[str]) -> _Tallied:
        tally, members = evidence.tally(key), evidence.members(key)
        classes = {}
        for target in targets:
            rows = evidence.select(target, members).cases
            positive = (rows["truth"] == 1) | (rows["truth_empty"] == 0) | (rows["n_lesions"] > 0)
            classes[target] = [(count_patients(rows["patient"][m]), int(m.sum())) for m in (positive, ~positive)]
        return cls(tally.n_patients, tally.n_cases, classes)


def _adds_up(tables: Tables, pair: Axes) -> bool:
    crossed = tables.counts[pair]
    margins = (crossed.sum(axis=1), crossed.sum(axis=0))
    return all(np.array_equal(margin, tables.counts[(axis,)]) for axis, margin in zip(pair, margins))


def _alike(one: Tables, other: Tables) -> bool:
    return all(np.array_equal(one.counts[axes], other.counts[axes]) for axes in one.counts)


def take_census(
    table: pd.DataFrame,
    values: Mapping[str, Sequence[str]],
    pairs: Sequence[tuple[str, str]],
    rules: Sequence[EndpointRule],
) -> Census:
    """Count patients and cases in every place.

    Parameters
    ----------
    table : DataFrame
        Checked cases with ``patient``, ``case``, ``site_id`` and ``axis_<name>``, from
        :func:`medimg.evaluation.groups.assign_groups`.
    values : mapping of str to sequence of str
        Groups of each axis.
    pairs : sequence of (str, str)
        Axes to cross.
    rules : sequence of EndpointRule
        Their targets and grades say by what the cases are split.
    """
    names = {axis: list(groups) for axis, groups in values.items()}
    codes = {axis: _codes(table, axis, groups) for axis, groups in names.items()}
    keys: list[Axes] = [(), *((axis,) for axis in names), *pairs]
    shapes = {axes: tuple(len(names[axis]) for axis in axes) for axes in keys}
    place = {axes: _ravel(codes, axes, shapes[axes], len(table)) for axes in keys}
    patient, case = table["patient"].to_numpy(np.int64), table["case"].to_numpy(np.int64)
    single = len(pd.unique(patient)) == len(pd.unique(case))

    def tables(ids: Ints, mask: NDArray[np.bool_] | slice) -> Tables:
        chosen = ids[mask]
        once = len(pd.unique(chosen)) == len(chosen)
        counts = {axes: _distinct(chosen, place[axes][mask], shapes[axes], once) for axes in keys}
        return Tables(counts)

    everyone = slice(None)
    cases = tables(case, everyone)
    patients = cases if single else tables(patient, everyone)
    classes = {}
    for name, masks in _partitions(table, rules).items():
        counted = [tables(case, mask) for mask in masks]
        classes[name] = [(c if single else tables(patient, mask), c) for c, mask in zip(counted, masks)]
    total = int(patients.counts[()])
    partitioned = frozenset(axis for axis in names if int(patients.counts[(axis,)].sum()) == total)
    return Census(names, list(pairs), patients, cases, classes, partitioned, single)


def _codes(table: pd.DataFrame, axis: str, groups: list[str]) -> Ints:
    column = table[f"axis_{axis}"] if f"axis_{axis}" in table else table["site_id"]
    return pd.Categorical(column, categories=groups).codes.astype(np.int64)


def _ravel(codes: Mapping[str, Ints], axes: Axes, shape: tuple[int, ...], n_rows: int) -> Ints:
    if not axes:
        return np.zeros(n_rows, np.int64)
    return np.ravel_multi_index([codes[axis] for axis in axes], shape).astype(np.int64)


def _distinct(ids: Ints, place: Ints, shape: tuple[int, ...], once: bool) -> Ints:
    """Return how many different ids stand in each place."""
    n = int(np.prod(shape, dtype=np.int64))
    found = place if once else pd.unique(ids * n + place) % n
    return np.bincount(found, minlength=n).reshape(shape)


def _partitions(table: pd.DataFrame, rules: Sequence[EndpointRule]) -> dict[str, list[NDArray[np.bool_]]]:
    """Return the masks of the classes of every partition; classes without a case are left out."""
    positive, known = truth_of(table)
    found: dict[str, list[NDArray[np.bool_]]] = {}
    for target in table["target"].unique():
        mine = (table["target"] == target).to_numpy()
        found[target] = [mine & known & positive, mine & known & ~positive, mine & ~known]
        cuts = sorted({cut for rule in rules if rule.target == target for cut in grade_cuts(rule)})
        if cuts:
            step = np.digitize(table["grade_true"].to_numpy(), cuts)
            graded = mine & table["grade_true"].notna().to_numpy()
            found[f"{target}, grades"] = [graded & (step == k) for k in range(len(cuts) + 1)]
    # A case is positive where any of its targets is: counted on its first row.
    shows = positive | (np.isnan(table["truth"].to_numpy()) & (table["grade_true"].to_numpy() > 0))
    case = table["case"].to_numpy()
    any_positive = np.bincount(case, shows) > 0
    first = np.zeros(len(table), bool)
    first[np.unique(case, return_index=True)[1]] = True
    found[ANY] = [first & any_positive[case], first & ~any_positive[case]]
    return {name: [mask for mask in masks if mask.any()] for name, masks in found.items()}


def truth_of(table: pd.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether each row is positive, and whether that is known."""
    truth, empty = table["truth"].to_numpy(), table["truth_empty"].to_numpy()
    lesions = table["n_lesions"].to_numpy()
    positive = (truth == 1) | (empty == 0) | (lesions > 0)
    return positive, ~(np.isnan(truth) & np.isnan(empty) & np.isnan(lesions))


def grade_cuts(rule: EndpointRule) -> tuple[int, ...]:
    """Return the grades at which an endpoint cuts the scale of grades."""
    if rule.grade is None:
        return ()
    return (rule.grade, rule.grade + 1) if rule.metric == "grade_recall" else (rule.grade,)
