"""Free-response curves: lesion sensitivity against false marks per image, under the step convention.

Marks of one score are taken together: a curve point exists only after all of them. Sensitivity at a rate is that of
the last point whose rate is not above it; nothing is interpolated.

Legend: R replicates, M patients, N marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg.evaluation.metrics.intervals import Floats, Ints

CPM_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_CHUNK_ELEMENTS = 8_000_000
_EPSILON = 1e-9


@dataclass(frozen=True)
class Marks:
    """All marks of a set of patients, by falling score, with what the patients hold.

    Attributes
    ----------
    hit : (N,) bool
        The mark hit a lesion that no higher mark had hit; otherwise it is a false mark.
    patient : (N,) int64
        Index into the patients.
    last_of_tie : (T,) int64
        Indices of the last mark of each distinct score.
    n_lesions, n_images : (M,) float64
        Of each patient.
    """

    hit: NDArray[np.bool_]
    patient: Ints
    last_of_tie: Ints
    n_lesions: Floats
    n_images: Floats

    @classmethod
    def of(cls, score: Floats, hit: NDArray[np.bool_], patient: Ints, n_lesions: Floats, n_images: Floats) -> Marks:
        """Return the marks in order; ``score`` (N,) float64, the rest as in the attributes."""
        order = np.argsort(-score, kind="stable")
        last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True)) if len(score) else np.empty(0, int)
        return cls(hit[order], patient[order], last.astype(np.int64), n_lesions, n_images)

    def cumulate(self, weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Return hits and false marks (R, T) after each distinct score, lesions (R,), images (R,)."""
        drawn = weights[:, self.patient]
        hits = np.cumsum(drawn * self.hit, axis=1)[:, self.last_of_tie]
        false = np.cumsum(drawn * ~self.hit, axis=1)[:, self.last_of_tie]
        return hits, false, weights @ self.n_lesions, weights @ self.n_images


def froc_points(marks: Marks) -> NDArray[np.float64]:
    """Return the curve as (T, 2): false marks per image, lesion sensitivity; one point a distinct score."""
    hits, false, lesions, images = marks.cumulate(np.ones((1, len(marks.n_images))))
    return np.column_stack([false[0] / images[0], hits[0] / lesions[0]])


def sensitivity_at(marks: Marks, weights: Floats, rates: Sequence[float]) -> Floats:
    """Return the lesion sensitivity (R, len(rates)) at false-mark rates; NaN without a lesion.

    Parameters
    ----------
    marks : Marks
    weights : (R, M) float64
        How often each patient is drawn.
    rates : sequence of float
        False marks per image.
    """
    rows = max(1, _CHUNK_ELEMENTS // max(1, len(marks.hit)))
    parts = [_sensitivity_at(marks, weights[i : i + rows], rates) for i in range(0, len(weights), rows)]
    return np.concatenate(parts)


def _sensitivity_at(marks: Marks, weights: Floats, rates: Sequence[float]) -> Floats:
    hits, false, lesions, images = marks.cumulate(weights)
    found = np.zeros((len(weights), len(rates)))
    before = np.column_stack([np.zeros(len(weights)), hits])
    for column, rate in enumerate(rates):
        reached = np.sum(false <= rate * images[:, None] + _EPSILON, axis=1)
        found[:, column] = before[np.arange(len(weights)), reached]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(lesions[:, None] > 0, found / lesions[:, None], np.nan)


def average_precision(marks: Marks, weights: Floats) -> Floats:
    """Return the average precision (R,): precision summed over the steps of lesion recall; NaN without a lesion.

    Not interpolated; lesions that no mark hit keep the recall below 1.
    """
    rows = max(1, _CHUNK_ELEMENTS // max(1, len(marks.hit)))
    return np.concatenate([_ap(marks, weights[i : i + rows]) for i in range(0, len(weights), rows)])


def _ap(marks: Marks, weights: Floats) -> Floats:
    hits, false, lesions, _ = marks.cumulate(weights)
    steps = np.diff(hits, axis=1, prepend=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(hits + false > 0, hits / (hits + false), 0.0)
        return np.where(lesions > 0, np.sum(steps * precision, axis=1) / lesions, np.nan)
