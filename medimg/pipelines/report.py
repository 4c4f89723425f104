"""``medimg report``: a run's report again, or the report of predictions and counts from anywhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from medimg.errors import ConfigError
from medimg.evaluation.document import Report, read_report, report_digest
from medimg.packaging.package import ModelPackage
from medimg.pipelines import report_foreign, report_protocol, report_sites
from medimg.pipelines.config import ReportConfig
from medimg.pipelines.report_config import report_config
from medimg.reports.dossier.declared import read_declared
from medimg.reports.dossier.write import write_dossier
from medimg.reports.render import render

SOURCES = ("run", "predictions", "counts", "summaries")
STEPS = {"protocol": report_protocol.main, "summary": report_sites.main}
"""What comes before a report: first words behind the verb."""


def main(overrides: Sequence[str]) -> int:
    """Write report.json, report.html and records.csv to ``output``; or what comes before a report."""
    if overrides and overrides[0] in STEPS:
        return STEPS[overrides[0]](overrides[1:])
    config = report_config(overrides)
    stated = [name for name in SOURCES if getattr(config, name)]
    if len(stated) != 1:
        raise ConfigError(
            "a report is made from one thing",
            where=", ".join(stated) or "report",
            got=f"{len(stated)} of them",
            expected="run=RUN_FOLDER, predictions=TABLE, counts=TABLE or summaries=[FILE, …]",
            fix="medimg report --help shows every form",
        )
    report, overlays = _report(config, stated[0])
    output = Path(config.output)
    files = render(report, output, overlays=overlays, language=config.language, pdf=config.pdf)
    if config.dossier or config.declared:
        fields = read_declared(Path(config.declared)) if config.declared else None
        files += write_dossier(report, output / "dossier", manifest=_manifest(config), declared=fields)
    if config.json:
        told = {"files": [str(file) for file in files], "status": report.status, "sha256": report_digest(report)}
        print(json.dumps(told))
    else:
        Console(stderr=True).print(
            f"{report.status.replace('_', ' ')}: {Path(config.output) / 'report.html'}", soft_wrap=True
        )
    return 0


def _report(config: ReportConfig, source: str) -> tuple[Report, Path | None]:
    """Return the report, and the folder with the pictures of its worst cases."""
    if source == "run":
        run = Path(str(config.run))
        return read_report(run / "report" / "report.json"), run / "overlays"
    if source == "predictions":
        return report_foreign.report_on_predictions(config), None
    if source == "summaries":
        return report_sites.report_on_summaries(config), None
    return report_foreign.report_on_counts(config), None


def _manifest(config: ReportConfig) -> dict[str, Any] | None:
    """Return package.json of a run's package, of the sealed one where there is one."""
    folders = sorted(Path(config.run).glob("*.medimg")) if config.run else []
    folders.sort(key=lambda folder: folder.name.endswith(".candidate.medimg"))
    if not folders:
        return None
    return ModelPackage.open(folders[0]).manifest.model_dump(mode="json", by_alias=True)
