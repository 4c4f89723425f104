"""Divide slices of one orientation and size into the stacks that they were acquired as.

Nothing here depends on the reading policy: what belongs together is settled first, and only then is a stack with
holes or doubles mended, or refused.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.io.dicom import tags
from medimg.io.dicom.geometry import Arrangement, arrange
from medimg.io.dicom.headers import Header
from medimg.io.dicom.sorted import along_normal
from medimg.io.dicom.spacing import SAME_MM, spacing_of
from medimg.io.dicom.traits import TIME, TRAITS, Trait, seconds
from medimg.io.findings import Finding, Severity

# Parts that may be tried beyond one a slice; headers made of noise would need exponentially many.
_TRIALS = 300


@dataclass(frozen=True, eq=False)
class Part:
    """Slices that were acquired as one stack, as far as their headers tell.

    Attributes
    ----------
    headers : tuple of Header
        Slices, not sorted.
    arrangement : Arrangement or None
        Where they lie evenly as they are.
    n_doubled : int
        How many lie at a position that another one has taken.
    depth : int
        How many lie at the fullest position.
    has_holes : bool
        Whether they lie on an even lattice with holes.
    split_by : tuple of str
        Traits that set this part apart.
    values : dict
        What they are, by key.
    findings : tuple of Finding
        How the split was made, where it needs a word.
    """

    headers: tuple[Header, ...]
    arrangement: Arrangement | None
    n_doubled: int
    depth: int
    has_holes: bool
    split_by: tuple[str, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def separate(headers: Sequence[Header]) -> list[Part]:
    """Divide slices of one orientation and size into stacks.

    A set that lies evenly is one stack, unless images of another contrast (echo, b-value, …) fill the same space
    evenly too. A set that does not is divided by the first traits that leave no position doubled; where no trait
    does and every position holds equally many, by the order of times or instance numbers. Slices that only leave
    holes are never divided by traits that neighbours may differ in: they are a stack with holes.
    """
    whole = _measured(headers)
    varying: list[_Varying] = []
    seen: set[tuple[int, ...]] = set()
    for trait in TRAITS:
        if (whole.arrangement is not None and not trait.contrast) or not trait.varies(headers):
            continue
        values = [trait.value(header) for header in headers]
        numbers = {value: n for n, value in enumerate(dict.fromkeys(values))}
        division = tuple(numbers[value] for value in values)
        if len(numbers) > 1 and division not in seen:
            seen.add(division)
            varying.append(_Varying(trait, {id(header): value for header, value in zip(headers, values, strict=True)}))
    return _after_the_first(_search(whole, varying, [len(headers) + _TRIALS]))


@dataclass(frozen=True, eq=False)
class _Varying:
    """A trait with its value of every header, by identity: a search asks for them again and again."""

    trait: Trait
    values: dict[int, Hashable]

    def parts(self, headers: Sequence[Header]) -> dict[Hashable, list[Header]]:
        """Divide headers, in order of first appearance."""
        found: dict[Hashable, list[Header]] = {}
        for header in headers:
            found.setdefault(self.values[id(header)], []).append(header)
        return found


def _after_the_first(parts: list[Part]) -> list[Part]:
    """Count times from the first stack on: when a person was scanned is nobody's business here."""
    start = min((part.values[TIME] for part in parts if part.values.get(TIME) is not None), default=0.0)
    return [
        replace(part, values={**part.values, TIME: round(part.values[TIME] - start, 3)})
        if part.values.get(TIME) is not None
        else part
        for part in parts
    ]


def _measured(headers: Sequence[Header]) -> Part:
    try:
        return Part(tuple(headers), arrange(headers), 0, 1, False)
    except InputError:
        along = along_normal(headers)
    places = np.split(along, np.flatnonzero(np.diff(along) > SAME_MM) + 1)
    n_doubled = len(along) - len(places)
    has_holes = len(along) > 1 and n_doubled == 0 and spacing_of(along).kind == "missing"
    return Part(tuple(headers), None, n_doubled, max(map(len, places)), has_holes)


def _search(whole: Part, traits: Sequence[_Varying], trials: list[int]) -> list[Part]:
    """Return the best division; ``trials`` holds how many parts may still be tried."""
    if whole.arrangement is not None:
        return _contrasts(whole, traits, trials)
    best, least = [whole], whole.n_doubled
    for n, varying in enumerate(traits):
        trait, groups = varying.trait, varying.parts(whole.headers)
        if not _sensible(whole, trait, groups) or len(groups) > trials[0]:
            continue
        found = [part for group in groups.items() for part in _divided(whole, trait, group, traits[n + 1 :], trials)]
        if all(part.arrangement is not None for part in found):
            return found
        n_doubled = sum(part.n_doubled for part in found)
        if n_doubled < least:
            best, least = found, n_doubled
    if least:
        return [ranked for part in best for ranked in (_ranked(part) if part.n_doubled else [part])]
    return best


def _sensible(whole: Part, trait: Trait, groups: dict[Hashable, list[Header]]) -> bool:
    """Tell whether a division can be one into stacks: not slice by slice, and no single stray but of a contrast."""
    sizes = {len(group) for group in groups.values()}
    if len(groups) < 2 or len(groups) > max(len(whole.headers) // 2, whole.depth):
        return False
    return trait.contrast or (not whole.has_holes and (min(sizes) > 1 or len(sizes) == 1))


def _divided(
    whole: Part, trait: Trait, group: tuple[Hashable, list[Header]], rest: Sequence[_Varying], trials: list[int]
) -> list[Part]:
    value, headers = group
    trials[0] -= 1
    return [
        replace(part, split_by=(*whole.split_by, trait.name, *part.split_by), values={trait.key: value, **part.values})
        for part in _search(_measured(headers), rest, trials)
    ]


def _contrasts(whole: Part, traits: Sequence[_Varying], trials: list[int]) -> list[Part]:
    """Divide an even stack where images of several contrasts each fill the same space evenly."""
    mixed = []
    for n, varying in enumerate(traits):
        trait = varying.trait
        groups = varying.parts(whole.headers) if trait.contrast else {}
        if len(groups) < 2 or len(groups) > trials[0]:
            continue
        trials[0] -= len(groups)
        measured = [_measured(group) for group in groups.values()]
        even = all(part.arrangement is not None and len(part.headers) > 1 for part in measured)
        if even and _overlap(measured):
            return [part for group in groups.items() for part in _divided(whole, trait, group, traits[n + 1 :], trials)]
        if trait.key != "image_type":
            mixed.append(trait.name)
    if not mixed:
        return [whole]
    text = "Slices of one even stack differ in what should be the same for all; they were kept together."
    return [replace(whole, findings=(Finding("MIXED_VALUES", "warning", text, value=", ".join(mixed)),))]


def _overlap(parts: Sequence[Part]) -> bool:
    """Tell whether a part begins before another one ends: neighbours of one scan do not."""
    ends = sorted((along[0], along[-1]) for along in (along_normal(part.headers) for part in parts))
    return any(after[0] < before[1] for before, after in pairwise(ends))


def _ranked(part: Part) -> list[Part]:
    """Divide slices, of which every position holds equally many, by their order there; [part] where that fails."""
    along = along_normal(part.headers, in_order=False)
    order = np.argsort(along, kind="stable")
    places = np.split(order, np.flatnonzero(np.diff(along[order]) > SAME_MM) + 1)
    count = len(places[0])
    if count < 2 or any(len(place) != count for place in places):
        return [part]
    for name, key, value_of, needs_blocks in _RANKS:
        known = [value_of(header) for header in part.headers]
        if any(value is None for value in known):
            continue
        values = np.asarray(known, dtype=np.float64)
        table = np.sort(values[np.stack(places)], axis=1)
        if (np.diff(table, axis=1) <= 0).any() or (needs_blocks and not _regular(table, cycles=not key)):
            continue
        columns = np.stack([place[np.argsort(values[place])] for place in places], axis=1)
        found = [_measured([part.headers[int(n)] for n in column]) for column in columns]
        if all(one.arrangement is not None for one in found):
            return [_named(part, one, n, name, key, float(table[:, n].mean())) for n, one in enumerate(found)]
    return [part]


_RANKS: tuple[tuple[str, str, Callable[[Header], float | None], bool], ...] = (
    (
        "order of trigger times",
        "trigger_time_ms",
        lambda header: tags.number(header.elements, tags.TRIGGER_TIME),
        False,
    ),
    ("order of acquisition times", TIME, seconds, True),
    ("order of instance numbers", "", lambda header: tags.number(header.elements, tags.INSTANCE_NUMBER), True),
)


def _regular(table: NDArray[np.float64], *, cycles: bool) -> bool:
    """Tell whether values (positions, ranks) come one stack after the other or, if ``cycles``, by position."""
    blocks = bool((table[:, :-1].max(axis=0) < table[:, 1:].min(axis=0)).all())
    return blocks or (cycles and bool((np.diff(table, axis=1) == 1).all()))


def _named(whole: Part, part: Part, n: int, name: str, key: str, mean: float) -> Part:
    text = f"Nothing in the headers but the {name} sets the stacks of this series apart."
    severity: Severity = "info" if key else "warning"
    finding = Finding("SPLIT_BY_ORDER", severity, text, value=f"number {n + 1} at each position")
    values = {**whole.values, "time_order": n} | ({key: round(mean, 3)} if key else {})
    return replace(part, split_by=(*whole.split_by, name), values=values, findings=(*whole.findings, finding))
