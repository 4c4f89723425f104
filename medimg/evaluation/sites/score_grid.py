"""The bins that every site counts the same number in: fixed by the protocol, never by a site's own data.

A number's bin is the place of its value among rising edges; a value on an edge belongs above it. Numbers that decide
something (thresholds, levels, exact 0 and 1) are edges or have a bin of their own, so that what is counted against
them stays exact. Scores are binned evenly in their logit from -8 to 8, more coarsely beyond: a uniform grid on [0, 1]
loses the order of scores that crowd near 0.

A stratum is a coarse interval of the main number of a task; a patient's cases are counted together by stratum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from medimg.errors import InputError
from medimg.evaluation.metrics.intervals import Floats, Ints
from medimg.evaluation.protocol import FrozenProtocol

SCORE, DICE = "score", "dice"
MAIN: dict[str, str | None] = {"classification": SCORE, "detection": SCORE, "segmentation": DICE}
"""The number of each task that strata are made of."""

BINNED: dict[str, tuple[str, ...]] = {
    "classification": (SCORE,),
    "detection": (SCORE,),
    "segmentation": (DICE, "nsd", "hd95_mm", "hd95_px", "volume_bias_ml", "area_bias_px"),
}
OUTCOMES: dict[str, tuple[str, ...]] = {
    "classification": ("truth", "predicted", "grade_true", "grade_pred", "failed"),
    "detection": ("truth", "predicted", "n_lesions", "n_hit", "n_false_positives", "failed"),
    "segmentation": ("truth_empty", "pred_empty", "failed"),
}
"""Whole numbers of a case that are counted as they are."""

_DENSE, _SPARSE, _TAIL = 8.0, 20.0, 745.0
_TINY, _ABOVE_ONE = float(np.nextafter(0.0, 1.0)), float(np.nextafter(1.0, 2.0))


@dataclass(frozen=True)
class Grid:
    """Rising edges; bin k holds ``edges[k - 1] <= x < edges[k]``.

    Attributes
    ----------
    edges : (B - 1,) float64
    middles : (B,) float64
        The value that stands for each bin.
    strata : (T,) float64
        A subset of the edges; empty where the column has none.
    """

    edges: Floats
    middles: Floats
    strata: Floats

    @property
    def n_bins(self) -> int:
        """How many bins there are."""
        return len(self.middles)

    def bins(self, values: Floats) -> Ints:
        """Return the bin of each value; -1 where it is NaN."""
        return np.where(np.isnan(values), -1, np.searchsorted(self.edges, values, side="right")).astype(np.int64)

    def stratum(self, values: Floats) -> Ints:
        """Return the stratum of each value; -1 where it is NaN."""
        return np.where(np.isnan(values), -1, np.searchsorted(self.strata, values, side="right")).astype(np.int64)

    def values(self, bins: Ints) -> Floats:
        """Return the value that stands for each bin; NaN for -1."""
        return np.where(bins < 0, np.nan, self.middles[bins])


def grid_of(column: str, target: str, frozen: FrozenProtocol) -> Grid:
    """Return the grid of one column of one target under a protocol.

    Parameters
    ----------
    column : str
        One of :data:`BINNED`, ``mark`` for the scores of marks, or ``size`` for the bands of lesion sizes.
    target : str
    frozen : FrozenProtocol
        Gives the number of bins, thresholds and levels.
    """
    declared = frozen.declared
    levels = [rule.level for rule in declared.endpoints if rule.level is not None and rule.target == target]
    if column in (SCORE, "mark"):
        fixed = [*levels, *([frozen.thresholds[target]] if target in frozen.thresholds else [])]
        edges, points = _score_edges(declared.score_bins), [0.0, _TINY, 1.0, _ABOVE_ONE]
        # Below 0 and above 1 are the infinite scores of failed cases.
        return _grid(edges, [*points, *fixed, *declared.benefit_thresholds], _score_strata(), (-np.inf, np.inf))
    if column in (DICE, "nsd"):
        strata = np.linspace(0, 1, 21)[1:-1] if column == DICE else np.empty(0)
        edges = np.linspace(0, 1, declared.score_bins)[1:-1]
        return _grid(edges, [0.0, _TINY, 1.0, _ABOVE_ONE, *levels], strata, (0.0, 1.0))
    if column == "size":
        sizes = np.asarray(declared.lesion_sizes, np.float64)
        return _grid(sizes, [], np.empty(0), (sizes[0] / 2, 2 * sizes[-1]))
    if column.startswith("hd95"):
        edges = _widening(0.1, 1e6, declared.score_bins)
        return _grid(edges, [0.0, _TINY], np.empty(0), (0.0, edges[-1]))
    edges = _widening(0.01, 1e10, declared.score_bins // 2)
    return _grid(np.append(-edges[::-1], edges), [0.0, _TINY], np.empty(0), (-edges[-1], edges[-1]))


def check_scores(values: Floats, where: str) -> None:
    """Refuse scores that are no probabilities; the infinite ones of failed cases pass.

    Raises
    ------
    InputError
        Where a finite score lies outside [0, 1].
    """
    finite = values[np.isfinite(values)]
    outside = int(np.count_nonzero((finite < 0) | (finite > 1)))
    if outside:
        raise InputError(
            "Scores can be counted in bins only where they are probabilities.",
            where=where,
            got=f"{outside} scores outside 0 to 1",
            expected="scores between 0 and 1",
            fix="pass logits through the logistic function first; ranks and calls stay what they are",
        )


@lru_cache(maxsize=8)
def _score_edges(n_bins: int) -> Floats:
    """Return edges up to 0.5 and their mirror images: six tenths of them at logits -8 to 8, a third to 20."""
    parts = [(_DENSE, 0.0, 0.3), (_SPARSE, _DENSE, 0.17), (_TAIL, _SPARSE, 0.03)]
    steps = [np.linspace(far, near, max(2, int(share * n_bins)), endpoint=False) for far, near, share in parts]
    lower = _rounded(special.expit(-np.concatenate(steps)))
    return np.concatenate([lower, [0.5], 1 - lower])


def _score_strata() -> Floats:
    lower = _rounded(special.expit(-np.arange(_DENSE, 0.25, -0.5)))
    return np.concatenate([lower, [0.5], 1 - lower[::-1]])


@lru_cache(maxsize=8)
def _widening(unit: float, greatest: float, n: int) -> Floats:
    """Return edges that are even up to ``unit`` and grow in proportion beyond, up to ``unit * greatest``."""
    return _rounded(unit * np.sinh(np.linspace(0, np.arcsinh(greatest), n)[1:]))


def _rounded(values: Floats) -> Floats:
    # So that the last bit of a library's logarithm decides nothing.
    return np.array([float(f"{value:.12g}") for value in values])


def _grid(edges: Floats, fixed: list[float], strata: Floats, ends: tuple[float, float]) -> Grid:
    found = np.unique(np.concatenate([edges, np.asarray(fixed, np.float64), strata]))
    return Grid(found, np.concatenate([[ends[0]], (found[:-1] + found[1:]) / 2, [ends[1]]]), strata)
