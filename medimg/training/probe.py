"""A forecast of time and memory, measured by a few real steps on this machine.

Legend: B batch, C channels, S spatial axes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import psutil
import torch
from torch import nn

from medimg.training.batch import channels_last_format, weights_channels_last
from medimg.training.resources import torch_threads
from medimg.training.settings import FitSettings

WARM_UP, MEASURED = 1, 3


def probe(network: nn.Module, settings: FitSettings, channels: int, shape: Sequence[int]) -> dict[str, float | str]:
    """Run a few training steps on random input and scale them up to the whole run.

    Parameters
    ----------
    network : nn.Module
        Is left with its weights changed: pass one that is not needed afterwards.
    settings : FitSettings
        Steps, batch, precision and threads of the run.
    channels : int
        C of the input.
    shape : sequence of int
        S of a patch or whole image.

    Returns
    -------
    dict
        ``device``, ``seconds_per_step``, ``training_minutes`` (steps alone, without validation),
        ``memory_gb`` (peak resident memory of this process while stepping).
    """
    device = torch.device("cuda" if torch.cuda.is_available() and settings.accelerator != "cpu" else "cpu")
    network = network.to(device).train()
    image = torch.randn(settings.batch_size, channels, *_padded(network, shape), device=device)
    if settings.channels_last:
        image = image.contiguous(memory_format=channels_last_format(image.ndim - 2))
        weights_channels_last(network)
    optimiser = torch.optim.AdamW(network.parameters())
    with torch_threads(settings.threads), _Peak() as peak:
        for step in range(WARM_UP + MEASURED):
            if step == WARM_UP:
                start = time.perf_counter()
            _step(network, image, optimiser, settings)
        seconds = (time.perf_counter() - start) / MEASURED * settings.accumulate
    return {
        "device": str(device),
        "seconds_per_step": round(seconds, 4),
        "training_minutes": round(seconds * settings.steps / 60, 1),
        "memory_gb": round(peak.bytes / 1e9, 2),
    }


def _padded(network: nn.Module, shape: Sequence[int]) -> list[int]:
    divisor = getattr(network, "divisor", (1,) * len(shape))
    return [-(-size // step) * step for size, step in zip(shape, divisor)]


def _step(network: nn.Module, image: torch.Tensor, optimiser: torch.optim.Optimizer, settings: FitSettings) -> None:
    mixed = settings.precision.endswith("-mixed")
    dtype = torch.float16 if settings.precision.startswith("16") else torch.bfloat16
    with torch.autocast(image.device.type, dtype, enabled=mixed):
        output = network(image)
    tensors = output if isinstance(output, (list, tuple)) else [output]
    loss = sum((tensor.float().square().mean() for tensor in tensors), torch.zeros((), device=image.device))
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    if image.device.type == "cuda":
        torch.cuda.synchronize()


class _Peak:
    """Largest resident memory of this process while the context is open, sampled every 5 ms."""

    def __enter__(self) -> _Peak:
        self.bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._stop.wait(0.005):
            self.bytes = max(self.bytes, process.memory_info().rss)
