"""Gaussian noise. Legend: n samples, C channels, ``*S`` spatial axes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medimg.transforms.sampling import chance, normal_field, seeds, uniform

NOISE_PERIOD = 262_147


@dataclass
class Noise:
    """``std`` is in units of the normalised image."""

    probability: float = 0.0
    std: tuple[float, float] = (0.0, 0.1)

    def draw(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``on`` (B,), ``std`` (B,) and ``seed`` (B,) of the noise itself."""
        return {
            "on": chance(self.probability, batch, generator),
            "std": uniform(self.std, (batch,), generator),
            "seed": seeds(batch, generator),
        }


def noise(image: Tensor, std: Tensor, seed: Tensor) -> Tensor:
    """Add normal noise of ``std`` (n,) to images (n, C, *S); grown from ``seed`` (n,) on the CPU.

    Large images repeat it after `NOISE_PERIOD` values, a prime, so that it lines up with no row or slice: drawing
    normal numbers costs more than everything else about noise.
    """
    count = math.prod(image.shape[1:])
    fields = [normal_field(int(s), (min(count, NOISE_PERIOD),)) for s in seed]
    noisy = image.clone(memory_format=torch.contiguous_format)
    for sample, field, scale in zip(noisy, fields, std.tolist(), strict=True):
        scaled = (field * scale).to(image)
        for part in sample.view(-1).split(NOISE_PERIOD):
            part.add_(scaled[: len(part)])
    return noisy
