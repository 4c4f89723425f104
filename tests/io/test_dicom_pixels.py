"""Values of slices: the same numbers whatever the route, in memory that is used once."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from medimg.errors import InputError
from medimg.io.dicom import slice_reader
from medimg.io.dicom.fast import decode_fast
from medimg.io.dicom.headers import read_header
from medimg.io.dicom.pixels import Rescale, apply_rescale
from medimg.io.read import read


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize(
    ("slope", "intercept"), [(1, 0), (1, -1024), (2, 5), (-1, 7), (0.25, -3.5), (1, 30000), (1, 40)]
)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_routes_agree(
    tmp_path: Path, factory: ModuleType, dtype: Any, slope: float, intercept: float, photometric: str
) -> None:
    voxels = np.random.default_rng(1).integers(0, 256 if dtype == np.uint8 else 32000, (5, 6, 7)).astype(dtype)
    rescale = {"RescaleSlope": slope, "RescaleIntercept": intercept, "PhotometricInterpretation": photometric}
    factory.series(tmp_path, voxels, modality="MR", **rescale)
    turned = voxels.astype(np.int64)
    if photometric == "MONOCHROME1":
        turned = -1 - turned if dtype == np.int16 else np.iinfo(dtype).max - turned
    expected = turned * float(slope) + float(intercept)
    whole, floats = read(tmp_path).array, read(tmp_path, dtype=np.float32).array
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(floats, expected.astype(np.float32))
    assert floats.dtype == np.float32


def test_a_sum_that_does_not_fit_is_undone(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(4)
    voxels[2, 1, 1] = 65535
    factory.series(tmp_path, voxels, modality="MR", RescaleSlope=1, RescaleIntercept=-100)
    volume = read(tmp_path)
    assert volume.array.dtype == np.int32
    np.testing.assert_array_equal(volume.array, voxels.astype(int) - 100)


def test_large_whole_numbers_are_rounded_once() -> None:
    planes = np.array([[[2**24 + 1, 7]]], np.int32)
    np.testing.assert_array_equal(apply_rescale(planes.copy(), [Rescale(1.0, -(2.0**24))]), [[[1, 7 - 2**24]]])
    np.testing.assert_array_equal(apply_rescale(planes, [Rescale(0.5, -(2.0**23))]), np.float32([[[0.5, 3.5 - 2**23]]]))


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_any_number_of_threads(
    tmp_path: Path, factory: ModuleType, monkeypatch: pytest.MonkeyPatch, workers: int, syntax: Any
) -> None:
    def compress(_: int, ds: Any) -> None:
        if syntax:
            ds.compress(syntax)

    monkeypatch.setattr(slice_reader, "available_cores", lambda: workers)
    voxels = factory.planes(23, 40, 36)
    paths = factory.series(tmp_path, voxels, edit=compress)
    np.testing.assert_array_equal(read(tmp_path).array, voxels.astype(int) - 1024)
    for path in paths[5:9]:
        path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match="cut short"):
        read(tmp_path)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_the_short_way_gives_what_pydicom_gives(tmp_path: Path, factory: ModuleType, syntax: Any, dtype: Any) -> None:
    pytest.importorskip("imagecodecs")
    plane = (factory.planes(1, 64, 48)[0].astype(int) % (256 if dtype == np.uint8 else 4096)).astype(dtype)
    plane = plane - np.array(2000, dtype) if dtype == np.int16 else plane
    ds = factory.slice_dataset(plane, (0, 0, 0))
    ds.compress(syntax)
    path = factory.save(ds, tmp_path / "a.dcm")
    frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    header = read_header(path)
    array = decode_fast(frame, header, syntax)
    assert array is not None
    np.testing.assert_array_equal(array, pydicom.dcmread(path).pixel_array)
    np.testing.assert_array_equal(array, plane)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_another_size_in_the_code_stream(tmp_path: Path, factory: ModuleType, syntax: Any) -> None:
    ds = factory.slice_dataset(factory.planes(1, 64, 48)[0], (0, 0, 0))
    ds.compress(syntax)
    ds.Rows = 65
    with pytest.raises(InputError, match="damaged"):
        read(factory.save(ds, tmp_path / "a.dcm"))
