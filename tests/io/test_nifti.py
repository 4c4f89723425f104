"""NIfTI against nibabel, and its damaged forms."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medimg import geometry
from medimg.errors import InputError
from medimg.io.image import Volume
from medimg.io.nifti.read import read_nifti
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
    flat = read_nifti(tmp_path / "g.nii", flatten=True)
    assert flat.array.shape == (6, 3, 4, 5)
    np.testing.assert_array_equal(flat.array[5], array[..., 1].T)
    assert [finding.value for finding in flat.findings if finding.code == "CHANNELS"] == [
        "3 fifth dimension × 2 fourth dimension"
    ]
    again = read(write_nifti(flat, tmp_path / "h.nii.gz"))
    np.testing.assert_array_equal(again.array, flat.array)


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
    assert read_nifti(tmp_path / "s.nii", prefer="sform").affine[0, 3] != 0
    chosen = read_nifti(tmp_path / "s.nii", prefer="qform")
    np.testing.assert_allclose(chosen.affine, geometry.from_ras_ijk(moved), atol=1e-5)
    assert [(f.code, f.assumed) for f in chosen.findings] == [("SFORM_QFORM", "qform")]
    with pytest.raises(InputError, match="place the volume differently"):
        read_nifti(tmp_path / "s.nii", prefer="error")
    for name in ("q.nii", "n.nii"):
        for prefer in ("qform", "error"):
            np.testing.assert_array_equal(
                read_nifti(tmp_path / name, prefer=prefer).affine, read_nifti(tmp_path / name).affine
            )
    with pytest.raises(InputError, match="choose the geometry"):
        read_nifti(tmp_path / "q.nii", prefer="best")  # type: ignore[arg-type]


def test_a_broken_sform_gives_way_to_a_good_qform(tmp_path: Path) -> None:
    path = _with_codes(tmp_path / "s.nii", 2, 1)
    raw = bytearray(path.read_bytes())
    raw[280:328] = bytes(48)
    path.write_bytes(raw)
    volume = read(path)
    assert _codes(volume) == ["BAD_SFORM"]
    np.testing.assert_allclose(volume.affine, geometry.from_ras_ijk(AFFINE), atol=1e-5)


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


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    for code, name in (
        (32, "complex64"),
        (1792, "complex128"),
        (2048, "datatype = 2048"),
        (1536, "datatype = 1536"),
    ):
        with pytest.raises(InputError, match=name):
            read(_patched(_plain(tmp_path / "a.nii"), datatype=(70, "<i2", code)))
    bad = tmp_path / "x.nii"
    bad.write_text("<html>")
    with pytest.raises(InputError, match="Not a NIfTI"):
        read_nifti(bad)


@pytest.mark.parametrize("samples", ["RGB", "RGBA"])
def test_colour_voxels_become_channels(tmp_path: Path, samples: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 4, 3, len(samples))).astype("u1")
    voxels = values.view([(name, "u1") for name in samples])[..., 0]
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "a.nii.gz")
    volume = read(tmp_path / "a.nii.gz")
    assert _codes(volume) == ["NO_UNIT", "RGB_CHANNELS"]
    assert volume.array.dtype == np.uint8
    for channel, name in enumerate(samples):
        np.testing.assert_array_equal(volume.array[channel], voxels[name].T)
    assert read_nifti(tmp_path / "a.nii.gz", dtype=np.float32).array.dtype == np.float32
    nib.save(nib.Nifti1Image(np.stack([voxels, voxels], axis=-1), AFFINE), tmp_path / "b.nii")
    with pytest.raises(InputError, match="more than one non-spatial"):
        read(tmp_path / "b.nii")
    both = read_nifti(tmp_path / "b.nii", flatten=True)
    np.testing.assert_array_equal(both.array.reshape(len(samples), 2, 3, 4, 5)[1, 1], voxels["G"].T)


def _patched(path: Path, **fields: tuple[int, str, object]) -> Path:
    """Overwrite header fields of a little-endian NIfTI-1 file: name=(offset, dtype, value)."""
    raw = bytearray(path.read_bytes())
    for offset, dtype, value in fields.values():
        data = np.asarray(value, dtype).tobytes()
        raw[offset : offset + len(data)] = data
    path.write_bytes(raw)
    return path


def _plain(path: Path, array: np.ndarray | None = None) -> Path:
    array = np.arange(60, dtype="i2").reshape(5, 4, 3) if array is None else array
    image = nib.Nifti1Image(array, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


@pytest.mark.parametrize("stored", ["i2", "u2", "u1", "i4", "u4", "i8", "f4", "f8", ">i2", ">f4"])
@pytest.mark.parametrize(
    "scale", [(1.0, 0.0), (0.1, -3.7), (3.0, -1024.0), (1e-3, 1e6), (1.0, 1e30), (1000003.0, -12345678.0)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_as_floats_are_nibabels_rounded_once(tmp_path: Path, stored: str, scale: tuple, dtype: type) -> None:
    array = np.random.default_rng(0).integers(0, 120, (5, 4, 3)).astype(stored)
    header = nib.Nifti1Header(endianness=">" if stored.startswith(">") else "<")
    header.set_data_dtype(stored)
    nib.save(nib.Nifti1Image(array, AFFINE, header), tmp_path / "a.nii")
    order = ">f4" if stored.startswith(">") else "<f4"
    path = _patched(tmp_path / "a.nii", slope=(112, order, scale))
    path.write_bytes(path.read_bytes()[:352] + array.tobytes(order="F"))
    values = nib.load(path).get_fdata(dtype=np.float64).T
    volume = read_nifti(path, dtype=dtype)
    assert volume.array.dtype == dtype
    np.testing.assert_array_equal(volume.array, values.astype(dtype))
    np.testing.assert_allclose(read(path).array, values, rtol=1e-6)


def test_other_types_than_floats_cannot_be_asked_for(tmp_path: Path) -> None:
    path = _plain(tmp_path / "a.nii")
    for dtype in (np.int16, "complex64", "nonsense"):
        with pytest.raises(InputError, match=r"floats only|type of number"):
            read_nifti(path, dtype=dtype)


def test_pieces_fit_together(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(-1000, 1000, (97, 89, 31)).astype("i2")
    for name in ("a.nii", "a.nii.gz"):
        nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / name)
        np.testing.assert_array_equal(read_nifti(tmp_path / name, dtype=np.float32).array, array.T)
        np.testing.assert_array_equal(read_nifti(tmp_path / name).array, array.T)
    # Concatenated gzip members are one file.
    raw = (tmp_path / "a.nii").read_bytes()
    parts = b"".join(gzip.compress(raw[n : n + 100_001]) for n in range(0, len(raw), 100_001))
    (tmp_path / "m.nii.gz").write_bytes(parts)
    np.testing.assert_array_equal(read_nifti(tmp_path / "m.nii.gz", dtype=np.float32).array, array.T)


@pytest.mark.parametrize("dtype", [None, np.float32])
def test_damaged_and_cut_files(tmp_path: Path, dtype: type | None) -> None:
    array = np.random.default_rng(0).integers(-1000, 1000, (40, 41, 42)).astype("i2")
    for name in ("a.nii", "a.nii.gz"):
        nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / name)
        raw = (tmp_path / name).read_bytes()
        for part in (0.3, 0.9, 0.9999):
            (tmp_path / name).write_bytes(raw[: int(part * len(raw))])
            with pytest.raises(InputError, match=r"shorter|damaged"):
                read_nifti(tmp_path / name, dtype=dtype)
    flipped = bytearray(raw)
    flipped[len(raw) // 2] ^= 0xFF
    (tmp_path / "f.nii.gz").write_bytes(flipped)
    with pytest.raises(InputError, match="damaged"):
        read_nifti(tmp_path / "f.nii.gz", dtype=dtype)
    checksum = bytearray(raw)
    checksum[-6] ^= 0xFF
    (tmp_path / "c.nii.gz").write_bytes(checksum)
    with pytest.raises(InputError, match="damaged"):
        read_nifti(tmp_path / "c.nii.gz", dtype=dtype)


def test_bytes_behind_the_voxels_are_told(tmp_path: Path) -> None:
    path = _plain(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes() + b"x" * 30)
    for file in (path, tmp_path / "a.nii.gz"):
        if file != path:
            file.write_bytes(gzip.compress(path.read_bytes()))
        volume = read(file)
        assert [(f.code, f.value) for f in volume.findings] == [("TRAILING_BYTES", "30")]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dim": (40, "<i2", [0, 5, 4, 3])}, "usable size"),
        ({"dim": (40, "<i2", [3, -5, 4, 3])}, "usable size"),
        ({"dim": (40, "<i2", [3, 5, 0, 3])}, "usable size"),
        ({"dim": (40, "<i2", [9, 5, 4, 3])}, "usable size"),
        ({"dim": (40, "<i2", [3, 500, 400, 300])}, "shorter"),
        ({"dim": (40, "<i2", [7, *[32767] * 7])}, "non-spatial"),
        ({"dim": (40, "<i2", [3, *[32767] * 3])}, "memory|shorter"),
        ({"datatype": (70, "<i2", 999)}, "type is not known"),
        ({"datatype": (70, "<i2", 1)}, "type|size"),
        ({"datatype": (70, "<i2", 0)}, "type"),
        ({"offset": (108, "<f4", np.nan)}, "inside the header"),
        ({"offset": (108, "<f4", np.inf)}, "inside the header"),
        ({"offset": (108, "<f4", -352)}, "inside the header"),
        ({"offset": (108, "<f4", 352.5)}, "inside the header"),
        ({"offset": (108, "<f4", 100)}, "inside the header"),
        ({"offset": (108, "<f4", 1e30)}, "shorter"),
        ({"intent": (68, "<i2", 3001)}, "CIFTI"),
    ],
)
def test_headers_that_lie(tmp_path: Path, fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(_patched(_plain(tmp_path / "a.nii"), **fields))


def test_headers_that_are_believed_in_part(tmp_path: Path) -> None:
    volume = read(_patched(_plain(tmp_path / "a.nii"), bits=(72, "<i2", 8), size=(0, "<i4", 340)))
    assert [(f.code, f.tag) for f in volume.findings] == [("BAD_HEADER", "sizeof_hdr"), ("BAD_HEADER", "bitpix")]
    np.testing.assert_array_equal(volume.array, np.arange(60).reshape(5, 4, 3).T)
    for slope, inter in ((0, 7), (np.nan, 7), (np.inf, 7)):
        volume = read(_patched(_plain(tmp_path / "a.nii"), scale=(112, "<f4", [slope, inter])))
        assert volume.array.max() == 59
    volume = read(_patched(_plain(tmp_path / "a.nii"), scale=(112, "<f4", [2, np.nan])))
    assert (_codes(volume), int(volume.array.max())) == (["BAD_SCALE"], 118)
    volume = read(_patched(_plain(tmp_path / "a.nii"), offset=(108, "<f4", 0)))
    assert volume.array.max() == 59


def test_random_header_bytes_raise_only_our_errors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    raw = _plain(tmp_path / "a.nii").read_bytes()
    for n in range(300):
        changed = bytearray(raw)
        for _ in range(rng.integers(1, 6)):
            changed[rng.integers(0, 352)] = rng.integers(0, 256)
        path = tmp_path / f"{n}.nii"
        path.write_bytes(changed)
        try:
            volume = read_nifti(path, flatten=bool(n % 2), dtype=np.float32 if n % 3 else None, max_bytes=1 << 24)
        except InputError:
            continue
        assert np.isfinite(volume.affine).all()


def test_the_limit_of_bytes(tmp_path: Path) -> None:
    path = _plain(tmp_path / "a.nii")
    assert read_nifti(path, max_bytes=120).array.nbytes == 120
    for options in ({"max_bytes": 119}, {"max_bytes": 239, "dtype": np.float32}):
        with pytest.raises(InputError, match="limit"):
            read_nifti(path, **options)


def test_extensions_are_named_and_never_read(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((5, 4, 3), "u1"), AFFINE)
    image.header.set_xyzt_units("mm")
    for code, text in ((6, b"SECRET^NAME"), (4, b"<AFNI/>")):
        image.header.extensions.append(nib.nifti1.Nifti1Extension(code, text))
    for kind, name in ((nib.Nifti1Image, "a.nii.gz"), (nib.Nifti1Pair, "p.img"), (nib.Nifti2Image, "b.nii")):
        nib.save(kind.from_image(image), tmp_path / name)
        volume = read(tmp_path / name)
        assert [(f.code, f.value) for f in volume.findings] == [("NIFTI_EXTENSION", "6 (comment), 4 (AFNI)")]
        assert "SECRET" not in str(volume.findings)
    broken = _patched(_plain(tmp_path / "x.nii"), flag=(348, "u1", 1))
    assert _codes(read(broken)) == ["BAD_EXTENSION"]


def test_intents_and_vectors(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((5, 4, 3, 1, 3), "f4"), AFFINE)
    image.header.set_xyzt_units("mm")
    image.header.set_intent("vector", name="SECRET")
    nib.save(image, tmp_path / "v.nii")
    volume = read(tmp_path / "v.nii")
    assert _codes(volume) == ["INTENT", "VECTOR_AXES", "CHANNELS"]
    assert (volume.array.shape, "SECRET" in str(volume.findings)) == ((3, 3, 4, 5), False)


@pytest.mark.parametrize(("unit", "seconds"), [("sec", 2.5), ("msec", 0.0025), ("usec", 2.5e-6), ("hz", None)])
def test_seconds_between_time_points(tmp_path: Path, unit: str, seconds: float | None) -> None:
    image = nib.Nifti1Image(np.zeros((5, 4, 3, 7), "i2"), AFFINE)
    image.header.set_xyzt_units("mm", unit)
    image.header.set_zooms((*image.header.get_zooms()[:3], 2.5))
    nib.save(image, tmp_path / "t.nii")
    volume = read(tmp_path / "t.nii")
    assert volume.array.shape == (7, 3, 4, 5)
    assert volume.source.acquisition.get("time_step_s") == (None if seconds is None else pytest.approx(seconds))


def test_a_pipe_in_place_of_a_pair_does_not_make_the_reader_wait(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(np.zeros((5, 4, 3), "u1"), AFFINE), tmp_path / "b.img")
    (tmp_path / "b.img").unlink()
    os.mkfifo(tmp_path / "b.img")
    with pytest.raises(InputError):
        read(tmp_path / "b.hdr")


def _bundled() -> list[Path]:
    return sorted(
        p for p in Path(nib.__file__).parent.rglob("*") if p.name.lower().endswith((".nii", ".nii.gz", ".hdr"))
    )


@pytest.mark.parametrize("path", _bundled(), ids=lambda path: path.name)
def test_nibabels_own_files(path: Path) -> None:
    refused = {"analyze.hdr": "pair is missing", "nifti1.hdr": "pair is missing", "nifti2.hdr": "pair is missing"}
    refused |= {"row_major.dconn.nii": "CIFTI"}
    if path.name in refused:
        with pytest.raises(InputError, match=refused[path.name]):
            read_nifti(path)
        return
    volume, image = read_nifti(path, dtype=np.float64), nib.load(path)
    np.testing.assert_array_equal(np.squeeze(volume.array), np.squeeze(image.get_fdata()).T)
    np.testing.assert_allclose(volume.affine, geometry.from_ras_ijk(image.affine), atol=1e-6)


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


@pytest.mark.parametrize("seed", range(6))
def test_any_orientation_survives_in_both_forms(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform(0.3, 5, 3) * rng.choice([-1, 1], 3)
    affine[:3, 3] = rng.uniform(-500, 500, 3)
    array = rng.normal(size=(4, 5, 6)).astype("f4")
    path = write_nifti(array, tmp_path / "a.nii.gz", affine=affine)
    for prefer in ("sform", "qform", "error"):
        volume = read_nifti(path, prefer=prefer)
        np.testing.assert_allclose(volume.affine, affine, atol=2e-4)
        assert _codes(volume) == []
    np.testing.assert_array_equal(volume.array, array)


def test_long_sides_and_all_types_are_written(tmp_path: Path) -> None:
    long = np.arange(40_000, dtype="i2").reshape(1, 1, -1)
    path = write_nifti(long, tmp_path / "long.nii.gz", affine=np.eye(4))
    assert isinstance(nib.load(path), nib.Nifti2Image)
    np.testing.assert_array_equal(read(path).array, long)
    values = np.random.default_rng(0).integers(0, 100, (2, 3, 4, 5))
    for dtype in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">i2", ">f8", "?"):
        array = np.asfortranarray(values.astype(dtype))[:, ::-1]
        again = read(write_nifti(array, tmp_path / "t.nii", affine=np.eye(4))).array
        np.testing.assert_array_equal(again, array.astype(again.dtype))
        assert again.dtype == {"f2": "f4", "?": "u1"}.get(dtype, dtype.strip(">"))


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
