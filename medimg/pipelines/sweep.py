"""``medimg train -m``: one run for each combination of overrides, under any Hydra launcher."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from medimg.evaluation.protocol import declare
from medimg.pipelines.compose import config_folder, freely, plain, typed
from medimg.pipelines.config import ExperimentConfig, register
from medimg.pipelines.run_folder import write_config


def main(overrides: Sequence[str]) -> int:
    """Hand the command line to Hydra; every job trains in a folder of its own below ``hydra.sweep.dir``."""
    register()
    words = [word for word in overrides if word not in {"-m", "--multirun"}]
    sys.argv = ["medimg", "--multirun", *freely(words)]
    hydra.main(version_base="1.3", config_path=str(config_folder().resolve()), config_name="train")(_job)()
    return 0


def _job(composed: DictConfig) -> float | None:
    """Train one combination; returns the tuning figure, so that optimising sweepers can use it."""
    from medimg.pipelines.train import show
    from medimg.pipelines.whole_way import train

    OmegaConf.resolve(composed)
    config: ExperimentConfig = typed(composed)
    declare(config.evaluation)
    run = Path(HydraConfig.get().runtime.output_dir)
    write_config(run, plain(composed))
    outcome = train(config, run)
    show(outcome, as_json=config.json)
    value = outcome["tuning"]
    return None if value is None else float(value)
