"""The dossier: valid for the programs that read it, bound to the report, with every gap named."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from fhir.resources.R4B.bundle import Bundle

from medimg.errors import ConfigError, InputError
from medimg.evaluation.document import report_digest
from medimg.reports.dossier.chai import NAMESPACE, chai_xml
from medimg.reports.dossier.cyclonedx import cyclonedx
from medimg.reports.dossier.declared import DeclaredFields, read_declared
from medimg.reports.dossier.evidence import gather, load_mapping
from medimg.reports.dossier.fhir import measure_bundle
from medimg.reports.dossier.profiles import PROFILES, render_profile
from medimg.reports.dossier.write import write_dossier

from .conftest import HOSTILE
from .test_model_card import MANIFEST

ORDER = [
    *("BasicInfo", "ReleaseInfo", "ModelSummary", "UsesAndDirections", "Warnings", "TrustIngredients", "KeyMetrics"),
    *("Resources", "Bibliography"),
]
"""Of the parts, as the published schema has it."""


def test_every_declared_field_and_every_framework_field_has_a_place():
    fields = load_mapping("fields")["fields"]
    assert len(fields) == 20
    ids = {field["id"] for field in fields}
    stated = {name for field in fields for name in field["declared"]}
    only_cards = {"country", "how_to_use", "release_stage", "funding", "stakeholders", "publications", "consent"}
    assert stated | only_cards == set(DeclaredFields.model_fields)
    for name in PROFILES:
        profile = load_mapping(name)
        used = [field for section in profile["sections"] for field in section["fields"]]
        assert len(used) == len(set(used))
        assert ids - set(used) == {"index"}
        assert "egal advice" in profile["notice"]


def test_what_nobody_stated_is_printed_as_missing(report):
    bare = gather(report)
    assert bare.field("reference_standard").status == "MISSING"
    assert bare.field("performance").status == "present"
    assert "configuration_sha256" in bare.field("identity").missing
    told = gather(report, MANIFEST, DeclaredFields(reference_standard="three readers", readers="A, B, C"))
    assert told.field("reference_standard").missing == ["reader_agreement"]
    assert told.field("intended_use").value["intended_use"] == MANIFEST["intended_use"]
    for name in PROFILES:
        text = render_profile(told, name)
        missing = sum(len(field.missing) for field in told.fields if field.id != "index")
        assert text.count("- MISSING: ") == missing
        assert "three readers" in text
        assert report_digest(report) in text


def test_results_in_the_profile_are_those_of_the_report(report):
    results = gather(report).field("subgroups").value["results"]
    expected = [(row.axis, row.value, r.endpoint) for row in report.groups[1:] for r in row.results]
    assert [(one["axis"], one["group"], one["endpoint"]) for one in results] == expected


def test_fhir_reads_what_is_written_and_masks_small_cells(report):
    bundle = measure_bundle(report)
    Bundle.model_validate_json(json.dumps(bundle))
    first = bundle["entry"][0]["resource"]
    strata = [stratum for axis in first["group"][0]["stratifier"] for stratum in axis["stratum"]]
    assert len(strata) == len(report.groups) - 1
    for stratum, row in zip(strata, report.groups[1:]):
        assert stratum["value"]["text"] == row.value
        result = row.results[0]
        assert stratum["measureScore"].get("value") == result.estimate
        if result.suppressed:
            assert stratum["measureScore"]["extension"][0]["valueCode"] == "masked"
            assert "count" not in stratum["population"][0]


def test_cyclonedx_follows_its_schema(report):
    bill = cyclonedx(report, MANIFEST, DeclaredFields(developer="us", intended_users="people"))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    metrics = bill["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    numbers = [r for row in report.groups for r in row.results if r.estimate is not None]
    assert len(metrics) == len(numbers)
    assert float(metrics[0]["value"]) == pytest.approx(numbers[0].estimate, rel=1e-5)


def test_chai_has_every_part_in_order_and_no_empty_one(report):
    root = ElementTree.fromstring(chai_xml(report, MANIFEST))
    assert [child.tag for child in root] == [f"{{{NAMESPACE}}}{name}" for name in ORDER]
    assert all((leaf.text or "").strip() for leaf in root.iter() if not len(leaf))
    space = {"mc": NAMESPACE}
    assert root.findtext("mc:BasicInfo/mc:ModelDeveloper", None, space) == "MISSING"
    values = root.findall("mc:KeyMetrics/mc:FairnessEquity/mc:Results/mc:MetricResult/mc:ValueJson", space)
    assert len([json.loads(value.text or "") for value in values]) >= sum(len(r.results) for r in report.groups[1:])


def test_hostile_text_stays_text(reports):
    declared = DeclaredFields(developer=HOSTILE + "\x00", reference_standard=HOSTILE)
    root = ElementTree.fromstring(chai_xml(reports["segmentation"], MANIFEST, declared))
    assert root.findtext("mc:BasicInfo/mc:ModelDeveloper", None, {"mc": NAMESPACE}) == HOSTILE
    assert "<script>" not in render_profile(gather(reports["segmentation"], MANIFEST, declared), "fda")


def test_the_folder_holds_the_same_bytes_twice(reports, tmp_path: Path):
    first = write_dossier(reports["suppressed"], tmp_path / "a", manifest=MANIFEST)
    second = write_dossier(reports["suppressed"], tmp_path / "b", manifest=MANIFEST)
    assert first[0].name == "evidence.json"
    assert {path.name for path in first} >= {"profile_nmpa.md", "chai.xml", "fhir.json", "cyclonedx.json"}
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_declared_fields_come_from_a_file_and_wrong_keys_are_named(tmp_path: Path):
    path = tmp_path / "declared.yaml"
    path.write_text("developer: A group\nreaders: two radiologists\n")
    assert read_declared(path).readers == "two radiologists"
    path.write_text("developper: x\n")
    with pytest.raises(ConfigError, match="developer"):
        read_declared(path)
    path.write_text("developer: [1, 2]\n")
    with pytest.raises(ConfigError, match="text"):
        read_declared(path)
    path.write_text("- a\n")
    with pytest.raises(ConfigError, match="mapping"):
        read_declared(path)
    with pytest.raises(InputError):
        read_declared(tmp_path / "none.yaml")
