from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from medimg.errors import InputError
from medimg.evaluation.document import dump_report, read_report, report_digest
from medimg.packaging.integrity import REPORT_SUFFIXES
from medimg.reports.records import records_csv
from medimg.reports.render import render

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20


@pytest.fixture
def overlays(tmp_path: Path) -> Path:
    folder = tmp_path / "overlays"
    folder.mkdir()
    (folder / "worst.png").write_bytes(PNG)
    (folder / "another.png").write_bytes(PNG)
    return folder


def test_writes_what_a_package_may_hold_and_nothing_else(reports, overlays, tmp_path):
    report = reports["segmentation"]
    files = render(report, tmp_path / "report", overlays=overlays, manifest={"name": "made-up"})
    assert [f.name for f in files] == ["report.json", "report.html", "records.csv", "MODEL_CARD.md", "worst.png"]
    assert sorted(files) == sorted((tmp_path / "report").iterdir())
    assert {f.suffix for f in files} <= set(REPORT_SUFFIXES)
    assert report_digest(read_report(files[0])) == report_digest(report)
    assert (tmp_path / "report" / report.worst_cases[0].overlay).read_bytes() == PNG


def test_same_bytes_again_and_from_its_own_folder(reports, overlays, tmp_path):
    first = render(reports["segmentation"], tmp_path / "report", overlays=overlays)
    before = [f.read_bytes() for f in first]
    again = render(read_report(first[0]), tmp_path / "report")
    assert [f.name for f in again] == [f.name for f in first]
    assert [f.read_bytes() for f in again] == before


def test_without_manifest_no_card_and_missing_pictures_are_no_error(reports, tmp_path):
    names = [f.name for f in render(reports["segmentation"], tmp_path, overlays=tmp_path / "nowhere")]
    assert names == ["report.json", "report.html", "records.csv"]


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "a/../../b.png", "page.html"])
def test_pictures_outside_the_folder_are_refused(reports, overlays, tmp_path, name):
    report = reports["segmentation"].model_copy(deep=True)
    report.worst_cases[0].overlay = name
    with pytest.raises(InputError, match="does not belong"):
        render(report, tmp_path / "report", overlays=overlays)
    assert not (tmp_path / "report").exists()


def test_a_link_is_not_followed(reports, tmp_path):
    (tmp_path / "secret").write_bytes(PNG)
    folder = tmp_path / "overlays"
    folder.mkdir()
    (folder / "worst.png").symlink_to(tmp_path / "secret")
    files = render(reports["segmentation"], tmp_path / "report", overlays=folder)
    assert "worst.png" not in [f.name for f in files]


def test_records_hold_every_result_exactly(report):
    rows = list(csv.DictReader(io.StringIO(records_csv(report))))
    assert len(rows) == sum(len(row.results) for row in report.groups)
    found = {(r["axis"], r["group"], r["endpoint"]): r for r in rows}
    for group in report.groups:
        for result in group.results:
            record = found[(group.axis, group.value, result.endpoint)]
            for name in ("estimate", "low", "high", "n_patients"):
                value = getattr(result, name)
                assert record[name] == ("" if value is None else str(value))
            assert record["floor_verdict"] == (result.floor_verdict or "")
            assert record["reason"] == (result.reason or "")


def test_no_record_is_a_formula(hostile):
    text = records_csv(hostile)
    rows = list(csv.reader(io.StringIO(text)))
    assert any("'=HYPERLINK(1)" in row for row in rows)
    for row in rows:
        for cell in row:
            assert not cell.startswith(("=", "+", "@", "\t", "\r"))
            assert not cell.startswith("-") or float(cell) < 0


def test_report_json_is_the_canonical_one(reports, tmp_path):
    text = render(reports["detection"], tmp_path)[0].read_text(encoding="utf-8")
    assert json.loads(text)["schema"] == "medimg.report/2"
    assert text == dump_report(reports["detection"])
