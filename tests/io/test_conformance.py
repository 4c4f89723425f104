"""Every file of the conformance sets is read or refused by name, with the pixels that other libraries see."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pydicom.data import get_testdata_file

from medimg.io.read import read_all


def _study(name: str) -> ModuleType:
    folder = str(Path(__file__).parents[2] / "scripts" / "studies")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def conformance() -> ModuleType:
    """Return scripts/studies/conformance.py."""
    return _study("conformance")


def _check(conformance: ModuleType, sources: list, compared: int, twins: int) -> None:
    rows = [conformance.read_row(*source) for source in sources]
    families = list(conformance.twin_rows(sources))
    assert list(conformance.problems(rows, families)) == []
    assert sum(row.pixels.state == "equal" for row in rows) >= compared
    assert sum(family.read > 1 for family in families) >= twins


def test_files_that_packages_bring(conformance: ModuleType) -> None:
    _check(conformance, conformance.collect(None), compared=80, twins=5)


@pytest.mark.real
def test_conformance_folders(conformance: ModuleType, real_data: Path) -> None:
    _check(conformance, conformance.collect(real_data, packages=False), compared=110, twins=20)


def test_the_table_names_every_file_once_and_no_folder_of_this_machine(conformance: ModuleType) -> None:
    sources = [source for source in conformance.collect(None) if "CT_small" in source[2].name]
    rows = [conformance.read_row(*source) for source in sources]
    text = conformance.table(rows, [])
    assert text.count("CT_small.dcm") == len(sources) == 1
    assert str(sources[0][2].parent) not in text
    assert "1 files: 1 read, 0 mask, 0 video, 0 refused, 0 crash" in text


def test_a_wrong_pixel_order_or_place_is_seen(conformance: ModuleType) -> None:
    path = Path(get_testdata_file("MR_small.dcm", download=False))
    (volume,) = read_all(path)
    compare = _study("conformance_pixels").compare
    assert compare(path, [volume]).state == "equal"
    for array in (volume.array[:, ::-1], volume.array.swapaxes(1, 2), volume.array + 1):
        assert compare(path, [dataclasses.replace(volume, array=array)]).state == "differs"
    shifted = volume.affine.copy()
    shifted[:3, 3] += 0.5 * volume.affine[:3, 2]
    assert "position" in compare(path, [dataclasses.replace(volume, affine=shifted)]).note
    turned = volume.affine[:, [0, 2, 1, 3]]
    assert "position" in compare(path, [dataclasses.replace(volume, affine=turned)]).note


def test_twins_that_differ_are_seen() -> None:
    twins_of = _study("conformance_twins")
    twins = twins_of.Twins("", "", ("a", "b"))
    (volume,) = read_all(get_testdata_file("MR_small.dcm", download=False))
    assert twins_of.agree([[volume], [volume]], twins) == ""
    array = volume.array.copy()
    array[0, 3, 4] += 1
    assert "1 values differ" in twins_of.agree([[volume], [dataclasses.replace(volume, array=array)]], twins)
    affine = volume.affine.copy()
    affine[0, 3] += 1
    moved = dataclasses.replace(volume, affine=affine)
    assert "mm apart" in twins_of.agree([[volume], [moved]], twins)


def test_a_crash_is_a_problem(conformance: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(conformance, "read_all", fail)
    (tmp_path / "a.dcm").write_bytes(b"x")
    row = conformance.read_row("group", tmp_path, tmp_path / "a.dcm")
    assert row.outcome == "crash"
    assert "ZeroDivisionError" in next(conformance.problems([row], []))
