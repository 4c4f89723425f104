"""Contrast: spread values about their mean. Legend: n samples, C channels, ``*S`` spatial axes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medimg.transforms.sampling import chance, log_uniform, per_sample


@dataclass
class Contrast:
    """``factor`` multiplies the distance to each channel's mean; the sample's former range is kept by clipping."""

    probability: float = 0.0
    factor: tuple[float, float] = (0.75, 1.33)

    def draw(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``on`` (B,) and ``factor`` (B,)."""
        return {
            "on": chance(self.probability, batch, generator),
            "factor": log_uniform(self.factor, (batch,), generator),
        }


def contrast(image: Tensor, factor: Tensor) -> Tensor:
    """Scale images (n, C, *S) about each channel's mean by ``factor`` (n,), clipped to the former range."""
    axes = tuple(range(2, image.ndim))
    mean = image.mean(axes, keepdim=True)
    low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    scaled = torch.lerp(mean.expand_as(image), image, per_sample(factor, image))
    return torch.clamp(scaled, low, high)
