"""``medimg evaluate``: a package on labelled scans that it was not trained on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medimg.errors import ConfigError
from medimg.evaluation.protocol import declare, freeze
from medimg.inference.predictor import load
from medimg.packaging.package import ModelPackage
from medimg.pipelines.compose import compose, plain, typed
from medimg.pipelines.config import ExperimentConfig
from medimg.pipelines.held_out import run_cases
from medimg.pipelines.release import judge
from medimg.pipelines.run_folder import write_config
from medimg.pipelines.steps import (
    console,
    labelled_cases,
    open_cohort,
    progress_bar,
    show_findings,
    targets_of,
    write_json,
)


def main(overrides: Sequence[str]) -> int:
    """Run ``package`` over all labelled cases of ``data`` under ``evaluation``; tables and report go to ``output``.

    The package's own thresholds are the operating points: nothing is chosen on these scans.
    """
    composed = compose("train", overrides)
    config: ExperimentConfig = typed(composed)
    for key in ("package", "output"):
        if not getattr(config, key):
            raise ConfigError("evaluate needs a package and a place to write to", where=key, fix=f"add {key}=…")
    package = ModelPackage.open(Path(str(config.package)))
    output = Path(str(config.output))
    protocol = declare(config.evaluation)
    targets = targets_of(config.task)
    reading = package.manifest.preparation.reading
    if config.reading.policy(reading) != reading:
        raise ConfigError(
            "evaluate reads scans as the package does", where="reading", fix="leave out reading.… or train with it"
        )
    cohort, findings = open_cohort(config.data, reading)
    cases, left_out = labelled_cases(config, cohort, targets)
    show_findings([*findings, *left_out])

    output.mkdir(parents=True, exist_ok=True)
    write_config(output, plain(composed))
    thresholds = dict(package.manifest.postprocessing.thresholds)
    frozen = freeze(protocol, thresholds, package_digest=package.digest, thresholds_from="declared")
    write_json(output / "protocol.json", frozen.model_dump(mode="json"))
    opened = datetime.now(UTC)
    predictor = load(package.folder, backend=config.inference.backend)
    with progress_bar("scans through the package") as progress:
        tables = run_cases(
            predictor,
            cases,
            targets,
            protocol,
            dict(frozen.thresholds),
            ages=cohort.ages,
            overlays=output / "overlays",
            progress=progress,
        )
    tables.write(output / "tables", cohort.subjects)
    report = judge(package, frozen, tables, cohort.subjects, opened, output)
    answer: dict[str, Any] = {
        "status": report.status,
        "report": str(output / "report" / "report.html"),
        "cases": len(cases),
    }
    if config.json:
        print(json.dumps(answer))
    else:
        console.print(f"{answer['status'].replace('_', ' ')}: {answer['report']} ({answer['cases']} cases)")
    return 0
