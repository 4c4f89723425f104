"""A training run's folder and what is prepared in it: cohort, split, plan, store.

What a step has written before (split, plan, prepared cases) is taken up again, so that a resumed run sees the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from medimg.data.cases import Case
from medimg.data.cohort import Cohort
from medimg.data.plan import Plan
from medimg.data.split import PARTS, read_split
from medimg.data.store import PreparedCase, build_store
from medimg.data.targets import Targets
from medimg.io.findings import Finding
from medimg.pipelines.config import ExperimentConfig
from medimg.pipelines.plan import forecast, show
from medimg.pipelines.steps import (
    console,
    labelled_cases,
    open_cohort,
    part,
    plan_for,
    progress_bar,
    show_findings,
    split_cases,
    targets_of,
    write_json,
)


@dataclass(frozen=True)
class Study:
    """Cohort, cases and their split, for one task."""

    config: ExperimentConfig
    cohort: Cohort
    targets: Targets
    cases: list[Case]
    split: pd.DataFrame

    def part(self, name: str) -> list[Case]:
        """Return the cases of ``train``, ``tuning`` or ``held_out``."""
        return part(self.cases, self.split, name)


def prepare_study(config: ExperimentConfig, run: Path) -> Study:
    """Open the cohort, keep the labelled cases, and divide them; the split is written to ``split.csv``."""
    targets = targets_of(config.task)
    cohort, findings = open_cohort(config.data, config.reading.policy())
    cases, left_out = labelled_cases(config, cohort, targets)
    path = run / "split.csv"
    if path.is_file():
        split = read_split(path)
    else:
        split = split_cases(config, cohort, cases, targets)
        split.to_csv(path, index=False)
    write_json(run / "findings.json", [finding.as_dict() for finding in [*findings, *left_out]])
    show_findings([*findings, *left_out])
    counts = ", ".join(f"{name} {int((split['split'] == name).sum())}" for name in PARTS)
    console.print(f"{len(cases)} cases of {split['subject_id'].nunique()} people: {counts}")
    return Study(config, cohort, targets, cases, split)


def prepare_plan(study: Study, run: Path) -> Plan:
    """Derive the plan from the training part, with a forecast; it is written to ``plan.yaml``."""
    path = run / "plan.yaml"
    if path.is_file():
        return Plan.load(path)
    plan, findings = plan_for(study.config, study.part("train"), study.targets)
    plan = plan.model_copy(update={"forecast": forecast(study.config, plan, study.targets, len(study.cases))})
    plan.save(path)
    show_findings(findings)
    show(plan)
    return plan


def prepare_store(study: Study, plan: Plan) -> dict[str, list[PreparedCase]]:
    """Prepare the training and tuning parts; the held-out part stays unopened.

    Returns
    -------
    dict of str to list of PreparedCase
        ``train`` and ``tuning``.
    """
    stored = {}
    findings: list[Finding] = []
    for name in ("train", "tuning"):
        with progress_bar(f"preparing the {name} part") as progress:
            stored[name], failed = build_store(
                study.part(name),
                study.targets,
                plan.preparation,
                Path(study.config.store),
                threads=study.config.data.threads,
                progress=progress,
            )
        findings += failed
    show_findings(findings)
    return stored
