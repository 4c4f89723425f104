"""Steps that several verbs share: from a configuration to cohort, cases, split and plan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from medimg.data.cases import Case, build_cases
from medimg.data.cohort import Cohort, DatasetInfo
from medimg.data.fingerprint import fingerprint
from medimg.data.importers.coco import import_coco
from medimg.data.importers.csv_index import import_csv
from medimg.data.importers.nnunet import import_nnunet
from medimg.data.importers.rows import state_unit
from medimg.data.plan import Plan, make_plan
from medimg.data.split import make_split
from medimg.data.targets import Targets
from medimg.errors import ConfigError, InputError, nearest
from medimg.io.findings import Finding
from medimg.io.policy import STRICT, ReadPolicy
from medimg.pipelines.config import DataConfig, ExperimentConfig, TaskConfig

KINDS = ("csv", "nnunet", "coco")
console = Console(stderr=True)


def open_cohort(data: DataConfig, reading: ReadPolicy = STRICT) -> tuple[Cohort, list[Finding]]:
    """Open ``data.root`` as a cohort, or index it in memory as ``data.kind`` says, reading scans by a policy.

    Raises
    ------
    InputError
        The folder is missing or nothing in it can be used.
    """
    root = Path(data.root)
    if not root.is_dir():
        raise InputError(
            "the data folder is missing",
            where=root.resolve(),
            fix="set data.root=… to the folder with the scans, or to a cohort made by medimg index",
        )
    if (root / "dataset.yaml").is_file():
        return Cohort.open(root), []
    info = DatasetInfo(title=data.title, licence=data.licence, modality=data.modality)
    if data.kind == "csv":
        imported = import_csv(root, data.csv, modality=data.modality, reading=reading)
    elif data.kind == "nnunet":
        imported = import_nnunet(root, modality=data.modality, reading=reading)
    elif data.kind == "coco":
        imported = import_coco(root, data.coco.annotations, modality=data.modality, image_folder=data.coco.image_folder)
    else:
        raise ConfigError(
            "no such kind of data folder", where="data.kind", got=data.kind, expected=nearest(data.kind, KINDS)
        )
    imported = state_unit(imported, data.unit)
    return imported.cohort(info, root), imported.findings


def targets_of(task: TaskConfig) -> Targets:
    """Return what the task asks for.

    Raises
    ------
    ConfigError
        The task's keys contradict each other.
    """
    values = {
        "kind": task.kind,
        "mode": task.mode,
        "names": tuple(task.names),
        "classes": task.classes,
        "negative_grades": tuple(task.negative_grades),
        "positive_grades": tuple(task.positive_grades),
        "boxes_from_masks": task.boxes_from_masks,
        "min_component": task.min_component,
    }
    try:
        return Targets.model_validate(values)
    except ValidationError as error:
        reasons = "; ".join(str(item["msg"]) for item in error.errors())
        raise ConfigError("the task is not consistent", where="task", got=reasons) from error


def labelled_cases(config: ExperimentConfig, cohort: Cohort, targets: Targets) -> tuple[list[Case], list[Finding]]:
    """Return the cases that state every target; the others are findings.

    Raises
    ------
    InputError
        Not one case states the targets.
    """
    cases, findings = build_cases(cohort, tuple(config.data.channels))
    kept = []
    for case in cases:
        absent = [name for name in targets.names if not _states(case, targets, name)]
        if absent:
            message = f"the case is left out: it states no {', '.join(absent)}"
            findings.append(Finding("NOT_LABELLED", "info", message, file=case.case_id))
        else:
            kept.append(case)
    if not kept:
        stated = sorted(set(cohort.labels["name"]))
        raise InputError(
            "no case states the task's targets",
            where=config.data.root,
            got=f"labels: {', '.join(stated) or 'none'}",
            expected=", ".join(targets.names),
            fix="correct task.names, or the label columns of data",
        )
    return kept, findings


def _states(case: Case, targets: Targets, name: str) -> bool:
    if targets.kind == "classification":
        return name in case.classes
    if targets.kind == "detection" and not targets.boxes_from_masks:
        return True
    return any(ref.name == name for ref in case.masks)


def split_cases(config: ExperimentConfig, cohort: Cohort, cases: Sequence[Case], targets: Targets) -> pd.DataFrame:
    """Divide cases by person, stratified by label, site and ancestry."""
    ancestry = dict(zip(cohort.subjects["subject_id"], cohort.subjects["ancestry_group"].fillna("unknown")))
    strata = [
        "|".join([_label_stratum(case, targets), case.site_id, str(ancestry.get(case.subject_id, "unknown"))])
        for case in cases
    ]
    return make_split(cases, strata, config.data.split)


def _label_stratum(case: Case, targets: Targets) -> str:
    if targets.kind == "classification":
        return "-".join(str(int(case.classes[name])) for name in targets.names)
    present = {ref.name for ref in case.masks if ref.path is not None} | {ref.name for ref in case.boxes}
    return "+".join(sorted(present & set(targets.names))) or "none"


def part(cases: Sequence[Case], split: pd.DataFrame, name: str) -> list[Case]:
    """Return the cases of one part of a split, in order of their id."""
    wanted = set(split.loc[split["split"] == name, "case_id"])
    return sorted((case for case in cases if case.case_id in wanted), key=lambda case: case.case_id)


def plan_for(config: ExperimentConfig, train: Sequence[Case], targets: Targets) -> tuple[Plan, list[Finding]]:
    """Measure the training part and derive a plan; stated keys win."""
    reading = config.reading.policy()
    facts, findings = fingerprint(train, targets, tuple(config.data.channels), reading=reading)
    plan = make_plan(facts, targets, config.plan, network=config.model.name, network_options=dict(config.model.options))
    preparation = plan.preparation.model_copy(update={"reading": reading})
    return plan.model_copy(update={"preparation": preparation}), findings


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far a step over cases is; yields a function of (done, total)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def show_findings(findings: Sequence[Finding], limit: int = 12) -> None:
    """Print findings by code, the first few of each."""
    if not findings:
        return
    by_code: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        by_code.setdefault((finding.severity, finding.code), []).append(finding)
    table = Table("severity", "code", "count", "first", box=None, show_edge=False)
    for (severity, code), rows in sorted(by_code.items())[:limit]:
        first = rows[0]
        table.add_row(severity, code, str(len(rows)), f"{first.file + ': ' if first.file else ''}{first.message}")
    console.print(table)


def write_json(path: Path, value: Any) -> None:
    """Write JSON beside its final name, then rename."""
    partial = path.with_name(path.name + ".part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps(value, indent=1, sort_keys=True, default=_json_value))
    partial.replace(path)


def _json_value(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
