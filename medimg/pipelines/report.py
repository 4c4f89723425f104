"""``medimg report``: the tables of a run become report.json and its pages again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from medimg.evaluation.document import read_report
from medimg.pipelines.compose import compose, typed
from medimg.pipelines.config import ReportConfig
from medimg.pipelines.steps import console
from medimg.reports.render import render


def main(overrides: Sequence[str]) -> int:
    """Render ``run``'s report.json into ``output``."""
    config: ReportConfig = typed(compose("report", overrides))
    run = Path(config.run)
    report = read_report(run / "report" / "report.json")
    files = render(report, Path(config.output), overlays=run / "overlays")
    if config.json:
        print(json.dumps({"files": [str(file) for file in files], "status": report.status}))
    else:
        console.print(f"{report.status.replace('_', ' ')}: {Path(config.output) / 'report.html'}")
    return 0
