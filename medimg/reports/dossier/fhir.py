"""FHIR R4 MeasureReport: one report a primary endpoint, one stratifier an axis, masked where a cell is held back."""

from __future__ import annotations

import uuid
from typing import Any

from medimg.evaluation.document import Endpoint, GroupRow, Report, Result, report_digest

_NAMESPACE = uuid.UUID("5b0d4f55-6c1d-5d0c-9a7f-2d7c1b6f0e42")
_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_INTERVAL = "urn:medimg:interval"
_POPULATION = "http://terminology.hl7.org/CodeSystem/measure-population"
_MEASURE_ROLE = "http://terminology.hl7.org/CodeSystem/measure-scoring"


def measure_bundle(report: Report) -> dict[str, Any]:
    """Return a Bundle of type 'collection' with a MeasureReport for each endpoint that has a direction.

    Parameters
    ----------
    report : Report

    Returns
    -------
    dict
        Valid FHIR R4 (4.3.0 reads it too), to be written as JSON. A number that is not published carries the reason
        'masked' (held back to protect a small cell) or 'not-applicable' instead of a value. Intervals stand in the
        extension ``urn:medimg:interval``.
    """
    digest = report_digest(report)
    reports = [
        _measure_report(report, endpoint, str(uuid.uuid5(_NAMESPACE, f"{digest}|{endpoint.id}")))
        for endpoint in report.endpoints
        if endpoint.better != "none"
    ]
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": report.created.isoformat(),
        "entry": [{"fullUrl": f"urn:uuid:{one['id']}", "resource": one} for one in reports],
    }


def _measure_report(report: Report, endpoint: Endpoint, identifier: str) -> dict[str, Any]:
    day = report.created.isoformat()
    rows = [(row, result) for row in report.groups for result in row.results if result.endpoint == endpoint.id]
    (_, overall), *others = rows
    axes = dict.fromkeys(row.axis for row, _ in others)
    group: dict[str, Any] = {
        "code": {"text": endpoint.text},
        "population": _population(overall),
        "measureScore": _score(overall, endpoint),
        "stratifier": [
            {
                "code": [{"text": axis}],
                "stratum": [_stratum(row, result, endpoint) for row, result in others if row.axis == axis],
            }
            for axis in axes
        ],
    }
    return {
        "resourceType": "MeasureReport",
        "id": identifier,
        "contained": [_measure(endpoint)],
        "status": "complete",
        "type": "summary",
        "measure": "#measure",
        "date": day,
        "period": {"start": report.protocol.frozen_at.isoformat(), "end": day},
        "improvementNotation": {
            "coding": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/measure-improvement-notation",
                    "code": "decrease" if endpoint.better == "lower" else "increase",
                }
            ]
        },
        "group": [group],
    }


def _measure(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "resourceType": "Measure",
        "id": "measure",
        "status": "active",
        "title": endpoint.id,
        "description": endpoint.text,
        "scoring": {"coding": [{"system": _MEASURE_ROLE, "code": "continuous-variable"}]},
    }


def _population(result: Result) -> list[dict[str, Any]]:
    found: dict[str, Any] = {"code": {"coding": [{"system": _POPULATION, "code": "initial-population"}]}}
    if result.n_patients is None:
        found["_count"] = {"extension": [{"url": _ABSENT, "valueCode": "masked"}]}
    else:
        found["count"] = result.n_patients
    return [found]


def _score(result: Result, endpoint: Endpoint) -> dict[str, Any]:
    if result.estimate is None:
        reason = "masked" if result.suppressed else "not-applicable"
        return {"extension": [{"url": _ABSENT, "valueCode": reason}]}
    unit = {"fraction": "1", "mm": "mm", "ml": "mL"}.get(endpoint.unit)
    score: dict[str, Any] = {"value": result.estimate, "unit": endpoint.unit}
    if unit:
        score |= {"system": "http://unitsofmeasure.org", "code": unit}
    if result.low is not None and result.high is not None:
        bounds = {"low": {"value": result.low}, "high": {"value": result.high}}
        score["extension"] = [{"url": _INTERVAL, "valueRange": bounds}]
    return score


def _stratum(row: GroupRow, result: Result, endpoint: Endpoint) -> dict[str, Any]:
    return {
        "value": {"text": row.value},
        "population": _population(result),
        "measureScore": _score(result, endpoint),
    }
