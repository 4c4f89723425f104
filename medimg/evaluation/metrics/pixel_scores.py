"""Pooled pixel curves from score histograms: small tables in place of millions of scores.

A histogram counts the pixels of each class per score bin; bin k of B holds scores in [k/B, (k+1)/B), the last one
also 1. Pixels of one bin are ties, so the area under the ROC curve is off by at most half the share of
positive-negative pairs that fall into one bin.

Legend: B bins, R cases or pools of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medimg.evaluation.metrics.intervals import Floats

BINS = 1024


def score_histogram(
    truth: NDArray[np.bool_], score: ArrayLike, *, bins: int = BINS, inside: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the pixels of each class per score bin.

    Parameters
    ----------
    truth : (*S) bool
    score : (*S) float
        Probabilities in [0, 1].
    bins : int
    inside : (*S) bool, optional
        Pixels that count, such as a camera's field of view.

    Returns
    -------
    n_positive, n_negative : (B,) int64
    """
    index = np.clip((np.asarray(score, np.float64) * bins).astype(np.int64), 0, bins - 1)
    if inside is not None:
        index, truth = index[inside], truth[inside]
    positive = np.bincount(index[truth].ravel(), minlength=bins)
    return positive, np.bincount(index.ravel(), minlength=bins) - positive


def precision_recall_points(positive: Floats, negative: Floats) -> Floats:
    """Return (B, 2): recall and precision of one histogram at falling thresholds, filled bins only."""
    hits = np.cumsum(positive[::-1])
    marked = hits + np.cumsum(negative[::-1])
    filled = (positive + negative)[::-1] > 0
    return np.column_stack([hits[filled] / max(hits[-1], 1), hits[filled] / marked[filled]])


def dice_curve(positive: ArrayLike, negative: ArrayLike) -> Floats:
    """Return the Dice (B,) of one case at the thresholds 0, 1/B, ..., (B-1)/B; 1 where both masks are empty."""
    hits = np.cumsum(np.asarray(positive, float)[::-1])[::-1]
    marked = hits + np.cumsum(np.asarray(negative, float)[::-1])[::-1]
    size = marked + hits[0]
    return np.divide(2 * hits, size, out=np.ones_like(hits), where=size > 0)


def dice_threshold(curves: Sequence[Floats] | Floats) -> float:
    """Return the threshold of the tuning split with the greatest mean Dice over cases.

    Parameters
    ----------
    curves : (cases, B) float64
        From :func:`dice_curve`.

    Returns
    -------
    float
        The middle of the best plateau, so that a lucky spike does not decide; never 0.
    """
    mean = np.mean(np.asarray(curves, float), axis=0)[1:]
    best = int(np.argmax(mean))
    level = mean >= mean[best] - 1e-3
    left = right = best
    while left > 0 and level[left - 1]:
        left -= 1
    while right + 1 < len(level) and level[right + 1]:
        right += 1
    return float(((left + right) / 2 + 1) / (len(mean) + 1))
