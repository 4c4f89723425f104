"""Batches from worker processes, in an order that does not depend on them."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from medimg.errors import MedimgError, RunFailed
from medimg.training.batch import Batch, collate
from medimg.training.resources import measure, suggest_workers
from medimg.training.sampling import Sampler
from medimg.training.settings import FitSettings


def slots_of(settings: FitSettings, forward_pass: int, rank: int, processes: int) -> range:
    """Return the slots of a step that a process takes in a forward pass: they are dealt out in turn."""
    first = forward_pass * settings.batch_size
    return range(first + rank, first + settings.batch_size, processes)


class Batches(Dataset[Batch | MedimgError]):
    """Batches of one process, numbered by forward pass: number = step * accumulate + pass within the step."""

    def __init__(self, sampler: Sampler, rank: int = 0, processes: int = 1) -> None:
        self.sampler, self.rank, self.processes = sampler, rank, processes

    def __len__(self) -> int:
        settings = self.sampler.settings
        return settings.steps * settings.accumulate

    def __getitem__(self, number: int) -> Batch | MedimgError:
        """Return the batch, or the error: torch would turn an exception's parts into one long text."""
        settings = self.sampler.settings
        step, forward_pass = divmod(number, settings.accumulate)
        slots = slots_of(settings, forward_pass, self.rank, self.processes)
        try:
            return collate([self.sampler.sample(step, slot) for slot in slots])
        except MedimgError as error:
            return error


def build_loader(batches: Batches, first_step: int, device: torch.device) -> DataLoader[Any]:
    """Return a loader of all batches from a step to the end of the run: one epoch, so that workers start once."""
    settings = batches.sampler.settings
    workers = settings.workers
    if workers is None:
        workers = suggest_workers(measure(), _batch_bytes(batches), settings.devices, on_cpu=device.type == "cpu")
    parallel: dict[str, Any] = {}
    if workers:
        # Forked workers share the memory-mapped store as it is; other start methods would copy it through a pipe.
        context = "fork" if sys.platform == "linux" else None
        parallel = {"multiprocessing_context": context, "prefetch_factor": 2}
    return DataLoader(
        batches,
        sampler=range(first_step * settings.accumulate, len(batches)),
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        **parallel,
    )


def read_batches(loader: DataLoader[Any]) -> Generator[Batch, None, None]:
    """Yield batches; raise the errors that workers met. Closing it ends the workers."""
    for answer in loader:
        if isinstance(answer, MedimgError):
            raise answer
        yield answer


@contextmanager
def worker_deaths() -> Iterator[None]:
    """Turn torch's report of a dead worker, which may arrive at any line, into an error that tells the fix."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RunFailed(
            "a loader worker died",
            where="trainer.workers",
            got=f"{str(error).splitlines()[0]} ({measure().describe()})",
            fix="usually memory ran out: fewer workers, a smaller patch or batch, or more memory; in a container "
            "more /dev/shm (docker run --shm-size=8g). trainer.workers=0 loads without workers",
        ) from error


def _batch_bytes(batches: Batches) -> int:
    settings: FitSettings = batches.sampler.settings
    image = batches.sampler.cases[0].image
    shape = settings.patch or image.shape[1:]
    voxels = int(np.prod(shape)) * settings.batch_size // batches.processes
    return voxels * (image.shape[0] * image.dtype.itemsize + 1)


def _as_it_is(answer: Any) -> Any:
    return answer
