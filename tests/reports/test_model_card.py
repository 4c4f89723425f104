from __future__ import annotations

import re

import pytest
import yaml

from medimg.reports.model_card import model_card
from medimg.reports.numbers import with_interval

MANIFEST = {
    "name": "made-up",
    "modality": "CT",
    "intended_use": "Research on made-up scans.",
    "onnx_sha256": "b" * 64,
    "provenance": {"training_subjects": 123, "training_groups": {"AFR": 60, "EUR": 61, "UNK": 2}},
}


def test_card_holds_results_of_every_ancestry_with_verdicts(report):
    card = model_card(report, MANIFEST)
    for row in report.groups:
        for result in row.results:
            if row.axis in ("overall", "ancestry") and result.low is not None:
                assert with_interval(result.estimate, result.low, result.high) in card
    assert "| unknown |" in card
    assert "| declined |" in card
    assert "| AFR | 60 |" in card
    for heading in ("Intended use", "Training data", "Not validated for", "Limitations", "How to run"):
        assert f"## {heading}\n" in card
    assert "Not for clinical use" in card
    assert "medimg predict package=made-up.medimg input=study/ output=results/" in card
    assert card == model_card(report, MANIFEST)


@pytest.mark.parametrize(
    ("status", "banner"),
    [
        ("validated", False),
        ("validated_with_limitations", False),
        ("ancestry_not_evaluated", True),
        ("not_validated", True),
    ],
)
def test_banner_below_validated_with_limitations(reports, status, banner):
    report = reports["classification"].model_copy(update={"status": status})
    assert ("> **NOT VALIDATED.**" in model_card(report, MANIFEST)) == banner


def test_front_matter_is_yaml_whatever_it_holds(hostile):
    card = model_card(hostile, {**MANIFEST, "modality": 'C"T\n---\nx: y'})
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["model_name"] == hostile.model.name
    assert front["pipeline_tag"] == "image-segmentation"
    assert "research-use-only" in front["tags"]


def test_hostile_text_stays_text(hostile):
    card = model_card(hostile, MANIFEST)
    body = card.split("---\n", 2)[2]
    assert "<script" not in body
    assert "](javascript" not in body.replace("\\]", "")
    widths = {}
    for line in body.splitlines():
        if line.startswith("| "):
            widths.setdefault(len(re.findall(r"(?<!\\)\|", line)), 0)
    assert set(widths) <= {3, 8}


def test_every_row_of_a_table_has_its_columns(report):
    for line in model_card(report, MANIFEST).splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 8)


def test_suppressed_counts_are_bounds(reports):
    assert "| &lt;60 |" in model_card(reports["suppressed"], MANIFEST)


def test_a_bare_manifest_is_enough(report):
    assert "not stated" in model_card(report, {})
