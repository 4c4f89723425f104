"""The traps that known toolkits fall into silently: what each policy says, and what two other readers say.

Oracles: dcm2niix for every series that is clean or can be split into clean ones, highdicom's strict reader for
regular ones. They are compared in patient space, where their axes may run the other way.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_rescale

from medimg import geometry
from medimg.errors import InputError
from medimg.io.image import Picture, Volume
from medimg.io.policy import ReadPolicy
from medimg.io.read import read, read_all, scan

AFFINE_MM = 1e-3


def _codes(image: Volume | Picture) -> list[str]:
    return [finding.code for finding in image.findings]


def _converted(folder: Path, out: Path) -> list[Volume]:
    """Convert with dcm2niix; Volumes in LPS mm. Skips where it is not installed."""
    converter = pytest.importorskip("dcm2niix")
    out.mkdir()
    command = [converter.bin, "-z", "n", "-b", "n", "-f", "%s_%e_%p", "-o", str(out), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    images = [nibabel.load(path) for path in sorted(out.glob("*.nii"))]
    return [Volume(np.asarray(image.dataobj).T, geometry.from_ras_ijk(image.affine)) for image in images]


def _agree(mine: Volume, other: Volume, *, values: float = 0.0) -> None:
    """Compare two volumes voxel by voxel in patient space."""
    a, affine_a, _ = geometry.to_lps(mine.array, mine.affine)
    b, affine_b, _ = geometry.to_lps(other.array, other.affine)
    np.testing.assert_allclose(affine_a, affine_b, rtol=0, atol=AFFINE_MM)
    np.testing.assert_allclose(a.astype(np.float64), b.astype(np.float64), rtol=0, atol=values)


def _strict(volume: Volume) -> None:
    """Compare with highdicom's reader of regular series."""
    datasets = [pydicom.dcmread(path) for path in volume.source.paths]
    other = highdicom.get_volume_from_series(datasets)
    stored = {ds.SOPInstanceUID: apply_rescale(ds.pixel_array, ds) for ds in datasets}
    values = np.stack([stored[uid] for uid in volume.source.instance_uids])
    np.testing.assert_allclose(volume.array, values, rtol=1e-6, atol=1e-4)
    _agree(volume, Volume(np.asarray(other.array), np.asarray(other.affine)), values=1e-3)


def _both(folder: Path, tmp_path: Path, *, values: float = 0.0) -> Volume:
    """Read a folder that holds one regular series and compare with both oracles."""
    volume = read(folder)
    assert isinstance(volume, Volume)
    _strict(volume)
    (other,) = _converted(folder, tmp_path / "nii")
    _agree(volume, other, values=values)
    return volume


def _smooth(factory: ModuleType, n: int = 12, seed: int = 0, dtype: Any = np.uint16) -> np.ndarray:
    """(n, 16, 14) stored values of 12 bits."""
    return factory.planes(n, 16, 14, seed=seed, dtype=dtype)


OBLIQUE = (0.99999996693059, -4.81874506e-05, -0.0002526198484, 2.046187e-10, 0.98228909079532, -0.1873716683613)


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize(
    "orientation",
    [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1), (-1, 0, 0, 0, 1, 0), (0, 1, 0, 1, 0, 0), OBLIQUE],
)
def test_clean(tmp_path: Path, factory: ModuleType, orientation: Any, modality: str) -> None:
    factory.series(tmp_path / "in", _smooth(factory), orientation=orientation, modality=modality)
    volume = _both(tmp_path / "in", tmp_path)
    assert _codes(volume) == []


def test_trap_1_reversed_instance_numbers(tmp_path: Path, factory: ModuleType) -> None:
    def reverse(n: int, ds: Any) -> None:
        ds.InstanceNumber = 12 - n

    factory.series(tmp_path / "in", _smooth(factory), edit=reverse)
    assert _codes(_both(tmp_path / "in", tmp_path)) == []


def _tilt(n: int, ds: Any) -> None:
    ds.ImagePositionPatient = [0, 2.5 * n * np.sin(np.radians(15)), 2.5 * n * np.cos(np.radians(15))]
    ds.GantryDetectorTilt = 15


def test_trap_2_gantry_tilt(tmp_path: Path, factory: ModuleType) -> None:
    voxels = _smooth(factory)
    factory.series(tmp_path / "in", voxels, edit=_tilt)
    with pytest.raises(InputError, match=r"15\.00 degrees"):
        read(tmp_path / "in")
    sheared = read(tmp_path / "in", policy=ReadPolicy(tilt="shear"))
    np.testing.assert_array_equal(sheared.array, voxels.astype(int) - 1024)
    for n in range(12):
        _, y, z = geometry.apply(sheared.affine, (n, 0, 0))
        np.testing.assert_allclose((y, z), 2.5 * n * np.asarray([np.sin(np.pi / 12), np.cos(np.pi / 12)]), atol=1e-5)
    straight = read(tmp_path / "in", policy=ReadPolicy(tilt="resample"))
    assert geometry.shear_deg(straight.affine) < 1e-6
    assert straight.spacing_mm[0] == pytest.approx(2.5 * np.cos(np.pi / 12), abs=1e-4)
    assert _codes(straight) == ["TILT_RESAMPLED", "PADDED"]


def test_trap_2_straightened_like_dcm2niix(tmp_path: Path, factory: ModuleType) -> None:
    n, y, x = np.meshgrid(np.arange(20), np.arange(64), np.arange(30), indexing="ij")
    y_mm, z_mm = 2.5 * n * np.sin(np.pi / 12) + 0.8 * y, 2.5 * n * np.cos(np.pi / 12)
    voxels = 2000 + 300 * np.sin(0.7 * x / 8) + 200 * np.cos(y_mm / 9) + 10 * z_mm
    factory.series(tmp_path / "in", voxels.astype(np.int16), edit=_tilt, Manufacturer="SIEMENS")
    volume = read(tmp_path / "in", policy=ReadPolicy(tilt="resample"))
    _, corrected = _converted(tmp_path / "in", tmp_path / "nii")
    mine, affine, _ = geometry.to_lps(volume.array, volume.affine)
    theirs, other, _ = geometry.to_lps(corrected.array, corrected.affine)
    np.testing.assert_allclose(affine, other, atol=AFFINE_MM)
    assert mine.shape == theirs.shape == (20, 80, 30)
    place = geometry.apply(affine, np.stack(np.meshgrid(*map(np.arange, mine.shape), indexing="ij"), axis=-1))
    pixel = (place[..., 1] - 2.5 * np.rint(place[..., 2] / (2.5 * np.cos(np.pi / 12))) * np.sin(np.pi / 12)) / 0.8
    inside = (pixel >= 0) & (pixel <= 63)
    truth = 976 + 300 * np.sin(place[..., 0] / 8) + 200 * np.cos(place[..., 1] / 9) + 10 * place[..., 2]
    # Theirs is off by up to 13 here: a part of a pixel is lost.
    assert np.abs(mine - truth)[inside].max() < 2
    assert np.abs(mine.astype(float) - theirs)[inside].max() < 13


def test_trap_3_missing_slice(tmp_path: Path, factory: ModuleType) -> None:
    voxels = _smooth(factory)
    factory.series(tmp_path / "in", voxels, edit=lambda n, _: n != 5)
    with pytest.raises(InputError, match="1 missing"):
        read(tmp_path / "in")
    filled = read(tmp_path / "in", policy=ReadPolicy(missing="interpolate"))
    assert _codes(filled) == ["INCOMPLETE", "MISSING_INTERPOLATED"]
    assert filled.array.shape[0] == 12
    assert filled.spacing_mm[0] == pytest.approx(2.5)
    kept = [n for n in range(12) if n != 5]
    np.testing.assert_array_equal(filled.array[kept], voxels[kept].astype(int) - 1024)
    below, above = read_all(tmp_path / "in", policy=ReadPolicy(missing="split"))
    for part, start, stop in ((below, 0, 5), (above, 6, 12)):
        (tmp_path / f"{start}").mkdir()
        for path in part.source.paths:
            (tmp_path / f"{start}" / path.name).write_bytes(path.read_bytes())
        (other,) = _converted(tmp_path / f"{start}", tmp_path / f"nii{start}")
        _agree(part, other)
        assert len(part.array) == stop - start


def test_trap_4_duplicate_position(tmp_path: Path, factory: ModuleType) -> None:
    voxels = _smooth(factory)
    factory.series(tmp_path / "in", voxels)
    again = _smooth(factory, 1, seed=5)[0]
    ds = factory.slice_dataset(again, (-10, -20, 30 + 2.5 * 4), number=40)
    factory.save(ds, tmp_path / "in" / "again.dcm")
    with pytest.raises(InputError, match="same position"):
        read(tmp_path / "in")
    volume = read(tmp_path / "in", policy=ReadPolicy(duplicates="keep_last"))
    assert volume.array.shape[0] == 12
    assert volume.spacing_mm[0] == pytest.approx(2.5)
    np.testing.assert_array_equal(volume.array[4], again.astype(int) - 1024)
    assert _codes(volume) == ["INCOMPLETE", "DUPLICATES_DROPPED"]


def test_trap_5_localizer_inside(tmp_path: Path, factory: ModuleType) -> None:
    voxels = _smooth(factory)
    factory.series(tmp_path / "in", voxels)
    scout = factory.slice_dataset(
        factory.planes(1, 20, 18)[0],
        (-10, 0, 60),
        number=90,
        orientation=(1, 0, 0, 0, 0, -1),
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )
    factory.save(scout, tmp_path / "in" / "aaa.dcm")
    volume = read(tmp_path / "in")
    assert _codes(volume) == ["LOCALIZER_EXCLUDED"]
    np.testing.assert_array_equal(volume.array, voxels.astype(int) - 1024)
    _strict(volume)
    others = _converted(tmp_path / "in", tmp_path / "nii")
    _agree(volume, next(other for other in others if other.array.shape[0] == 12))
    assert [entry.aside for entry in scan(tmp_path / "in").entries] == ["", "localizer"]
    assert len(read_all(tmp_path / "in")) == 1
    assert read(tmp_path / "in", series=1).array.shape == (1, 20, 18)


def test_trap_6_two_echoes_interleaved(tmp_path: Path, factory: ModuleType) -> None:
    voxels = [_smooth(factory, seed=seed) for seed in (0, 1)]
    for n, echo in enumerate((4.6, 9.2)):

        def interleave(z: int, ds: Any, n: int = n) -> None:
            ds.InstanceNumber = 1 + 2 * z + n
            ds.SOPInstanceUID = factory.uid(9, 1, 1 + 2 * z + n)
            ds.EchoNumbers = n + 1

        factory.series(
            tmp_path / "in",
            voxels[n],
            modality="MR",
            prefix=f"e{n}",
            EchoTime=echo,
            edit=interleave,
            RepetitionTime=500,
        )
    with pytest.raises(InputError, match="which one"):
        read(tmp_path / "in")
    volumes = read_all(tmp_path / "in")
    others = _converted(tmp_path / "in", tmp_path / "nii")
    assert len(others) == 2
    for n, volume in enumerate(volumes):
        np.testing.assert_array_equal(volume.array, voxels[n])
        assert volume.source.acquisition["echo_time_ms"] == (4.6, 9.2)[n]
        _strict(volume)
        _agree(volume, others[n])
    both = read(tmp_path / "in", stacked=True)
    np.testing.assert_array_equal(both.array, voxels)
    assert [channel["echo_time_ms"] for channel in both.source.channels] == [4.6, 9.2]
    np.testing.assert_array_equal(both.affine, volumes[0].affine)


def test_trap_7_slope_varies_per_slice(tmp_path: Path, factory: ModuleType) -> None:
    def vary(n: int, ds: Any) -> None:
        ds.RescaleSlope, ds.RescaleIntercept, ds.Units = 1 + 0.25 * n, 0, "BQML"

    factory.series(tmp_path / "in", _smooth(factory), modality="MR", edit=vary)
    volume = read(tmp_path / "in")
    assert volume.array.dtype == np.float32
    _strict(volume)
    (other,) = _converted(tmp_path / "in", tmp_path / "nii")
    # dcm2niix brings slices with slopes of their own to one slope, in 16-bit integers.
    _agree(volume, other, values=4096 * 3.75 / 2**15)


def test_trap_8_thickness_is_not_spacing(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path / "in", _smooth(factory), SliceThickness=5, gap=2.5)
    assert _both(tmp_path / "in", tmp_path).spacing_mm[0] == pytest.approx(2.5)


def test_trap_9_anisotropic_pixels(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path / "in", _smooth(factory), spacing=(1.7, 0.4), orientation=OBLIQUE)
    assert _both(tmp_path / "in", tmp_path).spacing_mm == pytest.approx((2.5, 1.7, 0.4))


def test_trap_10_dirty_high_bits(tmp_path: Path, factory: ModuleType) -> None:
    clean = _smooth(factory)
    factory.series(tmp_path / "in", clean | 0x7000, modality="MR", BitsStored=12, HighBit=11)
    volume = read(tmp_path / "in")
    assert _codes(volume) == ["HIGH_BITS"]
    np.testing.assert_array_equal(volume.array, clean)
    factory.series(tmp_path / "clean", clean, modality="MR")
    (other,) = _converted(tmp_path / "clean", tmp_path / "nii")
    _agree(volume, other)


def test_trap_11_signed_with_padding(tmp_path: Path, factory: ModuleType) -> None:
    voxels = _smooth(factory, dtype=np.int16) - np.int16(1024)
    voxels[:, 0, 0] = -2000

    def pad(_: int, ds: Any) -> None:
        ds.add_new(0x00280120, "SS", -2000)

    factory.series(tmp_path / "in", voxels, edit=pad, RescaleIntercept=0)
    volume = read(tmp_path / "in")
    assert _codes(volume) == ["PIXEL_PADDING"]
    np.testing.assert_array_equal(volume.array, voxels)
    _strict(volume)
    (other,) = _converted(tmp_path / "in", tmp_path / "nii")
    _agree(volume, other)


def test_trap_12_monochrome1(tmp_path: Path, factory: ModuleType) -> None:
    voxels = _smooth(factory)
    factory.series(
        tmp_path / "in", voxels, modality="MR", PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11
    )
    volume = read(tmp_path / "in")
    assert _codes(volume) == ["MONOCHROME1"]
    np.testing.assert_array_equal(volume.array, 4095 - voxels.astype(int))


@pytest.mark.parametrize("seed", range(5))
def test_trap_13_jitter(tmp_path: Path, factory: ModuleType, seed: int) -> None:
    off = np.random.default_rng(seed).uniform(-0.02, 0.02, 12)

    def jitter(n: int, ds: Any) -> None:
        ds.ImagePositionPatient = [0, 0, round(2.5 * n + off[n], 4)]

    factory.series(tmp_path / "in", _smooth(factory), edit=jitter)
    volume = read(tmp_path / "in")
    assert set(_codes(volume)) <= {"UNEVEN_GAPS"}
    assert volume.spacing_mm[0] == pytest.approx(2.5, abs=0.04 / 11)
    for n, path in enumerate(volume.source.paths):
        place = geometry.apply(volume.affine, (n, 0, 0))
        np.testing.assert_allclose(place, pydicom.dcmread(path).ImagePositionPatient, atol=0.05)


def _legacy(folder: Path, out: Path, factory: ModuleType) -> Path:
    """Convert a CT series to one legacy converted enhanced object."""
    datasets = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    for ds in datasets:
        ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20260101", "101500", "1", "1"
        ds.PatientBirthDate, ds.PatientSex, ds.ReferringPhysicianName = "19700101", "O", ""
        ds.Manufacturer, ds.AcquisitionNumber = "Somebody", 1
    enhanced = highdicom.legacy.LegacyConvertedEnhancedCTImage(datasets, factory.uid(2, 7), 7, factory.uid(9, 7, 1), 1)
    enhanced.save_as(out)
    return out


@pytest.mark.parametrize("offset", [0, 10])
def test_trap_14_legacy_enhanced_multi_frame(tmp_path: Path, factory: ModuleType, offset: int) -> None:
    def vary(n: int, ds: Any) -> None:
        ds.RescaleIntercept = -1024 + offset * n
        ds.InstanceNumber = 12 - n

    voxels = _smooth(factory)
    factory.series(tmp_path / "single", voxels, orientation=OBLIQUE, edit=vary)
    single = read(tmp_path / "single")
    (tmp_path / "in").mkdir()
    path = _legacy(tmp_path / "single", tmp_path / "in" / "multi.dcm", factory)
    for place in (path, path.parent):
        volume = read(place)
        assert isinstance(volume, Volume)
        np.testing.assert_array_equal(volume.array, single.array)
        np.testing.assert_allclose(volume.affine, single.affine, atol=1e-6)
        assert volume.unit == "HU"
        assert volume.source.paths == (path,)
    (other,) = _converted(tmp_path / "in", tmp_path / "nii")
    if not offset:
        _agree(volume, other)


@pytest.mark.real
def test_real_series_agree_with_dcm2niix(tmp_path: Path, real_data: Path) -> None:
    entries = [
        entry
        for name in ("mri-glioma-dicom", "dicom-conformance")
        for entry in scan(real_data / name).entries
        if entry.problem is None and len(entry.shape) == 3 and entry.shape[0] > 1
    ]
    for number, entry in enumerate(entries):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        for n, path in enumerate(entry.paths):
            (folder / f"{n}.dcm").write_bytes(path.read_bytes())
        (other,) = _converted(folder, tmp_path / f"{number}_nii")
        volume = entry.load()
        assert isinstance(volume, Volume)
        _agree(volume, other, values=1e-5)
    assert len(entries) >= 9
