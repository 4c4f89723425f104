"""The study of coverage in small: intervals hold their truth, and verdicts keep their error."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medimg.evaluation.metrics.bootstrap import stream

RUNS = 300
SPREAD = 3 * np.sqrt(0.05 * 0.95 / RUNS)


def _study(name: str) -> ModuleType:
    folder = str(Path(__file__).parents[2] / "scripts" / "studies")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)


cells, families, people = (_study(f"coverage_{name}") for name in ("cells", "families", "people"))


@pytest.mark.parametrize(
    ("metric", "truth", "n", "design"),
    [
        ("auc", 0.85, 50, "own"),
        ("auc", 0.95, 30, "mixed"),
        ("sensitivity", 0.85, 50, "shared"),
        ("specificity", 0.95, 50, "own"),
        ("dice_mean", "skewed, 5 % zeros", 30, "own"),
        ("dice_median", "skewed", 50, "own"),
    ],
)
def test_intervals_hold_the_truth_in_clusters(metric, truth, n, design):
    found = cells.study_cell(cells.Cell(metric, truth, n, 0.6, design), RUNS, seed=1)
    for part in ("estimate", "gap"):
        assert found[part]["covered"] >= 0.93 - SPREAD, part
        assert found[part]["undefined"] == 0


@pytest.mark.parametrize(("metric", "truth"), [("auc", 0.85), ("sensitivity", 0.85), ("dice_mean", "skewed")])
def test_images_that_pass_for_patients_are_caught(metric, truth, monkeypatch):
    def apart(table, rows=None):
        return people.selection({**table, "patient": np.arange(len(table["patient"]))}, rows)

    monkeypatch.setattr(cells, "selection", apart)
    found = cells.study_cell(cells.Cell(metric, truth, 50, 0.6), RUNS, seed=1)
    assert found["estimate"]["covered"] < 0.93 - SPREAD


def test_equal_groups_are_seldom_called_unequal_in_clusters():
    family = families.Family(("sensitivity", "specificity"), 0.6, (200, 60, 30))
    found = families.study_family(family, RUNS, seed=1)
    assert found["any"] <= 0.05 + SPREAD


def test_a_planted_gap_is_flagged_in_clusters():
    family = families.Family(("sensitivity", "specificity"), 0.3, (800, 400, 400, 400), gap=0.12, images=True)
    assert families.study_family(family, 100, seed=1)["flagged"] >= 0.8


def test_people_are_what_they_are_said_to_be():
    rng = stream(0, "people")
    patient = people.images_of(rng, 4000, "own")
    right = people.called_people(rng, patient, 1, 0.85, 0.4)["predicted"]
    assert right.mean() == pytest.approx(0.85, abs=0.015)
    pairs = np.flatnonzero(patient[1:] == patient[:-1])
    product = (right[pairs] - 0.85) * (right[pairs + 1] - 0.85)
    assert product.mean() / (0.85 * 0.15) == pytest.approx(0.4, abs=0.05)
    shape = people.SHAPES["skewed, 5 % zeros"]
    dice = people.outlined_people(rng, patient, shape, 0.4)["dice"]
    assert dice.mean() == pytest.approx(shape.mean, abs=0.015)
    assert np.median(dice) == pytest.approx(shape.median, abs=0.015)
    assert np.mean(dice == 0) == pytest.approx(0.05, abs=0.01)
