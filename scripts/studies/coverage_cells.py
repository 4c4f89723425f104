"""Coverage of the intervals of one metric in one group, and of its gap to the rest, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from coverage_people import (
    SHAPES,
    SHARE_IN_GROUP,
    Design,
    Table,
    called_people,
    first_images,
    first_rows,
    graded_people,
    images_of,
    joined,
    outlined_people,
    selection,
)
from numpy.typing import NDArray

from medimg.evaluation.estimation.estimates import measure
from medimg.evaluation.metrics.auc import auc_estimate
from medimg.evaluation.metrics.bootstrap import stream
from medimg.evaluation.metrics.intervals import Estimate, difference
from medimg.evaluation.protocol import Protocol

REST_PATIENTS = 200
REST = {"auc": 0.85, "sensitivity": 0.85, "specificity": 0.85, "dice_mean": "skewed", "dice_median": "skewed"}
"""What is true of the rest; shared patients are as good in the rest as in the group."""


@dataclass(frozen=True)
class Cell:
    """One setting of the study of coverage.

    ``truth``: an area, a rate, or a name of SHAPES. ``n``: patients with a positive (``images``: positive images);
    patients, for Dice. ``n_negative``: patients with a negative, twice ``n`` by default.
    """

    metric: str
    truth: float | str
    n: int
    icc: float
    design: Design = "own"
    images: bool = False
    n_negative: int | None = None

    @property
    def name(self) -> str:
        """Key of the results and of the random stream."""
        n = f"{self.n}" if self.n_negative is None else f"{self.n}/{self.n_negative}"
        return f"{self.metric}|{self.truth}|{n} {'images' if self.images else 'patients'}|{self.icc}|{self.design}"

    def true_value(self, truth: float | str) -> float:
        """Return the number that the interval should hold."""
        if isinstance(truth, float):
            return truth
        return SHAPES[truth].mean if self.metric == "dice_mean" else SHAPES[truth].median


def all_cells() -> list[Cell]:
    """Return every cell of the study."""
    truths = {"auc": (0.75, 0.85, 0.95), "sensitivity": (0.7, 0.85, 0.95), "specificity": (0.7, 0.85, 0.95)}
    truths |= {"dice_mean": tuple(SHAPES), "dice_median": tuple(SHAPES)}
    found = []
    for metric, values in truths.items():
        for truth in values:
            for n in (30, 50, 100):
                found += [Cell(metric, truth, n, icc) for icc in (0.3, 0.6)]
            found += [Cell(metric, truth, 200, 0.6), Cell(metric, truth, 50, 0.6, "shared")]
            found.append(Cell(metric, truth, 30, 0.6, images=True))
            found += [Cell(metric, truth, n, 0.0, "single") for n in (30, 100)]
            if metric == "auc":
                found += [Cell(metric, truth, n, 0.6, "mixed") for n in (30, 100)]
    return found


def small_cells() -> list[Cell]:
    """Return the settings of the reference figures of small groups, one image a patient."""
    pairs = [(0.85, 5, 50), (0.85, 10, 100), (0.85, 30, 200), (0.85, 50, 200)]
    pairs += [(0.95, 5, 50), (0.95, 10, 100), (0.95, 20, 100), (0.95, 50, 200)]
    return [Cell("auc", truth, n, 0.0, "single", n_negative=m) for truth, n, m in pairs]


def draw(rng: np.random.Generator, cell: Cell, truth: float | str, n: int, n_negative: int) -> Table:
    """Return people of one truth; ``n`` and ``n_negative`` patients, or images, of the two classes."""
    if cell.metric == "auc":
        if not cell.images:
            return graded_people(rng, (n, n_negative), cell.icc, float(truth), cell.design)
        positive = graded_people(rng, (n, 0), cell.icc, float(truth))
        negative = graded_people(rng, (0, n_negative), cell.icc, float(truth))
        return joined(first_rows(positive, n), first_rows(negative, n_negative))
    patient = first_images(rng, n) if cell.images else images_of(rng, n, cell.design)
    icc = max(cell.icc, 1e-6)
    if isinstance(truth, str):
        return outlined_people(rng, patient, SHAPES[truth], icc)
    return called_people(rng, patient, int(cell.metric == "sensitivity"), truth, icc)


def two_parts(rng: np.random.Generator, cell: Cell) -> tuple[Table, NDArray[np.bool_], float | str]:
    """Return people, which rows are the group's, and what is true of the rest."""
    if cell.design == "shared":
        n = round(cell.n / SHARE_IN_GROUP)
        table = draw(rng, cell, cell.truth, n, 2 * n)
        return table, rng.random(len(table["patient"])) < SHARE_IN_GROUP, cell.truth
    other = REST[cell.metric]
    group = draw(rng, cell, cell.truth, cell.n, cell.n_negative or 2 * cell.n)
    rest = draw(rng, cell, other, REST_PATIENTS, REST_PATIENTS)
    table = joined(group, rest)
    return table, np.arange(len(table["patient"])) < len(group["patient"]), other


def study_cell(cell: Cell, runs: int, seed: int) -> dict[str, Any]:
    """Return how often interval and gap held the truth, lay above it (``high``) or below it (``low``)."""
    rng = stream(seed, cell.name)
    protocol = Protocol(endpoints=[{"metric": cell.metric, "target": "t", "primary": True, "floor": 0.5}])
    tally = {"estimate": Tally(), "gap": Tally(), "wald": Tally()}
    for _ in range(runs):
        table, in_group, other = two_parts(rng, cell)
        truth = cell.true_value(cell.truth)
        group, rest = (
            measure(protocol.endpoints[0], selection(table, rows), protocol).estimate for rows in (in_group, ~in_group)
        )
        tally["estimate"].add(group.low, group.high, truth)
        if group.low is not None and rest.low is not None:
            _, low, high = difference(group, rest)
            tally["gap"].add(low, high, truth - cell.true_value(other))
        if cell.n_negative is not None:
            wald = _wald(table, in_group)
            tally["wald"].add(wald.low, wald.high, truth)
    return {"runs": runs} | {name: found.summary() for name, found in tally.items() if found.runs}


def _wald(table: Table, rows: NDArray[np.bool_]) -> Estimate:
    truth, score, patient = (table[name][rows] for name in ("truth", "score", "patient"))
    return auc_estimate(truth == 1, score, patient, logit=False)


class Tally:
    """Counts where intervals lay beside a truth."""

    def __init__(self) -> None:
        self.runs = self.low = self.high = self.undefined = 0
        self.widths: list[float] = []

    def add(self, low: float | None, high: float | None, truth: float) -> None:
        """Count one interval; None is one that is not defined."""
        self.runs += 1
        if low is None or high is None:
            self.undefined += 1
            return
        self.low += high < truth
        self.high += low > truth
        self.widths.append(high - low)

    def summary(self) -> dict[str, float]:
        """Return shares; those of coverage are of the defined intervals."""
        n = max(1, len(self.widths))
        return {
            "covered": round(1 - (self.low + self.high) / n, 5),
            "low": round(self.low / n, 5),
            "high": round(self.high / n, 5),
            "undefined": round(self.undefined / self.runs, 5),
            "width": round(float(np.mean(self.widths)) if self.widths else 0.0, 5),
        }
