"""Report, gate, and the sealed package (or the reasons why not)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from medimg.errors import GateRefused
from medimg.evaluation.build import build_report
from medimg.evaluation.document import Failure, ModelInfo, Report, TaskInfo
from medimg.evaluation.protocol import FrozenProtocol
from medimg.packaging.gate import decide
from medimg.packaging.package import ModelPackage, seal
from medimg.pipelines.held_out import Tables, overlay_name
from medimg.reports.model_card import model_card
from medimg.reports.render import render


def judge(
    package: ModelPackage,
    protocol: FrozenProtocol,
    tables: Tables,
    subjects: pd.DataFrame,
    predicted_at: datetime,
    folder: Path,
) -> Report:
    """Build the report on a package and render it into ``folder/report``."""
    overlays = folder / "overlays"
    manifest = package.manifest
    report = build_report(
        pd.DataFrame(tables.cases),
        subjects,
        protocol=protocol,
        model=ModelInfo(
            name=manifest.name,
            version=manifest.version,
            package_digest=package.digest,
            weights_sha256=manifest.weights_sha256,
            intended_use=manifest.intended_use,
            modality=manifest.modality,
        ),
        task=TaskInfo(
            kind=manifest.task.kind, mode=manifest.task.mode, labels=[label.name for label in manifest.task.labels]
        ),
        lesions=pd.DataFrame(tables.lesions) if tables.lesions else None,
        pixel_scores=pd.DataFrame(tables.pixels) if tables.pixels else None,
        failures=[Failure(**failure) for failure in tables.failures],
        overlays=_pictures(tables, overlays),
        predicted_at=predicted_at,
    )
    render(report, folder / "report", overlays=overlays, manifest=manifest.model_dump(mode="json", by_alias=True))
    return report


def release(candidate: ModelPackage, report: Report, folder: Path, output: Path, *, key: Path | None) -> dict[str, Any]:
    """Seal the candidate where the gate lets it pass.

    Returns
    -------
    dict
        ``sealed``, ``status``, ``reasons``, ``package``, ``report``.
    """
    decision = decide(report, package_digest=candidate.digest, weights_sha256=candidate.manifest.weights_sha256)
    package = candidate
    if decision.passed:
        package = seal(
            candidate,
            folder / "report",
            validation=report.status,
            not_validated_for=tuple(report.not_validated_for),
            output=output,
            model_card=model_card(report, candidate.manifest.model_dump(mode="json", by_alias=True)),
            key=key,
            overwrite=True,
        )
    return {
        "sealed": decision.passed,
        "status": report.status,
        "reasons": list(decision.reasons),
        "package": str(package.folder),
        "report": str(folder / "report" / "report.html"),
    }


def refuse(outcome: dict[str, Any]) -> GateRefused:
    """Return the error that says why the gate refused."""
    return GateRefused(
        "the gate refused to seal this package",
        where=outcome["package"],
        got=f"{outcome['status']}: " + "; ".join(outcome["reasons"]),
        expected="validated, or validated with declared limitations",
        fix="read the report, then collect what it lacks; --candidate writes the package marked NOT VALIDATED",
    )


def _pictures(tables: Tables, overlays: Path) -> dict[tuple[str, str], str]:
    pairs = {(str(row["case_id"]), str(row["target"])) for row in tables.cases}
    names = {pair: overlay_name(pair[0]) for pair in pairs}
    return {pair: name for pair, name in names.items() if (overlays / name).is_file()}
