"""Every setting of a training run, each followed by what it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medimg.errors import ConfigError, nearest

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")
LOGGERS = ("tensorboard", "mlflow")

#: Settings of the machine, free to differ between the two lives of a resumed run: they change no sample.
#: The number of processes belongs here too, but changes the order of sums, so a result only to rounding.
MACHINE_FIELDS = frozenset(
    (
        *("workers", "threads", "devices", "num_nodes", "accelerator", "strategy"),
        *("loggers", "progress", "log_every_steps", "early_stop_patience"),
    )
)


@dataclass(kw_only=True)
class FitSettings:
    """Settings of `medimg.training.fit.fit`.

    Raises
    ------
    ConfigError
        A value outside its range; the message names the key.
    """

    steps: int = 1000
    """Optimiser steps of the whole run."""
    batch_size: int = 2
    """Samples of one forward pass, over all processes together; a multiple of the number of processes."""
    patch: tuple[int, ...] | None = None
    """Size of a training patch per axis, (z, y, x) or (y, x), in prepared voxels; None takes whole images."""
    foreground_probability: float = 0.5
    """Share of patches that are placed around a voxel (or box) of a label that the case has."""
    balance: str = "none"
    """``none`` takes every case once per pass; ``class`` draws so that all strata of the task are equally frequent."""
    accumulate: int = 1
    """Forward passes per optimiser step; a step sees ``batch_size * accumulate`` samples."""
    clip_norm: float | None = 12.0
    """Largest L2 norm of the gradient; longer ones are scaled down to it. None leaves them."""
    optimiser: str = "adamw"
    """``adamw``, or ``sgd`` with Nesterov momentum 0.99 (the choice of nnU-Net, Isensee et al., 2021)."""
    learning_rate: float = 1e-3
    """Highest learning rate, reached after the warm-up."""
    encoder_lr_factor: float = 1.0
    """Factor on the learning rate of the parameters under ``network.encoder`` (0.1 for a pretrained one)."""
    weight_decay: float = 1e-2
    """Decoupled (adamw) or L2 (sgd) decay of weights; never of biases and of norm scales."""
    schedule: str = "cosine"
    """``cosine`` to zero, ``poly`` (1 - t)^0.9 to zero, or ``constant``."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly."""
    ema_decay: float | None = 0.999
    """Decay of the moving average of the weights, which is what is validated and kept; None keeps the raw weights."""
    precision: str = "32-true"
    """Lightning Fabric's name: ``32-true``, ``bf16-mixed``, ``16-mixed`` (CUDA), ``bf16-true``, ``64-true``."""
    channels_last: bool = False
    """Keep channels innermost in memory: faster convolutions on most CPUs and GPUs."""
    compile: bool = False
    """torch.compile the network: about a minute before the first step, worth it for long runs."""
    sync_batch_norm: bool = False
    """Batch statistics over all processes (CUDA only)."""
    workers: int | None = None
    """Loader processes; None measures the machine. The number never changes a result."""
    threads: int | None = None
    """Threads of torch per process; None leaves torch's choice."""
    devices: int = 1
    """Processes on this node, one a device."""
    num_nodes: int = 1
    """Nodes."""
    accelerator: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``mps``."""
    strategy: str = "auto"
    """``auto``: one process, or one forked process a device (torchrun's and SLURM's processes are recognised). ``ddp``
    starts this command again for every device; ``ddp_fork`` and ``ddp_spawn`` say how the processes start."""
    seed: int = 0
    """Root of every random number of the run."""
    validate_every_steps: int = 250
    """Steps between two looks at the tuning split; the last step is always looked at."""
    checkpoint_every_steps: int = 250
    """Steps between two checkpoints: the most work that a killed run loses."""
    log_every_steps: int = 10
    """Steps that one row of metrics.csv averages over."""
    early_stop_patience: int | None = None
    """Stop after this many validations in a row without a better figure; None never stops early."""
    loggers: tuple[str, ...] = ("tensorboard",)
    """Where rows go besides metrics.csv: any of ``tensorboard``, ``mlflow``."""
    progress: bool = True
    """Show a progress bar on a terminal."""
    deterministic: bool = False
    """Refuse every operation without a deterministic implementation (matters on CUDA; slower)."""

    def __post_init__(self) -> None:
        self.patch = None if self.patch is None else tuple(int(size) for size in self.patch)
        self.loggers = (self.loggers,) if isinstance(self.loggers, str) else tuple(self.loggers)
        self._check_choices()
        self._check_ranges()
        if self.patch is not None and (len(self.patch) not in (2, 3) or min(self.patch) < 1):
            raise _wrong("patch", self.patch, "two or three positive sizes, (y, x) or (z, y, x)")
        if self.batch_size % self.processes:
            raise ConfigError(
                "the batch cannot be shared evenly between the processes",
                where="trainer.batch_size",
                got=f"{self.batch_size} samples, {self.processes} processes",
                expected=f"a multiple of {self.processes}",
            )
        if self.warmup_steps > self.steps:
            raise _wrong("warmup_steps", self.warmup_steps, f"at most steps = {self.steps}")

    @property
    def processes(self) -> int:
        """Number of processes over all nodes."""
        return self.devices * self.num_nodes

    @property
    def samples_per_step(self) -> int:
        """Samples that one optimiser step sees, over all processes."""
        return self.batch_size * self.accumulate

    def what_decides_the_result(self) -> dict[str, Any]:
        """Return the settings that must stay when a run is resumed, ready for JSON."""
        fields = {name: value for name, value in asdict(self).items() if name not in MACHINE_FIELDS}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    def _check_choices(self) -> None:
        choices: dict[str, Sequence[str]] = {
            "balance": ("none", "class"),
            "optimiser": ("adamw", "sgd"),
            "schedule": ("cosine", "poly", "constant"),
            "precision": PRECISIONS,
            "accelerator": ("auto", "cpu", "cuda", "gpu", "mps"),
            "strategy": ("auto", "ddp", "ddp_fork", "ddp_spawn"),
        }
        for name, valid in choices.items():
            if getattr(self, name) not in valid:
                raise _wrong(name, getattr(self, name), nearest(str(getattr(self, name)), valid))
        for name in self.loggers:
            if name not in LOGGERS:
                raise _wrong("loggers", name, nearest(name, LOGGERS))

    def _check_ranges(self) -> None:
        positive_counts = (
            "steps batch_size accumulate devices num_nodes validate_every_steps checkpoint_every_steps log_every_steps"
        )
        for name in positive_counts.split():
            if getattr(self, name) < 1:
                raise _wrong(name, getattr(self, name), "at least 1")
        for name in ("threads", "early_stop_patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise _wrong(name, value, "at least 1, or null")
        for name in ("seed", "warmup_steps", "weight_decay", "encoder_lr_factor", "workers"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise _wrong(name, value, "0 or more")
        if not self.learning_rate > 0:
            raise _wrong("learning_rate", self.learning_rate, "greater than 0")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise _wrong("clip_norm", self.clip_norm, "greater than 0, or null")
        if not 0 <= self.foreground_probability <= 1:
            raise _wrong("foreground_probability", self.foreground_probability, "between 0 and 1")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise _wrong("ema_decay", self.ema_decay, "from 0 up to, not including, 1, or null")


def _wrong(name: str, got: object, expected: str) -> ConfigError:
    return ConfigError(f"'{name}' has a value that cannot be used", where=f"trainer.{name}", got=got, expected=expected)
