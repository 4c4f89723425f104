"""The folder of a run and the configuration that it was started with."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from medimg.errors import InputError
from medimg.pipelines.compose import from_plain
from medimg.pipelines.config import ExperimentConfig


def new_run_folder(runs: Path, name: str) -> Path:
    """Make ``runs/<name>/<time>``, with a number behind it where that second is taken."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for suffix in ("", *(f"_{number}" for number in range(1, 1000))):
        folder = runs / name / f"{stamp}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise InputError("no run folder could be made", where=runs / name)


def write_config(run: Path, values: dict[str, Any]) -> None:
    """Write the resolved configuration of a run."""
    (run / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def read_config(run: Path) -> ExperimentConfig:
    """Return the configuration that a run was started with.

    Raises
    ------
    InputError
        The folder is no run.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise InputError("this folder is no run", where=run.resolve(), expected="a folder with config.yaml")
    config: ExperimentConfig = from_plain(ExperimentConfig, yaml.safe_load(path.read_text()), str(path))
    return config
