"""DICOM series: what is written is what every reader gets back."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest

from medimg import geometry
from medimg.errors import InputError
from medimg.io.dicom import write as write_dicom
from medimg.io.dicom.write import WrittenSeries, write_dicom_series
from medimg.io.image import Volume
from medimg.io.policy import ReadPolicy
from medimg.io.read import read

SHAPE = (5, 7, 9)


def _affine(seed: int, flips: tuple[int, int, int] = (1, 1, 1)) -> np.ndarray:
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * [2.5, 0.8123456789, 0.7] * np.asarray(flips)
    affine[:3, 3] = 123.456789, -20.1, 3000.7
    return affine


def _scan(dtype: Any = np.int16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 3000, SHAPE).astype(dtype)


def _same(a: Volume, b: Volume, atol: float = 0.0) -> None:
    """The same values at the same places, whatever the order of the slices."""
    (one, one_affine, _), (two, two_affine, _) = (geometry.to_lps(v.array, v.affine) for v in (a, b))
    assert geometry.same_grid(one.shape, one_affine, two.shape, two_affine, 1e-3)
    np.testing.assert_allclose(one, two, rtol=0, atol=atol)


AFFINES = [
    np.diag([2.5, 0.8, 0.7, 1.0])[[2, 1, 0, 3]][:, [0, 1, 2, 3]],
    *(_affine(seed) for seed in range(3)),
    _affine(3, (-1, 1, 1)),
    _affine(3, (1, -1, 1)),
    _affine(3, (-1, -1, -1)),
]


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_our_reader_gets_it_back(tmp_path: Path, affine: np.ndarray, modality: Any) -> None:
    volume = Volume(_scan(), affine, "HU" if modality == "CT" else "arbitrary")
    written = write_dicom_series(volume, tmp_path / "s", modality=modality)
    again = read(tmp_path / "s")
    assert isinstance(again, Volume)
    _same(again, volume)
    assert (again.unit, again.array.dtype, again.findings) == (volume.unit, np.int16, ())
    assert again.source.paths == written.paths
    assert again.frame_of_reference_uid == written.frame_of_reference_uid
    positive = np.cross(affine[:3, 2], affine[:3, 1]) @ affine[:3, 0] > 0
    np.testing.assert_array_equal(again.array, volume.array if positive else volume.array[::-1])


@pytest.mark.parametrize("affine", AFFINES[::2])
def test_highdicom_gets_it_back(tmp_path: Path, affine: np.ndarray) -> None:
    volume = Volume(_scan(), affine, "HU")
    written = write_dicom_series(volume, tmp_path / "s", modality="CT")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        strict = hd.get_volume_from_series([pydicom.dcmread(path) for path in written.paths])
    _same(Volume(strict.array, strict.affine), volume)


@pytest.mark.parametrize("affine", AFFINES[::3])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_dcm2niix_gets_it_back(tmp_path: Path, affine: np.ndarray, modality: Any) -> None:
    program = shutil.which("dcm2niix")
    if program is None:
        pytest.skip("dcm2niix is not installed")
    volume = Volume(_scan(), affine, "arbitrary")
    write_dicom_series(volume, tmp_path / "s", modality=modality)
    command = [program, "-b", "n", "-z", "n", "-f", "out", "-o", str(tmp_path), str(tmp_path / "s")]
    subprocess.run(command, check=True, capture_output=True)
    _same(read(tmp_path / "out.nii"), volume)


@pytest.mark.parametrize("affine", AFFINES[1::3])
def test_simpleitk_gets_it_back(tmp_path: Path, affine: np.ndarray) -> None:
    sitk = pytest.importorskip("SimpleITK")
    volume = Volume(_scan(np.float32) * np.float32(0.37), affine, "arbitrary")
    written = write_dicom_series(volume, tmp_path / "s", modality="MR")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "s")))
    image = reader.Execute()
    steps = np.asarray(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    back = np.eye(4)
    back[:3] = np.column_stack([steps[:, ::-1], image.GetOrigin()])
    _same(Volume(sitk.GetArrayFromImage(image), back), volume, written.max_error)


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (_scan(np.int8) // 40, np.int16),
        (np.clip(_scan(np.int32), 0, None) * 20, np.uint16),
        (_scan(np.int64) + 1_000_000, np.int32),
        (_scan(np.uint64), np.int16),
        (_scan(np.float32), np.int16),
        (_scan(np.float64) > 0, np.int16),
        (np.full(SHAPE, 7, np.uint8), np.int16),
        (np.asfortranarray(_scan(">i2")), np.int16),
    ],
)
def test_whole_numbers_are_exact(tmp_path: Path, array: np.ndarray, dtype: Any) -> None:
    array = np.abs(array.astype(np.int64)).astype(np.uint64) if array.dtype == np.uint64 else array
    volume = Volume(array, AFFINES[1], "arbitrary")
    written = write_dicom_series(volume, tmp_path / "s", modality="MR")
    again = read(tmp_path / "s")
    _same(again, Volume(array.astype(np.float64), AFFINES[1]))
    assert (written.max_error, written.slope, again.array.dtype) == (0.0, 1.0, dtype)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1e-7, 3e-7), (-1.5e5, 3.3e6), (1e6, 1e6 + 1.5), (-2.0, 1e-3)])
def test_the_error_of_rounding_is_bounded(tmp_path: Path, low: float, high: float) -> None:
    array = np.random.default_rng(0).uniform(low, high, SHAPE)
    array[0, 0, 0], array[1, 1, 1] = low, high
    for dtype in (np.float32, np.float64):
        volume = Volume(array.astype(dtype), AFFINES[2], "arbitrary")
        written = write_dicom_series(volume, tmp_path / dtype.__name__, modality="MR")
        again = read(tmp_path / dtype.__name__)
        (one, _, _), (two, _, _) = (geometry.to_lps(v.array.astype(np.float64), v.affine) for v in (again, volume))
        off = np.abs(one - two).max()
        assert off <= written.max_error
        level = (high - low) / 65000 / 2
        assert written.max_error <= 1.01 * level + 2 * np.spacing(np.float32(max(abs(low), abs(high))))
        ds = pydicom.dcmread(written.paths[0])
        assert (float(ds.RescaleSlope), float(ds.RescaleIntercept)) == (written.slope, written.intercept)
        assert all(len(str(value)) <= 16 for value in (ds["RescaleSlope"].value, ds["RescaleIntercept"].value))


def test_a_constant_and_a_bound_that_is_asked_for(tmp_path: Path) -> None:
    volume = Volume(np.full(SHAPE, 0.25, np.float32), AFFINES[0], "arbitrary")
    write_dicom_series(volume, tmp_path / "c", modality="MR")
    np.testing.assert_array_equal(read(tmp_path / "c").array, volume.array)
    wide = _scan(np.float32) * np.float32(0.37)
    wide[0, 0, 0] = 1e7
    with pytest.raises(InputError, match="as exactly as asked"):
        write_dicom_series(Volume(wide, AFFINES[0]), tmp_path / "w", modality="CT", max_error=0.5)
    assert not (tmp_path / "w").exists()


def test_header_of_a_slice(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.asarray([[0, 0, 0.7], [0, 0.8, 0], [2.5, 0, 0]])
    affine[:3, 3] = -100, -90, 12.5
    series = write_dicom_series(Volume(_scan(), affine, "HU"), tmp_path / "s", modality="CT", description="phantom")
    ds = pydicom.dcmread(series.paths[2])
    assert [path.name for path in series.paths] == [f"{n:04d}.dcm" for n in range(1, 6)]
    assert [float(v) for v in ds.ImagePositionPatient] == [-100, -90, 17.5]
    assert [float(v) for v in ds.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
    assert [float(v) for v in ds.PixelSpacing] == [0.8, 0.7]
    assert (float(ds.SliceThickness), float(ds.SpacingBetweenSlices), float(ds.SliceLocation)) == (2.5, 2.5, 17.5)
    assert (ds.InstanceNumber, ds.SeriesNumber, ds.SeriesDescription) == (3, 1, "phantom")
    assert (ds.RescaleType, ds.Modality, ds.SOPClassUID.name) == ("HU", "CT", "CT Image Storage")
    assert (ds.PatientName, ds.PatientID, ds.PatientIdentityRemoved) == ("", "", "YES")
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    other = pydicom.dcmread(write_dicom_series(Volume(_scan(), affine), tmp_path / "o", modality="CT").paths[0])
    assert other.RescaleType == "US"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        assert other[keyword].value != ds[keyword].value


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_it_conforms(tmp_path: Path, modality: Any) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed")
    written = write_dicom_series(Volume(_scan(), AFFINES[0], "HU"), tmp_path / "s", modality=modality)
    told = subprocess.run([program, "-new", str(written.paths[0])], check=False, capture_output=True, text=True).stderr
    assert "Error" not in told


def test_uids_and_attributes_that_are_given(tmp_path: Path) -> None:
    volume = Volume(_scan(), AFFINES[1], "HU")

    def write(name: str, **options: Any) -> WrittenSeries:
        return write_dicom_series(volume, tmp_path / name, modality="CT", **options)

    a, b, c = write("a", uid_seed="x"), write("b", uid_seed="x"), write("c", uid_seed="y")
    assert [p.read_bytes() for p in a.paths] == [p.read_bytes() for p in b.paths]
    assert (
        len({a.series_uid, c.series_uid, write("d").series_uid, write("e", uid_seed="x", series_number=2).series_uid})
        == 4
    )
    given = write("f", study_uid="1.2.3", frame_of_reference_uid="1.2.4", attributes={"PatientID": "P1", "KVP": "120"})
    ds = pydicom.dcmread(given.paths[0])
    assert (ds.StudyInstanceUID, ds.FrameOfReferenceUID, ds.PatientID, ds.KVP) == ("1.2.3", "1.2.4", "P1", 120)
    assert "PatientIdentityRemoved" not in ds
    for keyword in ("PixelSpacing", "SOPInstanceUID", "NoSuchKeyword", "TransferSyntaxUID"):
        with pytest.raises(InputError, match="cannot be given"):
            write("g", attributes={keyword: "1"})
    for keyword, value in (("EchoNumbers", "SECRET"), ("AcquisitionNumber", object()), ("KVP", "SECRET" * 9)):
        with pytest.raises(InputError, match="cannot be encoded") as caught:
            write("g", attributes={keyword: value})
        assert "SECRET" not in str(caught.value)


def test_a_tilted_stack_is_refused_or_written_as_it_is(tmp_path: Path) -> None:
    affine = _affine(1)
    affine[:3, 0] += 0.6 * affine[:3, 1]
    volume = Volume(_scan(), affine, "HU")
    with pytest.raises(InputError, match="tilted gantry"):
        write_dicom_series(volume, tmp_path / "s", modality="CT")
    write_dicom_series(volume, tmp_path / "s", modality="CT", tilt="write")
    _same(read(tmp_path / "s", policy=ReadPolicy(tilt="shear")), volume)
    affine = _affine(1)
    affine[:3, 1] += 0.1 * affine[:3, 2]
    with pytest.raises(InputError, match="right angles"):
        write_dicom_series(Volume(_scan(), affine), tmp_path / "t", modality="CT", tilt="write")


@pytest.mark.parametrize(
    ("volume", "modality", "message"),
    [
        (Volume(_scan(), np.zeros((4, 4))), "CT", "affine"),
        (Volume(np.zeros((2, *SHAPE)), np.eye(4)), "CT", "one scan"),
        (Volume(np.zeros((0, 3, 3)), np.eye(4)), "CT", "one scan"),
        (Volume(np.full(SHAPE, np.nan), np.eye(4)), "CT", "finite"),
        (Volume(np.zeros(SHAPE, complex), np.eye(4)), "CT", "real numbers"),
        (Volume(np.zeros(SHAPE, np.uint8), np.eye(4), "label"), "CT", "Labels"),
        (Volume(_scan(), np.eye(4)), "PT", "kind of series"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, volume: Volume, modality: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_dicom_series(volume, tmp_path / "s", modality=modality)
    assert not list(tmp_path.iterdir())


def test_one_channel_and_one_slice(tmp_path: Path) -> None:
    volume = Volume(_scan()[None], AFFINES[1], "HU")
    write_dicom_series(volume, tmp_path / "s", modality="CT")
    _same(read(tmp_path / "s"), Volume(volume.array[0], volume.affine))
    single = Volume(_scan()[:1], AFFINES[1], "HU")
    write_dicom_series(single, tmp_path / "one", modality="CT")
    _same(read(tmp_path / "one"), single)


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, real, calls = Volume(_scan(), AFFINES[1], "HU"), write_dicom.slice_dataset, []

    def failing(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        return real(*args)

    monkeypatch.setattr(write_dicom, "slice_dataset", failing)
    with pytest.raises(InputError, match="No space left"):
        write_dicom_series(volume, tmp_path / "deep" / "s", modality="CT")
    assert not list((tmp_path / "deep").iterdir())
    monkeypatch.undo()
    written = write_dicom_series(volume, tmp_path / "deep" / "s", modality="CT")
    before = [path.read_bytes() for path in written.paths]
    with pytest.raises(InputError, match="already"):
        write_dicom_series(volume, tmp_path / "deep" / "s", modality="CT")
    assert [path.read_bytes() for path in written.paths] == before
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="already"):
        write_dicom_series(volume, tmp_path / "file", modality="CT")
    with pytest.raises(InputError, match="Cannot write"):
        write_dicom_series(volume, tmp_path / "file" / "s", modality="CT")
    (tmp_path / "empty").mkdir()
    write_dicom_series(volume, tmp_path / "empty", modality="CT")
    assert len(list((tmp_path / "empty").iterdir())) == SHAPE[0]
