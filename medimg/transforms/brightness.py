"""Brightness: add a constant to a sample. Legend: n samples, C channels, ``*S`` spatial axes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medimg.transforms.sampling import chance, per_sample, uniform


@dataclass
class Brightness:
    """``shift`` is in units of the normalised image (1 = one standard deviation)."""

    probability: float = 0.0
    shift: tuple[float, float] = (-0.3, 0.3)

    def draw(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``on`` (B,) and ``shift`` (B,)."""
        return {
            "on": chance(self.probability, batch, generator),
            "shift": uniform(self.shift, (batch,), generator),
        }


def brightness(image: Tensor, shift: Tensor) -> Tensor:
    """Add ``shift`` (n,) to images (n, C, *S)."""
    return image + per_sample(shift, image)
