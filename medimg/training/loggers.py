"""Where rows go besides metrics.csv."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from medimg.errors import MissingDependency


class Logger(Protocol):
    """A sink of rows."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the figures of a step."""

    def close(self) -> None:
        """Write out what is left."""


class TensorBoardLogger:
    """Event files under ``<run>/tensorboard``; on resume, later events of the killed run are hidden."""

    def __init__(self, run_folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run_folder / "tensorboard"), purge_step=step + 1 if step else None)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write one scalar a figure."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


class MlflowLogger:
    """A run of MLflow in the tracking store that MLflow itself is set to; its id stands in ``<run>/mlflow_run``."""

    def __init__(self, run_folder: Path, settings: Mapping[str, Any]) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise MissingDependency(
                "MLflow is not installed",
                where="trainer.loggers",
                fix="pip install 'medimg[mlflow]', or leave mlflow out of trainer.loggers",
            ) from error
        self._mlflow = mlflow
        note = run_folder / "mlflow_run"
        known = note.read_text(encoding="utf-8").strip() if note.is_file() else None
        run = mlflow.start_run(run_id=known, run_name=None if known else run_folder.name)
        if known is None:
            mlflow.log_params({f"trainer.{name}": value for name, value in settings.items()})
            note.write_text(run.info.run_id, encoding="utf-8")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the finite figures (MLflow's stores refuse others)."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._mlflow.log_metrics(finite, step=step)

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


def build_loggers(names: Sequence[str], run_folder: Path, step: int, settings: Mapping[str, Any]) -> list[Logger]:
    """Return the loggers of a run that goes on after ``step``."""
    loggers: list[Logger] = []
    if "tensorboard" in names:
        loggers.append(TensorBoardLogger(run_folder, step))
    if "mlflow" in names:
        loggers.append(MlflowLogger(run_folder, settings))
    return loggers
