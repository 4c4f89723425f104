from __future__ import annotations

import pytest

from medimg.reports.plain_language import per_thousand, summary


def test_per_thousand_mirrors_sensitivity_and_specificity(reports):
    report = reports["classification"]
    everyone = per_thousand(report)[0]
    results = {r.endpoint: r for r in report.groups[0].results}
    assert everyone.missed[0] == pytest.approx(1000 * (1 - results["sensitivity:dr"].estimate))
    assert everyone.alarms[1] == pytest.approx(1000 * (1 - results["specificity:dr"].high))
    groups = [item.group for item in per_thousand(report)]
    assert groups == ["Everyone", "AFR", "AMR", "EAS", "EUR", "SAS", "unknown", "declined"]
    nobody = next(item for item in per_thousand(report) if item.group == "AMR")
    assert nobody.missed is None
    assert nobody.why_missed


def test_summary_names_who_was_and_was_not_shown(reports):
    text = " ".join(summary(reports["classification"]))
    assert "Of 1000 cases with dr" in text
    assert "nobody tested: AMR" in text
    assert "too few patients to say: unknown" in text
    assert "cannot rule out" in text


def test_detection_is_told_in_lesions_and_marks(reports):
    text = " ".join(summary(reports["detection"]))
    assert "Of 1000 true nodule lesions" in text
    assert "In 1000 images" in text


def test_no_numbers_of_small_groups(reports):
    report = reports["suppressed"]
    hidden = {row.value for row in report.groups if row.suppressed and row.axis == "ancestry"}
    assert hidden
    for item in per_thousand(report):
        assert item.group not in hidden or (item.missed is None and "suppressed" in item.why_missed)
