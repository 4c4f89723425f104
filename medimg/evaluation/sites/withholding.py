"""Which groups a site keeps to itself because they are small there.

They are sent together as one nameless group, so that totals stay true. Where that group would itself be small, or
could be had by subtracting what is sent, further groups join it, the smallest first. Chains of subtractions over
several crossed axes are not searched for: a site that must rule them out sends under encryption or declares fewer
crossed axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medimg.evaluation.metrics.intervals import Ints, count_patients

Mask = NDArray[np.bool_]


def withhold(
    value: Ints, patient: Ints, target: Ints, lines: Sequence[Sequence[int]], forced: Sequence[int], below: int
) -> set[int]:
    """Return the groups of one axis, or of two crossed axes, that are not sent by name.

    Parameters
    ----------
    value, patient, target : (n,) int64
        Group, patient and target of each row.
    lines : sequence of sequence of int
        Groups whose sum is known from elsewhere: all of the axis, and on crossed axes those that share a part.
    forced : sequence of int
        Groups that are withheld in any case, because a part of theirs is.
    below : int
        A group with 1 to ``below`` - 1 patients of any target is small.
    """
    n = 1 + max((code for line in lines for code in line), default=-1)
    targets = np.unique(target)
    sizes = [_patients_by_value(value[target == t], patient[target == t], n) for t in targets]
    small = np.any([(size > 0) & (size < below) for size in sizes], axis=0) if sizes else np.zeros(0, bool)
    held = {int(code) for code in np.flatnonzero(small)} | set(forced)
    everyone = _patients_by_value(value, patient, n)
    changed = True
    while changed:
        changed = False
        for line in lines:
            within = held & set(line)
            rest = sorted((code for code in line if code not in held and everyone[code]), key=lambda c: everyone[c])
            if within and rest and _too_small(np.isin(value, list(within)), patient, target, targets, below):
                held.add(rest[0])
                changed = True
    return held


def lines_of(groups: Sequence[Mapping[str, str]]) -> list[list[int]]:
    """Return the groups that share a part, for each part, and all of them."""
    found: dict[tuple[str, str], list[int]] = {}
    for code, parts in enumerate(groups):
        for part in parts.items():
            found.setdefault(part, []).append(code)
    crossed = [line for line in found.values() if len(line) > 1] if groups and len(groups[0]) > 1 else []
    return [*crossed, list(range(len(groups)))]


def _too_small(rows: Mask, patient: Ints, target: Ints, targets: Ints, below: int) -> bool:
    counts = [count_patients(patient[rows & (target == t)]) for t in targets]
    return any(0 < count < below for count in counts)


def _patients_by_value(value: Ints, patient: Ints, n: int) -> Ints:
    if not len(value):
        return np.zeros(n, np.int64)
    pairs = np.unique(value * (int(patient.max()) + 1) + patient)
    return np.bincount(pairs // (int(patient.max()) + 1), minlength=n)
