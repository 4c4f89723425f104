"""One evidence document: what a run's artefacts and the declared fields say, field by field, and what is missing.

Every profile of a regulator, and every card, is a rendering of this document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, Field

from medimg.evaluation.document import Report, report_digest
from medimg.evaluation.document_parts import Part
from medimg.reports.dossier.declared import DeclaredFields
from medimg.reports.dossier.groups import performance, worst_gap

MISSING = "MISSING"
Status = Literal["present", "partly", "MISSING"]
Manifest = Mapping[str, Any]


class EvidenceField(Part):
    """One field of the dossier.

    Attributes
    ----------
    id, title : str
        As in ``mapping/fields.yaml``.
    value : dict
        What is known, by item; declared items are text.
    declared : list of str
        Items of ``value`` that people declared; all others come from the artefacts.
    missing : list of str
        Items that nobody knows.
    """

    id: str
    title: str
    value: dict[str, Any]
    declared: list[str]
    missing: list[str]

    @property
    def status(self) -> Status:
        """Whether the field can be read by itself."""
        if not self.missing:
            return "present"
        return "partly" if self.value else "MISSING"


class Evidence(Part):
    """All fields, bound to the report that they come from."""

    schema_: Literal["medimg.evidence/1"] = Field(default="medimg.evidence/1", alias="schema")
    report_sha256: str
    model: str
    as_of: str
    notice: str
    fields: list[EvidenceField]

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)

    def field(self, name: str) -> EvidenceField:
        """Return the field of an id."""
        return next(field for field in self.fields if field.id == name)


def gather(report: Report, manifest: Manifest | None = None, declared: DeclaredFields | None = None) -> Evidence:
    """Return the evidence of a report.

    Parameters
    ----------
    report : Report
    manifest : mapping, optional
        package.json; without it the fields on the package are missing.
    declared : DeclaredFields, optional
        What people declared.

    Returns
    -------
    Evidence
        The same inputs give the same document. A field that is empty says so; nothing is made up.
    """
    mapping = load_mapping("fields")
    stated = (declared or DeclaredFields()).model_dump()
    found = []
    for entry in mapping["fields"]:
        value = {name: item for name, item in _FROM_RUN[entry["id"]](report, manifest or {}).items() if _known(item)}
        declared_items = [name for name in entry["declared"] if stated[name]]
        missing = [name for name in entry["from_run"] if name not in value]
        missing += [name for name in entry["declared"] if not stated[name] and name not in value]
        value |= {name: stated[name] for name in declared_items}
        found.append(
            EvidenceField(
                id=entry["id"], title=entry["title"], value=value, declared=declared_items, missing=sorted(missing)
            )
        )
    return Evidence(
        report_sha256=report_digest(report),
        model=f"{report.model.name} {report.model.version}".strip(),
        as_of=str(mapping["as_of"]),
        notice=mapping["notice"],
        fields=found,
    )


def load_mapping(name: str) -> dict[str, Any]:
    """Return one of the dated mappings beside this file."""
    text = (files("medimg.reports.dossier") / "mapping" / f"{name}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def _known(item: Any) -> bool:
    return item is not None and item != "" and item != [] and item != {}


def _identity(report: Report, manifest: Manifest) -> dict[str, Any]:
    provenance = manifest.get("provenance") or {}
    return {
        "name": report.model.name,
        "version": report.model.version,
        "package_digest": report.model.package_digest,
        "weights_sha256": report.model.weights_sha256,
        "network_sha256": manifest.get("onnx_sha256"),
        "configuration_sha256": provenance.get("config_sha256"),
        "cohort_sha256": provenance.get("cohort_sha256"),
        "split_sha256": provenance.get("split_sha256"),
        "made_with": {
            name: provenance[f"{name}_version"] for name in ("medimg", "torch") if provenance.get(f"{name}_version")
        },
    }


def _use(report: Report, manifest: Manifest) -> dict[str, Any]:
    return {
        "intended_use": manifest.get("intended_use") or report.model.intended_use,
        "research_use_only": True,
        "not_validated_for": report.not_validated_for or ["groups that are not in the test set"],
    }


def _model(report: Report, manifest: Manifest) -> dict[str, Any]:
    network = manifest.get("network") or {}
    preparation = manifest.get("preparation") or {}
    return {
        "task": {"kind": report.task.kind, "mode": report.task.mode, "labels": report.task.labels},
        "modality": manifest.get("modality") or report.model.modality,
        "architecture": {"name": network["name"], "options": network.get("options", {})} if network else None,
        "inputs": preparation.get("channels"),
        "preprocessing": {k: preparation[k] for k in ("spacing_mm", "intensity") if preparation.get(k)},
        "thresholds": report.protocol.thresholds,
    }


def _data(report: Report, manifest: Manifest) -> dict[str, Any]:
    provenance = manifest.get("provenance") or {}
    return {
        "test_cases": report.test_set.n_cases,
        "test_patients": report.test_set.n_patients,
        "test_sites": report.test_set.n_sites,
        "countries": report.test_set.countries,
        "training_subjects": provenance.get("training_subjects"),
        "cases_without_prediction": report.test_set.n_failed,
    }


def _demographics(report: Report, manifest: Manifest) -> dict[str, Any]:
    provenance = manifest.get("provenance") or {}
    axes: dict[str, dict[str, Any]] = {}
    for row in report.groups:
        if row.axis in ("ancestry", "sex", "age_band"):
            axes.setdefault(row.axis, {})[row.value] = _count(report, row.n_patients)
    return {
        "test_set": axes,
        "ancestry_provenance": report.test_set.ancestry_sources,
        "ancestry_schemes": report.test_set.ancestry_schemes,
        "ancestry_unknown_or_declined": report.test_set.fraction_unknown,
        "training_set_ancestry": provenance.get("training_groups"),
    }


def _count(report: Report, count: int | None) -> int | str:
    return (
        f"<{report.protocol.declared.suppress_below}, or held back to protect such a cell" if count is None else count
    )


def _nothing(report: Report, manifest: Manifest) -> dict[str, Any]:
    return {}


def _independence(report: Report, manifest: Manifest) -> dict[str, Any]:
    provenance = manifest.get("provenance") or {}
    if not provenance.get("split_sha256"):
        return {}
    rule = "no subject and no identical pixels in two parts; checked before training, bound by the split's digest"
    return {"split_rule": rule, "split_sha256": provenance["split_sha256"]}


def _protocol(report: Report, manifest: Manifest) -> dict[str, Any]:
    frozen = report.protocol
    declared = frozen.declared
    return {
        "sha256": frozen.sha256,
        "frozen_at": frozen.frozen_at.isoformat(),
        "endpoints": [endpoint.model_dump(mode="json") for endpoint in declared.endpoints],
        "thresholds": frozen.thresholds,
        "thresholds_from": frozen.thresholds_from,
        "reference": declared.reference,
        "confidence": declared.confidence,
        "multiplicity": "Holm over primary endpoints and groups of ancestry, and of all other axes; "
        "Benjamini-Hochberg over the other endpoints of an axis",
    }


def _overall(report: Report, manifest: Manifest) -> dict[str, Any]:
    return {"status": report.status, "results": performance(report, ("overall",))}


def _subgroups(report: Report, manifest: Manifest) -> dict[str, Any]:
    axes = tuple(dict.fromkeys(row.axis for row in report.groups if row.axis != "overall"))
    return {"results": performance(report, axes), "largest_gap": worst_gap(report)}


def _behaviour(report: Report, manifest: Manifest) -> dict[str, Any]:
    return {
        "curves": [f"{curve.kind} of {curve.target}: {curve.axis} {curve.value}" for curve in report.curves],
        "worst_cases": len(report.worst_cases) or None,
        "cases_without_prediction": report.test_set.n_failed,
    }


def _hazards(report: Report, manifest: Manifest) -> dict[str, Any]:
    rows = []
    for row in report.groups:
        for result in row.results:
            gap = result.gap.verdict if result.gap is not None else None
            bad = [verdict for verdict in (result.floor_verdict, gap) if verdict not in (None, "MEETS")]
            if bad and result.endpoint in {endpoint.id for endpoint in report.endpoints if endpoint.primary}:
                rows.append({"group": f"{row.axis} {row.value}", "endpoint": result.endpoint, "verdicts": bad})
    return {"groups_at_risk": rows or ["none among the groups that were tested"]}


def _limits(report: Report, manifest: Manifest) -> dict[str, Any]:
    return {
        "limitations": report.limitations,
        "not_validated_for": report.not_validated_for or ["groups that are not in the test set"],
        "what_this_does_not_show": report.what_this_does_not_show,
    }


def _index(report: Report, manifest: Manifest) -> dict[str, Any]:
    return {"profiles": ["fda", "nmpa", "eu"], "report": "report.json"}


_FROM_RUN: dict[str, Callable[[Report, Manifest], dict[str, Any]]] = {
    "identity": _identity,
    "intended_use": _use,
    "model": _model,
    "data": _data,
    "demographics": _demographics,
    "reference_standard": _nothing,
    "independence": _independence,
    "protocol": _protocol,
    "performance": _overall,
    "subgroups": _subgroups,
    "behaviour": _behaviour,
    "robustness": _nothing,
    "oversight": _nothing,
    "hazards": _hazards,
    "security": _nothing,
    "federation": _nothing,
    "change_control": _nothing,
    "monitoring": _nothing,
    "limits": _limits,
    "index": _index,
}
