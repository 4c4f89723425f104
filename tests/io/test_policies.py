"""Reading policies: what is mended, how exactly, and what is said about it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from medimg import geometry
from medimg.errors import ConfigError, InputError
from medimg.io.findings import Finding
from medimg.io.image import Volume
from medimg.io.policy import ReadPolicy
from medimg.io.read import read, read_all, scan


def _ramp(n: int, rows: int = 6, columns: int = 5) -> np.ndarray:
    """(n, rows, columns) stored values that are linear in z, y and x, so that linear interpolation is exact."""
    z, y, x = np.meshgrid(np.arange(n), np.arange(rows), np.arange(columns), indexing="ij")
    return (1024 + 40 * z + 8 * y + 16 * x).astype(np.uint16)


def _finding(volume: Volume, code: str) -> Finding:
    (found,) = [finding for finding in volume.findings if finding.code == code]
    return found


def test_words_that_mean_nothing() -> None:
    with pytest.raises(ConfigError, match="reading policy"):
        ReadPolicy(tilt="ignore")  # type: ignore[arg-type]


@pytest.mark.parametrize("lacking", [(3,), (3, 4), (1, 5, 6, 8)])
def test_missing_slices_are_filled(tmp_path: Path, factory: ModuleType, lacking: tuple[int, ...]) -> None:
    voxels = _ramp(12)
    factory.series(tmp_path, voxels, edit=lambda n, _: n not in lacking)
    with pytest.raises(InputError, match=f"{len(lacking)} missing") as caught:
        read(tmp_path)
    assert "reading.missing=interpolate" in str(caught.value)
    volume = read(tmp_path, policy=ReadPolicy(missing="interpolate"))
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, voxels.astype(int) - 1024)
    np.testing.assert_allclose(volume.affine[:3, 3], (-10, -20, 30))
    assert volume.spacing_mm[0] == pytest.approx(2.5)
    assert volume.shape_zyx == scan(tmp_path, policy=ReadPolicy(missing="interpolate")).entries[0].shape
    filled = _finding(volume, "MISSING_INTERPOLATED")
    assert f"{len(lacking)} missing" in filled.message
    for n in lacking:
        assert f"{n} ({30 + 2.5 * n:.2f} mm)" in str(filled.assumed)


def test_filled_values_are_rounded(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(5)
    factory.series(tmp_path, voxels, edit=lambda n, _: n != 2)
    volume = read(tmp_path, policy=ReadPolicy(missing="interpolate"))
    np.testing.assert_array_equal(volume.array[[0, 1, 3, 4]], voxels[[0, 1, 3, 4]].astype(int) - 1024)
    np.testing.assert_array_equal(volume.array[2], np.rint((voxels[1].astype(float) + voxels[3]) / 2) - 1024)


def test_more_holes_than_slices_are_never_filled(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path, factory.planes(30), edit=lambda n, _: n in (0, 1, 2, 29))
    with pytest.raises(InputError):
        read(tmp_path, policy=ReadPolicy(missing="interpolate", irregular="resample"))


def test_missing_slices_split_the_stack(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(10)
    factory.series(tmp_path, voxels, edit=lambda n, _: n not in (3, 8))
    policy = ReadPolicy(missing="split")
    volumes = read_all(tmp_path, policy=policy)
    assert [volume.array.shape[0] for volume in volumes] == [3, 4, 1]
    for volume, start in zip(volumes, (0, 4, 9)):
        stop = start + len(volume.array)
        np.testing.assert_array_equal(volume.array, voxels[start:stop].astype(int) - 1024)
        np.testing.assert_allclose(volume.affine[:3, 3], (-10, -20, 30 + 2.5 * start))
        assert volume.spacing_mm[0] == pytest.approx(2.5)
        assert "2 slices are missing" in _finding(volume, "MISSING_SPLIT").message
    with pytest.raises(InputError, match="which one"):
        read(tmp_path, policy=policy)
    np.testing.assert_array_equal(read(tmp_path, series=1, policy=policy).array, volumes[1].array)


def _rescan(factory: ModuleType, folder: Path, voxels: np.ndarray, **elements: Any) -> np.ndarray:
    """Add two slices that repeat positions 2 and 4, made later."""
    later = factory.planes(2, seed=7)
    for plane, n in zip(later, (2, 4)):
        ds = factory.slice_dataset(plane, (-10, -20, 30 + 2.5 * n), number=50 + n, **elements)
        factory.save(ds, folder / f"a_rescan{n}.dcm")
    expected = voxels.astype(int) - 1024
    expected[[2, 4]] = later.astype(int) - 1024
    return expected


def test_the_last_of_doubled_slices_is_kept(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(6)
    factory.series(tmp_path, voxels)
    expected = _rescan(factory, tmp_path, voxels)
    with pytest.raises(InputError, match="same position"):
        read(tmp_path)
    volume = read(tmp_path, policy=ReadPolicy(duplicates="keep_last"))
    np.testing.assert_array_equal(volume.array, expected)
    dropped = _finding(volume, "DUPLICATES_DROPPED")
    assert "2 slices" in dropped.message
    assert "(35.00 mm)" in str(dropped.value)


def test_a_rescan_with_an_acquisition_number_of_its_own_is_a_rescan(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(6)
    factory.series(tmp_path, voxels, AcquisitionNumber=1)
    (tmp_path / "x").mkdir()
    later = factory.slice_dataset(factory.planes(1, seed=3)[0], (-10, -20, 35), number=60, AcquisitionNumber=2)
    factory.save(later, tmp_path / "x" / "a.dcm")
    volume = read(tmp_path, policy=ReadPolicy(duplicates="keep_last"))
    assert volume.array.shape == (6, 6, 5)
    np.testing.assert_array_equal(volume.array[2], factory.planes(1, seed=3)[0].astype(int) - 1024)


def test_half_a_stack_is_no_repeat(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path / "a", factory.planes(8))
    factory.series(tmp_path / "b", factory.planes(8, seed=1), first_number=20, edit=lambda n, _: n < 6)
    with pytest.raises(InputError, match="another stack"):
        read(tmp_path, policy=ReadPolicy(duplicates="keep_last"))


def test_doubled_slices_of_equal_age_stay_refused(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(4)
    factory.series(tmp_path, voxels)
    twin = factory.slice_dataset(voxels[1] + 1, (-10, -20, 32.5), number=2)
    factory.save(twin, tmp_path / "twin.dcm")
    with pytest.raises(InputError, match="which of them is the last"):
        read(tmp_path, policy=ReadPolicy(duplicates="keep_last"))


def _tilted(
    factory: ModuleType, folder: Path, voxels: np.ndarray, lean: tuple[float, float], gap: float = 2.0, **elements: Any
) -> None:
    """Write axial slices; each lies ``lean`` (y, x) mm beside the one below."""

    def edit(n: int, ds: Any) -> None:
        ds.ImagePositionPatient = [-10 + lean[1] * n, -20 + lean[0] * n, 30 + gap * n]

    factory.series(folder, voxels, edit=edit, **elements)


def test_tilt_as_a_sheared_affine(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(8)
    lean = 2.0 * np.tan(np.radians(15))
    _tilted(factory, tmp_path, voxels, (lean, 0))
    volume = read(tmp_path, policy=ReadPolicy(tilt="shear"))
    np.testing.assert_array_equal(volume.array, voxels.astype(int) - 1024)
    expected = [[0, 0, 0.7, -10], [lean, 0.8, 0, -20], [2, 0, 0, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.affine, expected, atol=1e-6)
    assert geometry.shear_deg(volume.affine) == pytest.approx(15, abs=1e-3)
    assert _finding(volume, "TILT_SHEARED").value == "15.00°"


@pytest.mark.parametrize("lean", [(0.8, 0.0), (-1.6, 0.7), (0.5, -0.3), (-0.31, -0.17)])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_tilt_resampled_to_a_straight_grid(
    tmp_path: Path, factory: ModuleType, lean: tuple[float, float], modality: str
) -> None:
    # Values that are linear in the patient, so that linear interpolation in a plane is exact but for rounding.
    n, y, x = np.meshgrid(np.arange(7), np.arange(12), np.arange(10), indexing="ij")
    mm = {"z": 30 + 2.0 * n, "y": -20 + 0.8 * y + lean[0] * n, "x": -10 + 0.7 * x + lean[1] * n}
    truth = 2000 + 10 * mm["z"] + 6 * mm["y"] - 9 * mm["x"]
    _tilted(factory, tmp_path, np.rint(truth).astype(np.uint16), lean, modality=modality)
    volume = read(tmp_path, policy=ReadPolicy(tilt="resample"))
    assert geometry.shear_deg(volume.affine) < 1e-6
    assert volume.spacing_mm == pytest.approx((2.0, 0.8, 0.7))
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape_zyx), indexing="ij"), axis=-1)
    place = geometry.apply(volume.affine, index)
    wanted = 2000 + 10 * place[..., 2] + 6 * place[..., 1] - 9 * place[..., 0] - (1024 if modality == "CT" else 0)
    start = np.asarray([-10 + lean[1] * index[..., 0], -20 + lean[0] * index[..., 0]])
    pixel = np.asarray([(place[..., 0] - start[0]) / 0.7, (place[..., 1] - start[1]) / 0.8])
    inside = (pixel > -1e-6).all(axis=0) & (pixel[0] < 9 + 1e-6) & (pixel[1] < 11 + 1e-6)
    assert inside.sum() > 0.8 * voxels_inside(lean)
    assert np.abs(volume.array[inside] - wanted[inside]).max() <= 1.01
    outside = (pixel <= -1).any(axis=0) | (pixel[0] >= 10) | (pixel[1] >= 12)
    padding = _finding(volume, "PADDED")
    if modality == "CT":
        assert (volume.array[outside] == -1000).all()
        assert padding.assumed == "-1000 HU"
    else:
        assert (volume.array[outside] == np.rint(truth).min()).all()
    told = _finding(volume, "TILT_RESAMPLED")
    assert f"{np.hypot(*lean) * 6:.2f} mm" in str(told.assumed)


def voxels_inside(lean: tuple[float, float]) -> float:
    """How many voxels of the straight grid the slices must at least cover."""
    return 7 * (12 - bool(lean[0] % 0.8)) * (10 - bool(lean[1] % 0.7))


def test_no_gantry_leans_that_far(tmp_path: Path, factory: ModuleType) -> None:
    _tilted(factory, tmp_path, factory.planes(6), (5.0, 0.0))
    for tilt in ("shear", "resample"):
        with pytest.raises(InputError, match="no gantry"):
            read(tmp_path, policy=ReadPolicy(tilt=tilt))


def test_tilt_and_a_missing_slice(tmp_path: Path, factory: ModuleType) -> None:
    voxels = _ramp(8)

    def edit(n: int, ds: Any) -> bool:
        ds.ImagePositionPatient = [-10, -20 + 0.8 * n, 30 + 2 * n]
        return n != 4

    factory.series(tmp_path, voxels, edit=edit)
    with pytest.raises(InputError, match="missing"):
        read(tmp_path, policy=ReadPolicy(tilt="shear"))
    with pytest.raises(InputError, match="sheared"):
        read(tmp_path, policy=ReadPolicy(missing="interpolate"))
    sheared = read(tmp_path, policy=ReadPolicy(tilt="shear", missing="interpolate"))
    np.testing.assert_array_equal(sheared.array, voxels.astype(int) - 1024)
    straight = read(tmp_path, policy=ReadPolicy(tilt="resample", missing="interpolate"))
    assert straight.array.shape == (8, 6 + 7, 5)
    for n in range(8):
        if n != 4:
            np.testing.assert_array_equal(straight.array[n, n : n + 6], voxels[n].astype(int) - 1024)


def test_uneven_gaps_are_evened_out(tmp_path: Path, factory: ModuleType) -> None:
    heights = np.asarray([0, 2.5, 5, 7.5, 13, 15.5, 18, 20.5])
    voxels = np.stack([np.full((6, 5), 1024 + 100 * h) for h in heights]).astype(np.uint16)

    def move(n: int, ds: Any) -> None:
        ds.ImagePositionPatient = [0, 0, heights[n]]

    factory.series(tmp_path, voxels, edit=move)
    with pytest.raises(InputError, match=r"reading\.irregular=resample"):
        read(tmp_path)
    volume = read(tmp_path, policy=ReadPolicy(irregular="resample"))
    gap = 20.5 / 8
    assert volume.spacing_mm[0] == pytest.approx(gap)
    np.testing.assert_allclose(volume.array[:, 0, 0], 100 * gap * np.arange(9), atol=0.51)
    told = _finding(volume, "IRREGULAR_RESAMPLED")
    assert told.value == "gaps from 2.500 to 5.500 mm"
    assert "8 unevenly spaced slices" in told.message
    assert "9 even ones" in told.message


def test_policies_cannot_ask_for_unreasonable_memory(tmp_path: Path, factory: ModuleType) -> None:
    def move(n: int, ds: Any) -> None:
        ds.ImagePositionPatient = [0, 0, [0, 0.02, 0.04, 0.06, 0.08, 9e6][n]]

    factory.series(tmp_path / "far", factory.planes(6), edit=move)
    everything = ReadPolicy(missing="interpolate", irregular="resample", tilt="resample", duplicates="keep_last")
    with pytest.raises(InputError, match="unevenly"):
        read(tmp_path / "far", policy=everything)
    _tilted(factory, tmp_path / "tiny", factory.planes(6), (1.0, 1.0), spacing=(1e-6, 1e-6))
    with pytest.raises(InputError, match="unreasonably large"):
        read(tmp_path / "tiny", policy=everything)
    factory.series(tmp_path / "big", factory.planes(6), edit=lambda n, _: n != 3)
    with pytest.raises(InputError, match="limit"):
        read(tmp_path / "big", policy=ReadPolicy(missing="interpolate", max_bytes=200))


def test_a_strict_policy_changes_nothing_of_a_good_series(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path, factory.planes(6))
    strict = read(tmp_path)
    lenient = read(tmp_path, policy=ReadPolicy("interpolate", "keep_last", "resample", "resample"))
    np.testing.assert_array_equal(strict.array, lenient.array)
    np.testing.assert_array_equal(strict.affine, lenient.affine)
    assert strict.findings == lenient.findings == ()
