"""Multi-frame objects: every frame lands where its functional groups say, or the file is refused by name."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    UID,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    NuclearMedicineImageStorage,
    OphthalmicTomographyImageStorage,
    RLELossless,
)

from medimg.errors import InputError
from medimg.io.dicom import frames as dicom_frames
from medimg.io.dicom import tags
from medimg.io.dicom.frames import frames_of
from medimg.io.dicom.headers import read_header
from medimg.io.image import Video, Volume
from medimg.io.read import read, read_all

GAP, SPACING = 2.5, (0.8, 0.7)
OBLIQUE = (0.99999996693059, -4.81874506e-05, -0.0002526198484, 2.046187e-10, 0.98228909079532, -0.1873716683613)


def _item(**elements: Any) -> Items:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Items([item])


def enhanced(
    voxels: np.ndarray,
    *,
    sop_class: str = EnhancedCTImageStorage,
    modality: str = "CT",
    orientation: Any = OBLIQUE,
    syntax: str = ExplicitVRLittleEndian,
    places: Any = None,
    slopes: Any = None,
    groups: Any = None,
    shared: dict[str, Items] | None = None,
    **elements: Any,
) -> Dataset:
    """A multi-frame object with one frame per plane; ``groups(n)`` gives more functional groups of frame n."""
    normal = np.cross(orientation[:3], orientation[3:])
    places = range(len(voxels)) if places is None else places
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.SOPClassUID, ds.SOPInstanceUID = UID(sop_class), "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.3.1", "1.2.3.2"
    ds.Modality, ds.PatientName, ds.PatientID = modality, "SECRET^NAME", "SECRET-ID"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.NumberOfFrames, ds.Rows, ds.Columns = len(voxels), *voxels.shape[1:3]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * voxels.dtype.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(voxels.dtype.kind == "i")
    first = Dataset()
    first.PlaneOrientationSequence = _item(ImageOrientationPatient=[f"{v:.9g}" for v in orientation])
    first.PixelMeasuresSequence = _item(PixelSpacing=list(SPACING), SliceThickness=GAP)
    for keyword, value in (shared or {}).items():
        setattr(first, keyword, value)
    ds.SharedFunctionalGroupsSequence = Items([first])
    per_frame = []
    for n, place in enumerate(places):
        item = Dataset()
        position = [f"{v:.6f}" for v in np.asarray([-10.0, -20.0, 30.0]) + place * GAP * normal]
        item.PlanePositionSequence = _item(ImagePositionPatient=position)
        slope, intercept = (1, -1024) if slopes is None else slopes[n]
        item.PixelValueTransformationSequence = _item(
            RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU" if modality == "CT" else "US"
        )
        for keyword, value in (groups(n) if groups else {}).items():
            setattr(item, keyword, value)
        per_frame.append(item)
    ds.PerFrameFunctionalGroupsSequence = Items(per_frame)
    ds.PixelData = voxels.tobytes()
    ds["PixelData"].VR = "OW" if voxels.dtype.itemsize > 1 else "OB"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def _codes(image: Any) -> list[str]:
    return [finding.code for finding in image.findings]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 2, 0, 1, 3]])
def test_frames_are_slices_wherever_they_stand_in_the_file(
    tmp_path: Path, factory: ModuleType, syntax: str, order: list[int]
) -> None:
    voxels = factory.planes(5)
    factory.save(enhanced(voxels[order], places=order, syntax=syntax), tmp_path / "a.dcm")
    volume = read(tmp_path / "a.dcm")
    assert isinstance(volume, Volume)
    np.testing.assert_array_equal(volume.array, voxels.astype(int) - 1024)
    assert volume.unit == "HU"
    assert volume.spacing_mm == pytest.approx((GAP, *SPACING))
    assert volume.source.frames == tuple(int(n) for n in np.argsort(order))
    assert volume.source.paths == (tmp_path / "a.dcm",)
    assert volume.source.instance_uids == ("1.2.3.4",)
    assert _codes(volume) == []
    reference = highdicom.imread(tmp_path / "a.dcm").get_volume(rtol=0.02)
    corners = np.asarray([[0, 0, 0, 1], [4, 5, 4, 1]]) if reference.affine[2, 0] * volume.affine[2, 0] > 0 else None
    if corners is not None:
        np.testing.assert_allclose(corners @ volume.affine.T, corners @ reference.affine.T, atol=1e-3)
    np.testing.assert_allclose(volume.affine[:3, 3], [-10.0, -20.0, 30.0], atol=1e-5)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_frames(tmp_path: Path, factory: ModuleType, syntax: str) -> None:
    voxels = factory.planes(4, rows=64, columns=64)
    ds = enhanced(voxels, sop_class=LegacyConvertedEnhancedCTImageStorage)
    ds.compress(syntax, generate_instance_uid=False)
    factory.save(ds, tmp_path / "a.dcm")
    np.testing.assert_array_equal(read(tmp_path / "a.dcm").array, voxels.astype(int) - 1024)


def test_every_frame_has_its_own_rescale(tmp_path: Path, factory: ModuleType) -> None:
    voxels, slopes = factory.planes(4), [(1 + 0.5 * n, -3.0 * n) for n in range(4)]
    factory.save(enhanced(voxels, slopes=slopes), tmp_path / "a.dcm")
    expected = np.stack([plane * slope + intercept for plane, (slope, intercept) in zip(voxels, slopes, strict=True)])
    np.testing.assert_allclose(read(tmp_path / "a.dcm").array, expected)


def test_a_file_is_parsed_once_however_many_frames(
    tmp_path: Path, factory: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory.save(enhanced(factory.planes(40)), tmp_path / "a.dcm")
    calls: list[Any] = []
    parse = pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda *args, **options: calls.append(args) or parse(*args, **options))
    assert read(tmp_path / "a.dcm").array.shape[0] == 40
    assert len(calls) <= 2


def _echo(n: int) -> dict[str, Items]:
    return {"MREchoSequence": _item(EffectiveEchoTime=[10.0, 80.0][n % 2])}


def _diffusion(n: int) -> dict[str, Items]:
    direction = _item(DiffusionGradientOrientation=[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]][n // 2 % 2])
    macro = _item(DiffusionBValue=[0.0, 1000.0][n % 2])
    macro[0].DiffusionGradientDirectionSequence = direction
    return {"MRDiffusionSequence": macro}


def _time(n: int) -> dict[str, Items]:
    return {"FrameContentSequence": _item(TemporalPositionIndex=n % 2 + 1, StackID="1")}


def _component(n: int) -> dict[str, Items]:
    kind = _item(FrameType=["ORIGINAL", "PRIMARY", "T1", "NONE"], ComplexImageComponent=["MAGNITUDE", "PHASE"][n % 2])
    return {"MRImageFrameTypeSequence": kind}


@pytest.mark.parametrize("groups", [_echo, _time, _component])
def test_what_differs_from_frame_to_frame_makes_stacks(tmp_path: Path, factory: ModuleType, groups: Any) -> None:
    voxels = factory.planes(8)
    ds = enhanced(
        voxels, sop_class=EnhancedMRImageStorage, modality="MR", places=[n // 2 for n in range(8)], groups=groups
    )
    for item in ds.PerFrameFunctionalGroupsSequence:
        del item.PixelValueTransformationSequence
    factory.save(ds, tmp_path / "a.dcm")
    volumes = read_all(tmp_path / "a.dcm")
    assert len(volumes) == 2
    for n, volume in enumerate(volumes):
        np.testing.assert_array_equal(volume.array, voxels[n::2])
        assert volume.source.frames == tuple(range(n, 8, 2))


def test_functional_groups_become_the_tags_of_single_frames(tmp_path: Path, factory: ModuleType) -> None:
    ds = enhanced(factory.planes(4), sop_class=EnhancedMRImageStorage, modality="MR", groups=_diffusion)
    pointers = [("StackID", 0x00209056), ("InStackPositionNumber", 0x00209057), ("DiffusionBValue", 0x00189087)]
    ds.DimensionIndexSequence = Items([_item(DimensionIndexPointer=pointer)[0] for _, pointer in pointers])
    for n, item in enumerate(ds.PerFrameFunctionalGroupsSequence):
        item.FrameContentSequence = _item(DimensionIndexValues=[1, n + 1, n % 2 + 1], StackID="7")
    mapped = _item(RealWorldValueSlope=2.0, RealWorldValueIntercept=1.0)
    mapped[0].MeasurementUnitsCodeSequence = _item(CodeValue="ms")
    ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = mapped
    factory.save(ds, tmp_path / "a.dcm")
    frames = frames_of(read_header(tmp_path / "a.dcm"))
    assert [frame.frame for frame in frames] == [0, 1, 2, 3]
    assert [tags.number(frame.elements, tags.B_VALUE) for frame in frames] == [0, 1000, 0, 1000]
    assert tags.floats(frames[2].elements, dicom_frames.GRADIENT) == [0.0, 1.0, 0.0]
    assert tags.texts(frames[1].elements, dicom_frames.DIMENSIONS) == ["1", "2"]
    assert tags.text(frames[1].elements, dicom_frames.STACK_ID) == "7"
    codes = {finding.code: finding for finding in read_all(tmp_path / "a.dcm")[0].findings}
    assert codes["REAL_WORLD_VALUES"].value == "slope 2.0, intercept 1.0, unit ms"


def test_what_a_converter_could_not_assign_still_sets_frames_apart(tmp_path: Path, factory: ModuleType) -> None:
    def unassigned(n: int) -> dict[str, Items]:
        return {"UnassignedPerFrameConvertedAttributesSequence": _item(EchoTime=[5.0, 90.0][n % 2])}

    voxels = factory.planes(6)
    ds = enhanced(
        voxels,
        sop_class=LegacyConvertedEnhancedMRImageStorage,
        modality="MR",
        places=[n // 2 for n in range(6)],
        groups=unassigned,
    )
    factory.save(ds, tmp_path / "a.dcm")
    volumes = read_all(tmp_path / "a.dcm")
    assert [volume.source.acquisition["echo_time_ms"] for volume in volumes] == [5.0, 90.0]


def test_ophthalmic_tomography_is_a_volume(tmp_path: Path, factory: ModuleType) -> None:
    voxels = (factory.planes(4) % 256).astype(np.uint8)
    scans = (1, 0, 0, 0, 0, -1)
    ds = enhanced(voxels, sop_class=OphthalmicTomographyImageStorage, modality="OPT", orientation=scans)
    for item in ds.PerFrameFunctionalGroupsSequence:
        del item.PixelValueTransformationSequence
    factory.save(ds, tmp_path / "a.dcm")
    volume = read(tmp_path / "a.dcm")
    np.testing.assert_array_equal(volume.array, voxels)
    np.testing.assert_allclose(volume.affine[:3, 0], [0, GAP, 0], atol=1e-6)
    for item in ds.PerFrameFunctionalGroupsSequence:
        del item.PlanePositionSequence
    factory.save(ds, tmp_path / "b.dcm")
    assert isinstance(read(tmp_path / "b.dcm"), Video)


def test_enhanced_pet_names_its_unit_in_the_rescale(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(3)
    ds = enhanced(voxels, sop_class=EnhancedPETImageStorage, modality="PT", slopes=[(2, 0)] * 3)
    for item in ds.PerFrameFunctionalGroupsSequence:
        item.PixelValueTransformationSequence[0].RescaleType = "BQML"
    ds.PatientWeight, ds.DecayCorrected, ds.DecayCorrectionDateTime = 70.0, "YES", "20200101100000"
    ds.RadiopharmaceuticalInformationSequence = _item(
        RadionuclideTotalDose=2e8,
        RadionuclideHalfLife=6586.2,
        RadiopharmaceuticalStartDateTime="20200101090000",
    )
    factory.save(ds, tmp_path / "a.dcm")
    volume = read(tmp_path / "a.dcm")
    assert volume.unit == "SUV"
    expected = 2.0 * voxels * 70_000 / (2e8 * 2 ** (-3600 / 6586.2))
    np.testing.assert_allclose(volume.array, expected, rtol=1e-5)


def test_pet_values_that_a_converter_put_aside(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(3)
    aside = _item(Units="BQML", DecayCorrection="ADMIN", PatientWeight=50.0)
    aside[0].RadiopharmaceuticalInformationSequence = _item(RadionuclideTotalDose=1e8)
    shared = {"UnassignedSharedConvertedAttributesSequence": aside}
    ds = enhanced(
        voxels, sop_class=LegacyConvertedEnhancedPETImageStorage, modality="PT", slopes=[(1, 0)] * 3, shared=shared
    )
    factory.save(ds, tmp_path / "a.dcm")
    volume = read(tmp_path / "a.dcm")
    assert volume.unit == "SUV"
    np.testing.assert_allclose(volume.array, voxels * (50_000 / 1e8), rtol=1e-6)


def test_a_wrong_number_of_groups_is_refused(tmp_path: Path, factory: ModuleType) -> None:
    ds = enhanced(factory.planes(4))
    del ds.PerFrameFunctionalGroupsSequence[2]
    factory.save(ds, tmp_path / "a.dcm")
    with pytest.raises(InputError, match="do not fit the number of frames"):
        read(tmp_path / "a.dcm")


def test_a_frame_without_a_place_is_refused(tmp_path: Path, factory: ModuleType) -> None:
    ds = enhanced(factory.planes(4))
    del ds.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    factory.save(ds, tmp_path / "a.dcm")
    with pytest.raises(InputError, match="3 of 4 frames"):
        read(tmp_path / "a.dcm")


def test_one_position_for_many_frames_is_refused(tmp_path: Path, factory: ModuleType) -> None:
    plane = factory.planes(1)[0]
    ds = factory.slice_dataset(plane, (0, 0, 0), modality="MR", NumberOfFrames=3)
    ds.PixelData = plane.tobytes() * 3
    factory.save(ds, tmp_path / "a.dcm")
    with pytest.raises(InputError, match="one position for many frames"):
        read(tmp_path / "a.dcm")


def test_missing_frames_are_refused(tmp_path: Path, factory: ModuleType) -> None:
    ds = enhanced(factory.planes(4))
    ds.PixelData = ds.PixelData[: len(ds.PixelData) // 2]
    factory.save(ds, tmp_path / "a.dcm")
    with pytest.raises(InputError, match="cut short"):
        read(tmp_path / "a.dcm")


def test_ultrasound_loop_is_a_video(tmp_path: Path, factory: ModuleType) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)
    ds = factory.slice_dataset(
        frames[0],
        (0, 0, 0),
        modality="MR",
        Modality="US",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1",
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        NumberOfFrames=6,
        FrameTime=40,
    )
    ds.PixelData = frames.tobytes()
    factory.save(ds, tmp_path / "a.dcm")
    video = read(tmp_path / "a.dcm")
    assert isinstance(video, Video)
    assert (len(video), video.size) == (6, (8, 10))
    np.testing.assert_array_equal(np.stack(list(video)), frames)
    np.testing.assert_array_equal(video[-2], frames[4])
    np.testing.assert_array_equal(video.picture(3).array, frames[3])
    np.testing.assert_allclose(video.frame_times_ms, 40.0 * np.arange(6))
    with pytest.raises(IndexError):
        video[6]


@pytest.mark.parametrize("name", ["rtdose.dcm", "rtdose_expb.dcm", "rtdose_rle.dcm"])
def test_dose_planes_lie_at_their_offsets(name: str) -> None:
    path = Path(get_testdata_file(name, download=False))
    ds = pydicom.dcmread(path)
    volume = read(path)
    assert isinstance(volume, Volume)
    np.testing.assert_allclose(volume.array, ds.pixel_array * float(ds.DoseGridScaling), rtol=1e-6)
    offsets = np.asarray(ds.GridFrameOffsetVector, dtype=float)
    normal = np.cross(ds.ImageOrientationPatient[:3], ds.ImageOrientationPatient[3:])
    for n in (0, 7, 14):
        place = volume.affine @ [n, 0, 0, 1]
        np.testing.assert_allclose(place[:3], np.asarray(ds.ImagePositionPatient, float) + offsets[n] * normal)
    assert "DOSE" in _codes(volume)


def _nuclear(voxels: np.ndarray, factory: ModuleType, **elements: Any) -> Dataset:
    ds = factory.slice_dataset(voxels[0], (0, 0, 0), modality="MR", **{"Modality": "NM", **elements})
    ds.SOPClassUID = NuclearMedicineImageStorage
    detector = Dataset()
    detector.ImagePositionPatient, detector.ImageOrientationPatient = ds.ImagePositionPatient, [1, 0, 0, 0, 1, 0]
    del ds.ImagePositionPatient, ds.ImageOrientationPatient
    ds.DetectorInformationSequence = Items([detector])
    ds.NumberOfFrames, ds.SpacingBetweenSlices = len(voxels), 4.0
    ds.SliceVector = list(range(1, len(voxels) + 1))
    ds.PixelData = voxels.tobytes()
    return ds


def test_nuclear_reconstruction_is_a_volume_and_projections_are_not(tmp_path: Path, factory: ModuleType) -> None:
    voxels = factory.planes(5)
    reconstruction = _nuclear(voxels, factory, ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"])
    factory.save(reconstruction, tmp_path / "a.dcm")
    volume = read(tmp_path / "a.dcm")
    np.testing.assert_array_equal(volume.array, voxels)
    np.testing.assert_allclose(volume.affine[:3, 0], [0, 0, 4])
    projections = _nuclear(voxels, factory, ImageType=["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"])
    factory.save(projections, tmp_path / "b.dcm")
    assert isinstance(read(tmp_path / "b.dcm"), Video)
    del reconstruction.SpacingBetweenSlices
    factory.save(reconstruction, tmp_path / "c.dcm")
    with pytest.raises(InputError, match="are not placed"):
        read(tmp_path / "c.dcm")


def test_whole_slides_are_refused(tmp_path: Path, factory: ModuleType) -> None:
    ds = factory.slice_dataset(factory.planes(1)[0], (0, 0, 0), Modality="SM")
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    factory.save(ds, tmp_path / "a.dcm")
    with pytest.raises(InputError, match="Whole-slide"):
        read(tmp_path / "a.dcm")


def test_single_frame_headers_pass_through(tmp_path: Path, factory: ModuleType) -> None:
    (path,) = factory.series(tmp_path, factory.planes(1))
    header = read_header(path)
    assert frames_of(header) == (header,)


@pytest.mark.real
def test_real_enhanced_objects_equal_their_single_frames(real_data: Path) -> None:
    folder = real_data / "dicom-conformance" / "dcmqi" / "segmentations"
    for name in ("24x38x3", "23x38x3"):
        many, one = read(folder / name / "image"), read(folder / name / "multiframe" / "mf.dcm")
        np.testing.assert_array_equal(one.array, many.array)
        np.testing.assert_allclose(one.affine, many.affine, atol=1e-4)
