from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from medimg.evaluation.build import build_report
from medimg.evaluation.document import STATUSES, ModelInfo, Report, TaskInfo
from medimg.evaluation.protocol import declare, freeze
from medimg.packaging.gate import decide
from medimg.packaging.manifest import SEALABLE

PACKAGE, WEIGHTS = "d" * 64, "a" * 64
WHEN = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def report() -> Report:
    """Two ancestries of 60 patients, all cases right."""
    n = 120
    truth = np.arange(n) % 2
    cases = pd.DataFrame(
        {
            "case_id": [f"c{i}" for i in range(n)],
            "subject_id": [f"s{i}" for i in range(n)],
            "site_id": "one",
            "target": "dr",
            "task": "classification",
            "truth": truth,
            "score": truth.astype(float),
            "predicted": truth,
        }
    )
    subjects = pd.DataFrame(
        {
            "subject_id": cases["subject_id"],
            "ancestry_group": ["AFR"] * 60 + ["EUR"] * 60,
            "ancestry_source": "self_report",
            "ancestry_scheme": "made-up",
        }
    )
    endpoint = {"metric": "sensitivity", "target": "dr", "primary": True, "floor": 0.8, "gap_margin": 0.2}
    settings = {"endpoints": [endpoint], "axes": ["ancestry"], "replicates": 200, "expected_ancestries": ["EAS"]}
    return build_report(
        cases,
        subjects,
        protocol=freeze(declare(settings), {"dr": 0.5}, package_digest=PACKAGE, at=WHEN),
        model=ModelInfo(name="made-up", package_digest=PACKAGE, weights_sha256=WEIGHTS),
        task=TaskInfo(kind="classification", mode="binary", labels=["dr"]),
        created=WHEN,
    )


def test_passes_with_declared_limits(report):
    decision = decide(report, package_digest=PACKAGE, weights_sha256=WEIGHTS)
    assert decision.passed
    assert decision.status == "validated_with_limitations"
    assert any("ancestry EAS" in reason for reason in decision.reasons)


@pytest.mark.parametrize("status", STATUSES)
def test_passes_exactly_from_validated_with_limitations_upwards(report, status):
    judged = report.model_copy(update={"status": status, "status_reasons": ["because"]})
    decision = decide(judged, package_digest=PACKAGE, weights_sha256=WEIGHTS)
    assert decision.passed == (status in SEALABLE)
    assert decision.status == status
    assert "because" in decision.reasons


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize(("package", "weights"), [("e" * 64, WEIGHTS), (PACKAGE, "b" * 64), ("e" * 64, "b" * 64)])
def test_refuses_another_package_or_other_weights_whatever_the_status(report, status, package, weights):
    judged = report.model_copy(update={"status": status})
    decision = decide(judged, package_digest=package, weights_sha256=weights)
    assert not decision.passed
    assert any("another package" in reason for reason in decision.reasons) == (package != PACKAGE)
    assert any("other weights" in reason for reason in decision.reasons) == (weights != WEIGHTS)


@pytest.mark.parametrize(
    "change",
    [
        {"thresholds": {"dr": 0.4}},
        {"thresholds_from": "declared"},
        {"package_digest": "e" * 64},
        {"sha256": "0" * 64},
    ],
)
def test_refuses_a_protocol_that_was_changed_after_freezing(report, change):
    changed = report.model_copy(update={"protocol": report.protocol.model_copy(update=change)})
    decision = decide(changed, package_digest=PACKAGE, weights_sha256=WEIGHTS)
    assert not decision.passed
    assert any("protocol" in reason or "another package" in reason for reason in decision.reasons)


def test_refuses_a_lowered_floor(report):
    declared = report.protocol.declared
    rule = declared.endpoints[0].model_copy(update={"floor": 0.1})
    protocol = report.protocol.model_copy(update={"declared": declared.model_copy(update={"endpoints": (rule,)})})
    decision = decide(report.model_copy(update={"protocol": protocol}), package_digest=PACKAGE, weights_sha256=WEIGHTS)
    assert not decision.passed
    assert decision.reasons[0] == "The frozen protocol was changed after it was frozen."


def test_refuses_a_status_that_its_own_verdicts_contradict(report):
    """A report edited by hand: everyone together does not meet, but the status says validated."""
    groups = [row.model_copy(deep=True) for row in report.groups]
    groups[0].results[0].floor_verdict = "DOES NOT MEET"
    edited = report.model_copy(update={"status": "validated", "groups": groups})
    decision = decide(edited, package_digest=PACKAGE, weights_sha256=WEIGHTS)
    assert not decision.passed
    assert any("contradict" in reason for reason in decision.reasons)


def test_refuses_where_no_known_ancestry_shows_a_verdict(report):
    groups = [row.model_copy(deep=True) for row in report.groups]
    for row in groups:
        if row.axis == "ancestry":
            row.results[0].floor_verdict = None
    decision = decide(report.model_copy(update={"groups": groups}), package_digest=PACKAGE, weights_sha256=WEIGHTS)
    assert not decision.passed
    assert any("no known ancestry has a verdict" in reason for reason in decision.reasons)


def _with_row(report, axis, value, parts):
    row = report.groups[0].model_copy(deep=True, update={"axis": axis, "value": value, "parts": parts})
    row.results[0].floor_verdict = "DOES NOT MEET"
    return report.model_copy(update={"groups": [*report.groups, row]})


def test_crossed_axes_inform_and_stop_no_package(report):
    crossed = _with_row(report, "ancestry*sex", "AFR, female", {"ancestry": "AFR", "sex": "female"})
    assert decide(crossed, package_digest=PACKAGE, weights_sha256=WEIGHTS).passed


@pytest.mark.parametrize(
    ("axis", "parts"),
    [("ancestry", {}), ("site", {}), ("ancestry*sex", {}), ("ancestry*ancestry", {"ancestry": "AFR"}), ("a*b", {})],
)
def test_a_row_that_only_looks_crossed_still_stops_it(report, axis, parts):
    edited = _with_row(report, axis, "AFR", parts)
    decision = decide(edited, package_digest=PACKAGE, weights_sha256=WEIGHTS)
    assert not decision.passed
    assert any("contradicts the status" in reason for reason in decision.reasons)
