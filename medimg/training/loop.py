"""The training loop, of one process among one or many.

Everything that is random is derived from (seed, step, slot), so the loop has no hidden state: weights, moving average,
optimiser, and the few scalars in `Progress` are all that a resumed run needs.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from medimg.data.preparation import Intensity
from medimg.errors import RunFailed
from medimg.training.augmentation import Augmentation, augmented
from medimg.training.batch import Batch, channels_last, to_device, weights_channels_last
from medimg.training.cases import PreparedCase
from medimg.training.checkpoint import Progress, load_checkpoint, read_progress, save_checkpoint, save_weights
from medimg.training.ema import MovingAverage
from medimg.training.history import History
from medimg.training.loader import Batches, build_loader, read_batches, slots_of, worker_deaths
from medimg.training.loggers import Logger, build_loggers
from medimg.training.optimiser import build_optimiser, set_learning_rate
from medimg.training.progress import Display, Meter
from medimg.training.sampling import Sampler
from medimg.training.schedule import factor
from medimg.training.seeds import DROPOUT, seed_global, torch_seed
from medimg.training.settings import FitSettings
from medimg.training.task import CaseView, Task
from medimg.training.validation import broadcast_state, validate


@dataclass(frozen=True)
class Job:
    """What one training run is made of."""

    settings: FitSettings
    task: Task
    network: nn.Module
    train: Sequence[PreparedCase]
    tuning: Sequence[PreparedCase]
    run_folder: Path
    intensity: Intensity
    augment: Augmentation | None
    identity: dict[str, Any]
    resume: bool

    @property
    def divisor(self) -> tuple[int, ...]:
        """What image sizes must be a multiple of."""
        dims = self.train[0].image.ndim - 1
        return tuple(getattr(self.network, "divisor", (1,) * dims))

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.run_folder / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """The best weights."""
        return self.run_folder / "checkpoints" / "best.safetensors"


class Run:
    """One process's share of a job: everything that changes while it trains."""

    def __init__(self, fabric: Fabric, job: Job) -> None:
        settings = job.settings
        self.fabric, self.job = fabric, job
        # A spawned process gets the parent's tensors in shared memory: each must train a copy of its own.
        network = job.network if fabric.world_size == 1 else copy.deepcopy(job.network)
        self.network = network.to(fabric.device)
        if settings.sync_batch_norm:
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        if settings.channels_last:
            weights_channels_last(self.network)
        self.optimiser = build_optimiser(self.network, settings)
        module: Any = torch.compile(self.network) if settings.compile else self.network
        self.wrapped, self.wrapped_optimiser = fabric.setup(module, self.optimiser)
        self.average = MovingAverage(self.network, settings.ema_decay) if settings.ema_decay is not None else None
        self.progress = Progress(identity=job.identity)
        if job.resume and job.last.is_file():
            self._restore()
        self.meter = Meter(self.progress.seconds)
        self.views = [
            CaseView(case, fabric.device, job.intensity, job.divisor, settings.channels_last) for case in job.tuning
        ]

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """float16's loss scaling, where it is used."""
        scaler: torch.amp.GradScaler | None = getattr(self.fabric.strategy.precision, "scaler", None)
        return scaler

    def _restore(self) -> None:
        self.progress = read_progress(self.job.last)
        shadow = self.average.shadow if self.average else None
        load_checkpoint(self.job.last, self.network, self.optimiser, shadow)
        if self.scaler is not None and self.progress.scaler:
            self.scaler.load_state_dict(self.progress.scaler)

    def ready(self, batch: Batch, step: int, forward_pass: int) -> Batch:
        """Return a batch on the device, normalised and augmented; seeds what follows (dropout) as well."""
        job, settings, rank = self.job, self.job.settings, self.fabric.global_rank
        batch = to_device(batch, self.fabric.device, job.intensity)
        if job.augment is not None:
            slots = slots_of(settings, forward_pass, rank, self.fabric.world_size)
            batch = augmented(job.augment, batch, settings.seed, step, slots)
        seed_global(torch_seed(settings.seed, DROPOUT, step, forward_pass, rank), self.fabric.device)
        return channels_last(batch) if settings.channels_last else batch

    def step(self, step: int, batches: Iterator[Batch]) -> None:
        """Do one optimiser step."""
        settings = self.job.settings
        learning_rate = settings.learning_rate * factor(settings.schedule, step, settings.steps, settings.warmup_steps)
        set_learning_rate(self.optimiser, learning_rate)
        for forward_pass in range(settings.accumulate):
            waiting_since = time.perf_counter()
            batch = next(batches)
            self.meter.waited(time.perf_counter() - waiting_since)
            batch = self.ready(batch, step, forward_pass)
            more_to_come = forward_pass < settings.accumulate - 1
            with self.fabric.no_backward_sync(self.wrapped, enabled=more_to_come):
                losses = self.job.task.loss(self.wrapped, batch)
                self.fabric.backward(torch.stack(list(losses.values())).sum() / settings.accumulate)
            self.meter.add(finite_losses(losses, batch, step))
        if settings.clip_norm is not None:
            norm = self.fabric.clip_gradients(
                self.wrapped, self.wrapped_optimiser, max_norm=settings.clip_norm, error_if_nonfinite=False
            )
            if norm is not None:
                self.meter.add({"gradient_norm": norm.item()})
        self.wrapped_optimiser.step()
        self.wrapped_optimiser.zero_grad()
        if self.average:
            self.average.update(self.network, step)
        self.meter.add({"learning_rate": learning_rate})
        self.progress.step = step + 1

    def validate(self) -> dict[str, float]:
        """Look at the tuning split with the averaged weights; keep them where they are the best so far."""
        progress, metric = self.progress, self.job.task.metric
        if not self.views:
            self._keep_best({})
            return {}
        state = self.average.shadow if self.average else self.network.state_dict()
        broadcast_state(self.fabric, state)
        with self.average.applied(self.network) if self.average else nullcontext():
            figures = validate(self.fabric, self.network, self.job.task, self.views)
        value = figures[metric]
        better = math.isfinite(value) and (progress.best_value is None or value > progress.best_value)
        progress.stale_validations = 0 if better else progress.stale_validations + 1
        if better:
            progress.best_value = value
        # An undefined figure (an AUC of one class) keeps the latest weights until one is defined.
        if better or progress.best_value is None:
            self._keep_best({metric: str(value)})
        return figures

    def _keep_best(self, note: dict[str, str]) -> None:
        self.progress.best_step = self.progress.step
        if self.fabric.is_global_zero:
            state = self.average.shadow if self.average else self.network.state_dict()
            save_weights(self.job.best, state, {"step": str(self.progress.step), **note})

    def checkpoint(self) -> None:
        """Write everything that is needed to go on."""
        self.progress.seconds = self.meter.seconds
        if self.scaler is not None:
            self.progress.scaler = self.scaler.state_dict()
        if self.fabric.is_global_zero:
            shadow = self.average.shadow if self.average else None
            save_checkpoint(self.job.last, self.progress, self.network, self.optimiser, shadow)


def train(fabric: Fabric, job: Job) -> None:
    """Train to the end; results stand in the run folder.

    Raises
    ------
    MedimgError
        The loss is not finite, a case cannot be read, or a loader worker died.
    """
    settings = job.settings
    run = Run(fabric, job)
    run.network.train()
    first = run.progress.step
    strata = [job.task.stratum(case) for case in job.train] if settings.balance == "class" else None
    sampler = Sampler(job.train, settings, job.divisor, strata)
    loader = build_loader(Batches(sampler, fabric.global_rank, fabric.world_size), first, fabric.device)
    history, loggers = _open_outputs(fabric, job, first)
    display = Display(settings.steps, first, settings.progress and fabric.is_global_zero)
    with worker_deaths(), display, closing(read_batches(loader)) as batches:
        for step in range(first, settings.steps):
            if run.progress.finished:
                break
            run.step(step, batches)
            display.step(step + 1)
            last = step + 1 == settings.steps
            validating = last or (step + 1) % settings.validate_every_steps == 0
            saving = last or (step + 1) % settings.checkpoint_every_steps == 0
            figures = run.validate() if validating else {}
            run.progress.finished = last or _stale(run.progress, settings)
            # A new best is saved at once, so that the two files never tell of different runs.
            saving = saving or run.progress.finished or (validating and run.progress.best_step == step + 1)
            if saving or validating or (step + 1) % settings.log_every_steps == 0:
                row = run.meter.close_row(fabric)
                row.update({f"tuning_{name}": value for name, value in figures.items()})
                _write_row(history, loggers, display, step + 1, row)
            if saving:
                run.checkpoint()
    for logger in loggers:
        logger.close()
    fabric.barrier()


def finite_losses(losses: dict[str, Tensor], batch: Batch, step: int) -> dict[str, float]:
    """Return the losses as numbers, with their sum ``loss``.

    Raises
    ------
    MedimgError
        One of them is not finite; names the step and the cases.
    """
    values = torch.stack([loss.detach().float() for loss in losses.values()]).tolist()
    named = {f"loss_{name}": value for name, value in zip(losses, values, strict=True)}
    if all(math.isfinite(value) for value in values):
        return {"loss": sum(values), **named}
    bad = [
        case_id
        for case_id, image in zip(batch["case_ids"], batch["image"], strict=True)
        if not bool(torch.isfinite(image).all())
    ]
    raise RunFailed(
        "the loss is not finite" + (": the images of some cases are not either" if bad else ""),
        where=f"step {step}, cases {', '.join(bad or batch['case_ids'])}",
        got=", ".join(f"{name} {value}" for name, value in named.items()),
        fix="look at the stored values of these cases"
        if bad
        else "a lower trainer.learning_rate, a smaller trainer.clip_norm, or trainer.precision=32-true",
    )


def _stale(progress: Progress, settings: FitSettings) -> bool:
    patience = settings.early_stop_patience
    return patience is not None and progress.stale_validations >= patience


def _open_outputs(fabric: Fabric, job: Job, step: int) -> tuple[History | None, list[Logger]]:
    """Open what only process 0 writes."""
    if not fabric.is_global_zero:
        return None, []
    history = History(job.run_folder / "metrics.csv", step)
    settings = job.settings
    return history, build_loggers(settings.loggers, job.run_folder, step, settings.what_decides_the_result())


def _write_row(
    history: History | None, loggers: Sequence[Logger], display: Display, step: int, row: dict[str, float]
) -> None:
    if history is None:
        return
    history.add({"step": step, **row})
    display.row(step, row)
    for logger in loggers:
        logger.log(step, row)
