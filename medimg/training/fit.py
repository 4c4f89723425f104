"""Train a network for a task: the one entry point of training."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.accelerators import CUDAAccelerator, MPSAccelerator
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy, Strategy
from torch import nn
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from medimg.data.preparation import Intensity
from medimg.errors import ConfigError, InputError, MedimgError, MissingDependency, RunFailed
from medimg.training.augmentation import Augmentation
from medimg.training.cases import PreparedCase
from medimg.training.checkpoint import read_progress
from medimg.training.history import Row, read_rows
from medimg.training.loop import Job, train
from medimg.training.resources import torch_threads
from medimg.training.settings import FitSettings
from medimg.training.task import Task


@dataclass(frozen=True)
class FitResult:
    """What a run left behind.

    Attributes
    ----------
    best_weights : Path
        safetensors under the network's own tensor names: the (averaged) weights with the best tuning figure, or the
        last ones without a tuning split.
    last_checkpoint : Path
        What `fit` with ``resume`` goes on from.
    metric, best_value, best_step
        The figure that picked them (None where it was never defined), and after how many steps.
    steps : int
        Steps done; fewer than asked for after an early stop.
    seconds : float
        Wall time of training and validation, over all lives of the run.
    history : list of dict
        Rows of metrics.csv.
    """

    best_weights: Path
    last_checkpoint: Path
    metric: str
    best_value: float | None
    best_step: int
    steps: int
    seconds: float
    history: list[Row]


def fit(
    settings: FitSettings,
    task: Task,
    network: nn.Module,
    train_cases: Sequence[PreparedCase],
    tuning_cases: Sequence[PreparedCase],
    run_folder: Path,
    *,
    intensity: Intensity,
    augment: Augmentation | None = None,
    resume: bool = False,
) -> FitResult:
    """Train, validate on the tuning split, keep the best weights.

    Parameters
    ----------
    settings : FitSettings
        Everything numeric about the run.
    task : Task
        Loss and figures.
    network : nn.Module
        Maps float32 (B, C, *S) to logits; ``divisor`` per axis is honoured where it has one. It is trained in place
        (in many processes: in copies); use ``best_weights`` afterwards.
    train_cases, tuning_cases : sequence of PreparedCase
        Their order belongs to what is reproducible. No tuning cases: the last weights are the best.
    run_folder : Path
        Gets ``metrics.csv``, ``checkpoints/last.safetensors``, ``checkpoints/best.safetensors``, ``tensorboard/``.
    intensity : Intensity
        Rule from stored values to network input, applied on the device.
    augment : Augmentation, optional
        `medimg.transforms.augment.Augment`, applied batch-wise on the device, after normalisation.
    resume : bool
        Go on from the last checkpoint of the folder, bit for bit; from the start where there is none yet.

    Raises
    ------
    ConfigError
        Settings that do not fit the data, or another run in the folder.
    InputError
        Cases without truth, or that cannot be read.
    MissingDependency
        A device or logger that is not there.
    MedimgError
        The loss is not finite, or a loader worker or training process died.
    """
    run_folder = Path(run_folder)
    task.check([*train_cases, *tuning_cases])
    identity: dict[str, Any] = {
        "settings": settings.what_decides_the_result(),
        "train_cases": _digest(train_cases),
        "tuning_cases": _digest(tuning_cases),
    }
    job = Job(settings, task, network, train_cases, tuning_cases, run_folder, intensity, augment, identity, resume)
    _check_folder(job)
    run_folder.mkdir(parents=True, exist_ok=True)
    fabric = Fabric(
        accelerator=_accelerator(settings),
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=_strategy(settings),
        precision=cast(Any, settings.precision),
    )
    with _determinism(settings), torch_threads(settings.threads), _process_errors():
        fabric.launch(partial(train, job=job))
    return read_result(run_folder, task.metric)


def read_result(run_folder: Path, metric: str) -> FitResult:
    """Return the result of a run from its folder.

    Parameters
    ----------
    run_folder : Path
        A folder that `fit` has trained in.
    metric : str
        The task's name of its figure.
    """
    folder = Path(run_folder) / "checkpoints"
    progress = read_progress(folder / "last.safetensors")
    return FitResult(
        best_weights=folder / "best.safetensors",
        last_checkpoint=folder / "last.safetensors",
        metric=metric,
        best_value=progress.best_value,
        best_step=progress.best_step,
        steps=progress.step,
        seconds=progress.seconds,
        history=read_rows(Path(run_folder) / "metrics.csv"),
    )


def _digest(cases: Sequence[PreparedCase]) -> str:
    return hashlib.sha256("\n".join(case.case_id for case in cases).encode()).hexdigest()


def _check_folder(job: Job) -> None:
    """Refuse to overwrite a run, and to go on with one under other settings or cases."""
    if not job.last.is_file():
        return
    if not job.resume:
        raise ConfigError(
            "the folder holds a run already",
            where=job.run_folder,
            fix="train in a new folder, or go on with this run: resume=<folder>",
        )
    before = read_progress(job.last).identity
    old, new = before.get("settings", {}), job.identity["settings"]
    changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    if changed:
        name = sorted(changed)[0]
        raise ConfigError(
            "a run goes on only under the settings that it was started with",
            where=f"trainer.{name}",
            got=new.get(name),
            expected=old.get(name),
            fix="resume without overrides, or start a new run",
        )
    for name in ("train_cases", "tuning_cases"):
        if before.get(name) != job.identity[name]:
            raise ConfigError(
                "a run goes on only with the cases that it was started with, in their order",
                where=name,
                fix="start a new run",
            )


def _accelerator(settings: FitSettings) -> str:
    name = "cuda" if settings.accelerator == "gpu" else settings.accelerator
    missing = (name == "cuda" and not CUDAAccelerator.is_available()) or (
        name == "mps" and not MPSAccelerator.is_available()
    )
    if missing:
        raise MissingDependency(
            f"there is no {name} device",
            where="trainer.accelerator",
            fix="trainer.accelerator=cpu, or a torch build and driver for the device (medimg doctor)",
        )
    on_cuda = name == "cuda" or (name == "auto" and CUDAAccelerator.is_available())
    if settings.precision == "16-mixed" and not on_cuda:
        raise ConfigError(
            "16-mixed needs a CUDA device",
            where="trainer.precision",
            fix="bf16-mixed works on most processors and on newer GPUs",
        )
    return name


def _strategy(settings: FitSettings) -> str | Strategy:
    """Return one process, or DDP with the way its processes start."""
    if settings.processes == 1:
        return "auto"
    methods: dict[str, Literal["fork", "spawn"]] = {"ddp_fork": "fork", "ddp_spawn": "spawn"}
    if settings.strategy in methods:
        return DDPStrategy(start_method=methods[settings.strategy])
    started_outside = TorchElasticEnvironment.detect() or SLURMEnvironment.detect()
    if settings.strategy == "ddp" or started_outside:
        return DDPStrategy()
    if settings.num_nodes > 1:
        raise ConfigError(
            "one command cannot start processes on other nodes",
            where="trainer.num_nodes",
            got=settings.num_nodes,
            fix="start with torchrun, or in a SLURM job with srun",
        )
    return DDPStrategy(start_method="fork")


@contextmanager
def _determinism(settings: FitSettings) -> Iterator[None]:
    """Within the context operations without a deterministic implementation raise, where that is asked for."""
    before = torch.are_deterministic_algorithms_enabled()
    if settings.deterministic:
        # cuBLAS reads this when it first starts; without it, it is not deterministic.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def _process_errors() -> Iterator[None]:
    """Turn what torch says of a failed training process into an error of ours."""
    try:
        yield
    except ProcessRaisedException as error:
        raise _from_process(str(error).strip()) from error
    except ProcessExitedException as error:
        raise RunFailed(
            "a training process was killed",
            got=str(error),
            fix="usually memory ran out: a smaller patch or batch",
        ) from error


def _from_process(text: str) -> MedimgError:
    """Return the error that a training process raised, of which only the printed traceback comes back."""
    kinds = {kind.__name__: kind for kind in (MedimgError, ConfigError, InputError, MissingDependency, RunFailed)}
    name, _, message = text.rpartition("medimg.errors.")[2].partition(": ")
    if name in kinds:
        return kinds[name](message)
    fix = None
    if "fork" in text and ("CUDA" in text or "autograd" in text):
        fix = "this process has computed already, so it cannot be forked: trainer.strategy=ddp_spawn"
    return RunFailed("a training process failed", got=text, fix=fix)
