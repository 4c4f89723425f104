"""Random numbers that depend on nothing but the run's seed and the place where they are drawn."""

from __future__ import annotations

import numpy as np
import torch

# Second entropy word: keeps the streams of different purposes apart.
SAMPLE, ORDER, DROPOUT, AUGMENT = range(4)


def numpy_generator(seed: int, purpose: int, *place: int) -> np.random.Generator:
    """Return a numpy generator for one purpose at one place, such as (step, slot)."""
    return np.random.default_rng(np.random.SeedSequence((seed, purpose, *place)))


def torch_seed(seed: int, purpose: int, *place: int) -> int:
    """Return a 63-bit seed for one purpose at one place."""
    words = np.random.SeedSequence((seed, purpose, *place)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def torch_generator(seed: int, purpose: int, *place: int) -> torch.Generator:
    """Return a CPU torch generator for one purpose at one place."""
    return torch.Generator().manual_seed(torch_seed(seed, purpose, *place))


def seed_global(seed: int, device: torch.device) -> None:
    """Seed the generators that layers such as dropout draw from: the CPU's and this device's.

    `torch.manual_seed` would also note a call stack for every device that has not started, at every step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
