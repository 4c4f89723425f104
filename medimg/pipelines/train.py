"""``medimg train``: start a run, go on with a killed one, or sweep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medimg.errors import ConfigError
from medimg.evaluation.protocol import declare
from medimg.pipelines.compose import compose, plain, typed
from medimg.pipelines.config import ExperimentConfig
from medimg.pipelines.run_folder import new_run_folder, read_config, write_config
from medimg.pipelines.steps import console

SHOWN_REASONS = 6


def main(overrides: Sequence[str]) -> int:
    """Train, go on with a killed run (``resume=``), or sweep (``-m``)."""
    if any(word in {"-m", "--multirun"} for word in overrides):
        from medimg.pipelines.sweep import main as sweep

        return sweep(overrides)
    if any(word.startswith("resume=") for word in overrides):
        return show(resume(overrides))
    # torch and MONAI take seconds to import: a mistake in the command is told before.
    composed = compose("train", overrides)
    config: ExperimentConfig = typed(composed)
    declare(config.evaluation)
    run = new_run_folder(Path(config.runs), config.name)
    write_config(run, plain(composed))
    from medimg.pipelines.whole_way import train

    return show(train(config, run), as_json=config.json)


def resume(overrides: Sequence[str]) -> dict[str, Any]:
    """Go on with a killed run.

    Raises
    ------
    ConfigError
        Other overrides beside ``resume=``: a run goes on as it was started.
    """
    (folder,) = [word.removeprefix("resume=") for word in overrides if word.startswith("resume=")][:1]
    others = [word for word in overrides if not word.startswith("resume=")]
    if others:
        raise ConfigError(
            "a run goes on as it was started",
            where="resume",
            got=" ".join(others),
            fix="resume without other overrides, or start a new run",
        )
    config = read_config(Path(folder))
    from medimg.pipelines.whole_way import train

    return train(config, Path(folder), again=True)


def show(outcome: dict[str, Any], *, as_json: bool = False) -> int:
    """Say what came out. Refusal by the gate is an answer of the run, not a failure of it: the exit code stays 0."""
    if as_json:
        print(json.dumps(outcome))
        return 0
    console.print(f"report:  {outcome['report']}")
    if outcome["sealed"]:
        console.print(f"sealed:  {outcome['package']} ({outcome['status'].replace('_', ' ')})")
        return 0
    console.print(f"the gate refused ({outcome['status'].replace('_', ' ')}):")
    for reason in outcome["reasons"][:SHOWN_REASONS]:
        console.print(f"  - {reason}")
    hidden = len(outcome["reasons"]) - SHOWN_REASONS
    if hidden > 0:
        console.print(f"  … and {hidden} more, in the report")
    console.print(f"candidate, NOT VALIDATED: {outcome['package']}")
    return 0
