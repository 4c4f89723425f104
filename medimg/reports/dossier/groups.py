"""Results of a report as plain mappings, for documents that other programs read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from medimg.evaluation.document import GroupRow, Report, Result


def performance(report: Report, axes: Iterable[str]) -> list[dict[str, Any]]:
    """Return one mapping per group and endpoint: estimate, interval and its method, counts, verdicts, reasons."""
    wanted = set(axes)
    return [_one(report, row, result) for row in report.groups if row.axis in wanted for result in row.results]


def _one(report: Report, row: GroupRow, result: Result) -> dict[str, Any]:
    found: dict[str, Any] = {
        "axis": row.axis,
        "group": row.value,
        "endpoint": result.endpoint,
        "estimate": result.estimate,
        "low": result.low,
        "high": result.high,
        "confidence": report.protocol.declared.confidence,
        "interval": result.interval_method,
        "patients": result.n_patients,
        "positives": result.n_positives,
        "floor_verdict": result.floor_verdict,
    }
    if result.gap is not None:
        found["gap"] = {
            "reference": result.gap.reference,
            "estimate": result.gap.estimate,
            "low": result.gap.low,
            "high": result.gap.high,
            "verdict": result.gap.verdict,
        }
    if result.reason:
        found["reason"] = result.reason
    return found


def worst_gap(report: Report) -> dict[str, Any] | None:
    """Return the greatest disadvantage that the intervals vouch for on the axis of ancestry, if any was computed."""
    first = {endpoint.id for endpoint in report.endpoints if endpoint.primary}
    gaps = [gap for gap in report.credible_gaps if gap.axis == "ancestry" and gap.endpoint in first]
    if not gaps:
        return None
    worst = max(gaps, key=lambda gap: (gap.at_least, gap.estimate))
    return worst.model_dump(mode="json")
