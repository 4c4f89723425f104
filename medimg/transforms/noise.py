"""Gaussian noise. Legend: n samples, C channels, ``*S`` spatial axes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medimg.transforms.sampling import chance, normal_field, per_sample, seeds, uniform


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
    """Add independent normal noise of ``std`` (n,) to images (n, C, *S); grown from ``seed`` (n,) on the CPU."""
    field = torch.stack([normal_field(int(s), image.shape[1:]) for s in seed])
    return image + field.to(image) * per_sample(std, image)
