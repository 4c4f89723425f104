"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """Running mean of a network's state: shadow = d * shadow + (1 - d) * weight after every step.

    The decay d grows as min(decay, (1 + t) / (10 + t)) with the number t of updates before, so that the random first
    weights are soon forgotten (the rule of TensorFlow's ExponentialMovingAverage). Running statistics of norms
    are averaged alike; counters are copied.

    Parameters
    ----------
    network : nn.Module
        Its state is copied.
    decay : float
        Largest decay.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow: dict[str, Tensor] = {
            name: value.detach().to(_precise(value), copy=True) for name, value in network.state_dict().items()
        }

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after optimiser step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, weights = [], []
        for name, value in network.state_dict().items():
            if _averaged(value):
                averages.append(self.shadow[name])
                weights.append(value.to(self.shadow[name].dtype))
            else:
                self.shadow[name].copy_(value)
        torch._foreach_lerp_(averages, weights, 1.0 - decay)

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Within the context the network carries the averaged weights; afterwards its own again, bit for bit."""
        own = {name: value.detach().clone() for name, value in network.state_dict().items()}
        copy_state(self.shadow, network)
        try:
            yield
        finally:
            copy_state(own, network)


@torch.no_grad()
def copy_state(state: dict[str, Tensor], network: nn.Module) -> None:
    """Copy tensors into a network in place: device, type and memory order of the network stay."""
    for name, value in network.state_dict().items():
        value.copy_(state[name])


def _averaged(value: Tensor) -> bool:
    return value.is_floating_point()


def _precise(value: Tensor) -> torch.dtype:
    """Return at least float32 for weights: half precision would round the small steps of a mean away."""
    return torch.promote_types(value.dtype, torch.float32) if _averaged(value) else value.dtype
