"""Results of incomplete input, and those that take their place: marked, linked, and still valid DICOM."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from parts import ct_series
from pydicom.dataset import Dataset

from medimg.errors import InputError
from medimg.pacs.serve.marking import mark
from medimg.pacs.serve.worker import standard_writers


def errors_of(path: Path) -> list[str]:
    """Return what dciodvfy calls an error."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]


def test_partial_and_superseding_results_are_valid(bench) -> None:
    here = bench(incomplete="partial", deadline_s=50.0)
    here.worker.writers = standard_writers()
    series = ct_series("a", 9)
    here.take([*series[:4], *series[5:]])
    here.turn(60.0)
    first = here.files()
    here.take([series[4]])
    here.turn()
    later = here.files()[len(first) :]
    assert {one.Modality for one in first} == {one.Modality for one in later} == {"SEG", "SR", "OT"}
    assert all(one.SeriesDescription.count("PARTIAL INPUT") == 1 for one in first)
    assert all("PARTIAL" not in one.SeriesDescription for one in later)
    assert len({str(one.SOPInstanceUID) for one in (*first, *later)}) == len(first) + len(later)
    reports = [one for one in first if one.Modality == "SR"]
    assert {one.CompletionFlag for one in reports} == {"PARTIAL"}
    (report,) = (one for one in later if one.Modality == "SR")
    assert report.CompletionFlag == "COMPLETE"
    assert named(report) == {str(one.SOPInstanceUID) for one in reports}
    for row in here.journal.rows("SELECT file FROM results"):
        assert errors_of(here.spool.root / row["file"]) == []


def named(report: Dataset) -> set[str]:
    """Return the documents that a report takes the place of."""
    return {
        str(instance.ReferencedSOPInstanceUID)
        for study in report.PredecessorDocumentsSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }


def test_a_refusal_is_valid(bench) -> None:
    here = bench(incomplete="refuse", deadline_s=50.0)
    here.worker.writers = standard_writers()
    here.take(ct_series("a", 5), "aborted")
    here.turn(60.0)
    assert [one.Modality for one in here.files()] == ["SR"]
    assert "incomplete: an association was aborted" in here.one("SELECT error FROM jobs")
    assert errors_of(here.spool.root / here.one("SELECT file FROM results")) == []


def test_the_same_job_again_makes_the_same_bytes(bench) -> None:
    made = []
    for _ in range(2):
        here = bench()
        here.worker.writers = standard_writers()
        here.take(ct_series("a", 5))
        here.turn()
        rows = here.journal.rows("SELECT file, sop_uid FROM results ORDER BY sop_uid")
        made.append([(row["sop_uid"], (here.spool.root / row["file"]).read_bytes()) for row in rows])
    assert made[0] == made[1]


def test_what_is_no_dicom_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read again"):
        mark(tmp_path / "x.dcm", partial=None, earlier=[])
