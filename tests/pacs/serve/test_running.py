"""One job: what is read, what is answered, and what is refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from parts import ct_series, ct_slice, endoscopy
from test_marking import errors_of
from tiny import picture_package

from medimg.pacs.serve.settings import RouteSettings
from medimg.pacs.serve.worker import standard_writers


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_package(tmp_path_factory.mktemp("red"))


def test_every_picture_of_a_series_is_answered(bench, red: Path) -> None:
    here = bench()
    here.settings.routes = [RouteSettings("es", str(red), modality="ES", results=["seg", "sr", "sc"])]
    here.worker.writers = standard_writers()
    here.take([endoscopy("e", 0), endoscopy("e", 1)])
    here.turn()
    assert here.one("SELECT state, error FROM jobs") == {"state": "done", "error": ""}
    made = here.files()
    segmented = sorted(int(one.pixel_array.sum()) for one in made if one.Modality == "SEG")
    assert segmented == [36, 42]
    assert sum(one.Modality == "SR" for one in made) == 2
    for row in here.journal.rows("SELECT file FROM results"):
        assert errors_of(here.spool.root / row["file"]) == []


def test_another_modality_than_the_package_is_refused_with_a_report(bench, red: Path) -> None:
    here = bench()
    here.settings.routes = [RouteSettings("wrong", str(red))]
    here.worker.writers = standard_writers()
    here.take(ct_series("a", 4))
    here.turn()
    assert "another modality" in here.one("SELECT error FROM jobs")
    assert [one.Modality for one in here.files()] == ["SR"]


def test_a_localizer_inside_a_series_does_not_disturb_it(bench) -> None:
    here = bench()
    scout = ct_slice("a", 50, side=16, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    here.take([*ct_series("a", 5), scout])
    here.turn(100.0)
    assert here.one("SELECT state FROM jobs") == "done"
    assert {one.ImageComments for one in here.files()} == {"5 sources"}


def test_more_images_than_allowed_are_refused_with_a_reason(bench, red: Path) -> None:
    here = bench()
    here.settings.routes = [RouteSettings("es", str(red), modality="ES", results=["sr"])]
    here.settings.worker.max_images = 2
    here.take([endoscopy("e", index) for index in range(4)])
    here.turn()
    assert "more images" in here.one("SELECT error FROM jobs")
    assert sorted(one.SeriesDescription for one in here.files()) == ["refusal", "result", "result"]
