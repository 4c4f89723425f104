"""How slices lie along their normal: evenly, evenly with holes, or unevenly.

Tolerances, all stated here:

* two slices nearer than 0.01 mm are at the same position;
* a slice may be off its even position by max(0.01 mm, 1 % of the gap); up to 0.055 mm (positions rounded to
  one decimal), but at most 10 % of the gap, is accepted with a finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SAME_MM = 0.01
_EVEN_PART, _ROUNDED_MM, _ROUNDED_PART = 0.01, 0.055, 0.10


@dataclass(frozen=True, eq=False)
class Spacing:
    """What was found of the distances between slices.

    Attributes
    ----------
    kind : {'even', 'missing', 'irregular'}
        ``missing``: the slices lie on an even lattice that has holes.
    gap_mm : float
        Distance between neighbours on the lattice; the median gap where there is none.
    slots : (Z,) ndarray of float64
        Place of every slice in units of ``gap_mm``, whole numbers from 0 unless irregular.
    off_mm, limit_mm, accepted_mm : float
        How far a slice is off its place, what is even without a word, and what is accepted with a finding.
    """

    kind: Literal["even", "missing", "irregular"]
    gap_mm: float
    slots: Floats
    off_mm: float
    limit_mm: float
    accepted_mm: float

    @property
    def n_missing(self) -> int:
        """Number of holes in the lattice."""
        return 0 if self.kind != "missing" else int(self.slots[-1]) + 1 - len(self.slots)

    @property
    def missing(self) -> NDArray[np.intp]:
        """Slots without a slice, in order."""
        everything = np.ones(int(self.slots[-1]) + 1, dtype=bool)
        everything[self.slots.astype(np.intp)] = False
        return np.flatnonzero(everything)


def spacing_of(along_mm: Floats) -> Spacing:
    """Classify the positions (Z,) in mm along the normal, ascending, at least two and none doubled.

    A lattice with holes is looked for with the median gap and, where that fails, with the smallest one; it may
    not have more holes than slices.
    """
    gaps = np.diff(along_mm)
    median = float(np.median(gaps))
    even = _on_lattice(along_mm, np.arange(len(along_mm), dtype=np.float64), "even")
    if even.off_mm <= even.accepted_mm:
        return even
    for trial in (median, float(gaps.min())):
        times = np.rint(gaps / trial)
        if times.min() < 1 or times.sum() > 2 * len(along_mm) - 1:
            continue
        # The gaps without a hole give a better estimate than one of them, which matters across wide holes.
        times = np.rint(gaps / float(gaps[times == 1].mean()))
        if times.min() < 1 or times.max() < 2 or times.sum() > 2 * len(along_mm) - 1:
            continue
        lattice = _on_lattice(along_mm, np.concatenate([[0.0], np.cumsum(times)]), "missing")
        if lattice.off_mm <= lattice.accepted_mm:
            return lattice
    slots = (along_mm - along_mm[0]) / median
    return Spacing("irregular", median, slots, even.off_mm, even.limit_mm, even.accepted_mm)


def _on_lattice(along_mm: Floats, slots: Floats, kind: Literal["even", "missing"]) -> Spacing:
    """Fit a line of positions over slots; the largest residual, centred, is how far a slice is off."""
    centred = slots - slots.mean()
    gap = float(centred @ along_mm / (centred @ centred))
    off = float(np.ptp(along_mm - gap * slots) / 2)
    limit = max(SAME_MM, _EVEN_PART * gap)
    return Spacing(kind, gap, slots, off, limit, max(limit, min(_ROUNDED_MM, _ROUNDED_PART * gap)))


def even_slots(along_mm: Floats, gap_mm: float) -> tuple[Floats, int]:
    """Lay an even grid over uneven positions.

    Returns
    -------
    slots : (Z,) ndarray of float64
        Place of every slice on the grid.
    count : int
        Slices of the grid: the first and the last lie where the first and the last slice lie, so that nothing
        is lost; its gap is as near to ``gap_mm`` as that allows.
    """
    length = float(along_mm[-1] - along_mm[0])
    steps = max(1, round(length / gap_mm))
    return (along_mm - along_mm[0]) * (steps / length), steps + 1
