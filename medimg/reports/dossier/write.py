"""The dossier's folder: the evidence document and everything that is rendered from it and from the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medimg.evaluation.canonical import canonical_json
from medimg.evaluation.document import Report, dump_report
from medimg.io.atomic import replacing
from medimg.reports.dossier.chai import chai_xml
from medimg.reports.dossier.cyclonedx import cyclonedx
from medimg.reports.dossier.declared import DeclaredFields
from medimg.reports.dossier.evidence import gather
from medimg.reports.dossier.fhir import measure_bundle
from medimg.reports.dossier.profiles import PROFILES, render_profile
from medimg.reports.model_card import model_card


def write_dossier(
    report: Report,
    folder: Path,
    *,
    manifest: Mapping[str, Any] | None = None,
    declared: DeclaredFields | None = None,
) -> list[Path]:
    """Write evidence.json, the profiles, the model card, CycloneDX, CHAI and FHIR documents into a folder.

    Parameters
    ----------
    report : Report
    folder : Path
        Made where it is missing; each file is written in one step.
    manifest : mapping, optional
        package.json of the package.
    declared : DeclaredFields, optional
        What people declared; all else comes from the artefacts or is printed as MISSING.

    Returns
    -------
    list of Path
        evidence.json first. The same inputs give the same bytes.
    """
    # Rendered is what is published: canonical JSON rounds numbers and sorts keys.
    report = Report.model_validate_json(dump_report(report))
    evidence = gather(report, manifest, declared)
    texts = {"evidence.json": canonical_json(evidence.model_dump(mode="json", by_alias=True))}
    texts |= {f"profile_{name}.md": render_profile(evidence, name) for name in PROFILES}
    texts |= {
        "MODEL_CARD.md": model_card(report, manifest or {}),
        "cyclonedx.json": _json(cyclonedx(report, manifest, declared)),
        "chai.xml": chai_xml(report, manifest, declared),
        "fhir.json": _json(measure_bundle(report)),
    }
    found = []
    for name, text in texts.items():
        with replacing(folder / name) as part:
            part.write_text(text, encoding="utf-8", newline="\n")
        found.append(folder / name)
    return found


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
