"""What scores do in each group, beside the table of numbers: calibration, decision curves, threshold shifts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medimg.evaluation.comparison.verdicts import is_small
from medimg.evaluation.document_parts import CalibrationCurve, DecisionCurve, ThresholdShift
from medimg.evaluation.estimation.calibration_curve import calibration_curve
from medimg.evaluation.estimation.threshold_shift import sensitivity_aim, threshold_shift
from medimg.evaluation.evidence import OVERALL, Evidence, Key
from medimg.evaluation.metrics.net_benefit import decision_curve
from medimg.evaluation.protocol import FrozenProtocol

CURVE_AXES = ("overall", "ancestry")
"""Axes whose groups get curves."""


@dataclass(frozen=True)
class ScoreParts:
    """Parts of the report, by target and group in the order of printing."""

    calibration: list[CalibrationCurve] = field(default_factory=list)
    decision_curves: list[DecisionCurve] = field(default_factory=list)
    threshold_shifts: list[ThresholdShift] = field(default_factory=list)


def score_parts(evidence: Evidence, protocol: FrozenProtocol, patients: Mapping[Key, int]) -> ScoreParts:
    """Return the parts of every target with scores.

    Parameters
    ----------
    evidence : Evidence
    protocol : FrozenProtocol
        Gives thresholds and rules.
    patients : mapping of Key to int
        Patients of each group: small groups get no part, groups without a patient neither.
    """
    found, declared = ScoreParts(), protocol.declared
    if declared.panel == "declared":
        return found
    for target, task in evidence.tasks.items():
        if task == "segmentation":
            continue
        aim = sensitivity_aim(protocol, evidence.select(target, evidence.members(OVERALL)))
        for key in evidence.keys:
            if not patients[key] or is_small(patients[key], declared):
                continue
            selection = evidence.select(target, evidence.members(key))
            if not len(selection.scored):
                continue
            shift = threshold_shift(target, *key, selection, protocol, aim)
            if shift is not None:
                found.threshold_shifts.append(shift)
            if key[0] not in CURVE_AXES:
                continue
            curve = calibration_curve(target, *key, selection.levels, declared)
            if curve is not None:
                found.calibration.append(curve)
            benefit = decision_curve(target, *key, selection.levels, declared)
            if benefit is not None:
                found.decision_curves.append(benefit)
    return found
