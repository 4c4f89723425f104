"""The whole way of one run: plan, fit, export, judge through the exported package, gate."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medimg.evaluation.protocol import declare, freeze
from medimg.inference.predictor import load
from medimg.pipelines.answers import prove_answers
from medimg.pipelines.candidate import export_candidate, with_thresholds
from medimg.pipelines.config import ExperimentConfig
from medimg.pipelines.fitting import fit_plan
from medimg.pipelines.held_out import run_cases
from medimg.pipelines.release import judge, release
from medimg.pipelines.steps import console, progress_bar, write_json
from medimg.pipelines.study import prepare_plan, prepare_store, prepare_study
from medimg.pipelines.thresholds import fix_thresholds


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
    best = "undefined" if fitted.best_value is None else f"{fitted.best_value:.4f}"
    console.print(f"best {fitted.metric} on the tuning part: {best} at step {fitted.best_step}")

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
    candidate = prove_answers(candidate, predictor, study, plan, fitted.best_weights)
    report = judge(candidate, frozen, tables, study.cohort.subjects, opened, run)
    key = Path(config.release.key) if config.release.key else None
    outcome = release(candidate, report, run, run, key=key)
    outcome |= {"run": str(run), "tuning": fitted.best_value, "training_s": round(fitted.seconds, 1)}
    write_json(run / "outcome.json", outcome)
    return outcome
