"""Means between two rows of metrics.csv, and what is shown while a run goes on."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from types import TracebackType

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from medimg.training.resources import resident_megabytes

LOG = logging.getLogger("medimg.training")


class Meter:
    """Means of losses, and shares of wall time, since the last row.

    Parameters
    ----------
    seconds : float
        Wall time of the earlier lives of the run.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._waited_s = 0.0
        self._row_start_s = self._mark_s = time.perf_counter()

    def add(self, values: Mapping[str, float]) -> None:
        """Take in the figures of a forward pass or of a step."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def waited(self, seconds: float) -> None:
        """Take in time that was spent waiting for the loader."""
        self._waited_s += seconds

    def close_row(self, fabric: Fabric) -> dict[str, float]:
        """Return the means over steps and processes, with speed and memory, and start afresh."""
        names = sorted(self._sums)
        means = torch.tensor([self._sums[name] / self._counts[name] for name in names], dtype=torch.float64)
        if fabric.world_size > 1:
            on_device = means.float().to(fabric.device)
            torch.distributed.all_reduce(on_device)
            means = on_device.double().cpu() / fabric.world_size
        now = time.perf_counter()
        self.seconds += now - self._mark_s
        row = dict(zip(names, means.tolist(), strict=True))
        row["seconds"] = round(self.seconds, 3)
        row["data_wait_share"] = round(self._waited_s / max(now - self._row_start_s, 1e-9), 4)
        row["memory_mb"] = round(resident_megabytes(), 1)
        if fabric.device.type == "cuda":
            row["device_memory_mb"] = round(torch.cuda.max_memory_allocated(fabric.device) / 1e6, 1)
        self._sums, self._counts, self._waited_s = {}, {}, 0.0
        self._row_start_s = self._mark_s = now
        return row


class Display:
    """A bar with the remaining time on a terminal, lines in the log elsewhere.

    Parameters
    ----------
    steps, done : int
        Length of the run, steps already done.
    visible : bool
        Show a bar where standard error is a terminal.
    """

    def __init__(self, steps: int, done: int, visible: bool) -> None:
        self._bar: Bar | None = None
        if visible and sys.stderr.isatty():
            self._bar = Bar(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(elapsed_when_finished=False),
                TextColumn("{task.fields[figures]}"),
                console=Console(stderr=True),
            )
            self._line = self._bar.add_task("training", total=steps, completed=done, figures="")
        self._steps = steps

    def __enter__(self) -> Display:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, done: int) -> None:
        """Move the bar."""
        if self._bar:
            self._bar.update(self._line, completed=done)

    def row(self, step: int, row: Mapping[str, float]) -> None:
        """Show the figures of a row."""
        shown = {name: value for name, value in row.items() if name.startswith(("loss", "tuning_"))}
        text = " ".join(f"{name} {value:.4g}" for name, value in shown.items())
        text += f" | memory {row['memory_mb']:.0f} MB, waiting for data {row['data_wait_share']:.0%}"
        if self._bar:
            self._bar.update(self._line, figures=text)
        LOG.info("step %d of %d: %s", step, self._steps, text)
