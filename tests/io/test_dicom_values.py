"""What stored numbers mean: look-up tables, SUV, palettes, depths, signs, spacing rules, lying transfer syntaxes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import apply_color_lut, apply_modality_lut
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    PositronEmissionTomographyImageStorage,
    RLELossless,
)

from medimg.errors import InputError, MissingDependency
from medimg.io.dicom.calibration import picture_spacing
from medimg.io.dicom.codestream import stated_of, true_syntax
from medimg.io.dicom.lut import windowed
from medimg.io.image import Picture, Volume
from medimg.io.read import read

PLACELESS = {"ImagePositionPatient": None, "ImageOrientationPatient": None}


def _codes(image: Any) -> list[str]:
    return [finding.code for finding in image.findings]


def _item(**elements: Any) -> Items:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Items([item])


# --- PET ---------------------------------------------------------------------------------------------------------


def _pet(factory: ModuleType, folder: Path, tracer: dict[str, Any] | None = None, **elements: Any) -> np.ndarray:
    """A PET series of three slices, each with its own slope; returns the rescaled values in Bq/ml."""
    voxels, slopes = factory.planes(3), [0.5, 1.25, 2.0]
    basic: dict[str, Any] = {
        "Units": "BQML",
        "DecayCorrection": "START",
        "CorrectedImage": ["ATTN", "DECY"],
        "PatientWeight": 80.0,
        "SeriesDate": "20200102",
        "SeriesTime": "100000",
        "AcquisitionDate": "20200102",
        "AcquisitionTime": "100500",
        "Modality": "PT",
        "SOPClassUID": PositronEmissionTomographyImageStorage,
    }
    stated = {
        "RadionuclideTotalDose": 3.7e8,
        "RadionuclideHalfLife": 6586.2,
        "RadiopharmaceuticalStartTime": "090000",
        **(tracer or {}),
    }
    given = _item(**{keyword: value for keyword, value in stated.items() if value is not None})

    def edit(n: int, ds: Dataset) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = slopes[n], 0
        for keyword, value in {**basic, "RadiopharmaceuticalInformationSequence": given, **elements}.items():
            if value is not None:
                setattr(ds, keyword, value)

    factory.series(folder, voxels, modality="MR", edit=edit)
    return voxels * np.asarray(slopes)[:, None, None]


def _factor(hours: float, kg: float = 80.0) -> float:
    return kg * 1000.0 / (3.7e8 * 2.0 ** (-hours * 3600.0 / 6586.2))


@pytest.mark.parametrize(
    ("tracer", "elements", "hours"),
    [
        ({}, {}, 1.0),
        ({"RadiopharmaceuticalStartTime": "233000"}, {"SeriesTime": "003000", "AcquisitionTime": "003500"}, 1.0),
        ({"RadiopharmaceuticalStartDateTime": "20200101233000.00"}, {"SeriesTime": "003000"}, 1.0),
        ({"RadiopharmaceuticalStartTime": "090000.50"}, {"SeriesTime": "100000.5"}, 1.0),
        ({}, {"DecayCorrection": "ADMIN", "SeriesTime": None}, 0.0),
        ({}, {"SeriesTime": "120000", "DecayCorrectionDateTime": "20200102093000"}, 0.5),
    ],
)
def test_suv_by_body_weight(
    tmp_path: Path, factory: ModuleType, tracer: dict[str, Any], elements: dict[str, Any], hours: float
) -> None:
    activity = _pet(factory, tmp_path, tracer, **elements)
    volume = read(tmp_path)
    assert volume.unit == "SUV"
    np.testing.assert_allclose(volume.array, activity * _factor(hours), rtol=1e-5)
    assert "PET_SUV" in _codes(volume)


def test_values_that_are_suv_already(tmp_path: Path, factory: ModuleType) -> None:
    activity = _pet(factory, tmp_path, Units="GML")
    volume = read(tmp_path)
    assert volume.unit == "SUV"
    np.testing.assert_allclose(volume.array, activity)


@pytest.mark.parametrize(
    ("tracer", "elements", "named"),
    [
        ({}, {"PatientWeight": None}, "(0010,1030)"),
        ({}, {"PatientWeight": 80000.0}, "(0010,1030)"),
        ({"RadionuclideTotalDose": None}, {}, "(0018,1074)"),
        ({"RadionuclideTotalDose": 0.0}, {}, "(0018,1074)"),
        ({"RadionuclideHalfLife": None}, {}, "(0018,1075)"),
        ({"RadiopharmaceuticalStartTime": None}, {}, "(0018,1072)"),
        ({"RadiopharmaceuticalStartDateTime": "20190102090000"}, {}, "24 hours"),
        ({}, {"DecayCorrection": "NONE"}, "(0054,1102)"),
        ({}, {"DecayCorrection": None}, "(0054,1102)"),
        ({}, {"CorrectedImage": ["ATTN"]}, "(0028,0051)"),
        ({}, {"SeriesTime": "235900"}, "(0008,0031)"),
        ({}, {"Units": "CNTS"}, "counts"),
        ({}, {"Units": "PROPCPS"}, "(0054,1001)"),
        ({}, {"Units": "GML", "SUVType": "LBM"}, "(0054,1006)"),
        ({}, {"RadiopharmaceuticalInformationSequence": None}, "(0054,0016)"),
    ],
)
def test_what_lacks_for_suv_is_named_and_never_shown(
    tmp_path: Path, factory: ModuleType, tracer: dict[str, Any], elements: dict[str, Any], named: str
) -> None:
    activity = _pet(factory, tmp_path, tracer, **elements)
    volume = read(tmp_path)
    assert volume.unit == "arbitrary"
    np.testing.assert_allclose(volume.array, activity)
    (finding,) = [one for one in volume.findings if one.code == "PET_NOT_SUV"]
    assert named in finding.message
    for secret in ("80.0", "80000", "3.7", "370000000", "090000", "100000", "235900", "2019", "6586"):
        assert secret not in str(finding.as_dict())


def test_scanner_own_suv_factor_for_counts(tmp_path: Path, factory: ModuleType) -> None:
    def philips(ds: Dataset) -> None:
        block = ds.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "DS", "0.001")

    activity = _pet(factory, tmp_path, Units="CNTS")
    for path in tmp_path.iterdir():
        ds = pydicom.dcmread(path)
        philips(ds)
        ds.save_as(path)
    volume = read(tmp_path)
    assert volume.unit == "SUV"
    np.testing.assert_allclose(volume.array, activity * 0.001, rtol=1e-6)


# --- look-up tables and palettes ---------------------------------------------------------------------------------


def _lut(values: np.ndarray, first: int, kind: str = "") -> Items:
    items = _item(LUTDescriptor=[len(values), first, 16], LUTData=values.astype("<u2").tobytes(), ModalityLUTType=kind)
    items[0]["LUTData"].VR = "OW"
    return items


def test_modality_table_of_a_volume(tmp_path: Path, factory: ModuleType) -> None:
    voxels, table = factory.planes(4), np.random.default_rng(0).integers(0, 60000, 3000)
    factory.series(tmp_path, voxels, modality="MR", ModalityLUTSequence=_lut(table, 500))
    volume = read(tmp_path)
    expected = table[np.clip(voxels.astype(int) - 500, 0, 2999)]
    np.testing.assert_array_equal(volume.array, expected)
    assert "MODALITY_LUT" in _codes(volume)


def test_modality_table_of_some_slices_is_refused(tmp_path: Path, factory: ModuleType) -> None:
    def edit(n: int, ds: Dataset) -> None:
        if n != 1:
            ds.ModalityLUTSequence = _lut(np.arange(4096), 0)

    factory.series(tmp_path, factory.planes(3), modality="MR", edit=edit)
    with pytest.raises(InputError, match="some have none"):
        read(tmp_path)


def test_modality_table_cut_short_is_refused(tmp_path: Path, factory: ModuleType) -> None:
    items = _lut(np.arange(4096), 0)
    items[0].LUTData = items[0].LUTData[:100]
    factory.series(tmp_path, factory.planes(2), modality="MR", ModalityLUTSequence=items)
    with pytest.raises(InputError, match="look-up table cannot be used"):
        read(tmp_path)


def _palette(ds: Dataset, entries: np.ndarray, first: int, bits: int) -> None:
    order = ">" if ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    for n, colour in enumerate(("Red", "Green", "Blue")):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [len(entries) % 65536, first, bits])
        name = f"{colour}PaletteColorLookupTableData"
        setattr(ds, name, entries[:, n].astype(f"{order}u2").tobytes())
        ds[name].VR = "OW"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(("bits", "dtype"), [(16, np.uint16), (8, np.uint8)])
def test_palette(tmp_path: Path, factory: ModuleType, syntax: str, bits: int, dtype: type) -> None:
    entries = np.random.default_rng(1).integers(0, 1 << bits, (1000, 3))
    plane = factory.planes(1)[0] % 1100
    ds = factory.slice_dataset(plane, (0, 0, 0), PhotometricInterpretation="PALETTE COLOR", Modality="US", **PLACELESS)
    ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = plane.astype(">u2").tobytes()
    _palette(ds, entries, 100, bits)
    factory.save(ds, tmp_path / "a.dcm")
    picture = read(tmp_path / "a.dcm")
    assert picture.array.dtype == dtype
    np.testing.assert_array_equal(picture.array, entries[np.clip(plane.astype(int) - 100, 0, 999)])


def test_segmented_palette_equals_pydicom(tmp_path: Path, factory: ModuleType) -> None:
    plane = (factory.planes(1)[0] % 256).astype(np.uint8)
    ds = factory.slice_dataset(plane, (0, 0, 0), PhotometricInterpretation="PALETTE COLOR", Modality="US", **PLACELESS)
    segments = np.asarray([0, 1, 0, 1, 255, 60000], "<u2").tobytes()
    for colour in ("Red", "Green", "Blue"):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"Segmented{colour}PaletteColorLookupTableData", segments)
    factory.save(ds, tmp_path / "a.dcm")
    expected = apply_color_lut(plane, pydicom.dcmread(tmp_path / "a.dcm"))
    np.testing.assert_array_equal(read(tmp_path / "a.dcm").array, expected)


def test_palettes_that_cannot_be_used_are_refused(tmp_path: Path, factory: ModuleType) -> None:
    ds = factory.slice_dataset(
        factory.planes(1)[0], (0, 0, 0), PhotometricInterpretation="PALETTE COLOR", Modality="US", **PLACELESS
    )
    factory.save(ds, tmp_path / "a.dcm")
    with pytest.raises(InputError, match="palette"):
        read(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("function", "expected"),
    [("LINEAR", [0.0, 0.5, 1.0]), ("LINEAR_EXACT", [0.0, 0.5, 1.0]), ("SIGMOID", [0.0, 0.5, 1.0])],
)
def test_windows_are_for_display(function: str, expected: list[float]) -> None:
    shown = windowed(np.asarray([-2000.0, 39.5 if function == "LINEAR" else 40.0, 3000.0]), 40.0, 400.0, function)
    np.testing.assert_allclose(shown, expected, atol=1e-6)
    np.testing.assert_array_equal(windowed(np.asarray([39.5, 39.6]), 40.0, 1.0), [0.0, 1.0])
    for width, name in ((0.5, "LINEAR"), (0.0, "SIGMOID"), (100.0, "CUBIC")):
        with pytest.raises(ValueError, match="no window"):
            windowed(np.zeros(1), 0.0, width, name)


# --- samples of pictures -----------------------------------------------------------------------------------------


def _picture(factory: ModuleType, folder: Path, plane: np.ndarray, **elements: Any) -> Picture:
    ds = factory.slice_dataset(plane, (0, 0, 0), **{"Modality": "DX", **PLACELESS, **elements})
    factory.save(ds, folder / "a.dcm")
    picture = read(folder / "a.dcm")
    assert isinstance(picture, Picture)
    return picture


def test_signed_pictures_are_shifted(tmp_path: Path, factory: ModuleType) -> None:
    plane = np.asarray([[-32768, 0, 32767]], np.int16)
    picture = _picture(factory, tmp_path, plane)
    np.testing.assert_array_equal(picture.array[0, :, 0], [0, 32768, 65535])
    assert "SIGNED_SHIFTED" in _codes(picture)
    plane = np.asarray([[-2048, 0, 2047]], np.int16)
    picture = _picture(factory, tmp_path, plane, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(picture.array[0, :, 0], [0, 32768, 65520])


def test_monochrome1_is_inverted_within_its_bits(tmp_path: Path, factory: ModuleType) -> None:
    plane = np.asarray([[0, 1, 4095]], np.uint16)
    kind = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    picture = _picture(factory, tmp_path, plane, **kind)
    np.testing.assert_array_equal(picture.array[0, :, 0], [4095 << 4, 4094 << 4, 0])


def test_overlays_in_high_bits_and_beside_the_pixels(tmp_path: Path, factory: ModuleType) -> None:
    plane = np.asarray([[1, 2 | 0xF000, 4095 | 0x8000]], np.uint16)
    beside = {"OverlayRows": 1, "OverlayData": b"\x01\x00", "WindowCenter": 40, "BurnedInAnnotation": "YES"}
    ds = factory.slice_dataset(plane, (0, 0, 0), Modality="DX", BitsStored=12, HighBit=11, **PLACELESS)
    for keyword, value in beside.items():
        if keyword.startswith("Overlay"):
            vr = "US" if keyword == "OverlayRows" else "OW"
            ds.add_new(0x60000010 if keyword == "OverlayRows" else 0x60003000, vr, value)
        else:
            setattr(ds, keyword, value)
    factory.save(ds, tmp_path / "a.dcm")
    picture = read(tmp_path / "a.dcm")
    np.testing.assert_array_equal(picture.array[0, :, 0], np.asarray([1, 2, 4095]) << 4)
    assert {"OVERLAY_IGNORED", "WINDOW_NOT_APPLIED", "BURNED_IN", "DEPTH_SPREAD"} <= set(_codes(picture))


def test_left_aligned_pixels_are_moved_down(tmp_path: Path, factory: ModuleType) -> None:
    plane = np.asarray([[0x0010, 0x7FF0, 0xFFF0]], np.uint16)
    picture = _picture(factory, tmp_path, plane, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(picture.array[0, :, 0], plane[0])


def test_single_bits(tmp_path: Path, factory: ModuleType) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (5, 7), dtype=np.uint8)
    ds = factory.slice_dataset(bits, (0, 0, 0), Modality="OT", BitsAllocated=1, BitsStored=1, HighBit=0, **PLACELESS)
    ds.PixelData = np.packbits(bits.ravel(), bitorder="little").tobytes() + b"\x00"
    factory.save(ds, tmp_path / "a.dcm")
    np.testing.assert_array_equal(read(tmp_path / "a.dcm").array[..., 1], bits * 255)


@pytest.mark.parametrize("planar", [0, 1])
def test_planar_configuration(tmp_path: Path, factory: ModuleType, planar: int) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    ds = factory.slice_dataset(
        colour, (0, 0, 0), Modality="ES", SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=planar
    )
    ds.PixelData = (colour.transpose(2, 0, 1) if planar else colour).tobytes()
    factory.save(ds, tmp_path / "a.dcm")
    np.testing.assert_array_equal(read(tmp_path / "a.dcm").array, colour)


def test_partial_range_colour(tmp_path: Path, factory: ModuleType) -> None:
    ds = factory.slice_dataset(
        np.zeros((1, 4, 3), np.uint8),
        (0, 0, 0),
        Modality="US",
        SamplesPerPixel=3,
        PhotometricInterpretation="YBR_PARTIAL_422",
        PlanarConfiguration=0,
    )
    # Black and white, then two of one red: Y Y Cb Cr for each pair.
    ds.PixelData = bytes([16, 235, 128, 128, 81, 81, 90, 240])
    factory.save(ds, tmp_path / "a.dcm")
    picture = read(tmp_path / "a.dcm").array
    np.testing.assert_array_equal(picture[0, :2], [[0, 0, 0], [255, 255, 255]])
    np.testing.assert_allclose(picture[0, 2:].astype(int), [[254, 0, 0]] * 2, atol=1)


@pytest.mark.parametrize(
    "elements",
    [
        {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31},
        {"PhotometricInterpretation": "HSV"},
        {"SamplesPerPixel": 2, "PlanarConfiguration": 0},
    ],
)
def test_other_samples_are_refused_by_name(tmp_path: Path, factory: ModuleType, elements: dict[str, Any]) -> None:
    ds = factory.slice_dataset(np.zeros((4, 4), np.uint32), (0, 0, 0), Modality="OT", **PLACELESS, **elements)
    factory.save(ds, tmp_path / "a.dcm")
    with pytest.raises(InputError, match="such pixels are not supported"):
        read(tmp_path / "a.dcm")


# --- spacing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modality", "elements", "spacing", "code"),
    [
        ("DX", {"ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "SPACING_AT_DETECTOR"),
        (
            "MG",
            {"ImagerPixelSpacing": [0.2, 0.1], "EstimatedRadiographicMagnificationFactor": 2.0},
            (0.1, 0.05),
            "SPACING_MAGNIFICATION",
        ),
        ("XA", {"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.2, 0.2]}, (0.2, 0.2), "SPACING_AT_DETECTOR"),
        ("XA", {"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.15, 0.15]}, (0.15, 0.15), "SPACING_CALIBRATED"),
        (
            "CR",
            {"PixelSpacing": [0.1, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"},
            (0.1, 0.1),
            "SPACING_CALIBRATED",
        ),
        ("CR", {"PixelSpacing": [0.1, 0.1]}, (0.1, 0.1), "SPACING_AT_DETECTOR"),
        ("CR", {"NominalScannedPixelSpacing": [0.3, 0.3]}, (0.3, 0.3), "SPACING_OF_FILM"),
        ("OT", {"NominalScannedPixelSpacing": [0.3, 0.3]}, (0.3, 0.3), "SPACING_OF_FILM"),
        ("OP", {"PixelSpacing": [0.01, 0.02]}, (0.01, 0.02), None),
        ("ES", {"PixelSpacing": [0, 0.02]}, None, None),
        ("ES", {"PixelAspectRatio": [2, 1]}, None, "PIXEL_ASPECT"),
        ("DX", {}, None, None),
    ],
)
def test_spacing_rules(modality: str, elements: dict[str, Any], spacing: Any, code: str | None) -> None:
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    found, findings = picture_spacing(ds, modality, "a.dcm")
    assert found == pytest.approx(spacing) if spacing else found is None
    assert [finding.code for finding in findings] == ([code] if code else [])


def _region(delta_cm: float, units: int = 3) -> Dataset:
    return _item(
        RegionSpatialFormat=1,
        PhysicalUnitsXDirection=units,
        PhysicalUnitsYDirection=units,
        PhysicalDeltaX=delta_cm,
        PhysicalDeltaY=-2 * delta_cm,
    )[0]


def test_ultrasound_regions() -> None:
    ds = Dataset()
    ds.PixelSpacing = [9, 9]
    ds.SequenceOfUltrasoundRegions = Items([_region(0.01), _region(0.01), _region(5.0, units=4)])
    spacing, findings = picture_spacing(ds, "US", "a.dcm")
    assert spacing == pytest.approx((0.2, 0.1))
    assert [finding.code for finding in findings] == ["US_REGION"]
    ds.SequenceOfUltrasoundRegions.append(_region(0.02))
    spacing, findings = picture_spacing(ds, "US", "a.dcm")
    assert spacing is None
    assert [finding.code for finding in findings] == ["US_REGIONS_DIFFER"]


# --- transfer syntaxes -------------------------------------------------------------------------------------------


def _relabelled(factory: ModuleType, folder: Path, actual: str, stated: str) -> tuple[np.ndarray, Path]:
    plane = factory.planes(1, rows=64, columns=64)[0]
    ds = factory.slice_dataset(plane, (0, 0, 0))
    if actual != ExplicitVRLittleEndian:
        ds.compress(actual, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(stated)
    if stated == ExplicitVRLittleEndian:
        ds["PixelData"].is_undefined_length = True
        ds["PixelData"].VR = "OB"
    path = folder / "a.dcm"
    folder.mkdir(exist_ok=True)
    with path.open("wb") as file:
        pydicom.dcmwrite(file, ds, enforce_file_format=False)
    return plane.astype(int) - 1024, path


@pytest.mark.parametrize(
    ("actual", "stated"),
    [
        (JPEG2000Lossless, JPEGLSLossless),
        (JPEGLSLossless, JPEG2000Lossless),
        (RLELossless, JPEGBaseline8Bit),
        (JPEG2000Lossless, RLELossless),
    ],
)
def test_a_wrong_transfer_syntax_is_seen(tmp_path: Path, factory: ModuleType, actual: str, stated: str) -> None:
    expected, path = _relabelled(factory, tmp_path, actual, stated)
    volume = read(path)
    assert isinstance(volume, Volume)
    np.testing.assert_array_equal(volume.array[0], expected)
    assert "WRONG_SYNTAX" in _codes(volume)


def test_codestreams_are_told_apart() -> None:
    for name in ("JPEG2000.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_gdcm.dcm"):
        ds = pydicom.dcmread(get_testdata_file(name, download=False))
        frame = next(generate_frames(ds.PixelData, number_of_frames=1))
        stated = str(ds.file_meta.TransferSyntaxUID)
        assert true_syntax(stated, frame, segments=2) == stated
        assert true_syntax(RLELossless, frame, segments=2) != RLELossless
        stated = stated_of(frame)
        assert stated is not None
        assert stated[:2] == (ds.Rows, ds.Columns)
    assert stated_of(b"\xff\xd8\xff") is None
    assert stated_of(b"") is None


def test_a_codestream_of_another_size_is_refused_before_decoding(tmp_path: Path, factory: ModuleType) -> None:
    ds = factory.slice_dataset(factory.planes(1, rows=64, columns=64)[0], (0, 0, 0))
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    frame = bytearray(next(generate_frames(ds.PixelData, number_of_frames=1)))
    frame[8:12] = (1 << 30).to_bytes(4, "big")
    ds.PixelData = encapsulate([bytes(frame)])
    factory.save(ds, tmp_path / "a.dcm")
    with pytest.raises(InputError, match="damaged"):
        read(tmp_path / "a.dcm")


def test_lossy_jpeg_of_twelve_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    path = get_testdata_file("JPGExtended.dcm", download=False)
    picture = read(path)
    assert picture.array.shape == (1024, 256, 3)
    assert int(picture.array.max()) >> 4 > 255
    monkeypatch.setitem(sys.modules, "gdcm", None)
    with pytest.raises(MissingDependency, match="python-gdcm"):
        read(path)


# --- real files --------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_real_tables_and_pet(real_data: Path) -> None:
    folder = real_data / "dicom-conformance"
    path = folder / "pydicom-data" / "data" / "mlut_18.dcm"
    ds = pydicom.dcmread(path)
    picture = read(path)
    np.testing.assert_array_equal(picture.array[..., 0], apply_modality_lut(ds.pixel_array, ds))
    little, big = (read(folder / "pydicom-data" / "data" / name) for name in ("OBXXXX1A.dcm", "OBXXXX1A_expb.dcm"))
    np.testing.assert_array_equal(little.array, big.array)
    assert read(folder / "suyashkumar" / "testdata" / "1.dcm").unit == "SUV"
