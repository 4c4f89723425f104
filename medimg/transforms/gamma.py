"""Gamma: bend the grey scale. Legend: n samples, C channels, ``*S`` spatial axes.

Normalised values are negative in part, so they are mapped to 0..1 by the sample's own range, bent, and mapped back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medimg.transforms.sampling import chance, log_uniform, per_sample

_FLAT = 1e-6


@dataclass
class Gamma:
    """``exponent`` bends the scale; with ``invert_probability`` it bends from the bright end."""

    probability: float = 0.0
    exponent: tuple[float, float] = (0.7, 1.5)
    invert_probability: float = 0.25

    def draw(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``on`` (B,), ``exponent`` (B,) and ``invert`` (B,)."""
        return {
            "on": chance(self.probability, batch, generator),
            "exponent": log_uniform(self.exponent, (batch,), generator),
            "invert": chance(self.invert_probability, batch, generator),
        }


def gamma(image: Tensor, exponent: Tensor, invert: Tensor) -> Tensor:
    """Raise images (n, C, *S), scaled to 0..1 per channel, to ``exponent`` (n,), and restore their range.

    Parameters
    ----------
    image : Tensor, n C *S
        Any range; a flat channel is returned as it is.
    exponent : Tensor, (n,)
        Above 1 darkens, below 1 brightens.
    invert : Tensor, (n,) of bool
        Bend ``1 - x`` instead of ``x``.
    """
    axes = tuple(range(2, image.ndim))
    low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    spread = (high - low).clamp(min=_FLAT)
    sign = torch.where(per_sample(invert, image) > 0, -1.0, 1.0)
    start = torch.where(sign > 0, low, high)
    unit = ((image - start) * (sign / spread)).clamp_(0.0, 1.0)
    return unit.pow_(per_sample(exponent, image)).mul_(sign * spread).add_(start)
