"""Elastic deformation as a coarse displacement field that `warp` adds to its grid.

Legend: n samples, D axes, ``*S`` spatial axes, G control points per axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from medimg.transforms.sampling import chance, normal_field, seeds, uniform


@dataclass
class Elastic:
    """``magnitude`` is the displacement's standard deviation over the control points' distance.

    Below about 0.25 the map hardly ever folds. ``control_points`` counts them on each axis.
    """

    probability: float = 0.0
    magnitude: tuple[float, float] = (0.05, 0.2)
    control_points: int = 6

    def draw(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``on`` (B,), ``magnitude`` (B,) and ``seed`` (B,) of the displacements."""
        return {
            "on": chance(self.probability, batch, generator),
            "magnitude": uniform(self.magnitude, (batch,), generator),
            "seed": seeds(batch, generator),
        }


def displacement(parameters: dict[str, Tensor], size: Sequence[int], control_points: int) -> Tensor:
    """Return displacements in voxels, float32 (n, D, *S), zero for samples that are not drawn."""
    dims = len(size)
    fields = []
    for on, magnitude, seed in zip(*(parameters[k].tolist() for k in ("on", "magnitude", "seed")), strict=True):
        coarse = normal_field(seed, (dims, *(control_points,) * dims)) * (magnitude if on else 0.0)
        distance = torch.tensor([length / control_points for length in size])
        fields.append(coarse * distance.reshape(-1, *(1,) * dims))
    return _enlarge(torch.stack(fields), size)


def _enlarge(coarse: Tensor, size: Sequence[int]) -> Tensor:
    """Enlarge (n, D, *G) to (n, D, *S), axis by axis: the same as trilinear interpolation and several times faster."""
    for axis, length in enumerate(size, start=2):
        moved = coarse.movedim(axis, -1)
        flat = moved.reshape(1, -1, moved.shape[-1])
        line = functional.interpolate(flat, size=length, mode="linear", align_corners=False)
        coarse = line.reshape(*moved.shape[:-1], length).movedim(-1, axis)
    return coarse.contiguous()
