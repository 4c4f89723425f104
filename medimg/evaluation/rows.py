"""Rows of the evaluation tables from the arrays of one case: what the pipelines call after each prediction.

A prediction of None is a failed case: its row keeps the truth, so that the case can count as the worst outcome.

Legend: S spatial axes, (Z, Y, X) or (Y, X); T true lesions, N marks, D axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medimg.evaluation.metrics.detection import match_boxes
from medimg.evaluation.metrics.pixel_scores import BINS, score_histogram
from medimg.evaluation.metrics.segmentation import diagonal, overlap
from medimg.evaluation.protocol import Protocol
from medimg.evaluation.tables import UNKNOWN

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """Who and where: the keys of a case. ``age`` in years at the examination, where known."""

    case_id: str
    subject_id: str
    site_id: str
    scanner: str = UNKNOWN
    age: float | None = None

    def keys(self, target: str, task: str, failed: str | None) -> Row:
        """Return the key columns of one row; ``failed`` is the reason, or None."""
        return {
            "case_id": self.case_id,
            "subject_id": self.subject_id,
            "site_id": self.site_id,
            "scanner": self.scanner,
            "age": self.age,
            "target": target,
            "task": task,
            "status": "ok" if failed is None else "failed",
            "reason": failed or "",
        }


def label_mask(labels: NDArray[Any], index: int, mode: Literal["multiclass", "multilabel"]) -> NDArray[np.bool_]:
    """Return the mask of one label from class indices or from a bit mask."""
    if mode == "multiclass":
        return labels == index
    return (labels.astype(np.int64) >> index) & 1 == 1


def segmentation_rows(
    case: Case,
    truth: NDArray[Any],
    predicted: NDArray[Any] | None,
    *,
    labels: Mapping[str, int],
    mode: Literal["multiclass", "multilabel"],
    spacing_mm: Sequence[float] | None,
    protocol: Protocol,
    failed: str = "no prediction",
) -> list[Row]:
    """Return one row per label.

    Parameters
    ----------
    case : Case
    truth, predicted : (*S) integer
        Class indices, or bit masks in mode ``multilabel``, both on the source grid. ``predicted`` None: failed.
    labels : mapping of str to int
        Name to class index or bit.
    mode : {'multiclass', 'multilabel'}
    spacing_mm : sequence of float or None
        Per axis; None for pictures, whose distances are in pixels and sizes in pixels.
    protocol : Protocol
        Gives tolerance and empty rule.
    failed : str
        Reason, where ``predicted`` is None.
    """
    spacing = tuple(spacing_mm) if spacing_mm is not None else (1.0,) * truth.ndim
    unit = "mm" if spacing_mm is not None else "px"
    sizes = ("volume_true_ml", "volume_pred_ml") if unit == "mm" else ("area_true_px", "area_pred_px")
    scale = float(np.prod(spacing)) / 1000 if unit == "mm" else 1.0
    rows = []
    for name, index in labels.items():
        mask = label_mask(truth, index, mode)
        if predicted is None:
            n_true = int(np.count_nonzero(mask))
            row = case.keys(name, "segmentation", failed)
            row |= {"truth_empty": int(n_true == 0), sizes[0]: n_true * scale}
            if protocol.hd95_empty == "diagonal":
                row[f"hd95_{unit}"] = diagonal(truth.shape, spacing)
        else:
            found = overlap(
                mask,
                label_mask(predicted, index, mode),
                spacing,
                tolerance=protocol.nsd_tolerance,
                hd95_empty=protocol.hd95_empty,
            )
            row = case.keys(name, "segmentation", None)
            row |= {
                "dice": found.dice,
                "nsd": found.nsd,
                f"hd95_{unit}": found.hd95,
                sizes[0]: found.n_true * scale,
                sizes[1]: found.n_predicted * scale,
                "truth_empty": int(found.n_true == 0),
                "pred_empty": int(found.n_predicted == 0),
            }
        rows.append(row)
    return rows


def classification_rows(
    case: Case,
    truth: Mapping[str, float],
    scores: Mapping[str, float] | None,
    *,
    thresholds: Mapping[str, float],
    grades: Mapping[str, tuple[int, int | None]] | None = None,
    failed: str = "no prediction",
) -> list[Row]:
    """Return one row per target.

    Parameters
    ----------
    case : Case
    truth : mapping of str to float
        Target to 0 or 1. Several classes: one target per class. Grades: the declared binary view.
    scores : mapping of str to float, or None
        Target to score in [0, 1]; None: failed.
    thresholds : mapping of str to float
        Frozen operating points; targets without one get no call.
    grades : mapping of str to (true, predicted), optional
        Target to grade or class index; predicted None where failed.
    failed : str
        Reason, where ``scores`` is None.
    """
    rows = []
    for target, value in truth.items():
        row = case.keys(target, "classification", None if scores is not None else failed)
        row["truth"] = float(value)
        if scores is not None:
            row["score"] = float(scores[target])
            if target in thresholds:
                row["predicted"] = int(scores[target] >= thresholds[target])
        if grades and target in grades:
            row["grade_true"], row["grade_pred"] = grades[target]
        rows.append(row)
    return rows


def detection_rows(
    case: Case,
    true_boxes: NDArray[Any],
    true_labels: NDArray[Any],
    marks: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None,
    *,
    labels: Mapping[str, int],
    thresholds: Mapping[str, float],
    protocol: Protocol,
    spacing_mm: Sequence[float] | None = None,
    failed: str = "no prediction",
) -> tuple[list[Row], list[Row]]:
    """Return the rows of the case table (one per class) and of the lesion table.

    Parameters
    ----------
    case : Case
    true_boxes : (T, 2 D)
        Half-open, lower corners first, source index frame.
    true_labels : (T,) int
    marks : (boxes (N, 2 D), labels (N,), scores (N,)) or None
        All marks down to the package's lowest score, in the same frame; None: failed.
    labels : mapping of str to int
        Class name to index.
    thresholds : mapping of str to float
        Frozen operating points of the classes.
    protocol : Protocol
        Gives the matching rule.
    spacing_mm : sequence of float, optional
        Per axis; sizes are the longest box side in mm, or in pixels without it.
    failed : str
        Reason, where ``marks`` is None.
    """
    true_boxes = np.asarray(true_boxes, float)
    unit, spacing = ("size_px", 1.0) if spacing_mm is None else ("size_mm", np.asarray(spacing_mm, float))
    cases, lesions = [], []
    for name, index in labels.items():
        truth = true_boxes[np.asarray(true_labels) == index] if len(true_boxes) else true_boxes
        row = case.keys(name, "detection", None if marks is not None else failed)
        row |= {"n_lesions": len(truth), "truth": int(len(truth) > 0)}
        of_truth = np.full(len(truth), np.nan)
        if marks is not None:
            boxes, classes, scores = (np.asarray(part) for part in marks)
            mine = classes == index
            boxes, scores = boxes[mine].astype(float), scores[mine].astype(float)
            found = match_boxes(truth, boxes, scores, protocol.matching)
            of_truth = found.score_of_lesion
            ignored = found.duplicate & (protocol.matching.duplicates == "ignore")
            called = scores >= thresholds.get(name, np.inf)
            hit = found.lesion_of_mark >= 0
            row |= {
                "n_hit": int(np.sum(hit & called)),
                "n_false_positives": int(np.sum(~hit & ~ignored & called)),
                "score": float(scores.max(initial=0.0)),
                "predicted": int(called.any()) if name in thresholds else None,
            }
            kinds = np.where(ignored, "duplicate", "detection")
            lesions += _lesions(case, name, kinds, scores, hit, found.iou_of_mark, boxes, unit, spacing)
        kinds = np.full(len(truth), "truth")
        best = np.full(len(truth), np.nan)
        lesions += _lesions(case, name, kinds, of_truth, ~np.isnan(of_truth), best, truth, unit, spacing)
        cases.append(row)
    return cases, lesions


def _lesions(
    case: Case,
    target: str,
    kinds: NDArray[Any],
    scores: NDArray[Any],
    matched: NDArray[np.bool_],
    iou: NDArray[Any],
    boxes: NDArray[Any],
    unit: str,
    spacing: Any,
) -> list[Row]:
    keys = {"case_id": case.case_id, "subject_id": case.subject_id, "site_id": case.site_id, "target": target}
    rows = []
    for i, kind in enumerate(kinds):
        d = len(boxes[i]) // 2
        size = float(np.max((boxes[i][d:] - boxes[i][:d]) * spacing))
        rows.append(
            {
                **keys,
                "kind": str(kind),
                "score": float(scores[i]),
                "matched": bool(matched[i]),
                "iou": float(iou[i]),
                unit: size,
            }
        )
    return rows


def pixel_rows(
    case: Case,
    target: str,
    truth: NDArray[np.bool_],
    score: NDArray[Any],
    *,
    bins: int = BINS,
    inside: NDArray[np.bool_] | None = None,
) -> list[Row]:
    """Return the filled score bins of one case and label for the table of pixel scores.

    Parameters
    ----------
    truth : (*S) bool
    score : (*S) float
        Probabilities in [0, 1].
    inside : (*S) bool, optional
        Pixels that count.
    """
    positive, negative = score_histogram(truth, score, bins=bins, inside=inside)
    keys = {"case_id": case.case_id, "subject_id": case.subject_id, "target": target}
    return [
        {**keys, "bin": int(b), "n_positive": int(positive[b]), "n_negative": int(negative[b])}
        for b in np.flatnonzero(positive + negative)
    ]
