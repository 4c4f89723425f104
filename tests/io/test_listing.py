"""What a folder holds beside a scan: passed over with a finding, listed with a reason, never lost."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest

from medimg.errors import InputError
from medimg.io.read import read, read_all, scan

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def _codes(volume: Any) -> list[str]:
    return [finding.code for finding in volume.findings]


@pytest.mark.parametrize(
    ("aside", "elements"),
    [
        ("localizer", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
        ("derived", {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}),
        ("derived", {"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "MIP"]}),
        ("derived", {"ImageType": ["DERIVED", "SECONDARY", "SUBTRACTION"]}),
        ("derived", {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}),
        ("result", {"Manufacturer": "medimg"}),
        ("result", {"ManufacturerModelName": "medimg 0.1 lung nodules"}),
        ("capture", {"SOPClassUID": CAPTURE}),
        ("capture", {"ImageType": ["DERIVED", "SECONDARY", "DOSE_INFO"]}),
        ("capture", {"ImageType": ["ORIGINAL", "SECONDARY", "SCREEN SAVE"]}),
    ],
)
def test_beside_a_scan(tmp_path: Path, factory: ModuleType, aside: str, elements: dict[str, Any]) -> None:
    voxels = factory.planes(5)
    factory.series(tmp_path / "scan", voxels, series=4)
    factory.series(tmp_path / "beside", factory.planes(3, seed=1), series=2, **elements)
    found = scan(tmp_path)
    assert [entry.aside for entry in found.entries] == ["", aside]
    assert f"[{aside}]" in found.entries[1].describe()
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array, voxels.astype(int) - 1024)
    (finding,) = volume.findings
    assert (finding.code, finding.value) == (f"{aside.upper()}_EXCLUDED", "3")
    assert len(read_all(tmp_path)) == 1
    for chosen in (1, factory.uid(2, 2)):
        assert read(tmp_path, series=chosen).array.shape[0] == 3
    assert read(tmp_path / "beside").array.shape[0] == 3
    assert f"{aside.upper()}_EXCLUDED" not in _codes(read(tmp_path / "beside"))


@pytest.mark.parametrize(
    "kind",
    [
        ["DERIVED", "PRIMARY", "AXIAL"],
        ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 SPI"],
        ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"],
        ["DERIVED"],
    ],
)
def test_derived_alone_is_no_reason(tmp_path: Path, factory: ModuleType, kind: list[str]) -> None:
    factory.series(tmp_path / "a", factory.planes(5), series=1)
    factory.series(tmp_path / "b", factory.planes(3), series=2, ImageType=kind)
    assert [entry.aside for entry in scan(tmp_path).entries] == ["", ""]
    with pytest.raises(InputError, match="which one"):
        read(tmp_path)


def test_a_derived_image_stands_beside_other_modalities(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path / "a", factory.planes(5), series=1)
    factory.series(tmp_path / "b", factory.planes(3), series=2, modality="MR", ImageType=["DERIVED", "PRIMARY", "MPR"])
    assert len(scan(tmp_path).choices) == 2


def test_a_broken_scan_is_not_replaced_by_what_is_beside_it(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path / "a", factory.planes(7), series=1, edit=lambda n, _: n != 3)
    factory.series(tmp_path / "b", factory.planes(3), series=2, ImageType=["DERIVED", "SECONDARY", "MPR"])
    with pytest.raises(InputError, match="Slices are missing"):
        read(tmp_path)


def test_images_without_a_place_are_told_not_dropped(tmp_path: Path, factory: ModuleType) -> None:
    def lose(n: int, ds: Any) -> None:
        if n == 2:
            ds.ImagePositionPatient = ""

    factory.series(tmp_path, factory.planes(6), edit=lose)
    with pytest.raises(InputError, match="which one") as caught:
        read(tmp_path)
    assert "unreadable: A CT image does not say where it lies" in str(caught.value)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImagePositionPatient", ["1", "2"]),
        ("ImageOrientationPatient", ""),
        ("PixelSpacing", ["0.7"]),
        ("PixelSpacing", ["0.7", "x"]),
    ],
)
def test_values_of_a_wrong_length(tmp_path: Path, factory: ModuleType, keyword: str, value: Any) -> None:
    (path,) = factory.series(tmp_path / "good", factory.planes(1))
    ds = pydicom.dcmread(path)
    with pydicom.config.disable_value_validation():
        ds[keyword]._value = value
        ds.save_as(tmp_path / "bad.dcm")
    with pytest.raises(InputError, match=f"{keyword} .* absent or malformed"):
        read(tmp_path / "bad.dcm")


def test_without_instance_numbers(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(6)

    def lose(n: int, ds: Any) -> None:
        if n % 2:
            del ds.InstanceNumber
        else:
            ds.InstanceNumber = None

    factory.series(tmp_path, voxels, edit=lose)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array, voxels.astype(int) - 1024)
    assert volume.findings == ()


def test_a_siemens_mosaic_is_refused_by_name(tmp_path: Path, factory: ModuleType) -> None:
    kind = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    factory.series(tmp_path, factory.planes(3), modality="MR", ImageType=kind)
    with pytest.raises(InputError, match="Siemens mosaic"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("numbers", "severity", "value"),
    [
        ((1, 2, 3, 7, 8), "warning", "gaps from 3 to 7"),
        ((10, 20, 30, 50, 60), "warning", "gaps from 30 to 50"),
        ((4, 5, 6, 7, 8), "info", "starts at 4"),
    ],
)
def test_images_that_did_not_arrive(
    tmp_path: Path, factory: ModuleType, numbers: tuple[int, ...], severity: str, value: str
) -> None:
    def set_number(n: int, ds: Any) -> None:
        ds.InstanceNumber = numbers[n]

    factory.series(tmp_path, factory.planes(5), edit=set_number)
    (finding,) = read(tmp_path).findings
    assert (finding.code, finding.severity, finding.value) == ("INCOMPLETE", severity, value)


def test_numbers_of_localizers_count(tmp_path: Path, factory: ModuleType) -> None:
    def set_number(n: int, ds: Any) -> None:
        ds.InstanceNumber = 3 + n

    factory.series(tmp_path, factory.planes(5), edit=set_number)
    for number in (1, 2, 99):
        kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        scout = factory.slice_dataset(factory.planes(1)[0], (0, 0, number), number=number, ImageType=kind)
        factory.save(scout, tmp_path / f"scout{number}.dcm")
    assert _codes(read(tmp_path)) == ["LOCALIZER_EXCLUDED"]


def test_a_coloured_page_beside_a_scan(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path, factory.planes(5))
    page = np.zeros((6, 5, 3), np.uint8)
    colours = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    place = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
    ds = factory.slice_dataset(page, (0, 0, 0), number=50, series=3, **colours)
    for keyword in place:
        delattr(ds, keyword)
    factory.save(ds, tmp_path / "page.dcm")
    assert _codes(read(tmp_path)) == ["CAPTURE_EXCLUDED"]


def test_files_without_a_series_uid(tmp_path: Path, factory: ModuleType) -> None:
    voxels = [factory.planes(4, seed=seed) for seed in (0, 1)]
    for n in range(2):
        factory.series(tmp_path / f"s{n}", voxels[n], origin=(0, 0, 1.25 * n), SeriesInstanceUID=None)
    assert [entry.shape for entry in scan(tmp_path).entries] == [(4, 6, 5), (4, 6, 5)]
    np.testing.assert_array_equal(read(tmp_path / "s0").array, voxels[0].astype(int) - 1024)


def test_fewer_images_than_stated(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path, factory.planes(5), ImagesInAcquisition=8)
    (finding,) = read(tmp_path).findings
    assert (finding.code, finding.tag, finding.value) == ("INCOMPLETE", "(0020,1002)", "5 of 8")
    assert "INCOMPLETE" not in _codes(read(next(tmp_path.iterdir())))


def test_the_same_uid_on_another_image_loses_nothing(tmp_path: Path, factory: ModuleType) -> None:
    def same(_: int, ds: Any) -> None:
        ds.SOPInstanceUID = factory.uid(77)

    voxels = factory.planes(4)
    factory.series(tmp_path, voxels, edit=same)
    np.testing.assert_array_equal(read(tmp_path).array, voxels.astype(int) - 1024)
