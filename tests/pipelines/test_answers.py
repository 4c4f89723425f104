"""Answers of two engines: what counts as equal, and what stops a package."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medimg.errors import InputError
from medimg.inference.prediction import Box, Prediction
from medimg.packaging.manifest import Label, TaskSpec
from medimg.pipelines.answers import difference

TASK = TaskSpec(kind="detection", mode="boxes", spatial_dims=2, labels=(Label(name="polyp", index=0, code=None),))
BOX = Box("polyp", 0.7, (1.0, 2.0, 5.0, 6.0), None, True)


def test_a_voxel_on_the_threshold_passes_and_is_counted() -> None:
    labels = np.zeros((400, 400), np.uint8)
    other = labels.copy()
    other[3, 4] = 1
    assert difference(Prediction(TASK, labels=labels), Prediction(TASK, labels=other), "c") == 1 / 160_000
    other[:10] = 1
    with pytest.raises(InputError, match="case c"):
        difference(Prediction(TASK, labels=labels), Prediction(TASK, labels=other), "c")


@pytest.mark.parametrize(
    "other",
    [
        (),
        (replace(BOX, box=(1.0, 2.0, 5.0, 6.1)),),
        (replace(BOX, score=0.71),),
        (replace(BOX, positive=False),),
        (BOX, BOX),
    ],
)
def test_another_box_stops_the_package(other: tuple[Box, ...]) -> None:
    same = replace(BOX, score=BOX.score + 1e-6)
    assert difference(Prediction(TASK, boxes=(BOX,)), Prediction(TASK, boxes=(same,)), "c") == 0
    with pytest.raises(InputError, match="trained network"):
        difference(Prediction(TASK, boxes=(BOX,)), Prediction(TASK, boxes=other), "c")


def test_another_decision_stops_the_package() -> None:
    yes, no = Prediction(TASK, decisions={"polyp": True}), Prediction(TASK, decisions={"polyp": False})
    with pytest.raises(InputError, match="decision"):
        difference(yes, no, "c")
