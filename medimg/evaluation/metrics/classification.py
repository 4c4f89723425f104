"""Calls, grades and operating points of classifiers."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.evaluation.metrics.intervals import Floats, Ints


def confusion_counts(true: Ints, predicted: Ints, patient: Ints, n_patients: int, n_grades: int) -> Floats:
    """Return how often each patient shows each (true, predicted) pair: (n_patients, n_grades**2) float64."""
    cell = (patient * n_grades + true) * n_grades + predicted
    return np.bincount(cell, minlength=n_patients * n_grades**2).reshape(n_patients, -1).astype(np.float64)


def quadratic_kappa(counts: Floats) -> Floats:
    """Return Cohen's kappa with quadratic weights (Cohen 1968) of confusion counts.

    Parameters
    ----------
    counts : (R, K * K) float64
        Rows of K x K tables, true grade first.

    Returns
    -------
    (R,) float64
        NaN where only one grade occurs, in truth and prediction alike.
    """
    k = round(np.sqrt(counts.shape[1]))
    table = counts.reshape(-1, k, k)
    grades = np.arange(k)
    penalty = (grades[:, None] - grades[None]) ** 2.0
    observed = np.sum(table * penalty, axis=(1, 2))
    rows, columns = table.sum(axis=2), table.sum(axis=1)
    expected = np.einsum("ri,ij,rj->r", rows, penalty, columns)
    total = counts.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1 - observed * total / expected, np.nan)


def youden_threshold(truth: NDArray[np.bool_], score: Floats) -> float:
    """Return the threshold of the tuning split with the greatest sensitivity + specificity - 1 (Youden 1950).

    Of equally good thresholds the lowest is taken: it misses least.

    Parameters
    ----------
    truth : (n,) bool
    score : (n,) float64

    Raises
    ------
    InputError
        Without both classes.
    """
    levels, sensitivity, specificity = _operating_points(truth, score)
    gain = sensitivity + specificity
    return between(levels, int(np.flatnonzero(gain >= gain.max() - 1e-12)[0]))


def sensitivity_threshold(truth: NDArray[np.bool_], score: Floats, *, sensitivity: float) -> float:
    """Return the highest threshold of the tuning split that still reaches a sensitivity."""
    levels, reached, _ = _operating_points(truth, score)
    return between(levels, int(np.flatnonzero(reached >= sensitivity - 1e-12)[-1]))


def between(levels: Floats, index: int) -> float:
    """Return a threshold halfway below ``levels[index]``: the last bits of a score then decide nothing."""
    return float(levels[index] if index == 0 else (levels[index - 1] + levels[index]) / 2)


def choose_threshold(
    truth: NDArray[np.bool_], score: Floats, rule: Literal["youden", "sensitivity"], target: float | None = None
) -> float:
    """Return the threshold that a protocol's rule picks on the tuning split."""
    if rule == "youden":
        return youden_threshold(truth, score)
    return sensitivity_threshold(truth, score, sensitivity=0.9 if target is None else target)


def _operating_points(truth: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats, Floats]:
    """Return rising thresholds with sensitivity and specificity of 'score >= threshold'."""
    truth, score = np.asarray(truth, bool), np.asarray(score, float)
    if not truth.any() or truth.all():
        raise InputError(
            "A threshold cannot be chosen: the tuning split holds one class only.",
            where="tuning split",
            got=f"{int(truth.sum())} positive and {int((~truth).sum())} negative cases",
            expected="both classes",
            fix="put more subjects into the tuning split, or declare the threshold",
        )
    levels = np.unique(score)
    positive, negative = np.sort(score[truth]), np.sort(score[~truth])
    sensitivity = 1 - np.searchsorted(positive, levels, side="left") / len(positive)
    specificity = np.searchsorted(negative, levels, side="left") / len(negative)
    return levels, sensitivity, specificity
