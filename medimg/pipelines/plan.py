"""``medimg plan``: the plan of an experiment, each number with its reason, and a measured forecast."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from medimg.data.plan import Plan, prepared_shape
from medimg.data.targets import Targets
from medimg.pipelines.compose import compose, typed
from medimg.pipelines.config import ExperimentConfig
from medimg.pipelines.fitting import network_for, settings_for
from medimg.pipelines.steps import (
    console,
    labelled_cases,
    open_cohort,
    part,
    plan_for,
    show_findings,
    split_cases,
    targets_of,
)
from medimg.training.probe import probe


def main(overrides: Sequence[str]) -> int:
    """Plan, forecast, show; write YAML to ``output`` where one is given."""
    config: ExperimentConfig = typed(compose("train", overrides))
    targets = targets_of(config.task)
    cohort, findings = open_cohort(config.data, config.reading.policy())
    cases, left_out = labelled_cases(config, cohort, targets)
    split = split_cases(config, cohort, cases, targets)
    plan, unread = plan_for(config, part(cases, split, "train"), targets)
    plan = plan.model_copy(update={"forecast": forecast(config, plan, targets, len(cases))})
    show_findings([*findings, *left_out, *unread])
    if config.output:
        plan.save(Path(config.output))
    if config.json:
        print(json.dumps(plan.model_dump(mode="json")))
    else:
        show(plan)
    return 0


def forecast(config: ExperimentConfig, plan: Plan, targets: Targets, cases: int) -> dict[str, float | str]:
    """Return time and memory of training, measured by a few steps, and the size of the store."""
    whole = prepared_shape(plan.fingerprint, plan.preparation)
    shape = plan.patch or whole
    network = network_for(config, plan, targets, pretrained=False)
    measured = probe(network, settings_for(config, plan), len(plan.preparation.channels), shape)
    itemsize = 1 if plan.preparation.kind == "picture" else 2
    voxels = float(np.prod(whole)) * len(plan.preparation.channels)
    store_gb = cases * voxels * (itemsize + 1 / len(plan.preparation.channels)) / 1e9
    return {**measured, "store_gb": round(store_gb, 3)}


def show(plan: Plan) -> None:
    """Print every number of the plan beside its reason."""
    values: dict[str, Any] = {
        **plan.preparation.model_dump(exclude={"intensity", "kind", "channels"}),
        "window": plan.preparation.intensity.model_dump(exclude_none=True),
        "patch": plan.patch,
        "batch_size": plan.batch_size,
        "network": plan.network,
        "network_options": plan.network_options or None,
    }
    table = Table("what", "value", "because", box=None, show_edge=False)
    for key, value in values.items():
        if key in plan.reasons:
            table.add_row(key, str(value), plan.reasons[key])
    for key, value in (plan.forecast or {}).items():
        table.add_row(f"forecast: {key}", str(value), "measured by a few steps on this machine")
    console.print(table)
