"""Draws of random parameters, one a sample, always on the processor.

Every parameter comes from a passed ``torch.Generator`` on the CPU, whatever device the images are on, so that an
augmentation does not depend on the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from medimg.errors import ConfigError

_SEED_LIMIT = 2**62


def chance(probability: float, batch: int, generator: torch.Generator) -> Tensor:
    """Return for each of ``batch`` samples whether it is drawn, a bool tensor (B,).

    Raises
    ------
    ConfigError
        `probability` outside 0 to 1.
    """
    if not 0.0 <= probability <= 1.0:
        raise ConfigError("a probability lies between 0 and 1", where="transforms.*.probability", got=probability)
    return torch.rand(batch, generator=generator) < probability


def uniform(bounds: Sequence[float], shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return float32 values between the two bounds, of the given shape.

    Raises
    ------
    ConfigError
        The bounds are not two numbers in rising order.
    """
    low, high = check_bounds(bounds)
    return low + (high - low) * torch.rand(tuple(shape), generator=generator)


def log_uniform(bounds: Sequence[float], shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return float32 factors whose logarithm is uniform, so that 1/2 is as likely as 2.

    Raises
    ------
    ConfigError
        The bounds are not two positive numbers in rising order.
    """
    low, high = check_bounds(bounds)
    if low <= 0:
        raise ConfigError("a factor is greater than 0", where="transforms", got=tuple(bounds))
    return torch.exp(uniform((math.log(low), math.log(high)), shape, generator))


def seeds(batch: int, generator: torch.Generator) -> Tensor:
    """Return one int64 seed a sample, from which whole fields (noise, displacements) are grown again."""
    return torch.randint(_SEED_LIMIT, (batch,), generator=generator)


def normal_field(seed: int, shape: Sequence[int]) -> Tensor:
    """Return float32 standard normal values grown from a seed."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Shape values (n,) or (n, C) for arithmetic with images (n, C, *S), on their device and in their type."""
    values = values.to(device=like.device, dtype=like.dtype)
    return values.reshape(*values.shape, *(1,) * (like.ndim - values.ndim))


def check_bounds(bounds: Sequence[float]) -> tuple[float, float]:
    """Return (low, high).

    Raises
    ------
    ConfigError
        Not two numbers in rising order.
    """
    if len(bounds) != 2 or bounds[0] > bounds[1]:
        raise ConfigError(
            "a range has a lower and an upper bound", where="transforms", got=tuple(bounds), expected="(low, high)"
        )
    return float(bounds[0]), float(bounds[1])
