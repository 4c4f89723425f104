"""Boxes of one image matched with its lesions.

Boxes are half-open, lower corners first: (z0, y0, x0, z1, y1, x1) or (y0, x0, y1, x1), in any one index frame.

Legend: T true lesions, N marks, D axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg.evaluation.metrics.classification import between
from medimg.evaluation.metrics.intervals import Floats, Ints
from medimg.evaluation.protocol import Matching


@dataclass(frozen=True)
class Match:
    """Which mark hit which lesion.

    Attributes
    ----------
    lesion_of_mark : (N,) int64
        The lesion that the mark hit first, or -1.
    duplicate : (N,) bool
        The mark lies on a lesion that a higher mark had hit already.
    iou_of_mark : (N,) float64
        Overlap with the lesion that it hit or repeats; otherwise the greatest overlap with any lesion.
    score_of_lesion : (T,) float64
        Score of the mark that hit it; NaN where missed.
    """

    lesion_of_mark: Ints
    duplicate: NDArray[np.bool_]
    iou_of_mark: Floats
    score_of_lesion: Floats


def box_iou(first: Floats, second: Floats) -> Floats:
    """Return intersection over union of half-open boxes (T, 2 D) and (N, 2 D) as (T, N); 0 for empty boxes."""
    d = first.shape[1] // 2
    lower = np.maximum(first[:, None, :d], second[None, :, :d])
    upper = np.minimum(first[:, None, d:], second[None, :, d:])
    both = np.prod(np.clip(upper - lower, 0, None), axis=2)
    size_first = np.prod(np.clip(first[:, d:] - first[:, :d], 0, None), axis=1)
    size_second = np.prod(np.clip(second[:, d:] - second[:, :d], 0, None), axis=1)
    union = size_first[:, None] + size_second[None] - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def match_boxes(truth: Floats, marks: Floats, scores: Floats, rule: Matching) -> Match:
    """Match the marks of one image and class with its lesions, greedily by falling score.

    A mark takes the free lesion it fits best (greatest overlap; for the centre rule, the nearest centre among
    the lesions that hold its centre). A lesion is taken once. Equal scores are taken in the given order.

    Parameters
    ----------
    truth : (T, 2 D) float64
    marks : (N, 2 D) float64
    scores : (N,) float64
    rule : Matching

    Returns
    -------
    Match
    """
    truth, marks = np.asarray(truth, float), np.asarray(marks, float)
    n, t = len(marks), len(truth)
    taken_by = np.full(n, -1, np.int64)
    duplicate, iou_of_mark, score_of_lesion = np.zeros(n, bool), np.zeros(n), np.full(t, np.nan)
    if n and t:
        iou = box_iou(truth, marks)
        fits, fitness = _fitness(truth, marks, iou, rule)
        free = np.ones(t, bool)
        for mark in np.argsort(-np.asarray(scores, float), kind="stable"):
            suitable = fits[:, mark]
            lesions = np.flatnonzero(suitable & free) if (suitable & free).any() else np.flatnonzero(suitable)
            if not len(lesions):
                iou_of_mark[mark] = iou[:, mark].max()
                continue
            best = int(lesions[np.argmax(fitness[lesions, mark])])
            iou_of_mark[mark] = iou[best, mark]
            if free[best]:
                free[best], taken_by[mark], score_of_lesion[best] = False, best, scores[mark]
            else:
                duplicate[mark] = True
    return Match(taken_by, duplicate, iou_of_mark, score_of_lesion)


def _fitness(truth: Floats, marks: Floats, iou: Floats, rule: Matching) -> tuple[NDArray[np.bool_], Floats]:
    if rule.rule == "iou":
        return iou >= rule.min_iou, iou
    d = truth.shape[1] // 2
    centre = (marks[:, :d] + marks[:, d:]) / 2
    inside = np.all((centre[None] >= truth[:, None, :d]) & (centre[None] < truth[:, None, d:]), axis=2)
    middle = (truth[:, :d] + truth[:, d:]) / 2
    return inside, -np.linalg.norm(centre[None] - middle[:, None], axis=2)


def lesion_rate_threshold(
    scores: Floats, hit: NDArray[np.bool_], n_images: int, *, false_marks_per_image: float
) -> float:
    """Return the lowest threshold of the tuning split that keeps false marks per image at or below a rate.

    Parameters
    ----------
    scores : (N,) float64
        Of all marks, ignored duplicates left out.
    hit : (N,) bool
    n_images : int
    false_marks_per_image : float

    Returns
    -------
    float
        Marks at or above it count. Above every score where even the first marks make too many false ones.
    """
    levels = np.unique(scores)
    false = np.sort(scores[~hit])
    above = len(false) - np.searchsorted(false, levels, side="left")
    allowed = np.flatnonzero(above <= false_marks_per_image * n_images + 1e-9)
    if len(allowed):
        return between(levels, int(allowed[0]))
    return float(np.nextafter(levels[-1], np.inf)) if len(levels) else 1.0
