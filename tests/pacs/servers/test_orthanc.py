"""The whole way beside real servers: DCMTK pushes a study, medimg answers, Orthanc keeps SEG, SR and key images."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from orthanc import Orthanc, missing
from parts import Running, ct_series, free_port, settings_for, wait_for
from tiny import tiny_package

from medimg.io.mask import read_mask
from medimg.io.read import read
from medimg.pacs.serve.settings import CountSettings, DestinationSettings

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")
REAL = {"worker": "medimg.pacs.serve.worker", "courier": "medimg.pacs.serve.courier"}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_package(tmp_path_factory.mktemp("package"))


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    folder = tmp_path / "orthanc"
    folder.mkdir()
    server = Orthanc(folder, free_port(), free_port()).start()
    yield server
    server.stop()


def write(folder: Path, count: int, name: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = []
    for index, one in enumerate(ct_series(name, count)):
        paths.append(folder / f"{index:03d}.dcm")
        one.save_as(paths[-1], enforce_file_format=True)
    return paths


def push(port: int, files: list[Path], called: str) -> None:
    words = ["storescu", "-aet", "SENDER", "-aec", called, "127.0.0.1", str(port), *map(str, files)]
    subprocess.run(words, check=True, env={**os.environ, "TCP_NODELAY": "1"}, timeout=60)


@pytest.mark.parametrize("protocol", ["dimse", "stow"])
def test_a_study_pushed_by_dcmtk_comes_back_to_orthanc(tmp_path, package, orthanc, protocol):
    settings = settings_for(tmp_path / "spool", package, orthanc.dicom_port)
    if protocol == "stow":
        url = f"{orthanc.url}/dicom-web"
        settings = replace(settings, destinations={"pacs": DestinationSettings(protocol="stow", url=url)})
    running = Running(settings, children=REAL).start()
    try:
        files = write(tmp_path / "scan", 12, f"orthanc-{protocol}")
        push(running.port, files, "MEDIMG")
        wait_for(lambda: {"SEG", "SR"} <= set(orthanc.modalities()), 90, "no SEG and SR in Orthanc")
        wait_for(lambda: len(orthanc.modalities()) >= 3, 60, "no key image in Orthanc")
    finally:
        assert running.stop() == 0
    log = running.log()
    assert "Planted" not in log
    assert "PLANTED" not in log
    (segmentation,) = orthanc.modalities()["SEG"]
    stored = tmp_path / "stored.dcm"
    stored.write_bytes(orthanc.get(f"/instances/{segmentation}/file"))
    source = read(tmp_path / "scan")
    found = read_mask(stored, like=source)
    assert np.array_equal(np.asarray(found.array) > 0, np.asarray(source.array) > 500)


def test_orthanc_says_how_many_slices_there_are(tmp_path, package, orthanc):
    files = write(tmp_path / "scan", 14, "orthanc-count")
    push(orthanc.dicom_port, files, "PACS")
    counts = CountSettings(qido=f"{orthanc.url}/dicom-web")
    settings = settings_for(tmp_path / "spool", package, orthanc.dicom_port, count=counts)
    running = Running(settings, children=REAL).start()
    try:
        # Without a gap and released in order: only the archive knows that four slices are missing.
        push(running.port, files[:10], "MEDIMG")
        wait_for(lambda: running.rows("SELECT * FROM series"), 30, "the series was not noticed")
        with pytest.raises(TimeoutError):
            wait_for(lambda: running.rows("SELECT * FROM jobs"), 5)
        push(running.port, files[10:], "MEDIMG")
        wait_for(lambda: "SEG" in orthanc.modalities(), 90, "no SEG in Orthanc")
    finally:
        assert running.stop() == 0
