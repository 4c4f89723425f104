"""Exact index transforms: flips and quarter turns. Legend: n samples, C channels, D axes, ``*S`` spatial axes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medimg.errors import ConfigError
from medimg.transforms.sampling import chance


@dataclass
class Flip:
    """Probability of mirroring each axis, (z, y, x) or (y, x), the last ones where there are more than axes.

    Mirroring left and right makes anatomy that does not exist (situs inversus): use it where sides do not matter.
    """

    probability: tuple[float, ...] = (0.0, 0.0, 0.0)

    def draw(self, batch: int, dims: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``axes`` (B, D), which axes are mirrored, and ``on`` (B,).

        Raises
        ------
        ConfigError
            Fewer probabilities than axes.
        """
        if len(self.probability) < dims:
            raise ConfigError(
                "a flip probability is needed for each axis",
                where="transforms.flip.probability",
                got=tuple(self.probability),
                expected=f"{dims} numbers",
            )
        axes = torch.stack([chance(p, batch, generator) for p in self.probability[-dims:]], dim=1)
        return {"axes": axes, "on": axes.any(1)}


@dataclass
class QuarterTurn:
    """Turns by 90, 180 or 270 degrees in the (y, x) plane; only 180 where its sides differ."""

    probability: float = 0.0

    def draw(self, batch: int, square: bool, generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``on`` (B,) and ``turns`` (B,), 0 to 3 quarter turns from y towards x."""
        on = chance(self.probability, batch, generator)
        turns = torch.randint(1, 4, (batch,), generator=generator)
        return {"on": on, "turns": torch.where(on, turns if square else torch.full_like(turns, 2), 0)}


def mirror(image: Tensor, axes: Tensor) -> Tensor:
    """Mirror images (n, C, *S), or labels (n, *S) given as (n, 1, *S), along ``axes`` (n, D)."""
    return torch.stack(
        [
            sample.flip([axis + 1 for axis, flipped in enumerate(flips) if flipped])
            for sample, flips in zip(image, axes.tolist(), strict=True)
        ]
    )


def quarter_turn(image: Tensor, turns: Tensor) -> Tensor:
    """Turn images (n, C, *S) by ``turns`` (n,) quarters in the plane of the last two axes."""
    return torch.stack(
        [torch.rot90(sample, count, (-2, -1)) for sample, count in zip(image, turns.tolist(), strict=True)]
    )
