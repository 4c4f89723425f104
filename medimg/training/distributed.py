"""Sums over all processes that gradients flow through."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Sum(torch.autograd.Function):
    """All-reduce whose derivative is an all-reduce too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def sum_over_processes(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; alone, the tensor itself.

    With it, a loss that is a ratio of sums over the batch (Dice) is the same in one process and in many: each
    process's gradient counts the loss of all, and the average that DDP takes is the gradient of the whole batch.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return values
    total: Tensor = _Sum.apply(values.contiguous())
    return total


def gather_rows(rows: Tensor, count: int) -> Tensor:
    """Join rows that process r computed for cases r, r + P, r + 2P, ... back into the order of the cases.

    Parameters
    ----------
    rows : Tensor, (ceil(count / P), R)
        This process's rows; where the last case is missing, any filling.
    count : int
        Number of cases.

    Returns
    -------
    Tensor, (count, R)
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return rows[:count]
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.stack(parts, dim=1).flatten(0, 1)[:count]
