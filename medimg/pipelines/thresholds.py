"""Operating points, fixed on the tuning split through the package itself."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from medimg.data.targets import Targets
from medimg.errors import InputError
from medimg.evaluation.metrics.classification import choose_threshold
from medimg.evaluation.metrics.detection import lesion_rate_threshold
from medimg.evaluation.metrics.pixel_scores import BINS, dice_curve, dice_threshold
from medimg.evaluation.protocol import Protocol
from medimg.pipelines.held_out import Tables

DEFAULT_FALSE_MARKS_PER_IMAGE = 1.0
DEFAULT_SENSITIVITY = 0.9


def fix_thresholds(tables: Tables, targets: Targets, protocol: Protocol) -> dict[str, float]:
    """Return the operating point of every target that has one.

    Multilabel segmentation takes the threshold with the greatest mean Dice over tuning cases, classification the
    protocol's rule (Youden's index, or a sensitivity), detection the one at the protocol's false marks per image.
    Multiclass segmentation takes the likeliest class and needs none.

    Raises
    ------
    InputError
        The tuning split gives no basis for a threshold.
    """
    if targets.kind == "segmentation":
        return {} if targets.mode == "multiclass" else _segmentation(tables, targets)
    if not tables.cases:
        raise InputError("no tuning case could be predicted", where="tuning split", got=str(tables.failures[:3]))
    if targets.kind == "detection":
        return _detection(tables, targets, protocol)
    return _classification(pd.DataFrame(tables.cases), protocol)


def _segmentation(tables: Tables, targets: Targets) -> dict[str, float]:
    table = pd.DataFrame(tables.pixels)
    thresholds = {}
    for name in targets.names:
        curves = []
        for _, rows in table[table["target"] == name].groupby("case_id", sort=True):
            positive, negative = np.zeros(BINS), np.zeros(BINS)
            positive[rows["bin"]], negative[rows["bin"]] = rows["n_positive"], rows["n_negative"]
            curves.append(dice_curve(positive, negative))
        if not curves:
            raise InputError("no tuning case shows the scores of a target", where="tuning split", got=name)
        thresholds[name] = dice_threshold(curves)
    return thresholds


def _classification(table: pd.DataFrame, protocol: Protocol) -> dict[str, float]:
    thresholds = {}
    for name, rows in table[table["truth"].notna() & table["score"].notna()].groupby("target", sort=True):
        rule: Literal["sensitivity", "youden"] = "sensitivity" if protocol.threshold_rule == "sensitivity" else "youden"
        target = protocol.threshold_target or DEFAULT_SENSITIVITY
        truth = rows["truth"].to_numpy() > 0
        thresholds[str(name)] = choose_threshold(truth, rows["score"].to_numpy(float), rule, target)
    return thresholds


def _detection(tables: Tables, targets: Targets, protocol: Protocol) -> dict[str, float]:
    cases, marks = pd.DataFrame(tables.cases), pd.DataFrame(tables.lesions)
    rate = protocol.threshold_target or DEFAULT_FALSE_MARKS_PER_IMAGE
    thresholds = {}
    for name in targets.names:
        images = int((cases["target"] == name).sum())
        mine = marks[(marks["target"] == name) & (marks["kind"] == "detection")] if len(marks) else marks
        scores = mine["score"].to_numpy(float) if len(mine) else np.zeros(0)
        hits = mine["matched"].to_numpy(bool) if len(mine) else np.zeros(0, bool)
        thresholds[name] = lesion_rate_threshold(scores, hits, images, false_marks_per_image=rate)
    return thresholds
