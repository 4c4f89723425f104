"""Checkpoints: one safetensors file each, whose header carries the scalars as JSON. No pickle.

One file, replaced in one step, so that a kill at any moment leaves the old or the new checkpoint, never half of one.
Tensors are named ``model.<name>``, ``ema.<name>`` and ``optimiser.<parameter>.<key>``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medimg.errors import InputError

FORMAT = "medimg.checkpoint/1"


@dataclass
class Progress:
    """Scalars of a run.

    Attributes
    ----------
    step : int
        Optimiser steps done.
    best_step, best_value : int, float or None
        When the tuning figure was best, and its value (None before the first finite one).
    stale_validations : int
        Validations in a row without a better figure.
    finished : bool
        All steps are done, or the run stopped early.
    seconds : float
        Wall time of training, over all lives of the run.
    identity : dict
        What must be the same when the run goes on: settings, training cases.
    scaler : dict
        State of float16's loss scaling; empty without.
    """

    step: int = 0
    best_step: int = 0
    best_value: float | None = None
    stale_validations: int = 0
    finished: bool = False
    seconds: float = 0.0
    identity: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)


def save_weights(path: Path, state: Mapping[str, Tensor], note: Mapping[str, str]) -> None:
    """Write a network's state under its own names, atomically; ``note`` goes into the header."""
    _write(path, {name: _on_cpu(value) for name, value in state.items()}, note)


def save_checkpoint(
    path: Path,
    progress: Progress,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    shadow: Mapping[str, Tensor] | None,
) -> None:
    """Write everything that a run needs to go on, atomically."""
    tensors = {f"model.{name}": _on_cpu(value) for name, value in network.state_dict().items()}
    for name, value in (shadow or {}).items():
        tensors[f"ema.{name}"] = _on_cpu(value)
    for name, parameter in network.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{name}.{key}"] = _on_cpu(value)
    _write(path, tensors, {"format": FORMAT, "progress": json.dumps(asdict(progress))})


def read_progress(path: Path) -> Progress:
    """Return the scalars of a checkpoint.

    Raises
    ------
    InputError
        Not a checkpoint, or a damaged one.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"the checkpoint cannot be read: {error}", where=path, fix="start again in a new run folder"
        ) from error
    if header.get("format") != FORMAT:
        raise InputError("this is no checkpoint of this version", where=path, got=header.get("format"), expected=FORMAT)
    return Progress(**json.loads(header["progress"]))


def load_checkpoint(
    path: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    shadow: dict[str, Tensor] | None,
) -> None:
    """Copy a checkpoint's tensors into network, optimiser and moving average, in place.

    Raises
    ------
    InputError
        The network has other tensors than the checkpoint.
    """
    tensors = load_file(str(path))
    _copy_into(network.state_dict(), tensors, "model.", path)
    if shadow is not None:
        _copy_into(shadow, tensors, "ema.", path)
    numbers = {id(p): i for i, p in enumerate(p for g in optimiser.param_groups for p in g["params"])}
    state: dict[int, dict[str, Tensor]] = {}
    for name, parameter in network.named_parameters():
        prefix = f"optimiser.{name}."
        entries = {
            key.removeprefix(prefix): _like(value, parameter)
            for key, value in tensors.items()
            if key.startswith(prefix) and "." not in key.removeprefix(prefix)
        }
        if entries and id(parameter) in numbers:
            state[numbers[id(parameter)]] = entries
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


@torch.no_grad()
def _copy_into(targets: Mapping[str, Tensor], tensors: Mapping[str, Tensor], prefix: str, path: Path) -> None:
    found = {name.removeprefix(prefix) for name in tensors if name.startswith(prefix)}
    unlike = sorted(found ^ set(targets)) or sorted(
        name for name in found if tensors[prefix + name].shape != targets[name].shape
    )
    if unlike:
        raise InputError(
            "the checkpoint belongs to another network",
            where=path,
            got=f"{len(unlike)} tensors differ, first '{unlike[0]}'",
            fix="resume with the model settings that the run was started with",
        )
    for name, target in targets.items():
        target.copy_(tensors[prefix + name])


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a value in its parameter's memory order, which fused steps rely on."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)


def _on_cpu(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _write(path: Path, tensors: dict[str, Tensor], header: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    save_file(tensors, str(temporary), metadata=dict(header))
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
