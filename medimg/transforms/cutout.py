"""Cutout: blank one box a sample (DeVries and Taylor, 2017). Legend: n samples, C channels, ``*S`` spatial axes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medimg.transforms.sampling import chance, uniform


@dataclass
class Cutout:
    """``side`` is the box's side over the image's; the box is filled with 0, the mean of normalised images."""

    probability: float = 0.0
    side: tuple[float, float] = (0.1, 0.25)

    def draw(self, batch: int, dims: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``on`` (B,), ``side`` (B, D) and ``place`` (B, D), 0 at the lower border and 1 at the upper."""
        return {
            "on": chance(self.probability, batch, generator),
            "side": uniform(self.side, (batch, dims), generator),
            "place": uniform((0.0, 1.0), (batch, dims), generator),
        }


def cutout(image: Tensor, side: Tensor, place: Tensor) -> Tensor:
    """Return images (n, C, *S) with one box a sample set to 0; ``side`` and ``place`` are fractions (n, D)."""
    result = image.clone()
    for sample, sides, places in zip(result, side.tolist(), place.tolist(), strict=True):
        window = []
        for length, fraction, where in zip(sample.shape[1:], sides, places, strict=True):
            extent = round(length * fraction)
            start = round((length - extent) * where)
            window.append(slice(start, start + extent))
        sample[(slice(None), *window)] = 0.0
    return result
