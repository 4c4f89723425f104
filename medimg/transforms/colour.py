"""Colour jitter of pictures by one 3x3 matrix near identity. Legend: n samples, Y rows, X columns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medimg.errors import ConfigError
from medimg.transforms.sampling import chance, log_uniform, uniform


@dataclass
class Colour:
    """Ranges of the matrix.

    ``saturation`` scales the distance to grey, ``hue_degrees`` turns about the grey axis, ``gain_std`` is the spread of
    every channel's own factor (white balance).
    """

    probability: float = 0.0
    saturation: tuple[float, float] = (0.8, 1.25)
    hue_degrees: tuple[float, float] = (-8.0, 8.0)
    gain_std: float = 0.05

    def draw(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``on`` (B,) and ``matrix`` (B, 3, 3)."""
        on = chance(self.probability, batch, generator)
        saturation = log_uniform(self.saturation, (batch,), generator)
        hue = torch.deg2rad(uniform(self.hue_degrees, (batch,), generator))
        gain = 1.0 + self.gain_std * torch.randn(batch, 3, generator=generator)
        return {"on": on, "matrix": gain[:, :, None] * saturation_hue_matrix(saturation, hue)}


def saturation_hue_matrix(saturation: Tensor, hue_rad: Tensor) -> Tensor:
    """Return matrices (n, 3, 3) that keep greys, scale the saturation and turn the hue, both (n,)."""
    grey = torch.full((3, 3), 1.0 / 3.0)
    axis = 1.0 / math.sqrt(3.0)
    cross = torch.tensor([[0.0, -axis, axis], [axis, 0.0, -axis], [-axis, axis, 0.0]])
    scaled = saturation[:, None, None]
    cosine, sine = torch.cos(hue_rad)[:, None, None], torch.sin(hue_rad)[:, None, None]
    return grey + scaled * (cosine * (torch.eye(3) - grey) + sine * cross)


def colour(image: Tensor, matrix: Tensor) -> Tensor:
    """Multiply the channels of pictures (n, 3, Y, X) by ``matrix`` (n, 3, 3).

    Raises
    ------
    ConfigError
        The images do not have three channels.
    """
    if image.shape[1] != 3:
        raise ConfigError(
            "colour jitter needs three channels",
            where="transforms.colour",
            got=int(image.shape[1]),
            fix="set transforms.colour.probability=0",
        )
    return torch.einsum("nij,nj...->ni...", matrix.to(image), image)
