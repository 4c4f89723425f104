"""The optimiser and its parameter groups."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from medimg.training.settings import FitSettings


def parameter_groups(network: nn.Module, settings: FitSettings) -> list[dict[str, Any]]:
    """Sort trainable parameters by learning rate and weight decay.

    Returns
    -------
    list of dict
        ``params``, ``names`` (in the same order), ``lr_factor`` and ``weight_decay``; empty groups are left out.
        Vectors and scalars (biases, norm scales) are not decayed.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        lr_factor = settings.encoder_lr_factor if name.startswith("encoder.") else 1.0
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        group = groups.setdefault(
            (lr_factor, decay), {"params": [], "names": [], "lr_factor": lr_factor, "weight_decay": decay}
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def build_optimiser(network: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    """Return AdamW or SGD over `parameter_groups`."""
    groups = [
        {key: value for key, value in group.items() if key != "names"} for group in parameter_groups(network, settings)
    ]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.99, nesterov=True)
    # Fused steps unscale gradients themselves, which float16's gradient clipping cannot work with.
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=settings.precision != "16-mixed")


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every group the learning rate times its own factor."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate * group["lr_factor"]
