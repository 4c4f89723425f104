"""The release gate: whether a candidate may be sealed, decided from its report alone."""

from __future__ import annotations

from dataclasses import dataclass

from medimg.errors import InputError
from medimg.evaluation.comparison.cells import CROSS
from medimg.evaluation.document import GroupRow, Report
from medimg.evaluation.groups import LAST
from medimg.evaluation.protocol import Protocol, check_frozen
from medimg.packaging.manifest import SEALABLE


@dataclass(frozen=True)
class GateDecision:
    """What the gate says.

    Attributes
    ----------
    passed : bool
        The package may be sealed.
    status : str
        The report's place on the ladder.
    reasons : tuple of str
        Why not, or under which limits.
    """

    passed: bool
    status: str
    reasons: tuple[str, ...]


def decide(report: Report, *, package_digest: str, weights_sha256: str) -> GateDecision:
    """Decide whether the package that a report is about may be sealed.

    Parameters
    ----------
    report : Report
        Of the held-out evaluation.
    package_digest, weights_sha256 : str
        Of the package at hand.

    Notes
    -----
    Refused where the report is about other weights, thresholds or labels, where its protocol was changed after it was
    frozen, where its status is below 'validated with limitations', and where its own verdicts do not bear that status
    out (a report that was edited, or written by another program).
    """
    reasons = _binding(report, package_digest, weights_sha256)
    sufficient = report.status in SEALABLE
    if sufficient:
        reasons += _contradictions(report)
    if not sufficient or reasons:
        return GateDecision(False, report.status, (*reasons, *report.status_reasons))
    limits = [f"not validated for: {', '.join(report.not_validated_for)}"] if report.not_validated_for else []
    return GateDecision(True, report.status, (*limits, *report.status_reasons))


def _binding(report: Report, package_digest: str, weights_sha256: str) -> list[str]:
    reasons = []
    if report.model.package_digest != package_digest or report.protocol.package_digest != package_digest:
        reasons.append("the report is about another package: its digest differs")
    if report.model.weights_sha256 != weights_sha256:
        reasons.append("the report is about other weights: their digest differs")
    try:
        check_frozen(report.protocol)
    except InputError as error:
        reasons.append(error.what)
    return reasons


def _informs(row: GroupRow, declared: Protocol) -> bool:
    """Return whether a row is a cell of two axes that the protocol crossed: many and small, these never decide."""
    first, _, second = row.axis.partition(CROSS)
    return (first, second) in declared.crossed and set(row.parts) == {first, second}


def _contradictions(report: Report) -> list[str]:
    """Return the verdicts that a report of a sealable status cannot hold."""
    # The declared endpoints are bound by the protocol's digest, the report's own list is not.
    primary = {rule.id for rule in report.protocol.declared.endpoints if rule.primary}
    reasons = []
    judged = False
    for row in report.groups:
        if _informs(row, report.protocol.declared):
            continue
        results = [result for result in row.results if result.endpoint in primary]
        floors = [result.floor_verdict for result in results]
        gaps = [result.gap.verdict for result in results if result.gap is not None]
        if {result.endpoint for result in results} != primary:
            reasons.append(f"{row.axis} {row.value}: the report lacks a primary endpoint")
        if row.axis == "overall" and set(floors) != {"MEETS"}:
            reasons.append("everyone together does not meet the primary endpoints, which contradicts the status")
        if "DOES NOT MEET" in [*floors, *gaps]:
            reasons.append(f"{row.axis} {row.value} does not meet a primary endpoint, which contradicts the status")
        if row.axis == "ancestry" and row.value not in LAST:
            judged = judged or not {"INSUFFICIENT DATA", None} & set(floors)
    if not judged:
        reasons.append("no known ancestry has a verdict, which contradicts the status")
    return reasons
