"""What this machine (or container) has left, and how many loader workers that allows."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")
_SHARED_MEMORY = Path("/dev/shm")
_MOST_WORKERS = 8
_BATCHES_PER_WORKER = 3  # two waiting (torch's prefetch factor) and one in the making


@dataclass(frozen=True)
class Resources:
    """Measured resources.

    Attributes
    ----------
    cores : int
        Cores this process may use: affinity and the container's quota.
    free_ram_bytes : int
        Memory that can still be taken: the machine's and the container's limit.
    free_shared_bytes : int or None
        Free space in /dev/shm, through which workers hand over batches; None where there is no such thing.
    """

    cores: int
    free_ram_bytes: int
    free_shared_bytes: int | None

    def describe(self) -> str:
        """Return one line for messages."""
        shared = "none" if self.free_shared_bytes is None else f"{self.free_shared_bytes / 2**30:.1f} GB"
        return f"{self.cores} cores, {self.free_ram_bytes / 2**30:.1f} GB memory free, /dev/shm {shared} free"


def measure() -> Resources:
    """Measure the cores, memory and shared memory that are free now."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _words(_CGROUP / "cpu.max")
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, max(1, math.ceil(int(quota[0]) / int(quota[1]))))
    free = int(psutil.virtual_memory().available)
    limit, used = _words(_CGROUP / "memory.max"), _words(_CGROUP / "memory.current")
    if limit and used and limit[0].isdigit():
        free = min(free, max(0, int(limit[0]) - int(used[0])))
    shared = shutil.disk_usage(_SHARED_MEMORY).free if _SHARED_MEMORY.is_dir() else None
    return Resources(cores, free, shared)


def suggest_workers(resources: Resources, batch_bytes: int, processes: int = 1, on_cpu: bool = False) -> int:
    """Return how many loader workers a process should have.

    Parameters
    ----------
    resources : Resources
        From `measure`.
    batch_bytes : int
        Size of one batch as the loader hands it over.
    processes : int
        Training processes on this node that share the machine.
    on_cpu : bool
        Training itself runs on the cores: then one worker is enough (reading a patch takes far less time than a
        step), and none where there are fewer than four cores.

    Examples
    --------
    >>> suggest_workers(Resources(16, 64 * 2**30, 8 * 2**30), 2**26, processes=2)
    7
    >>> suggest_workers(Resources(16, 64 * 2**30, 2**26), 2**26)
    0
    """
    room = resources.free_ram_bytes // 4
    if resources.free_shared_bytes is not None:
        room = min(room, resources.free_shared_bytes // 2)
    by_memory = room // max(1, batch_bytes * _BATCHES_PER_WORKER * processes)
    by_cores = resources.cores // processes - 1
    if on_cpu:
        by_cores = 1 if resources.cores // processes >= 4 else 0
    return int(max(0, min(by_memory, by_cores, _MOST_WORKERS)))


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Within the context torch computes with ``count`` threads; None changes nothing."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def resident_megabytes() -> float:
    """Return the resident memory of this process in 10^6 bytes."""
    return float(psutil.Process().memory_info().rss) / 1e6


def _words(path: Path) -> list[str]:
    """Return the words of a one-line system file; nothing where there is none."""
    try:
        return path.read_text().split()
    except OSError:
        return []
