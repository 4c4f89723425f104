"""``medimg train``: the whole way, from scans to a sealed (or refused) package."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medimg.errors import ConfigError
from medimg.evaluation.protocol import declare, freeze
from medimg.inference.predictor import load
from medimg.pipelines.candidate import export_candidate, with_thresholds
from medimg.pipelines.compose import compose, plain, typed
from medimg.pipelines.config import ExperimentConfig
from medimg.pipelines.fitting import fit_plan
from medimg.pipelines.held_out import run_cases
from medimg.pipelines.release import judge, release
from medimg.pipelines.steps import console, progress_bar, write_json
from medimg.pipelines.study import (
    new_run_folder,
    prepare_plan,
    prepare_store,
    prepare_study,
    read_config,
    write_config,
)
from medimg.pipelines.thresholds import fix_thresholds


def main(overrides: Sequence[str]) -> int:
    """Train, go on with a killed run (``resume=``), or sweep (``-m``)."""
    if any(word in {"-m", "--multirun"} for word in overrides):
        from medimg.pipelines.sweep import main as sweep

        return sweep(overrides)
    if any(word.startswith("resume=") for word in overrides):
        return show(resume(overrides))
    composed = compose("train", overrides)
    config: ExperimentConfig = typed(composed)
    declare(config.evaluation)
    run = new_run_folder(Path(config.runs), config.name)
    write_config(run, plain(composed))
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
    return train(read_config(Path(folder)), Path(folder), again=True)


def train(config: ExperimentConfig, run: Path, *, again: bool = False) -> dict[str, Any]:
    """Go the whole way in the folder ``run``.

    Returns
    -------
    dict
        ``run``, ``package``, ``sealed``, ``status``, ``reasons``, ``report``, ``tuning``, ``training_s``.

    Raises
    ------
    MedimgError
        Any step that cannot go on; what is finished stays, and ``resume=`` takes it up.
    """
    protocol = declare(config.evaluation)
    study = prepare_study(config, run)
    plan = prepare_plan(study, run)
    stored = prepare_store(study, plan)
    fitted = fit_plan(config, plan, study.targets, stored["train"], stored["tuning"], run, resume=again)
    console.print(f"best {fitted.metric} on the tuning part: {fitted.best_value} at step {fitted.best_step}")

    candidate = export_candidate(study, plan, fitted.best_weights, stored["tuning"], run)
    predictor = load(candidate.folder, backend=config.inference.backend)
    with progress_bar("tuning part through the package") as progress:
        tuned = run_cases(predictor, study.part("tuning"), study.targets, protocol, {}, progress=progress)
    thresholds = fix_thresholds(tuned, study.targets, protocol)
    candidate = with_thresholds(candidate, thresholds)

    frozen = freeze(protocol, thresholds, package_digest=candidate.digest)
    write_json(run / "protocol.json", frozen.model_dump(mode="json"))
    opened = datetime.now(UTC)
    predictor = load(candidate.folder, backend=config.inference.backend)
    with progress_bar("held-out part through the package") as progress:
        tables = run_cases(
            predictor,
            study.part("held_out"),
            study.targets,
            protocol,
            dict(frozen.thresholds),
            ages=study.cohort.ages,
            overlays=run / "overlays",
            progress=progress,
        )
    tables.write(run / "tables", study.cohort.subjects)
    report = judge(candidate, frozen, tables, study.cohort.subjects, opened, run)
    key = Path(config.release.key) if config.release.key else None
    outcome = release(candidate, report, run, run, key=key)
    outcome |= {"run": str(run), "tuning": fitted.best_value, "training_s": round(fitted.seconds, 1)}
    write_json(run / "outcome.json", outcome)
    return outcome


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
    for reason in outcome["reasons"]:
        console.print(f"  - {reason}")
    console.print(f"candidate, NOT VALIDATED: {outcome['package']}")
    return 0
