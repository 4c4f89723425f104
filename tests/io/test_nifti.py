"""NIfTI against nibabel, and its damaged forms."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medimg import geometry
from medimg.errors import InputError
from medimg.io.image import Volume
from medimg.io.nifti import read_nifti
from medimg.io.read import read, read_all
from medimg.io.write import write_nifti

TURN, _ = np.linalg.qr(np.array([[-1, 0.02, 0.01], [0.03, 1, 0.1], [0.02, -0.1, 1]]))
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN * [0.8, -0.7, 2.5]
AFFINE[:3, 3] = 10, -20, 30


def _codes(volume: Volume) -> list[str]:
    return [finding.code for finding in volume.findings]


def _agrees(path: Path) -> Volume:
    volume, image = read(path), nib.load(path)
    assert isinstance(volume, Volume)
    values = np.squeeze(np.asanyarray(image.dataobj)).T
    np.testing.assert_allclose(np.squeeze(volume.array), values, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(volume.affine, geometry.from_ras_ijk(image.affine), atol=1e-6)
    return volume


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_values_and_affine_equal_nibabel(tmp_path: Path, dtype: str, name: str) -> None:
    array = np.random.default_rng(0).integers(0, 100, (5, 4, 3)).astype(dtype)
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / name)
    volume = _agrees(tmp_path / name)
    assert volume.array.shape == (3, 4, 5)
    assert volume.array.dtype == dtype
    assert volume.array.flags.writeable


@pytest.mark.parametrize("kind", [nib.Nifti2Image, nib.Nifti1Pair, nib.Nifti2Pair])
def test_nifti2_and_pairs(tmp_path: Path, kind: type) -> None:
    name = "b.nii" if kind is nib.Nifti2Image else "b.img"
    nib.save(kind(np.arange(60, dtype="i2").reshape(5, 4, 3), AFFINE), tmp_path / name)
    _agrees(tmp_path / name)
    if name == "b.img":
        header = read(tmp_path / "b.hdr")
        np.testing.assert_array_equal(header.array, read(tmp_path / "b.img").array)
        assert len(read_all(tmp_path)) == 1
        (tmp_path / "b.img").unlink()
        with pytest.raises(InputError, match="pair is missing"):
            read(tmp_path / "b.hdr")


def test_big_endian_and_missing_axes(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(nib.Nifti1Image(np.arange(20, dtype=">i2").reshape(5, 4), AFFINE, header), tmp_path / "c.nii")
    volume = _agrees(tmp_path / "c.nii")
    assert volume.array.shape == (1, 4, 5)
    assert volume.array.dtype.isnative


@pytest.mark.parametrize(("slope", "inter", "dtype"), [(2, -1000, "int16"), (0.5, 3, "float32"), (1, 40000, "int32")])
def test_scale(tmp_path: Path, slope: float, inter: float, dtype: str) -> None:
    image = nib.Nifti1Image(np.arange(60, dtype="i2").reshape(5, 4, 3), AFFINE)
    image.header.set_slope_inter(slope, inter)
    nib.save(image, tmp_path / "d.nii")
    raw = bytearray((tmp_path / "d.nii").read_bytes())
    raw[112:120] = np.asarray([slope, inter], "<f4").tobytes()
    raw[352:] = np.arange(60, dtype="<i2").tobytes()
    (tmp_path / "d.nii").write_bytes(raw)
    assert _agrees(tmp_path / "d.nii").array.dtype == dtype


def test_fourth_and_fifth_dimension_become_channels(tmp_path: Path) -> None:
    array = np.random.default_rng(1).normal(size=(5, 4, 3, 2)).astype("f4")
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "e.nii")
    volume = read(tmp_path / "e.nii")
    assert "CHANNELS" in _codes(volume)
    np.testing.assert_array_equal(volume.array[1], array[..., 1].T)
    nib.save(nib.Nifti1Image(array[:, :, :, None], AFFINE), tmp_path / "f.nii")
    np.testing.assert_array_equal(read(tmp_path / "f.nii").array, volume.array)
    nib.save(nib.Nifti1Image(np.stack([array] * 3, -1), AFFINE), tmp_path / "g.nii")
    with pytest.raises(InputError, match="more than one non-spatial"):
        read(tmp_path / "g.nii")


def _with_codes(path: Path, sform: int, qform: int, other: np.ndarray | None = None) -> Path:
    image = nib.Nifti1Image(np.zeros((5, 4, 3), "u1"), None)
    image.header.set_sform(AFFINE, sform)
    image.header.set_qform(AFFINE if other is None else other, qform)
    image.header.set_zooms((0.8, 0.7, 2.5))
    image.header.set_xyzt_units("mm")
    nib.Nifti1Image(np.zeros((5, 4, 3), "u1"), None, image.header).to_filename(path)
    return path


def test_policy_of_sform_and_qform(tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += 5
    volume = _agrees(_with_codes(tmp_path / "s.nii", 1, 1, moved))
    assert _codes(volume) == ["SFORM_QFORM"]
    volume = _agrees(_with_codes(tmp_path / "q.nii", 0, 1, moved))
    assert _codes(volume) == []
    volume = _agrees(_with_codes(tmp_path / "n.nii", 0, 0))
    assert _codes(volume) == ["NO_ORIENTATION"]


def test_units_other_than_millimetres(tmp_path: Path) -> None:
    path = _with_codes(tmp_path / "m.nii", 1, 0)
    raw = bytearray(path.read_bytes())
    raw[123] = 3
    path.write_bytes(raw)
    volume = read(path)
    assert "UNIT_CONVERTED" in _codes(volume)
    np.testing.assert_allclose(volume.affine[:3], geometry.from_ras_ijk(AFFINE)[:3] / 1000, atol=1e-6)
    raw[123] = 0
    path.write_bytes(raw)
    assert "NO_UNIT" in _codes(read(path))


def test_not_finite_voxels_are_kept_and_told(tmp_path: Path) -> None:
    array = np.ones((5, 4, 3), "f4")
    array[0, 0, 0], array[1, 0, 0] = np.nan, np.inf
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "h.nii")
    volume = read(tmp_path / "h.nii")
    assert "NOT_FINITE" in _codes(volume)
    assert np.isnan(volume.array[0, 0, 0])


def test_unusable_geometry_is_refused(tmp_path: Path) -> None:
    path = _with_codes(tmp_path / "i.nii", 1, 0)
    raw = bytearray(path.read_bytes())
    raw[280:296] = np.full(4, np.nan, "<f4").tobytes()
    path.write_bytes(raw)
    with pytest.raises(InputError, match="affine"):
        read(path)
    raw[280:296] = np.zeros(4, "<f4").tobytes()
    path.write_bytes(raw)
    with pytest.raises(InputError, match="cannot be inverted"):
        read(path)


def test_shear_is_told(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[1, 2] = 0.3
    nib.save(nib.Nifti1Image(np.zeros((5, 4, 3), "u1"), affine), tmp_path / "j.nii")
    assert "SHEARED" in _codes(read(tmp_path / "j.nii"))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_cut_short(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(size=(20, 20, 20)), AFFINE), path)
    raw = path.read_bytes()
    for part in (0.9, 0.5, 0.003):
        path.write_bytes(raw[: int(len(raw) * part)])
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "fix:" in str(caught.value)


def test_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(size=(20, 20, 20)), AFFINE), path)
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(InputError, match="damaged or cut short"):
        read(path)


def test_header_that_lies_about_its_size_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.zeros((5, 4, 3), "u1"), AFFINE), path)
    raw = bytearray(path.read_bytes())
    raw[42:48] = np.full(3, 3000, "<i2").tobytes()
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"larger than the free memory|shorter than its header"):
        read(path)
    raw[42:48] = np.full(3, -1, "<i2").tobytes()
    path.write_bytes(raw)
    with pytest.raises(InputError, match="no usable size"):
        read(path)


def test_wrong_extension_is_read_and_told(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((5, 4, 3), "u1"), AFFINE), tmp_path / "a.nii")
    packed = tmp_path / "b.nii"
    packed.write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    assert "WRONG_EXTENSION" in _codes(read(packed))
    (tmp_path / "a.nii").rename(tmp_path / "a.dcm")
    assert "WRONG_EXTENSION" in _codes(read(tmp_path / "a.dcm"))


def test_complex_and_colour_are_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((5, 4, 3), "c8"), AFFINE), tmp_path / "a.nii")
    with pytest.raises(InputError, match="complex64"):
        read(tmp_path / "a.nii")
    bad = tmp_path / "x.nii"
    bad.write_text("<html>")
    with pytest.raises(InputError, match="Not a NIfTI"):
        read_nifti(bad)


@pytest.mark.parametrize("name", ["o.nii", "o.nii.gz"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
def test_write_then_read(tmp_path: Path, name: str, shape: tuple[int, ...], dtype: str) -> None:
    array = np.random.default_rng(2).integers(0, 99, shape).astype(dtype)
    affine = geometry.from_ras_ijk(AFFINE)
    write_nifti(Volume(array, affine), tmp_path / name)
    volume = _agrees(tmp_path / name) if len(shape) == 3 else read(tmp_path / name)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == dtype
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)
    image = nib.load(tmp_path / name)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-5)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    again = read(write_nifti(volume, tmp_path / "again.nii"))
    np.testing.assert_array_equal(again.affine, volume.affine)


def test_written_bytes_are_the_same_every_time_and_nothing_is_left_behind(tmp_path: Path) -> None:
    array, affine = np.zeros((3, 4, 5), bool), np.diag([1.0, 2.0, 3.0, 1.0])
    a = write_nifti(array, tmp_path / "deep" / "a.nii.gz", affine=affine).read_bytes()
    assert a == write_nifti(array, tmp_path / "deep" / "a.nii.gz", affine=affine).read_bytes()
    with pytest.raises(InputError, match="without its affine"):
        write_nifti(array, tmp_path / "deep" / "b.nii")
    with pytest.raises(InputError, match="file name"):
        write_nifti(array, tmp_path / "deep" / "b.dcm", affine=affine)
    with pytest.raises(InputError, match="number type"):
        write_nifti(array.astype(complex), tmp_path / "deep" / "b.nii", affine=affine)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.nii.gz"]


def test_sheared_affine_leaves_the_qform_unset(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[1, 0] = 0.3
    volume = read(write_nifti(np.zeros((3, 4, 5), "u1"), tmp_path / "a.nii", affine=affine))
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)
    assert _codes(volume) == ["SHEARED"]


@pytest.mark.real
def test_real_volumes_equal_nibabel(real_data: Path) -> None:
    for folder, count in (("mri-hippocampus", 12), ("ct-lidc-nodules", 12)):
        paths = sorted((real_data / folder).rglob("*.nii.gz"))
        assert paths
        for path in paths[:: max(1, len(paths) // count)]:
            _agrees(path)


@pytest.mark.real
def test_conformance_files(real_data: Path) -> None:
    folder = real_data / "nifti-conformance"
    for path in sorted(folder.iterdir()):
        if path.name in ("LICENSE", "not-nifti.nii"):
            with pytest.raises(InputError, match="Not an image"):
                read(path)
        elif "5D" in path.name:
            assert read(path).array.ndim == 4
        else:
            _agrees(path)
