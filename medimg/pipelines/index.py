"""``medimg index``: folders with scans and labels become a cohort."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from medimg.data.settings import ReadingSettings
from medimg.errors import ConfigError
from medimg.pipelines.compose import compose, typed
from medimg.pipelines.config import DataConfig
from medimg.pipelines.steps import console, open_cohort, show_findings


def main(overrides: Sequence[str]) -> int:
    """Index ``data.root`` and write the cohort to ``output``."""
    config = compose("train", overrides)
    if not config.output:
        raise ConfigError("index needs a place to write to", where="output", fix="add output=<cohort folder>")
    data: DataConfig = typed(config.data, prefix="data.")
    reading: ReadingSettings = typed(config.reading, prefix="reading.")
    cohort, findings = open_cohort(data, reading.policy())
    folder = cohort.save(Path(config.output))
    show_findings(findings)
    counts = {name: len(getattr(cohort, name)) for name in ("images", "subjects", "labels", "events")}
    if config.json:
        print(json.dumps({"cohort": str(folder), **counts, "findings": [finding.as_dict() for finding in findings]}))
    else:
        console.print(f"{folder}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    return 0
