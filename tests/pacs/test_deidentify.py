"""More than two thousand planted identities, and none comes out; what science needs stays."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from phi_checker import check, leaks, outputs, present
from phi_factory import BANNER_ROWS, SIDE, Planted, build

from medimg.pacs.deidentify.keyed import Key
from medimg.pacs.deidentify.report import FileRecord
from medimg.pacs.deidentify.settings import DeidentifySettings
from medimg.pacs.deidentify.tree import ACTIONS, REPORT, deidentify_tree

KEY = Key(b"a key that is only for the test suite, and long enough")
KINDS = {
    "tag_retained",
    "text_notnull",
    "text_retained",
    "text_removed",
    "date_shifted",
    "uid_changed",
    "uid_consistent",
    "patid_consistent",
    "pixels_hidden",
    "pixels_retained",
}
LEAST_PLANTED = 2000


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Planted]:
    folder = tmp_path_factory.mktemp("identified")
    planted = build(folder)
    planted.markers = present(planted.markers, folder)
    return folder, planted


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("catalogue") / "site.yaml"
    path.write_text(
        "- name: banner\n  match: {Modality: US, ManufacturerModelName: 'SONO \\d', "
        f"Rows: {SIDE}}}\n  regions: [[0, 0, {SIDE}, {BANNER_ROWS}]]\n"
    )
    return str(path)


def run(source: Path, output: Path, **options: object) -> list[FileRecord]:
    return deidentify_tree(source, output, KEY, DeidentifySettings(**options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shifted(
    source: tuple[Path, Planted], catalogue: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[FileRecord]]:
    output = tmp_path_factory.mktemp("shifted")
    options = {"dates": "shift", "patient": "keep", "text": "words", "catalogue": catalogue}
    return output, run(source[0], output, **options)


def test_the_ten_kinds_of_check_hold_everywhere(
    source: tuple[Path, Planted], shifted: tuple[Path, list[FileRecord]]
) -> None:
    planted = source[1]
    assert len(planted.markers) >= LEAST_PLANTED
    score = check(planted, shifted[0])
    assert set(score) == KINDS
    assert {kind: sum(held) / len(held) for kind, held in score.items()} == dict.fromkeys(KINDS, 1.0)
    assert all(score[kind] for kind in KINDS)


def test_no_marker_and_no_date_is_in_any_byte(
    source: tuple[Path, Planted], shifted: tuple[Path, list[FileRecord]]
) -> None:
    assert leaks(source[1].markers, shifted[0]) == []
    assert leaks(sorted(set(source[1].dates)), shifted[0]) == []


@pytest.mark.parametrize("text", ["remove", "words", "clean"])
def test_the_basic_profile_alone_leaves_no_marker_date_or_time(
    source: tuple[Path, Planted], catalogue: str, tmp_path: Path, text: str
) -> None:
    records = run(source[0], tmp_path / "out", text=text, catalogue=catalogue)
    assert {record.status for record in records} == {"written"}
    hidden = [*source[1].retained, *source[1].times, *set(source[1].dates)]
    # Words that nobody calls a name stay when text is only cleaned: that is what `words` and `remove` are for.
    hidden += source[1].markers if text != "clean" else [one for one in source[1].markers if one[:1].isdigit()]
    assert leaks(hidden, tmp_path / "out") == []


def test_age_ancestry_and_markers(shifted: tuple[Path, list[FileRecord]]) -> None:
    for path in outputs(shifted[0]).values():
        dataset = pydicom.dcmread(path)
        assert dataset.PatientAge == "090Y"
        assert "EthnicGroup" not in dataset
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.LongitudinalTemporalInformationModified == "MODIFIED"
        codes = {item.CodeValue for item in dataset.DeidentificationMethodCodeSequence}
        assert codes >= {"113100", "113103", "113104", "113105", "113107", "113108"}
        assert ("113101" in codes) == (dataset.Modality == "US")
        assert dataset.get("BurnedInAnnotation", "NO") == "NO"
        assert path.stem == dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID
        assert path.parts[-4:-1] == (dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID)


def test_references_of_seg_and_sr_point_at_files_that_exist(shifted: tuple[Path, list[FileRecord]]) -> None:
    datasets = [pydicom.dcmread(path) for path in outputs(shifted[0]).values()]
    known = {dataset.SOPInstanceUID for dataset in datasets}
    for dataset in datasets:
        if dataset.Modality == "SEG":
            assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID in known
            assert dataset.SegmentSequence[0].SegmentLabel == "Liver"
        if dataset.Modality == "SR":
            study = dataset.CurrentRequestedProcedureEvidenceSequence[0]
            assert study.StudyInstanceUID == dataset.StudyInstanceUID
            inner = dataset.ContentSequence[0].ContentSequence[0].ContentSequence
            assert inner[-1].ReferencedSOPSequence[0].ReferencedSOPInstanceUID in known
            assert inner[0].PersonName == "ANONYMOUS"


def test_the_report_names_every_action_and_no_value(
    source: tuple[Path, Planted], shifted: tuple[Path, list[FileRecord]]
) -> None:
    report = json.loads((shifted[0] / REPORT).read_text())
    assert report["totals"] == {"written": len(source[1].files)}
    with (shifted[0] / ACTIONS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(record.actions for record in shifted[1]) == sum(one["count"] for one in report["actions"])
    names = [row for row in rows if row["element"].endswith("PersonName")]
    assert names
    assert {row["clause"] for row in names} <= {"E.1-1 D"}
    assert all(row["clause"].startswith("E.") for row in rows)


def test_inputs_are_not_touched_and_a_second_run_says_the_same(
    source: tuple[Path, Planted], shifted: tuple[Path, list[FileRecord]], catalogue: str, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in source[1].files.values()}
    run(source[0], tmp_path / "again", dates="shift", patient="keep", text="words", catalogue=catalogue)
    assert {path: path.read_bytes() for path in source[1].files.values()} == before
    first, second = outputs(shifted[0]), outputs(tmp_path / "again")
    assert {n: path.read_bytes() for n, path in first.items()} == {n: path.read_bytes() for n, path in second.items()}


def test_damaged_files_are_refused_or_leak_nothing(source: tuple[Path, Planted], tmp_path: Path) -> None:
    random = np.random.default_rng(2026)
    originals = [path.read_bytes() for path in source[1].files.values()]
    for number in range(150):
        raw = np.frombuffer(originals[number % len(originals)], np.uint8).copy()
        places = random.integers(132, min(raw.size, 6000), random.choice([1, 4, 16]))
        raw[places] = random.integers(0, 256, places.size)
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number}.dcm").write_bytes(
            raw[: random.integers(200, raw.size)] if number % 5 == 0 else raw
        )
    records = run(tmp_path / "in", tmp_path / "out", text="words", burned_in="flag")
    assert len(records) == 150
    words = [one for one in source[1].markers if one[:1].isalpha()]
    assert leaks(words, tmp_path / "out") == []
