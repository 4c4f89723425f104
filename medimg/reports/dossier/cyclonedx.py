"""CycloneDX 1.6 machine-learning bill of materials with its model card: the report for tools that read SBOMs."""

from __future__ import annotations

import uuid
from typing import Any

from medimg.evaluation.document import Report, report_digest
from medimg.reports.dossier.declared import DeclaredFields
from medimg.reports.dossier.evidence import Manifest
from medimg.reports.dossier.groups import performance

_TASKS = {
    "segmentation": "image-segmentation",
    "classification": "image-classification",
    "detection": "object-detection",
}
_NAMESPACE = uuid.UUID("9f1d2a5e-6f0b-5c39-8a44-3f1f6c1c7d10")
"""Names the documents of this program; made once at random."""


def cyclonedx(
    report: Report, manifest: Manifest | None = None, declared: DeclaredFields | None = None
) -> dict[str, Any]:
    """Return the bill of materials.

    Parameters
    ----------
    report : Report
    manifest : mapping, optional
        package.json.
    declared : DeclaredFields, optional

    Returns
    -------
    dict
        To be written as JSON. Groups without a published number are left out of the metrics, since the standard knows
        no reason for an absent value; the count of those is a property of the component.
    """
    package, stated = manifest or {}, declared or DeclaredFields()
    axes = tuple(dict.fromkeys(row.axis for row in report.groups))
    results = performance(report, axes)
    shown = [one for one in results if one["estimate"] is not None]
    digest = report_digest(report)
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": report.model.name,
        "version": report.model.version,
        "modelCard": {
            "modelParameters": _parameters(report, package),
            "quantitativeAnalysis": {"performanceMetrics": [_metric(one) for one in shown]},
            "considerations": _considerations(report, stated),
        },
        "properties": [
            {"name": "medimg:status", "value": report.status},
            {"name": "medimg:report-sha256", "value": digest},
            {"name": "medimg:protocol-sha256", "value": report.protocol.sha256},
            {"name": "medimg:results-without-a-number", "value": str(len(results) - len(shown))},
        ],
    }
    if report.model.weights_sha256:
        component["hashes"] = [{"alg": "SHA-256", "content": report.model.weights_sha256}]
    if stated.developer:
        component["supplier"] = {"name": stated.developer}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest)}",
        "version": 1,
        "metadata": {
            "timestamp": report.created.isoformat(),
            "tools": {"components": [{"type": "application", "name": "medimg", "version": report.medimg_version}]},
            "component": component,
        },
    }


def _parameters(report: Report, manifest: Manifest) -> dict[str, Any]:
    network = manifest.get("network") or {}
    found: dict[str, Any] = {
        "approach": {"type": "supervised"},
        "task": _TASKS[report.task.kind],
        "inputs": [{"format": str(manifest.get("modality") or report.model.modality or "image")}],
        "outputs": [{"format": label} for label in report.task.labels],
    }
    if network:
        found |= {"architectureFamily": "convolutional neural network", "modelArchitecture": str(network["name"])}
    return found


def _metric(one: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": one["endpoint"],
        "value": f"{one['estimate']:.6g}",
        "slice": f"{one['axis']} {one['group']}",
    }
    if one["low"] is not None and one["high"] is not None:
        found["confidenceInterval"] = {"lowerBound": f"{one['low']:.6g}", "upperBound": f"{one['high']:.6g}"}
    return found


def _considerations(report: Report, declared: DeclaredFields) -> dict[str, Any]:
    found: dict[str, Any] = {
        "technicalLimitations": list(dict.fromkeys([*report.limitations, *report.what_this_does_not_show])),
        "fairnessAssessments": [
            {"groupAtRisk": group, "harms": "the model's performance is not validated for this group"}
            for group in report.not_validated_for
        ],
    }
    if declared.intended_users:
        found["users"] = [declared.intended_users]
    use = declared.intended_use or report.model.intended_use
    if use:
        found["useCases"] = [use]
    return found
