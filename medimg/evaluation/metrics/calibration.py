"""Whether scores mean what they say: intercept and slope of a logistic recalibration, and the Brier score.

Intercept: the log odds that must be added to every score for the expected number of positives to be the observed one
(slope fixed at 1); 0 is right, above 0 the model says too little. Slope: of the outcome on the score's log odds; 1 is
right, below 1 the scores are too extreme (Cox 1958, Biometrika 45:562; Van Calster et al. 2019, BMC Med 17:230).

Legend: T levels (distinct scores, rising).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from medimg.evaluation.metrics.intervals import Floats
from medimg.evaluation.metrics.levels import Levels, Linear

EDGE = 1e-6
"""Scores nearer to 0 or 1 than this are moved here: their log odds are infinite."""
_STEPS = 100
_LONGEST_STEP = 4.0
_PRECISE = 1e-10
_COARSE = 1024


def why_no_probabilities(levels: Levels) -> str | None:
    """Return why the finite scores cannot be read as probabilities, or None."""
    if len(levels.score) and (levels.score[0] < 0 or levels.score[-1] > 1):
        return "the scores are no probabilities: some lie outside 0 to 1"
    return None


def why_no_recalibration(levels: Levels, *, slope: bool) -> str | None:
    """Return why intercept or slope cannot be fitted to finite scores, or None."""
    if not levels.positive.any() or not levels.negative.any():
        return "no positive case" if not levels.positive.any() else "no negative case"
    if not slope:
        return None
    positive, negative = (levels.score[count > 0] for count in (levels.positive, levels.negative))
    if positive[0] >= negative[-1] or negative[0] >= positive[-1]:
        return "the score separates the classes: the slope has no bound"
    return None


def log_odds(levels: Levels) -> tuple[Floats, int]:
    """Return the log odds of the scores (T,), and how many cases were moved off 0 and 1."""
    inside = np.clip(levels.score, EDGE, 1 - EDGE)
    return special.logit(inside), round(float(levels.total[inside != levels.score].sum()))


def calibration_intercept(levels: Levels) -> Linear:
    """Return the intercept of the logistic recalibration with the score's log odds as offset.

    Needs both classes; see :func:`why_no_recalibration`.
    """
    offset, _ = log_odds(levels)
    return _coefficient(_Regression.of(levels, offset, slope=False), 0)


def calibration_slope(levels: Levels) -> Linear:
    """Return the slope of the logistic recalibration; see :func:`why_no_recalibration`."""
    x, _ = log_odds(levels)
    return _coefficient(_Regression.of(levels, x, slope=True), 1)


@dataclass(frozen=True)
class _Regression:
    """A logistic regression of grouped cases on a constant and ``x``, or on a constant with the offset ``x``.

    ``x``, ``positive`` and ``total`` are (T,).
    """

    x: Floats
    positive: Floats
    total: Floats
    slope: bool

    @classmethod
    def of(cls, levels: Levels, x: Floats, *, slope: bool) -> _Regression:
        return cls(x, levels.positive, levels.total, slope)

    def coarse(self) -> _Regression:
        """Return about the same regression on few points: a start close to the optimum."""
        place = np.linspace(0, _COARSE, len(self.x), endpoint=False).astype(np.int64)
        positive, total, x = (
            np.bincount(place, part).astype(np.float64) for part in (self.positive, self.total, self.total * self.x)
        )
        return _Regression(x / total, positive, total, self.slope)

    def fitted(self, found: Floats) -> Floats:
        """Return the probability of a positive (T,) at each point."""
        return special.expit(found[0] + (found[1] if self.slope else 1.0) * self.x)

    def moments(self, values: Floats) -> Floats:
        """Return the sums of ``values`` times each regressor."""
        return np.array([values.sum(), values @ self.x] if self.slope else [values.sum()])

    def information(self, fitted: Floats) -> Floats:
        """Return Fisher's information of the coefficients."""
        weight = self.total * fitted * (1 - fitted)
        if not self.slope:
            return np.array([[weight.sum()]])
        first = weight * self.x
        return np.array([[weight.sum(), first.sum()], [first.sum(), first @ self.x]])

    def fit(self, start: Floats) -> Floats:
        """Return the maximum likelihood coefficients, by Newton's method."""
        found = start
        for _ in range(_STEPS):
            fitted = self.fitted(found)
            step = np.linalg.solve(self.information(fitted), self.moments(self.positive - self.total * fitted))
            # Far from the optimum a full step can overshoot into flat ground.
            step *= min(1.0, _LONGEST_STEP / max(float(np.abs(step).max()), 1e-300))
            found = found + step
            if np.abs(step).max() < _PRECISE * (1 + np.abs(found).max()):
                break
        return found


def _coefficient(regression: _Regression, index: int) -> Linear:
    """Return one coefficient with its influences: their squares sum to the sandwich variance."""
    start = np.zeros(2 if regression.slope else 1)
    if len(regression.x) > 4 * _COARSE:
        start = regression.coarse().fit(start)
    found = regression.fit(start)
    fitted = regression.fitted(found)
    row = np.linalg.inv(regression.information(fitted))[index]
    weight = row[0] + row[1] * regression.x if regression.slope else np.full(len(fitted), row[0])
    return Linear(float(found[index]), (1 - fitted) * weight, -fitted * weight)


def brier(levels: Levels) -> Linear:
    """Return the mean squared distance of score and outcome; a failed case is wrong by 1."""
    score = np.clip(levels.score, 0.0, 1.0)
    n = levels.total.sum()
    value = float((levels.positive @ (1 - score) ** 2 + levels.negative @ score**2) / n)
    return Linear(value, ((1 - score) ** 2 - value) / n, (score**2 - value) / n)
