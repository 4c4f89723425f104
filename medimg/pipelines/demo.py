"""``medimg demo``: the whole way on generated scans, for each of the four modalities."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from medimg.data.cases import Case
from medimg.errors import ConfigError, nearest
from medimg.inference.output import write_prediction
from medimg.inference.predictor import load
from medimg.pipelines.compose import compose, plain, typed
from medimg.pipelines.config import DemoConfig, ExperimentConfig
from medimg.pipelines.run_folder import new_run_folder, write_config
from medimg.pipelines.steps import console
from medimg.pipelines.study import prepare_study
from medimg.pipelines.train import show
from medimg.pipelines.whole_way import train
from medimg.samples.generate import generate

MODALITIES = ("ct", "mri", "endoscopy", "fundus")


def main(overrides: Sequence[str]) -> int:
    """Train, report, gate and predict for each modality, and print where to look."""
    config: DemoConfig = typed(compose("demo", overrides))
    for name in config.modalities:
        if name not in MODALITIES:
            raise ConfigError("no such modality", where="modalities", got=name, expected=nearest(name, MODALITIES))
    output = Path(config.output)
    samples = find_samples(config, output)
    rows = [one(name, samples, output) for name in config.modalities]
    table = Table("modality", "gate", "status", "minutes", box=None, show_edge=False)
    for name, row in zip(config.modalities, rows):
        gate = "sealed" if row["sealed"] else "refused"
        status = str(row["status"]).replace("_", " ")
        table.add_row(name, gate, status, f"{row['minutes']:.1f}")
    console.print(table)
    # Paths stand on lines of their own: a table would cut them off.
    for row in rows:
        for what in ("report", "package", "prediction"):
            console.print(f"{row[what]}", soft_wrap=True, highlight=False)
    console.print("Open the reports in a browser. The scans are generated: nothing here says anything about people.")
    return 0


def find_samples(config: DemoConfig, output: Path) -> Path:
    """Return the folder with generated scans: the stated one, the checkout's, or one that is generated now."""
    beside = Path("data_samples")
    if config.samples:
        return Path(config.samples)
    if all((beside / name / "index.csv").is_file() for name in config.modalities):
        return beside
    console.print("generating samples …")
    generate(output / "samples", modalities=config.modalities)
    return output / "samples"


def one(name: str, samples: Path, output: Path) -> dict[str, Any]:
    """Go the whole way for one modality, then predict one held-out study with the package."""
    console.rule(name)
    start = time.monotonic()
    overrides = [
        f"experiment=demo/{name}",
        f"data.root={samples / name}",
        f"runs={output}",
        f"store={output / 'store'}",
    ]
    composed = compose("train", overrides)
    config: ExperimentConfig = typed(composed)
    run = new_run_folder(output, name)
    write_config(run, plain(composed))
    outcome = train(config, run)
    show(outcome)
    study: Case = prepare_study(config, run).part("held_out")[0]
    prediction = output / name / "prediction"
    write_prediction(load(outcome["package"]).predict(study.images), prediction)
    return {**outcome, "minutes": (time.monotonic() - start) / 60, "prediction": str(prediction)}
