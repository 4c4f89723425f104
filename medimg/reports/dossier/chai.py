"""The applied model card of the Coalition for Health AI, version 0.2, as XML in the order of its published schema."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

from medimg.evaluation.document import Report
from medimg.reports.dossier.declared import DeclaredFields
from medimg.reports.dossier.evidence import MISSING, Manifest
from medimg.reports.dossier.groups import performance, worst_gap
from medimg.reports.wording import RESEARCH_USE, STATUS_MARKS

NAMESPACE = "https://mc.chai.org/v0.2/schema.xsd"
Tree = dict[str, Any]


def chai_xml(report: Report, manifest: Manifest | None = None, declared: DeclaredFields | None = None) -> str:
    """Return the card as XML.

    Parameters
    ----------
    report : Report
    manifest : mapping, optional
        package.json.
    declared : DeclaredFields, optional
        What people declared; everything the schema demands and nobody knows is written as MISSING.

    Returns
    -------
    str
        The same inputs give the same text.
    """
    ElementTree.register_namespace("", NAMESPACE)
    root = ElementTree.Element(f"{{{NAMESPACE}}}AppliedModelCard")
    _grow(root, _card(report, manifest or {}, declared or DeclaredFields()))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _grow(parent: ElementTree.Element, tree: Tree) -> None:
    for name, value in tree.items():
        for item in value if isinstance(value, list) else [value]:
            child = ElementTree.SubElement(parent, f"{{{NAMESPACE}}}{name}")
            if isinstance(item, dict):
                _grow(child, item)
            else:
                child.text = _printable(str(item)) or MISSING


def _printable(text: str) -> str:
    """Return text without the control characters that XML 1.0 cannot hold."""
    return "".join(c for c in text if c in "\t\n\r" or ord(c) >= 32)


def _card(report: Report, manifest: Manifest, declared: DeclaredFields) -> Tree:
    mark = STATUS_MARKS[report.status]
    modality = manifest.get("modality") or report.model.modality
    provenance = manifest.get("provenance") or {}
    groups = provenance.get("training_groups") or {}
    network = (manifest.get("network") or {}).get("name", "")
    return {
        "BasicInfo": {
            "ModelName": report.model.name,
            "ModelDeveloper": declared.developer,
            "DeveloperContact": declared.contact,
        },
        "ReleaseInfo": {
            "ReleaseStage": declared.release_stage or "research",
            "ReleaseDate": f"{report.created:%Y-%m-%d}",
            "ReleaseVersion": report.model.version,
            "GlobalAvailability": declared.country,
            "RegulatoryApproval": declared.regulatory_status or "none: not a cleared medical device",
        },
        "ModelSummary": {
            "Summary": f"{report.task.kind} of {', '.join(report.task.labels)}. {mark.words}: {mark.sentence}",
            "Keywords": {"Keyword": [word for word in ("medical imaging", modality, report.task.kind) if word]},
        },
        "UsesAndDirections": {
            "IntendedUseAndWorkflow": (
                declared.intended_use or manifest.get("intended_use") or report.model.intended_use
            ),
            "PrimaryIntendedUsers": declared.intended_users,
            "HowToUse": declared.how_to_use,
            "TargetedPatientPopulation": declared.population,
            "CautionedOutOfScopeSettings": " ".join(
                [
                    RESEARCH_USE,
                    declared.contraindications,
                    *(f"Not validated for {x}." for x in report.not_validated_for),
                ]
            ),
        },
        "Warnings": {
            "KnownRisksAndLimitations": " ".join(report.limitations),
            "KnownBiasesOrEthicalConsiderations": " ".join(
                [*(f"Not validated for {x}." for x in report.not_validated_for), *report.what_this_does_not_show]
            ),
            "ClinicalRiskLevel": declared.clinical_risk_level,
        },
        "TrustIngredients": {
            "AISystemFacts": {
                "OutcomesAndOutputs": ", ".join(report.task.labels),
                "ModelType": network,
                "InputDataSource": modality,
                "OutputAndInputDataTypes": f"scan in, {report.task.kind} ({report.task.mode}) out",
                "DevelopmentDataCharacterization": (
                    f"{provenance['training_subjects']} training subjects; by ancestry: "
                    + (", ".join(f"{name} {count}" for name, count in sorted(groups.items())) or "not stated")
                    if provenance
                    else ""
                ),
                "BiasMitigationApproaches": (
                    "performance is reported per ancestry group with floors and margins declared before the test set "
                    "was opened; release is refused below them"
                ),
                "OngoingMaintenance": declared.maintenance,
                "Security": declared.cybersecurity,
            },
            "TransparencyInformation": {
                "FundingSource": declared.funding,
                "StakeholdersConsulted": declared.stakeholders,
            },
        },
        "KeyMetrics": _metrics(report),
        "Resources": {
            "PeerReviewedPublications": declared.publications,
            "PatientConsentOrDisclosure": declared.consent,
        },
        "Bibliography": f"report.json, protocol SHA-256 {report.protocol.sha256}",
    }


def _metrics(report: Report) -> Tree:
    test = report.test_set
    frozen = report.protocol
    common = {
        "TestType": "held-out evaluation under a protocol that was frozen before",
        "TestingDataDescription": (
            f"{test.n_cases} cases of {test.n_patients} patients at {test.n_sites} sites; ancestry unknown or declined "
            f"for {test.unknown_words}"
        ),
        "ValidationProcessAndJustification": (
            f"frozen {frozen.frozen_at:%Y-%m-%d}, thresholds from {frozen.thresholds_from}, SHA-256 {frozen.sha256}"
        ),
    }
    goals = "; ".join(
        f"{rule.id} {'at most' if rule.better == 'lower' else 'at least'} {rule.floor:g}"
        for rule in frozen.declared.endpoints
        if rule.floor is not None
    )
    margins = "; ".join(
        f"{rule.id} within {rule.gap_margin:g} of {frozen.declared.reference}"
        for rule in frozen.declared.endpoints
        if rule.gap_margin is not None
    )
    axes = tuple(dict.fromkeys(row.axis for row in report.groups if row.axis != "overall"))
    words = {
        "Interpretation": f"{STATUS_MARKS[report.status].words}. {' '.join(report.status_reasons)}".strip(),
        **common,
    }
    safety = {"cases_without_prediction": test.n_failed, "cases": test.n_cases}
    return {
        "UsefulnessUsabilityEfficacy": {
            "MetricGoal": goals,
            "Results": {"MetricResult": _labelled(performance(report, ("overall",)))},
            **words,
        },
        "FairnessEquity": {
            "MetricGoal": margins,
            "Results": {"MetricResult": _labelled([*performance(report, axes), *_largest(report)])},
            **words,
        },
        "SafetyReliability": {
            "MetricGoal": "a prediction for every readable case; failures count as the worst outcome",
            "Results": {"MetricResult": [{"Label": "failures", "ValueJson": json.dumps(safety, sort_keys=True)}]},
            **words,
        },
    }


def _largest(report: Report) -> list[dict[str, Any]]:
    gap = worst_gap(report)
    return [] if gap is None else [{"axis": "ancestry", "group": "largest credible gap", **gap}]


def _labelled(results: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "Label": f"{one['endpoint']}, {one['axis']} {one['group']}",
            "ValueJson": json.dumps(one, sort_keys=True, ensure_ascii=False),
        }
        for one in results
    ]
