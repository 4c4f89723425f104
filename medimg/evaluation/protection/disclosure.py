"""What published counts leave open about the others: linear programming over the table that they all come from.

Every published count is a sum over cells of one many-dimensional table (ancestry by sex by age by site by scanner, and
by truth). The range of a count that was held back is what the tables leave open that agree with everything published.
The table itself would be large; tables over the cliques of the axes that are crossed, agreeing where they overlap, can
be joined to it exactly when the cliques form a tree (Lauritzen 1996, Graphical Models, section 3.1), which filling in
makes sure of. So nothing is lost by never writing it down.

Letters: V variables, one per cell of a clique and class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from medimg.errors import MedimgError

Axes = tuple[str, ...]
Columns = NDArray[np.int64]
_FAR = 1e5
_SLACK = 1e-6
_MANY = 4
"""Open questions from which it pays to push them together before one by one."""


@dataclass(frozen=True)
class Told:
    """A count that is known to lie between two bounds: published where they are equal.

    ``axes`` and ``where`` name the place, ``classes`` the classes that are counted together.
    """

    axes: Axes
    where: tuple[int, ...]
    classes: tuple[int, ...]
    low: float
    high: float = np.inf


@dataclass(frozen=True)
class Question:
    """A count that must stay open: its greatest value at least ``reach``, its range at least ``width`` wide."""

    axes: Axes
    where: tuple[int, ...]
    classes: tuple[int, ...]
    count: int
    reach: float
    width: float


class Lattice:
    """The table of counts behind a report, as far as its axes are crossed.

    Parameters
    ----------
    sizes : mapping of str to int
        Groups of each axis.
    pairs : iterable of (str, str)
        Axes of which crossed counts are published.
    n_classes : int
        Classes that every cell is split into.
    """

    def __init__(self, sizes: Mapping[str, int], pairs: Iterable[tuple[str, str]], n_classes: int) -> None:
        self.sizes, self.n_classes = dict(sizes), n_classes
        self._cliques = cliques(list(sizes), pairs)
        self._grids: list[Columns] = []
        start = 0
        for clique in self._cliques:
            shape = (*(self.sizes[axis] for axis in clique), n_classes)
            grid = np.arange(start, start + int(np.prod(shape))).reshape(shape)
            self._grids.append(grid)
            start += grid.size
        self.n_variables = start
        self.agreement: list[tuple[Columns, Columns | None]] = self._agree()

    def crosses(self, axes: Axes) -> bool:
        """Return whether counts of these axes together are sums of cells."""
        return any(set(axes) <= set(clique) for clique in self._cliques)

    def columns(self, axes: Axes, where: tuple[int, ...], classes: Sequence[int]) -> Columns:
        """Return the variables whose sum is the count of some classes in a place."""
        for clique, grid in zip(self._cliques, self._grids):
            if set(axes) <= set(clique):
                return self._part(clique, grid, dict(zip(axes, where)), classes)
        raise KeyError(axes)

    @staticmethod
    def _part(clique: Axes, grid: Columns, fixed: Mapping[str, int], classes: Sequence[int]) -> Columns:
        chosen = grid[tuple(fixed.get(axis, slice(None)) for axis in clique)]
        return chosen[..., list(classes)].ravel()

    def _agree(self) -> list[tuple[Columns, Columns | None]]:
        """Return pairs of sets of variables with the same sum: cliques that are neighbours in the tree."""
        found: list[tuple[Columns, Columns | None]] = []
        for one, other in junction_tree(self._cliques):
            shared = [axis for axis in self._cliques[one] if axis in self._cliques[other]]
            for where in product(*(range(self.sizes[axis]) for axis in shared)):
                fixed = dict(zip(shared, where))
                for k in range(self.n_classes):
                    sides = [self._part(self._cliques[c], self._grids[c], fixed, [k]) for c in (one, other)]
                    found.append((sides[0], sides[1]))
        return found


class Audit:
    """Whether counts that are held back stay open. What is shown to be open stays so when more is held back.

    Parameters
    ----------
    lattice : Lattice
    questions : sequence of Question
        In the order in which they are to be answered.
    """

    def __init__(self, lattice: Lattice, questions: Sequence[Question]) -> None:
        self.lattice, self.questions = lattice, list(questions)
        self._asked = _matrix([(lattice.columns(q.axes, q.where, q.classes), None) for q in questions], lattice)
        # The true table agrees with everything published: the ranges hold the true counts to begin with.
        self.most = np.array([float(q.count) for q in questions])
        self.least = self.most.copy()
        self._given_up = np.zeros(len(self.questions), bool)

    def first_closed(self, told: Sequence[Told]) -> Question | None:
        """Return the first question that is not open enough, or None.

        Raises
        ------
        MedimgError
            Where no table agrees with what is told: the counts contradict each other.
        """
        if not self._closed():
            return None
        polytope = Polytope(self.lattice, told)
        for sign in (1, -1):
            if len(self._closed(sign)) >= _MANY:
                self._push_together(polytope, sign)
        for i in self._closed():
            for sign in (1, -1):
                if i in self._closed(sign):
                    self._learn(polytope.farthest(self._asked[[i]].toarray().ravel() * sign))
                if i in self._closed(sign):
                    return self.questions[i]
        return None

    def give_up(self, question: Question) -> None:
        """Leave a question as it is."""
        self._given_up[self.questions.index(question)] = True

    def _closed(self, sign: int = 0) -> list[int]:
        """Return the questions whose greatest value (1), width (-1) or either (0) is not known to be enough."""
        reach = self.most < np.array([q.reach for q in self.questions]) - _SLACK
        width = self.most - self.least < np.array([q.width for q in self.questions]) - _SLACK
        closed = {1: reach, -1: width, 0: reach | width}[sign] & ~self._given_up
        return [int(i) for i in np.flatnonzero(closed)]

    def _push_together(self, polytope: Polytope, sign: int) -> None:
        """Push all counts that are not open up (down) together, each no further than needed."""
        chosen = self._closed(sign)
        goal = [self.questions[i].reach if sign > 0 else self.most[i] - self.questions[i].width for i in chosen]
        self._learn(polytope.together(self._asked[chosen], np.maximum(goal, 0.0), sign))

    def _learn(self, solution: NDArray[np.float64]) -> None:
        counts = self._asked @ solution
        self.most, self.least = np.maximum(self.most, counts), np.minimum(self.least, counts)


class Polytope:
    """The tables that agree with what is told."""

    def __init__(self, lattice: Lattice, told: Sequence[Told]) -> None:
        self.n = lattice.n_variables
        agree = lattice.agreement
        published = [t for t in told if t.low == t.high]
        self.equal = _matrix(
            [*((lattice.columns(t.axes, t.where, t.classes), None) for t in published), *agree], lattice
        )
        self.values = np.array([t.low for t in published] + [0.0] * len(agree), np.float64)
        bounded = [t for t in told if t.low != t.high]
        sums = _matrix([(lattice.columns(t.axes, t.where, t.classes), None) for t in bounded], lattice)
        low, high = (np.array([getattr(t, end) for t in bounded], np.float64) for end in ("low", "high"))
        below, above = low > 0, np.isfinite(high)
        self.upper = sparse.vstack([-sums[below], sums[above]], format="csr")
        self.limits = np.concatenate([-low[below], high[above]])
        # Where nothing that is told bounds a count, as where everybody is few, this does.
        self.far = 10 * float(np.abs(np.concatenate([self.values, self.limits])).max(initial=_FAR))

    def farthest(self, direction: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the table that goes farthest in a direction (V,)."""
        return self._solve(-direction, self.upper, self.limits, self.equal, self._bounds())

    def together(self, asked: sparse.csr_array, goal: NDArray[np.float64], sign: int) -> NDArray[np.float64]:
        """Return the table in which counts (m, V) go farthest up (down) together, each up to its goal (m,)."""
        # One more variable per count, between it and its goal: the way that it went.
        m = len(goal)
        link = sparse.hstack([-sign * asked, sign * sparse.eye_array(m)], format="csr")
        upper, equal = (
            sparse.hstack([part, sparse.csr_array((part.shape[0], m))], format="csr")
            for part in (self.upper, self.equal)
        )
        bounds = self._bounds(m)
        bounds[self.n :, 1 if sign > 0 else 0] = goal
        cost = np.concatenate([np.zeros(self.n), np.full(m, -float(sign))])
        limits = np.concatenate([self.limits, np.zeros(m)])
        return self._solve(cost, sparse.vstack([upper, link], format="csr"), limits, equal, bounds)[: self.n]

    def _bounds(self, more: int = 0) -> NDArray[np.float64]:
        return np.column_stack([np.zeros(self.n + more), np.full(self.n + more, self.far)])

    def _solve(
        self,
        cost: NDArray[np.float64],
        upper: sparse.csr_array,
        limits: NDArray[np.float64],
        equal: sparse.csr_array,
        bounds: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        found = linprog(cost, A_ub=upper, b_ub=limits, A_eq=equal, b_eq=self.values, bounds=bounds, method="highs")
        if found.x is None:
            raise MedimgError(
                "The audit of suppressed counts found no table that agrees with what is published.",
                where="evaluation.disclosure",
                got=found.message,
                fix="report this with the sizes of your groups; evaluation.suppress=false builds the report without",
            )
        return np.asarray(found.x, np.float64)


def _matrix(rows: Sequence[tuple[Columns, Columns | None]], lattice: Lattice) -> sparse.csr_array:
    """Return one row of 1 and -1 per pair of sets of variables: the sum of one minus that of the other."""
    lengths = [len(one) + (0 if other is None else len(other)) for one, other in rows]
    parts = [part for pair in rows for part in pair if part is not None]
    signs = [np.full(len(part), sign) for pair in rows for part, sign in zip(pair, (1.0, -1.0)) if part is not None]
    columns = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    data = np.concatenate(signs) if signs else np.zeros(0)
    pointer = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return sparse.csr_array((data, columns, pointer), shape=(len(rows), lattice.n_variables))


def cliques(axes: Sequence[str], pairs: Iterable[tuple[str, str]]) -> list[Axes]:
    """Return the cliques of the graph of crossed axes once it is filled in so that they form a tree.

    >>> cliques(["a", "b", "c", "d"], [("a", "b"), ("b", "c"), ("a", "c")])
    [('d',), ('a', 'b', 'c')]
    """
    near: dict[str, set[str]] = {axis: set() for axis in axes}
    for one, other in pairs:
        near[one].add(other)
        near[other].add(one)
    left, found = list(axes), []
    while left:
        axis = min(left, key=lambda a: (len(near[a]), -left.index(a)))
        found.append(frozenset({axis, *near[axis]}))
        for one, other in combinations(near[axis], 2):
            near[one].add(other)
            near[other].add(one)
        for other in near.pop(axis):
            near[other].discard(axis)
        left.remove(axis)
    maximal = [c for i, c in enumerate(found) if not any(c < d or (c == d and j < i) for j, d in enumerate(found))]
    return [tuple(axis for axis in axes if axis in clique) for clique in maximal]


def junction_tree(found: Sequence[Axes]) -> list[tuple[int, int]]:
    """Return the edges of a tree of cliques in which neighbours share as much as possible."""
    inside, edges = {0}, []
    while len(inside) < len(found):
        choices = [(len(set(found[i]) & set(found[j])), -i, -j) for i in inside for j in range(len(found))]
        _, i, j = max(c for c in choices if -c[2] not in inside)
        edges.append((-i, -j))
        inside.add(-j)
    return edges
