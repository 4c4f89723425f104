"""Detection of lesions as boxes. Legend: B batch, D spatial axes, N anchors, K classes, M detections of a case."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medimg.errors import ConfigError, InputError, nearest
from medimg.evaluation.metrics.detection import match_boxes
from medimg.evaluation.protocol import Matching
from medimg.inference.boxes import Anchors, Detections, Tile, anchors_for, merge_tiles, select
from medimg.training.batch import Batch
from medimg.training.cases import PreparedCase
from medimg.training.detection_loss import BOX_LOSSES, CLASS_LOSSES, box_loss, class_loss, match
from medimg.training.detection_metrics import average_precision, froc
from medimg.training.task import CaseView

METRICS = ("froc", "sensitivity_at_1", "ap")


@dataclass(frozen=True, kw_only=True)
class DetectionTask:
    """Detection with `medimg.models.retinanet.RetinaNet` or any network with its outputs.

    Attributes
    ----------
    labels : tuple of str
        Names of the K classes, in the order of ``PreparedCase.box_labels``.
    anchors : Anchors
        Must have the network's strides and number of anchors per position.
    class_loss, box_loss : str
        See `medimg.training.detection_loss`.
    box_weight : float
        Factor on the loss of the boxes.
    candidates : int
        Nearest positions per level that a true box may match.
    negatives_per_positive, min_negatives : int
        For ``hard_negative``.
    matching : Matching
        When a detection counts as a hit, in validation.
    metric_name : {'froc', 'sensitivity_at_1', 'ap'}
        Mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4, 8 false marks per image (as in LUNA16, Setio et al., 2017),
        sensitivity at one false mark per image, or average precision; the mean over classes.
    tile, halo : tuple of int, optional
        Larger cases are validated window by window: ``tile`` is the part a window answers for, ``halo`` is added on
        each side. ``tile + 2 halo`` must be a multiple of the network's divisor.
    max_voxels : int
        Largest case that is validated in one pass.
    """

    labels: tuple[str, ...]
    anchors: Anchors
    class_loss: str = "focal"
    box_loss: str = "smooth_l1"
    box_weight: float = 1.0
    candidates: int = 9
    negatives_per_positive: int = 3
    min_negatives: int = 16
    matching: Matching = field(default_factory=Matching)
    metric_name: str = "froc"
    tile: tuple[int, ...] | None = None
    halo: tuple[int, ...] | None = None
    max_voxels: int = 128**3

    def __post_init__(self) -> None:
        for name, got, valid in (
            ("class_loss", self.class_loss, CLASS_LOSSES),
            ("box_loss", self.box_loss, BOX_LOSSES),
            ("metric", self.metric_name, METRICS),
        ):
            if got not in valid:
                raise ConfigError(f"unknown {name}", where=f"task.{name}", got=got, expected=nearest(got, valid))
        if not self.labels:
            raise ConfigError("a detection needs at least one label", where="task.labels")

    @property
    def metric(self) -> str:
        """Name of the figure that picks the best weights."""
        return self.metric_name

    @property
    def out_channels(self) -> int:
        """Classes of the network."""
        return len(self.labels)

    def check(self, cases: Sequence[PreparedCase]) -> None:
        """Raise InputError for the first case without a list of boxes, or with a class that is not there."""
        for case in cases:
            if case.boxes is None or case.box_labels is None:
                raise InputError(
                    "a case has no list of boxes",
                    where=f"case {case.case_id}",
                    fix="an image without lesions needs an empty list; leave out what nobody has annotated",
                )
            classes = np.asarray(case.box_labels)
            if len(classes) and not 0 <= classes.min() <= classes.max() < len(self.labels):
                raise InputError(
                    "a box has an unknown class",
                    where=f"case {case.case_id}",
                    got=int(classes.max()),
                    expected=f"0 to {len(self.labels) - 1}",
                )

    def stratum(self, case: PreparedCase) -> Hashable:
        """Return which classes are present."""
        return tuple(sorted({int(label) for label in case.box_labels})) if case.box_labels is not None else ()

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return ``class`` and ``box``."""
        boxes, labels = batch["boxes"], batch["box_labels"]
        if boxes is None or labels is None:
            raise InputError("a batch has no boxes", where=", ".join(batch["case_ids"]))
        logits, deltas = (each.float() for each in network(batch["image"]))
        size = tuple(batch["image"].shape[2:])
        anchors = torch.tensor(anchors_for(size, self.anchors), device=logits.device)
        self._check_outputs(logits, anchors)
        positions = [math.prod(n // s for n, s in zip(size, step)) for step in self.anchors.strides]
        matched = match(boxes, labels, anchors, positions, len(self.labels), self.candidates)
        ratio = (self.negatives_per_positive, self.min_negatives)
        return {
            "class": class_loss(logits, matched, self.class_loss, *ratio),
            "box": self.box_weight * box_loss(deltas, matched, anchors, self.box_loss),
        }

    def predict(self, network: nn.Module, batch: Batch) -> list[Detections]:
        """Return the detections of every image, in index coordinates of the batch."""
        logits, deltas = network(batch["image"])
        size = tuple(batch["image"].shape[2:])
        return [
            select(each.float().cpu().numpy(), shift.float().cpu().numpy(), size, self.anchors)
            for each, shift in zip(logits.detach(), deltas.detach(), strict=True)
        ]

    def measure(self, network: nn.Module, view: CaseView) -> NDArray[Any]:
        """Return, class by class, the number of lesions, then score and outcome of each detection.

        A row has K (1 + 2 max_detections) numbers: the outcome is 1 for a hit, 0 for a false mark; further marks on a
        lesion that is hit, and unused places, are NaN.
        """
        found = self._detect(network, view)
        truth, classes = np.asarray(view.case.boxes, np.float64), np.asarray(view.case.box_labels)
        row = np.full((len(self.labels), 1 + 2 * self.anchors.max_detections), np.nan)
        for k in range(len(self.labels)):
            lesions, mine = truth[classes == k], found.take(found.labels == k)
            row[k, 0] = len(lesions)
            row[k, 1 : 1 + 2 * len(mine)] = np.stack((mine.scores, self._outcome(lesions, mine)), axis=1).reshape(-1)
        return row.reshape(-1)

    def summarise(self, rows: NDArray[Any]) -> dict[str, float]:
        """Return ``froc``, ``sensitivity_at_1`` and ``ap``, means over the classes, and ``ap_<label>`` of each."""
        table = rows.reshape(len(rows), len(self.labels), -1)
        figures: dict[str, list[float]] = {"froc": [], "sensitivity_at_1": [], "ap": []}
        for k in range(len(self.labels)):
            lesions = float(table[:, k, 0].sum())
            marks = table[:, k, 1:].reshape(-1, 2)
            marks = marks[np.isfinite(marks).all(axis=1)]
            curve = froc(marks[:, 0], marks[:, 1] > 0, lesions, len(rows))
            figures["froc"].append(curve.mean)
            figures["sensitivity_at_1"].append(curve.at_one)
            figures["ap"].append(average_precision(marks[:, 0], marks[:, 1] > 0, lesions))
        means = {name: _mean(values) for name, values in figures.items()}
        return means | {f"ap_{label}": value for label, value in zip(self.labels, figures["ap"], strict=True)}

    def _outcome(self, lesions: NDArray[np.float64], found: Detections) -> NDArray[np.float64]:
        """Return for each detection of one class 1 for a hit, 0 for a false mark, NaN for an ignored one."""
        if len(lesions) == 0:
            return np.zeros(len(found))
        matched = match_boxes(lesions, found.boxes.astype(np.float64), found.scores.astype(np.float64), self.matching)
        outcome = (matched.lesion_of_mark >= 0).astype(np.float64)
        if self.matching.duplicates == "ignore":
            outcome[matched.duplicate] = np.nan
        return outcome

    def _check_outputs(self, logits: Tensor, anchors: Tensor) -> None:
        if logits.shape[1:] != (len(anchors), len(self.labels)):
            raise ConfigError(
                "the network does not fit the task's anchors",
                where="task.anchors",
                got=f"{logits.shape[1]} anchors, {logits.shape[2]} classes from the network",
                expected=f"{len(anchors)} anchors, {len(self.labels)} classes",
                fix="give the network the strides and the number of shapes of task.anchors",
            )

    def _detect(self, network: nn.Module, view: CaseView) -> Detections:
        """Return the detections of a case, whole or window by window."""
        shape = view.shape
        if self.tile is None or math.prod(shape) <= self.max_voxels:
            whole = tuple((0, n) for n in shape)
            (found,) = self.predict(network, view.whole())
            return merge_tiles([Tile(found, (0,) * len(shape), whole)], shape, self.anchors)
        halo = self.halo or (0,) * len(shape)
        size = tuple(t + 2 * h for t, h in zip(self.tile, halo, strict=True))
        tiles = []
        for first in itertools.product(*(range(0, n, t) for n, t in zip(shape, self.tile, strict=True))):
            start = tuple(f - h for f, h in zip(first, halo, strict=True))
            core = tuple((f, min(f + t, n)) for f, t, n in zip(first, self.tile, shape, strict=True))
            (found,) = self.predict(network, view.window(start, size))
            tiles.append(Tile(found, start, core))
        return merge_tiles(tiles, shape, self.anchors)


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
