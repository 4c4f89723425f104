"""Classification: binary, multiclass or ordinal. Legend: B batch, K classes or grades."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from torch import Tensor, nn
from torch.nn import functional

from medimg.errors import ConfigError, InputError, nearest
from medimg.training.batch import Batch
from medimg.training.cases import PreparedCase
from medimg.training.task import CaseView

MODES = ("binary", "multiclass", "ordinal")
METRICS = ("auc", "kappa", "accuracy", "balanced_accuracy", "log_likelihood")


@dataclass(frozen=True, kw_only=True)
class ClassificationTask:
    """Classification of whole images.

    Attributes
    ----------
    target : str
        Key of ``PreparedCase.classes``: the class index, the grade, or for binary 0, 1 or a probability between.
    classes : int
        Number K of classes or grades; 2 for binary.
    mode : {'binary', 'multiclass', 'ordinal'}
        One logit; K logits; K-1 cumulative logits, logit k of P(grade > k) (Frank & Hall, ECML 2001; as a network:
        Cheng et al., "NNRank", 2008).
    soft_targets : tuple of str, optional
        Multiclass: K keys of ``classes`` whose values are the probabilities of the classes; replaces ``target``.
    label_smoothing : float
        Share of the truth that is spread evenly over the classes (binary and ordinal: over both answers).
    class_weights : tuple of float, optional
        K factors on the loss of a sample, by its true class. The mean is over samples.
    metric_name : str, optional
        What picks the best weights; None is ``auc`` (for multiclass one against the rest, macro mean), and ``kappa``
        (quadratic weights) for ordinal.
    """

    target: str
    classes: int = 2
    mode: str = "binary"
    soft_targets: tuple[str, ...] | None = None
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    metric_name: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError("unknown mode", where="task.mode", got=self.mode, expected=nearest(self.mode, MODES))
        if self.metric not in METRICS:
            raise ConfigError(
                "unknown metric", where="task.metric", got=self.metric, expected=nearest(self.metric, METRICS)
            )
        if self.classes < 2 or (self.mode == "binary" and self.classes != 2):
            raise ConfigError("wrong number of classes", where="task.classes", got=self.classes)
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                "label smoothing is from 0 up to 1", where="task.label_smoothing", got=self.label_smoothing
            )
        for name, value in (("class_weights", self.class_weights), ("soft_targets", self.soft_targets)):
            if value is not None and len(value) != self.classes:
                raise ConfigError(
                    "one entry a class is needed",
                    where=f"task.{name}",
                    got=len(value),
                    expected=self.classes,
                )
        if self.soft_targets is not None and self.mode != "multiclass":
            raise ConfigError("soft_targets belong to multiclass", where="task.soft_targets", got=self.mode)

    @property
    def metric(self) -> str:
        """Name of the figure that picks the best weights."""
        return self.metric_name or ("kappa" if self.mode == "ordinal" else "auc")

    @property
    def out_channels(self) -> int:
        """Logits of the network."""
        return {"binary": 1, "multiclass": self.classes, "ordinal": self.classes - 1}[self.mode]

    def check(self, cases: Sequence[PreparedCase]) -> None:
        """Raise InputError for the first case whose target is missing or out of range."""
        for case in cases:
            for name in self.soft_targets or (self.target,):
                value = case.classes.get(name, math.nan)
                if not self._possible(value):
                    raise InputError(
                        f"a case has no usable value of '{name}'",
                        where=f"case {case.case_id}",
                        got=value,
                        expected="a probability"
                        if self.soft_targets or self.mode == "binary"
                        else f"0 to {self.classes - 1}",
                        fix="correct the labels table, or leave the case out",
                    )

    def stratum(self, case: PreparedCase) -> Hashable:
        """Return the true class, that of the highest probability for soft truth."""
        return int(self._hard(self._truth([case.classes])).item())

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return ``entropy``: binary (of every cumulative answer for ordinal) or softmax cross-entropy."""
        logits = network(batch["image"]).float()
        truth = self._truth(batch["classes"]).to(logits.device)
        losses = self._losses(logits, truth, self.label_smoothing)
        if self.class_weights is not None:
            losses = losses * losses.new_tensor(self.class_weights)[self._hard(truth)]
        return {"entropy": losses.mean()}

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return probabilities: (B, 1), (B, K), or cumulative (B, K-1)."""
        logits = network(batch["image"]).float()
        return logits.softmax(dim=1) if self.mode == "multiclass" else logits.sigmoid()

    def measure(self, network: nn.Module, view: CaseView) -> NDArray[Any]:
        """Return the negative log-likelihood, the true class and the probabilities, (2 + outputs,)."""
        batch = view.whole()
        logits = network(batch["image"]).float()
        truth = self._truth(batch["classes"]).to(logits.device)
        loss, hard = self._losses(logits, truth, 0.0), self._hard(truth)
        probabilities = logits.softmax(dim=1) if self.mode == "multiclass" else logits.sigmoid()
        return torch.cat([loss, hard.float(), probabilities[0]]).double().cpu().numpy()

    def summarise(self, rows: NDArray[Any]) -> dict[str, float]:
        """Return ``auc`` or ``kappa``, ``accuracy``, ``balanced_accuracy`` and ``log_likelihood``.

        What is undefined (an AUC of one class) is NaN.
        """
        truth, scores = rows[:, 1].astype(int), rows[:, 2:]
        predicted = scores.argmax(axis=1) if self.mode == "multiclass" else (scores > 0.5).sum(axis=1)
        hit = predicted == truth
        recalls = [float(hit[truth == k].mean()) for k in np.unique(truth)]
        figures = {
            "log_likelihood": float(-rows[:, 0].mean()),
            "accuracy": float(hit.mean()),
            "balanced_accuracy": float(np.mean(recalls)),
        }
        if self.mode == "ordinal":
            return {"kappa": _kappa(truth, predicted), **figures}
        columns = {1: scores[:, 0]} if self.mode == "binary" else dict(enumerate(scores.T))
        return {"auc": _mean_auc(truth, columns), **figures}

    def _possible(self, value: float) -> bool:
        if self.soft_targets is not None or self.mode == "binary":
            return 0 <= value <= 1
        return 0 <= value <= self.classes - 1 and (self.mode == "ordinal" or float(value).is_integer())

    def _truth(self, classes: Sequence[Any]) -> Tensor:
        """Return probabilities of the classes (B, K), or the values (B,) for binary and ordinal."""
        if self.soft_targets is not None:
            table = torch.tensor([[float(c[name]) for name in self.soft_targets] for c in classes])
            return table / table.sum(dim=1, keepdim=True)
        values = torch.tensor([float(c[self.target]) for c in classes])
        if self.mode == "multiclass":
            return functional.one_hot(values.long(), self.classes).float()
        return values

    def _hard(self, truth: Tensor) -> Tensor:
        """Return the class index (B,)."""
        if self.mode == "multiclass":
            return truth.argmax(dim=1)
        return torch.floor(truth + 0.5).long()

    def _losses(self, logits: Tensor, truth: Tensor, smoothing: float) -> Tensor:
        """Return the loss of every sample (B,)."""
        if self.mode == "multiclass":
            return functional.cross_entropy(logits, truth, reduction="none", label_smoothing=smoothing)
        thresholds = torch.arange(self.out_channels, device=logits.device)
        answers = (truth.unsqueeze(1) - thresholds).clamp(0.0, 1.0)
        answers = answers * (1.0 - smoothing) + 0.5 * smoothing
        return functional.binary_cross_entropy_with_logits(logits, answers, reduction="none").mean(dim=1)


def _mean_auc(truth: NDArray[Any], scores: dict[int, NDArray[Any]]) -> float:
    """Return the mean area under the ROC curve of each class against the rest."""
    areas = [
        float(roc_auc_score(truth == k, score))
        for k, score in scores.items()
        if 0 < (truth == k).sum() < len(truth) and np.isfinite(score).all()
    ]
    return float(np.mean(areas)) if areas else math.nan


def _kappa(truth: NDArray[Any], predicted: NDArray[Any]) -> float:
    """Return Cohen's kappa with quadratic weights; NaN where all grades are one."""
    if len(np.unique(np.concatenate([truth, predicted]))) < 2:
        return math.nan
    return float(cohen_kappa_score(truth, predicted, weights="quadratic"))
