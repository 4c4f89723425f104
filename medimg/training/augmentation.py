"""Augmentation of a batch whose samples each draw from a generator of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from medimg.training.batch import Batch, drop_empty_boxes
from medimg.training.seeds import AUGMENT, torch_generator
from medimg.transforms.augment import Draw


class Augmentation(Protocol):
    """Two-step augmentation, as `medimg.transforms.augment.Augment`."""

    def draw(self, batch: int, size: Sequence[int], generator: torch.Generator) -> Draw:
        """Draw the parameters of ``batch`` samples on the CPU."""

    def apply(
        self, draw: Draw, image: Tensor, label: Tensor | None = None, boxes: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None, list[Tensor] | None]:
        """Apply them to normalised images (B, C, *S), labels (B, *S) and boxes; the number of boxes stays."""


def augmented(augmentation: Augmentation, batch: Batch, seed: int, step: int, slots: Sequence[int]) -> Batch:
    """Return the augmented batch; boxes that were pushed out of the image are left out.

    Every sample draws by (seed, step, slot), so that neither the number of processes nor the accumulation changes it.
    """
    size = tuple(batch["image"].shape[2:])
    draws = [augmentation.draw(1, size, torch_generator(seed, AUGMENT, step, slot)) for slot in slots]
    joined = {
        name: {key: torch.cat([draw.parameters[name][key] for draw in draws]) for key in values}
        for name, values in draws[0].parameters.items()
    }
    changed = batch.copy()
    changed["image"], changed["label"], changed["boxes"] = augmentation.apply(
        Draw(joined), batch["image"], batch["label"], batch["boxes"]
    )
    return drop_empty_boxes(changed)
