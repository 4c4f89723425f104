"""What the training loop asks of a task."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medimg.data.preparation import Intensity
from medimg.training.batch import Batch, channels_last, collate, to_device
from medimg.training.cases import PreparedCase
from medimg.training.sampling import Sample, read_patch, read_whole


class CaseView:
    """A case as validation sees it: whole, or window by window, on the device and normalised.

    Parameters
    ----------
    case : PreparedCase
        A case of the tuning split.
    device : torch.device
        Where batches of one go.
    intensity : Intensity
        Rule from stored values to network input.
    divisor : tuple of int
        Per axis; whole cases are padded at the far end to a multiple of it.
    innermost_channels : bool
        Memory order of the batches.
    """

    def __init__(
        self,
        case: PreparedCase,
        device: torch.device,
        intensity: Intensity,
        divisor: tuple[int, ...],
        innermost_channels: bool = False,
    ) -> None:
        self.case, self.device, self.intensity = case, device, intensity
        self.divisor, self.innermost_channels = divisor, innermost_channels

    def _ready(self, sample: Sample) -> Batch:
        batch = to_device(collate([sample]), self.device, self.intensity)
        return channels_last(batch) if self.innermost_channels else batch

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of the case per axis, without padding."""
        return tuple(self.case.image.shape[1:])

    def whole(self) -> Batch:
        """Return the whole case as a batch of one."""
        sample = read_whole(self.case, self.divisor)
        return self._ready(sample)

    def window(self, start: Sequence[int], size: Sequence[int]) -> Batch:
        """Return a window as a batch of one; outside the case it is zero."""
        sample = read_patch(self.case, start, size)
        return self._ready(sample)


class Task(Protocol):
    """One kind of problem. Instances hold settings only (no tensors), so that they cross process borders.

    Attributes
    ----------
    metric : str
        Name, in `summarise`'s answer, of the figure that picks the best weights; larger is better.
    """

    @property
    def metric(self) -> str:
        """Name of the figure that picks the best weights."""

    def check(self, cases: Sequence[PreparedCase]) -> None:
        """Raise InputError, naming the case, where the truth of this task is missing or impossible."""

    def stratum(self, case: PreparedCase) -> Hashable:
        """Return the class that ``balance: class`` makes equally frequent."""

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return named scalars whose sum is minimised. Call ``network(batch["image"])`` exactly once.

        Sums over voxels that enter a ratio must go through `medimg.training.distributed.sum_over_processes`, so that
        many processes give the loss of one.
        """

    def predict(self, network: nn.Module, batch: Batch) -> Any:
        """Return the activated output for a batch (probabilities; boxes for detection)."""

    def measure(self, network: nn.Module, view: CaseView) -> NDArray[Any]:
        """Return a row of float64 numbers, of a length that is the same for all cases."""

    def summarise(self, rows: NDArray[Any]) -> dict[str, float]:
        """Turn rows (cases, length), in the order of the cases, into named figures."""
