"""Segmentation: Dice with cross-entropy, validated by the mean Dice of whole images.

Legend: B batch, K labels, ``*S`` spatial axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from medimg.errors import ConfigError, InputError, nearest
from medimg.training.batch import Batch, unpack_bits
from medimg.training.cases import PreparedCase
from medimg.training.dice import multiclass_loss, multilabel_loss
from medimg.training.task import CaseView

MODES = ("multiclass", "multilabel")


@dataclass(frozen=True, kw_only=True)
class SegmentationTask:
    """Segmentation of K labels.

    Attributes
    ----------
    labels : tuple of str
        Names; label l is class index l + 1 (multiclass) or bit l (multilabel).
    mode : {'multiclass', 'multilabel'}
        Softmax over 1+K channels with the background first, or K sigmoids.
    dice_weight, entropy_weight : float
        Factors of the two losses.
    label_weights : tuple of float, optional
        Factors on the cross-entropy: 1+K classes (multiclass) or K positives (multilabel).
    tile, halo : tuple of int, optional
        Cases of more than ``max_voxels`` are validated in core tiles of this size, each seen with a halo around it;
        both should be multiples of the network's divisor.
    max_voxels : int
        Largest case that is validated in one pass.
    """

    labels: tuple[str, ...]
    mode: str = "multiclass"
    dice_weight: float = 1.0
    entropy_weight: float = 1.0
    label_weights: tuple[float, ...] | None = None
    tile: tuple[int, ...] | None = None
    halo: tuple[int, ...] | None = None
    max_voxels: int = 16_000_000

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError("unknown mode", where="task.mode", got=self.mode, expected=nearest(self.mode, MODES))
        if not self.labels:
            raise ConfigError("a segmentation needs at least one label", where="task.labels")
        if self.label_weights is not None and len(self.label_weights) != self.out_channels:
            raise ConfigError(
                "wrong number of weights",
                where="task.label_weights",
                got=len(self.label_weights),
                expected=self.out_channels,
            )

    @property
    def metric(self) -> str:
        """The mean Dice picks the best weights."""
        return "dice"

    @property
    def out_channels(self) -> int:
        """Channels of the network's output."""
        return len(self.labels) + (self.mode == "multiclass")

    def check(self, cases: Sequence[PreparedCase]) -> None:
        """Raise InputError for the first case without a label array."""
        for case in cases:
            if case.label is None:
                raise InputError(
                    "a case has no mask",
                    where=f"case {case.case_id}",
                    fix="an image without the structure needs an empty mask; leave out what nobody has annotated",
                )

    def stratum(self, case: PreparedCase) -> Hashable:
        """Return which labels are present."""
        return tuple(name for name in self.labels if len(case.foreground.get(name, ())))

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return ``dice`` and ``entropy``.

        Deep supervision: where the network answers with a list, coarser outputs are judged by the label at their own
        resolution, with weights 1, 1/2, 1/4, ... divided by their sum (Isensee et al., "nnU-Net", 2021).
        """
        label = batch["label"]
        if label is None:
            raise InputError("a batch has no mask", where=", ".join(batch["case_ids"]))
        answer = network(batch["image"])
        outputs = list(answer) if isinstance(answer, list | tuple) else [answer]
        factors = [0.5**level for level in range(len(outputs))]
        dice, entropy = label.new_zeros((), dtype=torch.float32), label.new_zeros((), dtype=torch.float32)
        for output, factor in zip(outputs, factors, strict=True):
            parts = self._parts(output.float(), _label_at(label, output.shape[2:]))
            dice = dice + factor / sum(factors) * parts[0]
            entropy = entropy + factor / sum(factors) * parts[1]
        return {"dice": self.dice_weight * dice, "entropy": self.entropy_weight * entropy}

    def predict(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return probabilities: (B, 1+K, *S) softmax with the background, or (B, K, *S) sigmoid."""
        logits = network(batch["image"]).float()
        return logits.softmax(dim=1) if self.mode == "multiclass" else logits.sigmoid()

    def measure(self, network: nn.Module, view: CaseView) -> NDArray[Any]:
        """Return overlap, predicted and true size of every label in voxels, (K * 3,)."""
        counts = torch.zeros(len(self.labels), 3, dtype=torch.float64)
        for batch, core in self._windows(view):
            predicted, truth = self._planes(network, batch)
            part = (slice(None), slice(None), *core)
            predicted, truth = predicted[part], truth[part]
            axes = (0, *range(2, truth.ndim))
            sums = [(predicted * truth).sum(axes), predicted.sum(axes), truth.sum(axes)]
            counts += torch.stack(sums, dim=1).double().cpu()
        return counts.flatten().numpy()

    def summarise(self, rows: NDArray[Any]) -> dict[str, float]:
        """Return ``dice`` and ``dice_<label>``: mean over cases, then over labels.

        A case without the label counts 0 where the network found it, and is left out where it rightly did not.
        """
        counts = rows.reshape(len(rows), len(self.labels), 3)
        sizes = counts[..., 1] + counts[..., 2]
        dice = np.where(sizes > 0, 2.0 * counts[..., 0] / np.maximum(sizes, 1.0), np.nan)
        figures = {name: _mean(dice[:, k]) for k, name in enumerate(self.labels)}
        return {"dice": _mean(np.array(list(figures.values())))} | {f"dice_{k}": v for k, v in figures.items()}

    def _parts(self, logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        weights = None if self.label_weights is None else torch.tensor(self.label_weights)
        judge = multiclass_loss if self.mode == "multiclass" else multilabel_loss
        return judge(logits, label, weights)

    def _planes(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return predicted and true labels as float planes (B, K, *S)."""
        logits, label = network(batch["image"]), batch["label"]
        if label is None:
            raise InputError("a case has no mask", where=batch["case_ids"][0])
        if self.mode == "multilabel":
            return (logits > 0).float(), unpack_bits(label, len(self.labels))
        index = torch.arange(1, self.out_channels, device=label.device).view(1, -1, *(1,) * (label.ndim - 1))
        return (logits.argmax(dim=1, keepdim=True) == index).float(), (label.unsqueeze(1) == index).float()

    def _windows(self, view: CaseView) -> Iterator[tuple[Batch, tuple[slice, ...]]]:
        """Yield batches with the part of them that counts: the whole case, or core tiles with halos."""
        if self.tile is None or math.prod(view.shape) <= self.max_voxels:
            yield view.whole(), tuple(slice(0, n) for n in view.shape)
            return
        halo = self.halo or (0,) * len(self.tile)
        size = tuple(t + 2 * h for t, h in zip(self.tile, halo, strict=True))
        for first in itertools.product(*(range(0, n, t) for n, t in zip(view.shape, self.tile, strict=True))):
            start = tuple(f - h for f, h in zip(first, halo, strict=True))
            core = tuple(
                slice(h, h + min(t, n - f)) for h, t, n, f in zip(halo, self.tile, view.shape, first, strict=True)
            )
            yield view.window(start, size), core


def _label_at(label: Tensor, size: Sequence[int]) -> Tensor:
    """Return the nearest label on a coarser grid (bitmasks stay bitmasks)."""
    if tuple(label.shape[1:]) == tuple(size):
        return label
    coarse = functional.interpolate(label.unsqueeze(1).float(), size=tuple(size), mode="nearest-exact")
    return coarse.squeeze(1).to(label.dtype)


def _mean(values: NDArray[Any]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan
