"""Gaussian blur. Legend: n samples, C channels, ``*S`` spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from medimg.transforms.sampling import chance, per_sample, uniform

_TRUNCATE_SIGMAS = 3.0


@dataclass
class Blur:
    """``sigma`` is in voxels of the finest axis; coarser axes are blurred less, by the spacing."""

    probability: float = 0.0
    sigma: tuple[float, float] = (0.5, 1.0)

    def draw(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``on`` (B,) and ``sigma`` (B,)."""
        return {
            "on": chance(self.probability, batch, generator),
            "sigma": uniform(self.sigma, (batch,), generator),
        }


def blur(image: Tensor, sigma: Tensor, relative_spacing: Sequence[float]) -> Tensor:
    """Convolve images (n, C, *S) with a normal kernel, cut at three sigma, borders repeated.

    Parameters
    ----------
    image : Tensor, n C *S
    sigma : Tensor, (n,)
        Width in voxels of the finest axis.
    relative_spacing : sequence of float
        Spacing of each axis over the finest one.
    """
    for axis, spacing in enumerate(relative_spacing, start=2):
        image = _blur_axis(image, sigma / spacing, axis)
    return image


def _blur_axis(image: Tensor, sigma: Tensor, axis: int) -> Tensor:
    size = image.shape[axis]
    radius = min(math.ceil(_TRUNCATE_SIGMAS * float(sigma.max())), size - 1)
    if radius < 1:
        return image
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3)[:, None]) ** 2)
    # Each sample's own cut: its result must not depend on its neighbours in the batch.
    weights = weights * (offsets.abs() <= torch.ceil(_TRUNCATE_SIGMAS * sigma)[:, None])
    weights = weights / weights.sum(1, keepdim=True)
    before = [0, 0] * (image.ndim - 1 - axis)
    padded = functional.pad(image, [*before, radius, radius, *[0, 0] * (axis - 2)], mode="replicate")
    # Shifted sums run at memory speed; a grouped convolution with one kernel a sample does not.
    result = torch.zeros_like(image)
    for index in range(len(offsets)):
        result.addcmul_(padded.narrow(axis, index, size), per_sample(weights[:, index], image))
    return result
