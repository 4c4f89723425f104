"""People for the study of coverage: groups whose truth is known, with one to four images a patient.

Right calls follow a beta-binomial model, so that ``icc`` is the very correlation of two calls of one patient. Scores
and Dice follow a Gaussian copula: ``icc`` is the correlation of two images of one patient on the normal scale.

Legend: M patients, N images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from medimg.evaluation.metrics.intervals import Floats, Ints
from medimg.evaluation.selection import Rows, Selection

Table = dict[str, NDArray[Any]]
Design = Literal["own", "mixed", "shared", "single"]
"""``own``: a patient's images are of one class and one group. ``mixed``: of both classes. ``shared``: of both the group
and the rest. ``single``: one image a patient."""

MOST_IMAGES = 4
SHARE_IN_GROUP = 0.4


@dataclass(frozen=True)
class Shape:
    """A distribution of Dice: Beta(a, b), and exactly 0 with the chance ``failing``."""

    a: float
    b: float
    failing: float = 0.0

    @property
    def mean(self) -> float:
        """Mean over all cases, failures included."""
        return (1 - self.failing) * self.a / (self.a + self.b)

    def quantile(self, level: Floats) -> Floats:
        """Return the Dice at levels (N,) of the distribution function."""
        return np.interp(level, _LEVELS, _quantiles(self))

    @property
    def median(self) -> float:
        """Median over all cases, failures included."""
        return float(stats.beta.ppf((0.5 - self.failing) / (1 - self.failing), self.a, self.b))


_LEVELS = special.ndtr(np.linspace(-5, 5, 4001))

SHAPES = {
    "narrow": Shape(18, 2.2),
    "skewed": Shape(5.0, 1.25),
    "skewed, 5 % zeros": Shape(7.0, 1.3, 0.05),
    "skewed, 10 % zeros": Shape(7.0, 1.3, 0.10),
}
"""Mean, median and skewness stand in the table that the study writes."""


@cache
def _quantiles(shape: Shape) -> Floats:
    level = np.maximum(0.0, (_LEVELS - shape.failing) / (1 - shape.failing))
    return stats.beta.ppf(level, shape.a, shape.b)


def images_of(rng: np.random.Generator, n_patients: int, design: Design) -> Ints:
    """Return the patient (N,) of every image."""
    if design == "single":
        return np.arange(n_patients)
    return np.repeat(np.arange(n_patients), rng.integers(1, MOST_IMAGES + 1, n_patients))


def first_images(rng: np.random.Generator, n_images: int) -> Ints:
    """Return the patient (N,) of every image where just so many images are there, one to four a patient."""
    return images_of(rng, n_images, "own")[:n_images]


def normal_scores(rng: np.random.Generator, patient: Ints, icc: float) -> Floats:
    """Return standard normal numbers (N,) that correlate by ``icc`` within a patient."""
    own = rng.normal(size=int(patient.max()) + 1)[patient]
    return np.sqrt(icc) * own + np.sqrt(1 - icc) * rng.normal(size=len(patient))


def right_calls(rng: np.random.Generator, patient: Ints, rate: float, icc: float) -> NDArray[np.bool_]:
    """Return which calls (N,) are right: beta-binomial with the correlation ``icc``."""
    weight = (1 - icc) / icc
    own = rng.beta(rate * weight, (1 - rate) * weight, int(patient.max()) + 1)
    return rng.random(len(patient)) < own[patient]


def graded_people(
    rng: np.random.Generator, n_patients: tuple[int, int], icc: float, area: float, design: Design = "own"
) -> Table:
    """Return images with truth and score.

    Parameters
    ----------
    n_patients : (int, int)
        With a positive, with a negative image; of a mixed design, by the class of their first image.
    area : float
        Area under the ROC curve of two images of different patients.
    """
    patient = images_of(rng, sum(n_patients), design)
    truth = patient < n_patients[0]
    if design == "mixed":
        first = np.append(True, patient[1:] != patient[:-1])
        truth = np.where(first, truth, rng.random(len(patient)) < 0.5)
    score = normal_scores(rng, patient, icc) + np.sqrt(2) * special.ndtri(area) * truth
    return {"patient": patient, "truth": truth.astype(float), "score": score}


def called_people(rng: np.random.Generator, patient: Ints, truth: int, rate: float, icc: float) -> Table:
    """Return images of one class with calls, of which a share ``rate`` is right."""
    right = right_calls(rng, patient, rate, icc)
    return {"patient": patient, "truth": np.full(len(patient), float(truth)), "predicted": (right == truth) * 1.0}


def outlined_people(rng: np.random.Generator, patient: Ints, shape: Shape, icc: float) -> Table:
    """Return images with a Dice."""
    dice = shape.quantile(special.ndtr(normal_scores(rng, patient, icc)))
    return {"patient": patient, "dice": dice, "truth_empty": np.zeros(len(patient))}


def joined(*tables: Table) -> Table:
    """Return tables below one another, with patients of their own."""
    first = np.cumsum([0, *(int(table["patient"].max()) + 1 for table in tables)])
    stacked = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    stacked["patient"] = np.concatenate([table["patient"] + start for table, start in zip(tables, first)])
    return stacked


def first_rows(table: Table, n: int) -> Table:
    """Return the first ``n`` images."""
    return {name: column[:n] for name, column in table.items()}


def selection(table: Mapping[str, NDArray[Any]], rows: NDArray[np.bool_] | None = None) -> Selection:
    """Return some rows of a table, or all, as the estimators want them."""
    n = len(table["patient"])
    columns = {name: np.full(n, np.nan) for name in ("truth", "score", "predicted", "dice", "truth_empty")}
    columns |= {**table, "failed": np.zeros(n, bool), "case": np.arange(n)}
    nothing = Rows({"target": np.empty(0), "patient": np.empty(0, np.int64)}, np.empty(0, np.int64))
    return Selection(Rows(columns, np.arange(n) if rows is None else np.flatnonzero(rows)), nothing)
