"""Figures of the tuning split, each process taking its share of the cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from medimg.training.distributed import gather_rows
from medimg.training.task import CaseView, Task


class Evaluated(nn.Module):
    """A network in the run's precision, without the wrappers of many processes.

    Those exchange buffers on every call, which would hang where processes have unlike numbers of windows.
    """

    def __init__(self, network: nn.Module, fabric: Fabric) -> None:
        super().__init__()
        self.network = network
        self._precision = fabric.strategy.precision

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, C, *S) float32 to float32 logits."""
        image = self._precision.convert_input(image)
        with self._precision.forward_context():
            logits = self.network(image)
        converted: Tensor = self._precision.convert_output(logits)
        return converted


@torch.no_grad()
def validate(fabric: Fabric, network: nn.Module, task: Task, views: Sequence[CaseView]) -> dict[str, float]:
    """Return the task's figures over all views; the same on every process.

    The network is in eval mode within, and in training mode afterwards.
    """
    network.eval()
    evaluated = Evaluated(network, fabric).eval()
    mine = [task.measure(evaluated, view) for view in views[fabric.global_rank :: fabric.world_size]]
    if fabric.world_size > 1:
        width = torch.tensor(max((len(row) for row in mine), default=0), device=fabric.device)
        torch.distributed.all_reduce(width, torch.distributed.ReduceOp.MAX)
        share = -(-len(views) // fabric.world_size)
        mine += [np.zeros(int(width))] * (share - len(mine))
    rows = torch.from_numpy(np.stack(mine).astype(np.float64)).to(fabric.device)
    figures = task.summarise(gather_rows(rows, len(views)).cpu().numpy())
    network.train()
    return figures


def broadcast_state(fabric: Fabric, state: dict[str, Tensor]) -> None:
    """Give all processes process 0's tensors: running statistics of norms differ a little between them."""
    if fabric.world_size > 1:
        for value in state.values():
            torch.distributed.broadcast(value, 0)
