"""Simulated low resolution. Legend: n samples, C channels, ``*S`` spatial axes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from medimg.transforms.sampling import chance, uniform


@dataclass
class LowResolution:
    """``zoom`` is the factor on each side of the coarse picture (0.5 halves it)."""

    probability: float = 0.0
    zoom: tuple[float, float] = (0.5, 1.0)

    def draw(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``on`` (B,) and ``zoom`` (B,)."""
        return {
            "on": chance(self.probability, batch, generator),
            "zoom": uniform(self.zoom, (batch,), generator),
        }


def low_resolution(image: Tensor, zoom: Tensor) -> Tensor:
    """Take every ``1/zoom``-th value of images (n, C, *S), then enlarge linearly to the former size."""
    size = tuple(image.shape[2:])
    mode = "bilinear" if len(size) == 2 else "trilinear"
    results = []
    for sample, factor in zip(image.split(1), zoom.tolist(), strict=True):
        coarse = functional.interpolate(sample, size=[max(1, round(s * factor)) for s in size], mode="nearest-exact")
        results.append(functional.interpolate(coarse, size=size, mode=mode, align_corners=False))
    return torch.cat(results)
