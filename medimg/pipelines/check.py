"""``medimg check``: leakage, duplicates, masks that do not fit, labels out of range, missing demographics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf
from rich.table import Table

from medimg.data.cases import build_cases
from medimg.data.checks import CheckReport, check
from medimg.data.settings import ReadingSettings
from medimg.errors import InputError
from medimg.pipelines.compose import compose, typed
from medimg.pipelines.config import DataConfig
from medimg.pipelines.steps import console, open_cohort, show_findings, targets_of, write_json


def main(overrides: Sequence[str]) -> int:
    """Check ``data`` (and ``task``, where one is configured); exit 3 where something makes it unfit."""
    config = compose("train", overrides)
    data: DataConfig = typed(config.data, prefix="data.")
    with_task = not OmegaConf.is_missing(config.task, "kind")
    targets = targets_of(typed(config.task, prefix="task.")) if with_task else None
    settings: ReadingSettings = typed(config.reading, prefix="reading.")
    cohort, findings = open_cohort(data, settings.policy())
    cases, left_out = build_cases(cohort, tuple(data.channels))
    report = check(cohort, cases, targets, reading=settings.policy())
    report.findings = [*findings, *left_out, *report.findings]
    if config.output:
        write_json(Path(config.output), report.as_dict())
    if config.json:
        print(json.dumps(report.as_dict(), default=str))
    else:
        _show(report)
    if report.errors:
        raise InputError(
            f"{len(report.errors)} findings make this cohort unfit for training",
            where=data.root,
            got=", ".join(sorted({finding.code for finding in report.errors})),
            fix="correct them in the source, or leave the named cases out of the index",
        )
    return 0


def _show(report: CheckReport) -> None:
    table = Table("what", "count", box=None, show_edge=False)
    for name, value in report.counts.items():
        if isinstance(value, int):
            table.add_row(name, str(value))
        elif isinstance(value, dict):
            table.add_row(name, ", ".join(f"{key}: {count}" for key, count in value.items()))
        else:
            table.add_row(name, ", ".join(f"{row['name']} ({row['kind']}): {row['n']}" for row in value))
    console.print(table)
    show_findings(report.findings, limit=40)
