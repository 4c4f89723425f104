"""Bias field of MR coils: a smooth multiplicative shading. Legend: n samples, C channels, ``*S`` spatial axes.

The logarithm of the field is a polynomial of low order in the position, as in Van Leemput et al., 1999,
"Automated model-based bias field correction of MR images of the brain".
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from medimg.transforms.sampling import chance, normal_field, seeds, uniform


@dataclass
class BiasField:
    """``strength`` is the standard deviation of the logarithm's coefficients; ``order`` that of the polynomial."""

    probability: float = 0.0
    strength: tuple[float, float] = (0.05, 0.3)
    order: int = 3

    def draw(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``on`` (B,), ``strength`` (B,) and ``seed`` (B,) of the coefficients."""
        return {
            "on": chance(self.probability, batch, generator),
            "strength": uniform(self.strength, (batch,), generator),
            "seed": seeds(batch, generator),
        }


def bias_field(image: Tensor, strength: Tensor, seed: Tensor, order: int = 3) -> Tensor:
    """Multiply images (n, C, *S), measured from each channel's minimum, by a smooth field.

    Normalised values have no physical zero; the channel's minimum (air) stands for it.
    """
    axes = tuple(range(2, image.ndim))
    low = image.amin(axes, keepdim=True)
    fields = torch.stack([_log_field(int(s), tuple(image.shape[2:]), order) for s in seed])
    field = torch.exp(fields * strength.reshape(-1, *(1,) * len(axes))).unsqueeze(1).to(image)
    return (image - low) * field + low


def _log_field(seed: int, size: tuple[int, ...], order: int) -> Tensor:
    """Return a polynomial with normal coefficients on -1..1, float32 of ``size``, of zero mean."""
    dims = len(size)
    coefficients = normal_field(seed, (order + 1,) * dims)
    for powers in product(range(order + 1), repeat=dims):
        if sum(powers) > order:
            coefficients[powers] = 0.0
    field = coefficients
    for length in size:
        positions = torch.linspace(-1.0, 1.0, length)
        powers_of = torch.stack([positions**power for power in range(order + 1)])
        # Contracting the first axis and appending the new one turns every axis in its order.
        field = torch.tensordot(field, powers_of, dims=([0], [0]))
    return field - field.mean()
