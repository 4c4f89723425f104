"""One reading policy from the index to the package: stated once, part of the preparation, strict by default."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from medimg.data.cases import build_cases
from medimg.data.checks import check
from medimg.data.cohort import DatasetInfo
from medimg.data.importers.csv_index import import_csv
from medimg.data.preparation import Intensity, Preparation
from medimg.data.settings import CsvIndex, ReadingSettings
from medimg.data.store import build_store, store_key
from medimg.data.targets import Targets
from medimg.errors import ConfigError, InputError
from medimg.io.policy import ReadPolicy

TARGETS = Targets(kind="classification", mode="binary", names=("ill",))
SETTINGS = CsvIndex(images={"image": "image"}, classes={"ill": "ill"}, subject="subject")
TILTED = ReadPolicy(tilt="resample")


@pytest.fixture(scope="session")
def factory() -> ModuleType:
    """Return the writer of DICOM series that the tests of io use."""
    path = Path(__file__).parents[1] / "io" / "dicom_factory.py"
    spec = importlib.util.spec_from_file_location("dicom_factory", path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path: Path, factory: ModuleType) -> Path:
    """Two scans, the second with a tilted gantry."""

    def tilt(n: int, ds: Any) -> None:
        ds.ImagePositionPatient = [-10, -20 + 0.8 * n, 30 + 2.5 * n]

    factory.series(tmp_path / "scans" / "a", factory.planes(6, 12, 10), series=1)
    factory.series(tmp_path / "scans" / "b", factory.planes(6, 12, 10, seed=1), series=2, edit=tilt)
    index = pd.DataFrame({"image": ["scans/a", "scans/b"], "ill": ["0", "1"], "subject": ["p1", "p2"]})
    index.to_csv(tmp_path / "index.csv", index=False)
    return tmp_path


def _preparation(**stated: Any) -> Preparation:
    intensity = Intensity(rule="window", low=-1000, high=1000)
    return Preparation(kind="volume", channels=("image",), intensity=intensity, **stated)


def test_index_check_and_store_read_by_the_policy(folder: Path) -> None:
    strict = import_csv(folder, SETTINGS, modality="CT")
    assert len(strict.images) == 1
    assert {finding.code for finding in strict.findings} == {"UNREADABLE_IMAGE"}
    lenient = import_csv(folder, SETTINGS, modality="CT", reading=TILTED)
    assert [row["ny"] for row in lenient.images] == [12, 17]
    cohort = lenient.cohort(DatasetInfo(title="t"), folder)
    cases, _ = build_cases(cohort, ("image",))
    assert len(check(cohort, cases, TARGETS).errors) == 1
    report = check(cohort, cases, TARGETS, reading=TILTED)
    assert not report.errors
    assert "TILT_RESAMPLED" in {finding.code for finding in report.findings}
    stored, failed = build_store(cases, TARGETS, _preparation(), folder / "store")
    assert (len(stored), len(failed)) == (1, 1)
    stored, failed = build_store(cases, TARGETS, _preparation(reading=TILTED), folder / "store")
    assert (len(stored), len(failed)) == (2, 0)
    assert [case.shape for case in stored] == [(1, 6, 12, 10), (1, 6, 17, 10)]
    np.testing.assert_array_equal(stored[1].image[0, 0, 12:], -1000)
    keys = {store_key(cases[0], TARGETS, _preparation(reading=policy)) for policy in (ReadPolicy(), TILTED)}
    assert len(keys) == 2


def test_the_default_is_not_written_down() -> None:
    assert "reading" not in _preparation().model_dump(mode="json")
    lenient = _preparation(reading=TILTED)
    assert lenient.model_dump(mode="json")["reading"]["tilt"] == "resample"
    assert Preparation.model_validate_json(lenient.model_dump_json()) == lenient
    assert Preparation.model_validate(_preparation().model_dump()).reading == ReadPolicy()
    with pytest.raises(ValidationError):
        Preparation.model_validate({**_preparation().model_dump(), "reading": {"tilt": "ignore"}})


def test_settings_change_what_they_state() -> None:
    assert ReadingSettings().policy() == ReadPolicy()
    assert ReadingSettings().policy(TILTED) == TILTED
    assert ReadingSettings(missing="interpolate").policy(TILTED) == ReadPolicy(missing="interpolate", tilt="resample")
    with pytest.raises(ConfigError) as caught:
        ReadingSettings(tilt="ignore")
    assert "reading.tilt" in str(caught.value)
    with pytest.raises(ConfigError, match="a case is one image"):
        ReadingSettings(missing="split")


def test_a_video_is_no_case(tmp_path: Path) -> None:
    from medimg.io.image import Source, Video
    from medimg.io.read import still

    video = Video((4, 4), 3, None, lambda _: iter(()), source=Source(paths=(tmp_path / "a.mp4",)))
    with pytest.raises(InputError, match="no single image"):
        still(video)
