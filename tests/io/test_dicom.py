"""DICOM series: geometry against highdicom, pixels against pydicom, traps refused by name."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_rescale
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from medimg import geometry
from medimg.errors import InputError, MedimgError
from medimg.io.dicom import encoded as dicom_encoded
from medimg.io.image import Picture, Volume
from medimg.io.read import read, read_all, scan

SAGITTAL = (0, 1, 0, 0, 0, -1)
OBLIQUE = (0.99999996693059, -4.81874506e-05, -0.0002526198484, 2.046187e-10, 0.98228909079532, -0.1873716683613)


def _codes(image: Volume | Picture) -> list[str]:
    return [finding.code for finding in image.findings]


def _read_or_refuse(path: Path) -> Volume | Picture | None:
    """Read a file, or None where it is refused with an error that says where."""
    try:
        return read(path)
    except MedimgError as error:
        if str(path.parent) not in str(error):
            raise
        return None


def _oracle(volume: Volume) -> None:
    """Compare with highdicom's affine and pydicom's values, voxel by voxel in patient space."""
    datasets = [pydicom.dcmread(path) for path in volume.source.paths]
    values = np.stack([apply_rescale(ds.pixel_array, ds) for ds in datasets])
    np.testing.assert_allclose(volume.array, values, rtol=1e-6, atol=1e-4)
    if len(datasets) > 1:
        other = highdicom.get_volume_from_series(datasets, rtol=0.02)
        turned, affine, _ = geometry.to_lps(np.asarray(other.array), np.asarray(other.affine))
        mine, mine_affine, _ = geometry.to_lps(volume.array, volume.affine)
        np.testing.assert_allclose(affine, mine_affine, atol=2e-2)
        np.testing.assert_allclose(turned, mine, rtol=1e-6, atol=1e-4)
    for n, ds in enumerate(datasets):
        place = geometry.apply(volume.affine, (n, 0, 0))
        np.testing.assert_allclose(place, np.asarray(ds.ImagePositionPatient, float), atol=0.03)
    first = datasets[0]
    row = geometry.apply(volume.affine, (0, 0, 1)) - geometry.apply(volume.affine, (0, 0, 0))
    np.testing.assert_allclose(row, np.asarray(first.ImageOrientationPatient[:3]) * first.PixelSpacing[1], atol=1e-5)


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), SAGITTAL, OBLIQUE, (-1, 0, 0, 0, 1, 0)])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_clean_series(tmp_path: Path, factory: ModuleType, orientation: Any, dtype: type) -> None:
    voxels = factory.planes(7, dtype=dtype)
    factory.series(tmp_path, voxels, orientation=orientation)
    volume = read(tmp_path)
    assert isinstance(volume, Volume)
    _oracle(volume)
    np.testing.assert_array_equal(volume.array, voxels.astype(int) - 1024)
    assert volume.array.dtype == np.int16
    assert volume.unit == "HU"
    assert _codes(volume) == []
    assert volume.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    assert volume.frame_of_reference_uid == factory.uid(3)
    assert volume.source.instance_uids == tuple(factory.uid(9, 1, n + 1) for n in range(7))
    assert "SECRET" not in repr(volume.source)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, "1.2.840.10008.1.2.2", RLELossless]
)
def test_transfer_syntaxes(tmp_path: Path, factory: ModuleType, syntax: str) -> None:
    voxels = factory.planes(3)
    for n, plane in enumerate(voxels):
        ds = factory.slice_dataset(plane, (0, 0, n), number=n)
        if syntax == RLELossless:
            ds.compress(RLELossless)
        else:
            ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
            if syntax == "1.2.840.10008.1.2.2":
                ds.PixelData = plane.astype(">u2").tobytes()
        factory.save(ds, tmp_path / f"{n}.dcm")
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array, voxels.astype(int) - 1024)
    _oracle(volume)


def test_instance_numbers_and_names_decide_nothing(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(5)

    def reverse(n: int, ds: Any) -> None:
        ds.InstanceNumber = 100 - n

    factory.series(tmp_path, voxels, edit=reverse)
    np.testing.assert_array_equal(read(tmp_path).array, voxels.astype(int) - 1024)


def test_rescale_per_slice(tmp_path: Path, factory: ModuleType) -> None:
    def vary(n: int, ds: Any) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = 1 + 0.25 * n, -3.5 * n

    voxels = factory.planes(4)
    factory.series(tmp_path, voxels, modality="MR", edit=vary)
    volume = read(tmp_path)
    assert volume.array.dtype == np.float32
    assert volume.unit == "arbitrary"
    _oracle(volume)


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept", "expected"),
    [
        (np.uint16, 1, -1024, np.int16),
        (np.uint16, 2, -8192, np.int16),
        (np.uint16, 16, 0, np.int32),
        (np.uint8, 3, -5, np.int16),
        (np.uint8, 1, 0, np.uint8),
        (np.int16, -1, 5, np.int16),
        (np.uint16, 0.5, 0, np.float32),
    ],
)
def test_the_narrowest_exact_type_is_kept(
    tmp_path: Path, factory: ModuleType, dtype: type, slope: float, intercept: float, expected: type
) -> None:
    voxels = factory.planes(3)
    voxels = (voxels % 256).astype(dtype) if dtype == np.uint8 else voxels.astype(dtype)
    factory.series(tmp_path, voxels, modality="MR", RescaleSlope=slope, RescaleIntercept=intercept)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.array, voxels * float(slope) + intercept)
    assert volume.array.dtype == expected


def test_large_unsigned_values_stay_unsigned(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(3) + np.uint16(60000)
    factory.series(tmp_path, voxels, modality="MR")
    assert read(tmp_path).array.dtype == np.uint16
    _oracle(read(tmp_path))


def test_signed_and_unsigned_slices_in_one_series(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(3)

    def sign(n: int, ds: Any) -> None:
        if n == 1:
            ds.PixelRepresentation = 1

    factory.series(tmp_path, voxels, edit=sign)
    np.testing.assert_array_equal(read(tmp_path).array, voxels.astype(int) - 1024)


@pytest.mark.parametrize(
    ("kind", "slope", "code", "unit"),
    [
        ("US", 1, "NOT_HU", "arbitrary"),
        (None, 1, None, "HU"),
        ("HU", 1, None, "HU"),
        (None, None, "MISSING_RESCALE", "arbitrary"),
    ],
)
def test_unit_of_ct(tmp_path: Path, factory: ModuleType, kind: Any, slope: Any, code: Any, unit: str) -> None:
    elements = {"RescaleType": kind} | ({"RescaleSlope": None, "RescaleIntercept": None} if slope is None else {})
    factory.series(tmp_path, factory.planes(3), **elements)
    volume = read(tmp_path)
    assert volume.unit == unit
    assert _codes(volume) == ([code] if code else [])


def test_unusable_rescales(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path / "zero", factory.planes(3), RescaleSlope=0)
    with pytest.raises(InputError, match=r"RescaleSlope \(0028,1053\) = 0"):
        read(tmp_path / "zero")

    def drop(n: int, ds: Any) -> None:
        if n == 1:
            del ds.RescaleSlope, ds.RescaleIntercept

    factory.series(tmp_path / "some", factory.planes(3), edit=drop)
    with pytest.raises(InputError, match="Some slices"):
        read(tmp_path / "some")


def test_monochrome1(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(3)
    factory.series(tmp_path / "mr", voxels, modality="MR", PhotometricInterpretation="MONOCHROME1", BitsStored=12)
    volume = read(tmp_path / "mr")
    assert _codes(volume) == ["MONOCHROME1"]
    np.testing.assert_array_equal(volume.array, 4095 - voxels.astype(int))
    factory.series(tmp_path / "ct", voxels, PhotometricInterpretation="MONOCHROME1")
    volume = read(tmp_path / "ct")
    assert _codes(volume) == ["MONOCHROME1"]
    np.testing.assert_array_equal(volume.array, voxels.astype(int) - 1024)


def test_padding_is_told(tmp_path: Path, factory: ModuleType) -> None:
    def pad(_: int, ds: Any) -> None:
        ds.add_new(0x00280120, "SS", -2000)

    factory.series(tmp_path, factory.planes(3, dtype=np.int16), edit=pad)
    (finding,) = read(tmp_path).findings
    assert (finding.code, finding.value) == ("PIXEL_PADDING", "-2000")


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_bits_above_bits_stored(tmp_path: Path, factory: ModuleType, dtype: type) -> None:
    clean = factory.planes(3)
    dirty = (clean | 0x5000).astype(dtype)
    factory.series(tmp_path, dirty, modality="MR", BitsStored=12, HighBit=11)
    volume = read(tmp_path)
    assert _codes(volume) == ["HIGH_BITS"]
    expected = clean.astype(int)
    expected = np.where(expected >= 2048, expected - 4096, expected) if dtype == np.int16 else expected
    np.testing.assert_array_equal(volume.array, expected)


def test_single_slice(tmp_path: Path, factory: ModuleType) -> None:
    (path,) = factory.series(tmp_path, factory.planes(1))
    volume = read(path)
    assert volume.array.shape == (1, 6, 5)
    assert volume.spacing_mm[0] == pytest.approx(2.5)
    assert _codes(volume) == ["SINGLE_SLICE"]
    factory.series(tmp_path / "b", factory.planes(1), SliceThickness=None, SpacingBetweenSlices=4)
    assert read(tmp_path / "b").spacing_mm[0] == pytest.approx(4)
    factory.series(tmp_path / "c", factory.planes(1), SliceThickness=None)
    assert read(tmp_path / "c").findings[0].severity == "warning"


def test_spacing_tag_that_disagrees(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path, factory.planes(4), SpacingBetweenSlices=5)
    volume = read(tmp_path)
    assert _codes(volume) == ["SPACING_TAG"]
    assert volume.spacing_mm[0] == pytest.approx(2.5)


def _refused(folder: Path, factory: ModuleType, message: str, tag: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(folder)
    text = str(caught.value)
    assert factory.uid(2, 1) in text
    assert tag in text
    assert "fix:" in text
    assert "SECRET" not in text


def test_missing_slice(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path, factory.planes(8), edit=lambda n, _: n not in (3, 4))
    _refused(tmp_path, factory, "2 missing", "(0020,0032)")


def test_doubled_slice(tmp_path: Path, factory: ModuleType) -> None:
    paths = factory.series(tmp_path, factory.planes(5))
    ds = pydicom.dcmread(paths[2])
    ds.SeriesDescription = "sent twice"
    factory.save(ds, tmp_path / "copy.dcm")
    _refused(tmp_path, factory, "same position", "(0008,0018)")


def test_a_file_found_twice_is_read_once(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(5)
    paths = factory.series(tmp_path / "a", voxels)
    (tmp_path / "b").mkdir()
    for path in paths[1:]:
        (tmp_path / "b" / path.name).write_bytes(path.read_bytes())
    volume = read(tmp_path)
    assert [(finding.code, finding.value) for finding in volume.findings] == [("COPY_EXCLUDED", "4")]
    np.testing.assert_array_equal(volume.array, voxels.astype(int) - 1024)


def test_uneven_gaps(tmp_path: Path, factory: ModuleType) -> None:
    def move(n: int, ds: Any) -> None:
        ds.ImagePositionPatient = [0, 0, 2.5 * n + (0.8 if n > 3 else 0)]

    factory.series(tmp_path, factory.planes(8), edit=move)
    _refused(tmp_path, factory, "unevenly", "(0020,0032)")


def test_small_unevenness_is_accepted(tmp_path: Path, factory: ModuleType) -> None:
    def jitter(n: int, ds: Any) -> None:
        ds.ImagePositionPatient = [0, 0, round(2.5 * n + np.random.default_rng(n).uniform(-0.02, 0.02), 4)]

    factory.series(tmp_path / "jitter", factory.planes(8), edit=jitter)
    volume = read(tmp_path / "jitter")
    assert _codes(volume) == []
    assert volume.spacing_mm[0] == pytest.approx(2.5, abs=0.01)

    def one_decimal(n: int, ds: Any) -> None:
        ds.ImagePositionPatient = [0, 0, f"{1.25 * n:.1f}"]

    factory.series(tmp_path / "rounded", factory.planes(9), edit=one_decimal)
    volume = read(tmp_path / "rounded")
    assert _codes(volume) == ["UNEVEN_GAPS"]
    assert volume.spacing_mm[0] == pytest.approx(1.25, abs=0.01)


def test_tilted_gantry(tmp_path: Path, factory: ModuleType) -> None:
    def tilt(n: int, ds: Any) -> None:
        ds.ImagePositionPatient = [0, 2.5 * n * np.tan(np.radians(15)), 2.5 * n]

    factory.series(tmp_path, factory.planes(8), edit=tilt)
    _refused(tmp_path, factory, "15.00 degrees", "(0020,0037)")


def test_bent_stack(tmp_path: Path, factory: ModuleType) -> None:
    def bend(n: int, ds: Any) -> None:
        ds.ImagePositionPatient = [0, 3 * (n == 4), 2.5 * n]

    factory.series(tmp_path, factory.planes(8), edit=bend)
    _refused(tmp_path, factory, "one line", "(0020,0032)")


def test_cosines(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path / "near", factory.planes(3), edit=lambda _, ds: _orient(ds, (1.0003, 0, 0, 0.0002, 1, 0)))
    volume = read(tmp_path / "near")
    assert _codes(volume) == ["COSINES_REPAIRED"]
    unit = geometry.directions(volume.affine)
    np.testing.assert_allclose(unit.T @ unit, np.eye(3), atol=1e-9)
    factory.series(tmp_path / "far", factory.planes(3), edit=lambda _, ds: _orient(ds, (1, 0, 0, 0.01, 1, 0)))
    _refused(tmp_path / "far", factory, "cosines", "(0020,0037)")


def _orient(ds: Any, cosines: Any) -> None:
    ds.ImageOrientationPatient = list(cosines)


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_missing_geometry(tmp_path: Path, factory: ModuleType, keyword: str) -> None:
    factory.series(tmp_path, factory.planes(3), edit=lambda _, ds: delattr(ds, keyword))
    with pytest.raises(InputError, match=keyword):
        read(tmp_path)


def test_localizer_is_left_out(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(5)
    factory.series(tmp_path, voxels)
    scout = factory.slice_dataset(voxels[0], (0, 0, 1), number=99, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    factory.save(scout, tmp_path / "aaa.dcm")
    volume = read(tmp_path)
    assert _codes(volume) == ["LOCALIZER_EXCLUDED"]
    np.testing.assert_array_equal(volume.array, voxels.astype(int) - 1024)
    assert _codes(read(tmp_path / "aaa.dcm")) == ["LOCALIZER", "SINGLE_SLICE"]


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("EchoTime", (4.6, 9.2)),
        ("TemporalPositionIdentifier", (1, 2)),
        ("AcquisitionNumber", (1, 2)),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"])),
        ("DiffusionBValue", (0.0, 800.0)),
    ],
)
def test_interleaved_stacks_are_split(tmp_path: Path, factory: ModuleType, keyword: str, values: Any) -> None:
    voxels = [factory.planes(4, seed=seed) for seed in (0, 1)]
    for n, value in enumerate(values):
        factory.series(tmp_path, voxels[n], modality="MR", prefix=f"e{n}", first_number=1 + 10 * n, **{keyword: value})
    with pytest.raises(InputError, match="which one") as caught:
        read(tmp_path)
    assert factory.uid(2, 1) in str(caught.value)
    for n in range(2):
        np.testing.assert_array_equal(read(tmp_path, series=n).array, voxels[n])
    with pytest.raises(InputError, match="several stacks"):
        read(tmp_path, series=factory.uid(2, 1))


def test_several_series(tmp_path: Path, factory: ModuleType) -> None:
    voxels = [factory.planes(3, seed=seed) for seed in (0, 1)]
    for n in range(2):
        factory.series(tmp_path / f"s{n}", voxels[n], series=n + 1, modality="MR")
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    text = str(caught.value)
    assert "0  MR  3 file(s)  3×6×5" in text
    assert "series=0" in text
    for n in range(2):
        for choice in (n, str(n), factory.uid(2, n + 1)):
            np.testing.assert_array_equal(read(tmp_path, series=choice).array, voxels[n])
    assert [image.source.series_uid for image in read_all(tmp_path)] == [factory.uid(2, 1), factory.uid(2, 2)]
    for wrong in (7, "1.2.3"):
        with pytest.raises(InputError, match="There is no"):
            read(tmp_path, series=wrong)


def test_one_broken_series_does_not_hide_the_other(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path / "a", factory.planes(8), edit=lambda n, _: n != 3)
    factory.series(tmp_path / "b", factory.planes(4), series=2)
    entries = scan(tmp_path).entries
    assert [entry.problem is None for entry in entries] == [False, True]
    assert "unreadable: Slices are missing" in entries[0].describe()
    assert read(tmp_path, series=1).array.shape == (4, 6, 5)
    with pytest.raises(InputError, match="missing"):
        read_all(tmp_path)


def test_three_orthogonal_planes_are_three_stacks(tmp_path: Path, factory: ModuleType) -> None:
    for n, orientation in enumerate([(1, 0, 0, 0, 1, 0), SAGITTAL, (1, 0, 0, 0, 0, -1)]):
        factory.series(tmp_path, factory.planes(3), orientation=orientation, prefix=f"p{n}", first_number=10 * n)
    assert len(scan(tmp_path).entries) == 3


def test_pixels_cut_short(tmp_path: Path, factory: ModuleType) -> None:
    paths = factory.series(tmp_path, factory.planes(3))
    paths[1].write_bytes(paths[1].read_bytes()[:-20])
    with pytest.raises(InputError, match="cut short") as caught:
        read(tmp_path)
    assert str(paths[1]) in str(caught.value)
    factory.series(tmp_path / "b", factory.planes(3), PixelData=b"\0\0")
    with pytest.raises(InputError, match="cut short"):
        read(tmp_path / "b")


@pytest.mark.parametrize("part", [0.02, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9])
def test_files_cut_anywhere(tmp_path: Path, factory: ModuleType, part: float) -> None:
    (path,) = factory.series(tmp_path, factory.planes(1, 32, 32))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * part)])
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_never_crash(tmp_path: Path, factory: ModuleType, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (path,) = factory.series(tmp_path, factory.planes(1))
    raw = bytearray(path.read_bytes())
    for place in rng.integers(132, len(raw), 12):
        raw[place] = rng.integers(0, 256)
    path.write_bytes(raw)
    with warnings.catch_warnings(record=True) as printed:
        _read_or_refuse(path)
    assert not [warning for warning in printed if "Invalid value" in str(warning.message)]


def test_missing_decoder_is_named(tmp_path: Path, factory: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        is_available, missing_dependencies, available_plugins = False, ["gdcm - requires gdcm>=3.0.10"], ()

    monkeypatch.setattr(dicom_encoded, "get_decoder", lambda _: Bare())
    monkeypatch.setattr(dicom_encoded, "decode_fast", lambda *_: None)
    with pytest.raises(MedimgError, match="requires gdcm") as caught:
        read(get_testdata_file("MR_small_RLE.dcm", download=False))
    assert caught.value.exit_code == 5


def test_picture_from_grey_and_colour(tmp_path: Path, factory: ModuleType) -> None:
    plane = factory.planes(1, dtype=np.uint16)[0]
    lacking = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "BitsStored": 12, "HighBit": 11}
    factory.save(factory.slice_dataset(plane, (0, 0, 0), modality="MR", **lacking, Modality="OP"), tmp_path / "a.dcm")
    picture = read(tmp_path / "a.dcm")
    assert isinstance(picture, Picture)
    assert _codes(picture) == ["DEPTH_SPREAD", "GREY_REPLICATED"]
    np.testing.assert_array_equal(picture.array[..., 0], plane * 16)
    assert picture.spacing_mm == (0.8, 0.7)
    colour = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    factory.save(
        factory.slice_dataset(
            colour, (0, 0, 0), Modality="ES", SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0
        ),
        tmp_path / "b.dcm",
    )
    np.testing.assert_array_equal(read(tmp_path / "b.dcm").array, colour)


def test_frames_without_a_place_each_are_refused(tmp_path: Path, factory: ModuleType) -> None:
    factory.save(factory.slice_dataset(factory.planes(1)[0], (0, 0, 0), NumberOfFrames=3), tmp_path / "a.dcm")
    with pytest.raises(InputError, match="one position for many frames"):
        read(tmp_path / "a.dcm")


BUNDLED = [
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_expb.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_padded.dcm",
    "693_J2KI.dcm",
    "J2K_pixelrep_mismatch.dcm",
]


@pytest.mark.parametrize("name", BUNDLED)
def test_files_that_pydicom_brings(name: str) -> None:
    volume = read(get_testdata_file(name, download=False))
    assert isinstance(volume, Volume)
    _oracle(volume)


def test_truncated_file_that_pydicom_brings() -> None:
    with pytest.raises(InputError, match="cut short"):
        read(get_testdata_file("MR_truncated.dcm", download=False))


def test_every_file_that_pydicom_brings_is_read_or_refused_by_name() -> None:
    folder = Path(get_testdata_file("CT_small.dcm", download=False)).parent
    for path in sorted(folder.glob("*.dcm")):
        _read_or_refuse(path)


def _comparable(path: Path) -> bool:
    """Whether pydicom decodes the file and finds its place without looking into functional groups."""
    ds = pydicom.dcmread(path, force=True)
    try:
        return "ImagePositionPatient" in ds and ds.pixel_array is not None
    except (NotImplementedError, RuntimeError, AttributeError):
        return False


@pytest.mark.real
def test_conformance_files(real_data: Path) -> None:
    read_count = 0
    for path in sorted(path for path in (real_data / "dicom-conformance").rglob("*") if path.is_file()):
        image = _read_or_refuse(path)
        if not isinstance(image, Volume) or image.source.format != "DICOM" or "MONOCHROME1" in _codes(image):
            continue
        # Frames of multi-frame files are compared in test_dicom_frames.py.
        if not image.source.frames and image.unit != "SUV" and _comparable(path):
            _oracle(image)
            read_count += 1
    assert read_count > 50


@pytest.mark.real
def test_one_picture_in_many_syntaxes(real_data: Path) -> None:
    folder = real_data / "dicom-conformance" / "cornerstone" / "testImages"
    reference = read(folder / "CTImage.dcm").array
    lossless = ("BigEndian", "Deflated", "JPEG2000LosslessOnly", "JPEGLSLossless", "Process14", "LittleEndian", "RLE")
    paths = [path for path in folder.glob("CTImage.dcm_*") if any(name in path.name for name in lossless)]
    assert len(paths) == 9
    for path in paths:
        np.testing.assert_array_equal(read(path).array, reference)


@pytest.mark.real
def test_oblique_series(real_data: Path) -> None:
    volumes = read_all(real_data / "mri-glioma-dicom")
    assert len(volumes) == 2
    for volume in volumes:
        assert volume.array.shape == (22, 320, 280)
        assert geometry.is_oblique(volume.affine)
        _oracle(volume)
    assert volumes[0].frame_of_reference_uid == volumes[1].frame_of_reference_uid
    assert geometry.same_grid(
        volumes[0].array.shape, volumes[0].affine, volumes[1].array.shape, volumes[1].affine, tolerance_mm=0.05
    )
