"""Which case and which patch: each sample is a function of (seed, step, slot) alone.

So the number of workers changes nothing, and a run goes on at any step without stored state.
Legend: C channels, ``*S`` spatial axes of a case, ``*P`` of a patch, D their number, N boxes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError, InputError
from medimg.training.cases import PreparedCase
from medimg.training.seeds import ORDER, SAMPLE, numpy_generator
from medimg.training.settings import FitSettings

#: A box stays in a patch that holds at least this share of it.
BOX_SHARE = 0.5

_READ_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError)


class Sample(TypedDict):
    """One patch: what `collate` joins into a batch."""

    case_id: str
    image: NDArray[Any]
    """(C, *P), stored values; zeros outside ``valid``."""
    label: NDArray[Any] | None
    """(*P)"""
    boxes: NDArray[np.float32] | None
    """(N, 2*D) in patch coordinates."""
    box_labels: NDArray[np.int64] | None
    classes: Mapping[str, float]
    stats: Mapping[str, Any]
    valid: NDArray[np.int64]
    """(D, 2): first and past-the-last index per axis that the case covers."""


def read_patch(case: PreparedCase, start: Sequence[int], size: Sequence[int]) -> Sample:
    """Read one patch of a case; what lies outside the case is zero and not ``valid``.

    Parameters
    ----------
    case : PreparedCase
        Only the patch is read from its arrays.
    start, size : sequence of int
        First index (may be negative) and size per axis, in prepared index coordinates.
    """
    shape = case.image.shape[1:]
    inside = tuple(slice(max(0, a), min(n, a + p)) for a, p, n in zip(start, size, shape, strict=True))
    valid = np.array([(s.start - a, s.stop - a) for s, a in zip(inside, start, strict=True)], np.int64)
    boxes, box_labels = None, None
    if case.boxes is not None and case.box_labels is not None:
        boxes, box_labels = _crop_boxes(case.boxes, case.box_labels, start, valid)
    return Sample(
        case_id=case.case_id,
        image=_pad(case.image[(slice(None), *inside)], size, valid),
        label=None if case.label is None else _pad(case.label[inside], size, valid),
        boxes=boxes,
        box_labels=box_labels,
        classes=case.classes,
        stats=case.stats,
        valid=valid,
    )


def read_whole(case: PreparedCase, divisor: Sequence[int]) -> Sample:
    """Read a whole case, padded at the far end to a multiple of ``divisor`` per axis."""
    size = tuple(-(-n // d) * d for n, d in zip(case.image.shape[1:], divisor, strict=True))
    return read_patch(case, (0,) * len(size), size)


def case_order(generator: np.random.Generator, strata: Sequence[Hashable] | None, n: int) -> NDArray[np.int64]:
    """Return ``n`` case indices for one pass over the training set.

    Without strata a permutation. With them all strata get equal shares: case i is expected n / (strata * size of
    its stratum) times, rounded by systematic sampling (Madow, 1949), which keeps the counts within one of it.
    """
    if strata is None:
        return generator.permutation(n)
    counts: dict[Hashable, int] = {}
    for stratum in strata:
        counts[stratum] = counts.get(stratum, 0) + 1
    shuffled = generator.permutation(n)
    expected = np.array([n / (len(counts) * counts[strata[i]]) for i in shuffled])
    edges = np.cumsum(expected) * (n / expected.sum())
    ticks = np.arange(n) + generator.random()
    drawn = shuffled[np.minimum(np.searchsorted(edges, ticks, side="right"), n - 1)]
    return generator.permutation(drawn)


class Sampler:
    """Sample addressed by step and slot.

    Parameters
    ----------
    cases : sequence of PreparedCase
        Training split; its order is part of what is reproducible.
    settings : FitSettings
        Uses seed, batch_size, accumulate, patch and foreground_probability.
    divisor : sequence of int
        Per axis; whole images are padded to a multiple of it, patches must be one.
    strata : sequence of hashable, optional
        Stratum of every case; given, all strata are equally frequent.

    Raises
    ------
    ConfigError, InputError
        No cases; a patch that does not fit the cases' axes or the divisor.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        settings: FitSettings,
        divisor: Sequence[int],
        strata: Sequence[Hashable] | None = None,
    ) -> None:
        if not cases:
            raise InputError("there is no training case", fix="look at the split: medimg check data=...")
        self.cases, self.settings, self.divisor = cases, settings, tuple(divisor)
        self.strata = None if strata is None else list(strata)
        self._orders: dict[int, NDArray[np.int64]] = {}
        patch = settings.patch
        if patch is not None and (
            len(patch) != len(self.divisor) or any(p % d for p, d in zip(patch, self.divisor, strict=True))
        ):
            raise ConfigError(
                "the patch does not fit the network",
                where="plan.patch",
                got=list(patch),
                expected=f"per axis a multiple of {list(self.divisor)}",
            )

    def case_index(self, step: int, slot: int) -> int:
        """Return which case is taken: passes over the training set, each in an order of its own."""
        n = len(self.cases)
        number, position = divmod(step * self.settings.samples_per_step + slot, n)
        if number not in self._orders:
            if len(self._orders) > 2:
                self._orders.clear()
            generator = numpy_generator(self.settings.seed, ORDER, number)
            self._orders[number] = case_order(generator, self.strata, n)
        return int(self._orders[number][position])

    def sample(self, step: int, slot: int) -> Sample:
        """Return the sample of a slot of a step.

        Raises
        ------
        MedimgError
            The case cannot be read; names it and the cause.
        """
        case = self.cases[self.case_index(step, slot)]
        try:
            patch = self.settings.patch
            if patch is None:
                return read_whole(case, self.divisor)
            generator = numpy_generator(self.settings.seed, SAMPLE, step, slot)
            return read_patch(case, self._place(case, patch, generator), patch)
        except _READ_ERRORS as error:
            raise InputError(
                f"a training case cannot be read: {type(error).__name__}: {error}",
                where=f"case {case.case_id}",
                fix="prepare the data again, or leave the case out",
            ) from error

    def _place(self, case: PreparedCase, patch: Sequence[int], generator: np.random.Generator) -> tuple[int, ...]:
        """Return the first index of the patch: around a foreground point, or anywhere inside."""
        centre = None
        if generator.random() < self.settings.foreground_probability:
            centre = _foreground_point(case, generator)
        start = []
        for axis, (n, p) in enumerate(zip(case.image.shape[1:], patch, strict=True)):
            if n <= p:
                start.append(-((p - n) // 2))
            elif centre is None:
                start.append(int(generator.integers(0, n - p + 1)))
            else:
                # Anywhere in the central half: always in the middle, a network could learn the place.
                offset = int(generator.integers(p // 4, p - p // 4))
                start.append(int(np.clip(centre[axis] - offset, 0, n - p)))
        return tuple(start)


def _foreground_point(case: PreparedCase, generator: np.random.Generator) -> NDArray[Any] | None:
    """Return a voxel of a label that the case has (each label alike), else of a box, else None."""
    present = [name for name in sorted(case.foreground) if len(case.foreground[name])]
    if present:
        points = case.foreground[present[int(generator.integers(len(present)))]]
        return np.asarray(points[int(generator.integers(len(points)))])
    if case.boxes is not None and len(case.boxes):
        lower, upper = np.split(np.asarray(case.boxes[int(generator.integers(len(case.boxes)))]), 2)
        return np.floor((lower + upper) / 2).astype(np.int64)
    return None


def _pad(array: NDArray[Any], size: Sequence[int], valid: NDArray[np.int64]) -> NDArray[Any]:
    """Return a copy in memory, laid into zeros of the patch's size where the case is smaller."""
    if array.shape[array.ndim - len(size) :] == tuple(size):
        return np.array(array, order="C")
    leading = array.shape[: array.ndim - len(size)]
    padded = np.zeros((*leading, *size), array.dtype)
    inside = tuple(slice(int(first), int(stop)) for first, stop in valid)
    padded[(slice(None),) * len(leading) + inside] = array
    return padded


def _crop_boxes(
    boxes: NDArray[Any], labels: NDArray[Any], start: Sequence[int], valid: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Move boxes into patch coordinates, clip them, keep those that are inside by at least `BOX_SHARE`."""
    dims = len(start)
    moved = np.asarray(boxes, np.float32).reshape(-1, 2 * dims) - np.tile(np.asarray(start, np.float32), 2)
    lower = np.maximum(moved[:, :dims], valid[:, 0])
    upper = np.minimum(moved[:, dims:], valid[:, 1])
    whole = np.prod(moved[:, dims:] - moved[:, :dims], axis=1)
    kept = np.prod(np.maximum(upper - lower, 0), axis=1) >= BOX_SHARE * np.maximum(whole, 1e-6)
    clipped = np.concatenate([lower, upper], axis=1)[kept].astype(np.float32)
    return clipped, np.asarray(labels, np.int64).reshape(-1)[kept]
