"""DICOM segmentations on the grid of their image: matched by geometry, never by order."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from medimg import geometry
from medimg.errors import InputError, MedimgError
from medimg.io.dicom.write import write_dicom_series
from medimg.io.image import Picture, Source, Volume
from medimg.io.mask import read_mask, read_segmentation
from medimg.io.read import read
from medimg.io.segmentation import Segmentation

SHAPE = (6, 10, 12)
SEG, LABELMAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"


def _oblique(seed: int = 0) -> np.ndarray:
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turn[:, 0] *= np.sign(np.cross(turn[:, 2], turn[:, 1]) @ turn[:, 0])
    affine = np.eye(4)
    affine[:3, :3] = turn * [2.5, 0.8, 0.7]
    affine[:3, 3] = 10, -20, 30
    return affine


def _volume(affine: np.ndarray | None = None, shape: tuple[int, ...] = SHAPE) -> Volume:
    uids = tuple(f"1.2.3.{n + 1}" for n in range(shape[0]))
    affine = _oblique() if affine is None else affine
    return Volume(np.zeros(shape, np.int16), affine, "HU", "1.2.9", Source(series_uid="1.2.4", instance_uids=uids))


def _masks(*numbers: int, shape: tuple[int, ...] = SHAPE) -> dict[int, np.ndarray]:
    return {n: np.random.default_rng(n).random(shape) > 0.6 for n in numbers}


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _code(value: str, meaning: str) -> list[Dataset]:
    return [_item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)]


def _group(affine: np.ndarray, z: int, number: int | None, *, place: bool = True, uid: str | None = None) -> Dataset:
    unit, spacing = geometry.directions(affine), geometry.spacing_mm(affine)
    group = Dataset()
    if place:
        position = affine[:3, 3] + z * affine[:3, 0]
        group.PlanePositionSequence = [_item(ImagePositionPatient=[f"{v:.10g}" for v in position])]
        cosines = [f"{v:.12g}" for v in (*unit[:, 2], *unit[:, 1])]
        group.PlaneOrientationSequence = [_item(ImageOrientationPatient=cosines)]
        measures = _item(PixelSpacing=[f"{v:.12g}" for v in spacing[1:]], SliceThickness="2.5")
        group.PixelMeasuresSequence = [measures]
    if number is not None:
        group.SegmentIdentificationSequence = [_item(ReferencedSegmentNumber=number)]
    if uid is not None:
        source = _item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=uid)
        group.DerivationImageSequence = [_item(SourceImageSequence=[source])]
    return group


def _seg(
    masks: dict[int, np.ndarray],
    like: Volume,
    *,
    kind: str = "BINARY",
    order: Sequence[int] | None = None,
    omit_empty: bool = True,
    affine: np.ndarray | None = None,
    place: bool = True,
    refer: bool = True,
    **elements: Any,
) -> Dataset:
    """A hand-made SEG: one frame a segment and slice, or one a slice in a label map."""
    affine = like.affine if affine is None else affine
    frames: list[tuple[np.ndarray, Dataset]] = []
    uids = dict(enumerate(like.source.instance_uids)) if refer else {}
    if kind == "LABELMAP":
        array = sum(mask.astype(np.uint8) * number for number, mask in masks.items())
        frames = [(array[z], _group(affine, z, None, place=place, uid=uids.get(z))) for z in range(len(array))]
    else:
        for number, mask in masks.items():
            for z, plane in enumerate(mask):
                if plane.any() or not omit_empty:
                    frames.append((plane, _group(affine, z, number, place=place, uid=uids.get(z))))
    frames = [frames[n] for n in order] if order is not None else frames
    shape = frames[0][0].shape
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = LABELMAP if kind == "LABELMAP" else SEG, "1.2.7.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.5", "1.2.6", "1.2.9"
    ds.Modality, ds.SegmentationType, ds.PatientName = "SEG", kind, "SECRET^NAME"
    ds.Rows, ds.Columns = shape
    ds.NumberOfFrames = len(frames)
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    bits = 1 if kind == "BINARY" else 8
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit = bits - 1
    if kind == "FRACTIONAL":
        ds.MaximumFractionalValue, ds.SegmentationFractionalType = 200, "PROBABILITY"
    ds.SegmentSequence = [
        _item(
            SegmentNumber=number,
            SegmentLabel=f"SECRET organ {number}",
            SegmentAlgorithmType="MANUAL",
            SegmentedPropertyCategoryCodeSequence=_code("123037004", "Anatomical structure"),
            SegmentedPropertyTypeCodeSequence=_code("10200004", "Liver"),
        )
        for number in masks
    ]
    ds.PerFrameFunctionalGroupsSequence = [group for _, group in frames]
    pixels = np.stack([plane for plane, _ in frames])
    data = np.packbits(pixels.ravel(), bitorder="little") if bits == 1 else pixels.astype(np.uint8)
    ds.PixelData = data.tobytes() + b"\0" * (data.nbytes % 2)
    ds["PixelData"].VR = "OB"
    for keyword, value in elements.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def _save(ds: Dataset, path: Path) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path


def _codes(segmentation: Segmentation) -> list[str]:
    return [finding.code for finding in segmentation.findings]


def test_binary_frames_in_any_order_with_empty_slices_left_out(tmp_path: Path) -> None:
    like, masks = _volume(), _masks(1, 2)
    masks[1][[0, 3]] = False
    masks[2][:4] = False
    n_frames = 4 + 2
    order = np.random.default_rng(3).permutation(n_frames)
    path = _save(_seg(masks, like, order=order), tmp_path / "s.dcm")
    found = read_segmentation(path, like)
    for number, mask in masks.items():
        np.testing.assert_array_equal(found.mask(number), mask)
        np.testing.assert_array_equal(found.mask(f"SECRET organ {number}"), mask)
        assert found.fraction(number).dtype == np.float32
    np.testing.assert_array_equal(found.union(), masks[1] | masks[2])
    assert set(found.masks()) == {"SECRET organ 1", "SECRET organ 2"}
    assert (found.kind, found.shape, _codes(found)) == ("binary", SHAPE, [])
    segment = found.segments[0]
    assert (segment.type.value, segment.type.scheme, segment.type.meaning) == ("10200004", "SCT", "Liver")
    assert (segment.category.value, segment.algorithm, segment.region) == ("123037004", "MANUAL", None)
    assert found.source.modality == "SEG"
    np.testing.assert_array_equal(found.affine, like.affine)


@pytest.mark.parametrize("flip", [(0,), (1,), (2,), (0, 1, 2), ()])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_image_may_have_another_axis_order(tmp_path: Path, flip: tuple, axes: tuple) -> None:
    like, masks = _volume(), _masks(1)
    path = _save(_seg(masks, like, refer=False), tmp_path / "s.dcm")
    record = geometry.Reorientation(axes, tuple(n in flip for n in range(3)), SHAPE)
    turned = Volume(record.apply(like.array), like.affine @ record.index_affine)
    found = read_segmentation(path, turned)
    np.testing.assert_array_equal(found.mask(1), record.apply(masks[1]))
    assert _codes(found) == ["REFERENCES_UNCHECKED"]


def test_a_part_of_the_plane_is_put_at_its_place(tmp_path: Path) -> None:
    like, whole = _volume(), _masks(1)[1]
    corner = like.affine.copy()
    corner[:3, 3] = geometry.apply(like.affine, [0, 2, 3])
    whole[:, :2], whole[:, :, :3] = False, False
    path = _save(_seg({1: whole[:, 2:, 3:]}, like, affine=corner), tmp_path / "s.dcm")
    np.testing.assert_array_equal(read_segmentation(path, like).mask(1), whole)


def test_label_map(tmp_path: Path) -> None:
    like, masks = _volume(), _masks(1, 7)
    masks[7] &= ~masks[1]
    ds = _seg(masks, like, kind="LABELMAP")
    path = _save(ds, tmp_path / "s.dcm")
    found = read_segmentation(path, like)
    for number, mask in masks.items():
        np.testing.assert_array_equal(found.mask(number), mask)
    labels = read_mask(path, like)
    assert isinstance(labels, Volume)
    np.testing.assert_array_equal(labels.array, masks[1] * 1 + masks[7] * 7)
    assert (labels.unit, labels.array.dtype) == ("label", np.uint8)
    one = read_segmentation(path, like, segments=[7])
    np.testing.assert_array_equal(one.union(), masks[7])
    assert [segment.number for segment in one.segments] == [7]


def test_background_of_a_label_map(tmp_path: Path) -> None:
    like, masks = _volume(), _masks(1)
    ds = _seg(masks, like, kind="LABELMAP")
    ds.PixelPaddingValue = 5
    ds.PixelData = np.where(masks[1], 1, 5).astype(np.uint8).tobytes()
    np.testing.assert_array_equal(read_segmentation(_save(ds, tmp_path / "s.dcm"), like).mask(1), masks[1])
    ds = _seg(masks, like, kind="LABELMAP")
    ds.SegmentSequence.append(_item(SegmentNumber=0, SegmentLabel="background"))
    found = read_segmentation(_save(ds, tmp_path / "s.dcm"), like)
    assert [segment.number for segment in found.segments] == [1]
    ds.PixelData = np.where(masks[1], 1, 9).astype(np.uint8).tobytes()
    with pytest.raises(InputError, match="no segment describes"):
        read_segmentation(_save(ds, tmp_path / "s.dcm"), like)


def test_fractions(tmp_path: Path) -> None:
    like = _volume()
    values = np.random.default_rng(0).integers(0, 201, SHAPE).astype(np.uint8)
    found = read_segmentation(_save(_seg({1: values}, like, kind="FRACTIONAL"), tmp_path / "s.dcm"), like)
    np.testing.assert_allclose(found.fraction(1), values / 200.0, rtol=1e-6)
    np.testing.assert_array_equal(found.mask(1), values >= 100)
    assert (found.kind, found.fraction_type) == ("fractional", "PROBABILITY")
    ds = _seg({1: values}, like, kind="FRACTIONAL", MaximumFractionalValue=100)
    with pytest.raises(InputError, match="above its full scale"):
        read_segmentation(_save(ds, tmp_path / "s.dcm"), like)
    ds.MaximumFractionalValue = 0
    with pytest.raises(InputError, match="no scale"):
        read_segmentation(_save(ds, tmp_path / "s.dcm"), like)


def test_overlapping_segments_have_masks_but_no_label_map(tmp_path: Path) -> None:
    like, masks = _volume(), _masks(1, 2)
    path = _save(_seg(masks, like), tmp_path / "s.dcm")
    assert (masks[1] & masks[2]).any()
    np.testing.assert_array_equal(read_segmentation(path, like).mask(2), masks[2])
    with pytest.raises(InputError, match="overlap"):
        read_mask(path, like)
    np.testing.assert_array_equal(read_segmentation(path, like, segments=[2]).label_map().array, masks[2] * 2)


def test_without_its_image_it_stays_on_its_own_grid(tmp_path: Path) -> None:
    like, masks = _volume(), _masks(1)
    masks[1][[0, 2, 5]] = False
    found = read_segmentation(_save(_seg(masks, like), tmp_path / "s.dcm"))
    assert found.shape == (4, *SHAPE[1:])
    np.testing.assert_array_equal(found.mask(1), masks[1][1:5])
    np.testing.assert_allclose(found.affine[:3, 3], geometry.apply(like.affine, [1, 0, 0]), atol=1e-6)
    np.testing.assert_allclose(found.affine[:3, :3], like.affine[:3, :3], atol=1e-6)


def test_other_images_are_refused(tmp_path: Path) -> None:
    like, masks = _volume(), _masks(1)
    path = _save(_seg(masks, like), tmp_path / "s.dcm")
    others = dataclasses.replace(like, source=Source(instance_uids=tuple(f"1.2.8.{n}" for n in range(6))))
    with pytest.raises(InputError, match="other images"):
        read_segmentation(path, others)
    found = read_segmentation(path, others, check_references=False)
    assert _codes(found) == ["REFERENCES_IGNORED"]
    np.testing.assert_array_equal(found.mask(1), masks[1])
    listed = _seg(masks, like, refer=False)
    instance = _item(ReferencedSOPInstanceUID="1.2.8.0")
    listed.ReferencedSeriesSequence = [_item(SeriesInstanceUID="1.2.8", ReferencedInstanceSequence=[instance])]
    with pytest.raises(InputError, match="other images"):
        read_segmentation(_save(listed, tmp_path / "l.dcm"), like)
    del listed.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    with pytest.raises(InputError, match="another series"):
        read_segmentation(_save(listed, tmp_path / "l.dcm"), like)
    listed.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.4"
    assert _codes(read_segmentation(_save(listed, tmp_path / "l.dcm"), like)) == []


def test_frame_of_reference(tmp_path: Path) -> None:
    like, masks = _volume(), _masks(1)
    path = _save(_seg(masks, like, refer=False, FrameOfReferenceUID="1.2.99"), tmp_path / "s.dcm")
    with pytest.raises(InputError, match="frame of reference"):
        read_segmentation(path, like)
    path = _save(_seg(masks, like, FrameOfReferenceUID="1.2.99"), tmp_path / "s.dcm")
    assert _codes(read_segmentation(path, like)) == ["FRAME_OF_REFERENCE"]


def test_position_wins_over_reference(tmp_path: Path) -> None:
    like, masks = _volume(), _masks(1)
    turned = dataclasses.replace(like.source, instance_uids=like.source.instance_uids[::-1])
    found = read_segmentation(_save(_seg(masks, like), tmp_path / "s.dcm"), dataclasses.replace(like, source=turned))
    assert _codes(found) == ["REFERENCE_MISMATCH"]
    np.testing.assert_array_equal(found.mask(1), masks[1])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("shift", "beside a voxel centre"),
        ("scale", "pixel spacing"),
        ("turn", "turned by"),
        ("between", "beside a voxel centre"),
    ],
)
def test_off_the_grid_is_refused_or_resampled(tmp_path: Path, change: str, told: str) -> None:
    like = _volume(shape=(8, 24, 24))
    z, y, x = np.indices((8, 24, 24))
    mask = ((z - 3.5) / 3) ** 2 + ((y - 12) / 8) ** 2 + ((x - 12) / 8) ** 2 < 1
    other = like.affine.copy()
    step = geometry.apply(like.affine, [0.4, 0.0, 0.0]) - like.affine[:3, 3]
    if change == "shift":
        other[:3, 3] = geometry.apply(like.affine, [0, 0.4, 0])
    elif change == "between":
        other[:3, 3] += step
    elif change == "scale":
        other[:3, 1:3] *= 1.05
    else:
        angle = np.deg2rad(4)
        other[:3, 1] = np.cos(angle) * like.affine[:3, 1] + np.sin(angle) * like.affine[:3, 2] * 0.8 / 0.7
        other[:3, 2] = np.cos(angle) * like.affine[:3, 2] - np.sin(angle) * like.affine[:3, 1] * 0.7 / 0.8
    path = _save(_seg({1: mask}, like, affine=other), tmp_path / "s.dcm")
    with pytest.raises(InputError, match=told):
        read_segmentation(path, like)
    found = read_segmentation(path, like, off_grid="nearest")
    assert "RESAMPLED" in _codes(found)
    index = np.rint(geometry.apply(geometry.inverse(other) @ like.affine, np.stack([z, y, x], -1))).astype(int)
    inside = ((index >= 0) & (index < mask.shape)).all(axis=-1)
    clipped = np.clip(index, 0, np.asarray(mask.shape) - 1)
    expected = mask[clipped[..., 0], clipped[..., 1], clipped[..., 2]] & inside
    assert (found.mask(1) != expected).mean() < 2e-3
    np.testing.assert_array_equal(found.affine, like.affine)


def test_resampling_keeps_labels_and_fractions(tmp_path: Path) -> None:
    like, fine = _volume(), _volume().affine.copy()
    fine[:3, 1:3] /= 3
    fine[:3, 3] = geometry.apply(like.affine, [0, -1 / 3, -1 / 3])
    labels = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
    big = labels.repeat(3, axis=1).repeat(3, axis=2)
    for kind in ("BINARY", "LABELMAP"):
        path = _save(_seg({1: big == 1, 2: big == 2}, like, kind=kind, affine=fine), tmp_path / "s.dcm")
        np.testing.assert_array_equal(read_segmentation(path, like, off_grid="nearest").label_map().array, labels)
    path = _save(_seg({1: big * np.uint8(50)}, like, kind="FRACTIONAL", affine=fine), tmp_path / "s.dcm")
    fraction = read_segmentation(path, like, off_grid="nearest").fraction(1)
    np.testing.assert_allclose(fraction, labels * np.float32(0.25))


def test_what_lies_outside_the_image(tmp_path: Path) -> None:
    like, masks = _volume(), _masks(1)
    path = _save(_seg(masks, like, refer=False), tmp_path / "s.dcm")
    corner = like.affine.copy()
    corner[:3, 3] = geometry.apply(like.affine, [2, 1, 0])
    part = Volume(like.array[2:5, 1:], corner)
    with pytest.raises(InputError, match="outside the image"):
        read_segmentation(path, part)
    found = read_segmentation(path, part, off_grid="nearest")
    np.testing.assert_array_equal(found.mask(1), masks[1][2:5, 1:])
    lost = masks[1].sum() - masks[1][2:5, 1:].sum()
    assert [finding.value for finding in found.findings if finding.code == "OUTSIDE_IMAGE"] == [f"{lost} voxels"]


def test_without_positions_the_source_slices_decide(tmp_path: Path) -> None:
    like, masks = _volume(), _masks(1)
    path = _save(_seg(masks, like, place=False), tmp_path / "s.dcm")
    np.testing.assert_array_equal(read_segmentation(path, like).mask(1), masks[1])
    for other in (None, _volume(shape=(6, 10, 11)), Volume(like.array, like.affine)):
        with pytest.raises(InputError, match="does not say where"):
            read_segmentation(path, other)


def test_on_a_picture(tmp_path: Path) -> None:
    mask = _masks(1)[1][:1]
    like = _volume(shape=(1, *SHAPE[1:]))
    path = _save(_seg({1: mask}, like, place=False), tmp_path / "s.dcm")
    picture = Picture(np.zeros((*SHAPE[1:], 3), np.uint8), source=Source(instance_uids=("1.2.3.1",)))
    labels = read_mask(path, picture)
    assert isinstance(labels, Picture)
    assert labels.colour_space == "label"
    np.testing.assert_array_equal(labels.array, mask[0])
    with pytest.raises(InputError, match="another size"):
        read_mask(path, Picture(np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(InputError, match="other images"):
        read_mask(path, dataclasses.replace(picture, source=Source(instance_uids=("9.9",))))


def test_slices_of_a_tilted_gantry(tmp_path: Path) -> None:
    affine, masks = _oblique(), _masks(1)
    affine[:3, 0] += 0.5 * affine[:3, 1]
    like = _volume(affine)
    found = read_segmentation(_save(_seg(masks, like), tmp_path / "s.dcm"), like)
    np.testing.assert_array_equal(found.mask(1), masks[1])


def test_slightly_uneven_positions_are_told(tmp_path: Path) -> None:
    like, masks = _volume(), _masks(1)
    ds = _seg(masks, like)
    moved = geometry.apply(like.affine, [3.06, 0, 0])
    ds.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence[0].ImagePositionPatient = [f"{v:.9g}" for v in moved]
    found = read_segmentation(_save(ds, tmp_path / "s.dcm"), like)
    np.testing.assert_array_equal(found.mask(1), masks[1])
    assert _codes(found) == ["GRID_ROUNDED"]


def test_a_choice_of_segments(tmp_path: Path) -> None:
    like, masks = _volume(), _masks(1, 2)
    path = _save(_seg(masks, like), tmp_path / "s.dcm")
    found = read_segmentation(path, like, segments=["SECRET organ 2"])
    np.testing.assert_array_equal(found.mask(2), masks[2])
    assert len(found.segments) == 1
    with pytest.raises(InputError, match="no such segment"):
        read_segmentation(path, like, segments=[1, 9])
    with pytest.raises(InputError, match="no such segment"):
        found.mask(1)
    with pytest.raises(InputError, match="off the grid"):
        read_segmentation(path, like, off_grid="linear")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"SegmentationType": None}, "of which type"),
        ({"SegmentationType": "SOMETHING"}, "of which type"),
        ({"NumberOfFrames": 60000}, "number of frames"),
        ({"SegmentSequence": None}, "numbered"),
        ({"SegmentSequence": [_item(SegmentNumber=9)]}, "not described"),
        ({"SegmentSequence": [_item(SegmentNumber=1), _item(SegmentNumber=1)]}, "numbered"),
        ({"PerFrameFunctionalGroupsSequence": None}, "number of frames"),
        ({"TotalPixelMatrixRows": 5}, "whole-slide"),
        ({"PixelData": b"\0\0"}, "pixels"),
        ({"PixelData": None}, "pixels"),
        ({"BitsAllocated": 16}, "depth"),
        ({"Rows": 60000, "Columns": 60000}, "pixels|outside|voxels"),
        ({"Rows": 0}, "empty|damaged"),
    ],
)
def test_damaged_objects_are_refused_without_naming_anybody(tmp_path: Path, elements: dict, message: str) -> None:
    like = _volume()
    path = _save(_seg(_masks(1), like, **elements), tmp_path / "s.dcm")
    for image in (like, None):
        with pytest.raises(InputError, match=message) as caught:
            read_segmentation(path, image)
        assert "SECRET" not in str(caught.value)


def test_damaged_groups_are_refused(tmp_path: Path) -> None:
    like = _volume()
    for keyword, inside, value in (
        ("PlanePositionSequence", "ImagePositionPatient", ["1", "2"]),
        ("PlaneOrientationSequence", "ImageOrientationPatient", ["1", "0", "0", "1", "0", "0"]),
        ("PixelMeasuresSequence", "PixelSpacing", ["0", "1"]),
        ("SegmentIdentificationSequence", "ReferencedSegmentNumber", None),
    ):
        ds = _seg(_masks(1), like)
        setattr(ds.PerFrameFunctionalGroupsSequence[1][keyword][0], inside, value)
        with pytest.raises(InputError, match="damaged"):
            read_segmentation(_save(ds, tmp_path / "s.dcm"), like)


def test_what_is_no_segmentation(tmp_path: Path, factory: Any) -> None:
    ds = factory.slice_dataset(factory.planes(1)[0], (0, 0, 0))
    path = factory.save(ds, tmp_path / "ct.dcm")
    for reader in (read_segmentation, read_mask):
        with pytest.raises(InputError, match="Not a segmentation"):
            reader(path)
    text = tmp_path / "a.txt"
    text.write_text("no DICOM at all, but long enough to be looked at " * 20)
    with pytest.raises(InputError):
        read_segmentation(text)


def test_bytes_cut_anywhere_raise_only_our_errors(tmp_path: Path) -> None:
    like = _volume()
    raw = _save(_seg(_masks(1), like), tmp_path / "s.dcm").read_bytes()
    cut = tmp_path / "cut.dcm"
    for n in np.random.default_rng(0).integers(0, len(raw), 40):
        cut.write_bytes(raw[:n])
        with pytest.raises(MedimgError):
            read_segmentation(cut, like)


def test_value_representations_that_do_not_exist(tmp_path: Path) -> None:
    like = _volume()
    raw = _save(_seg(_masks(1), like), tmp_path / "s.dcm").read_bytes()
    for element in (b"\x08\x00\x16\x00UI", b"\x20\x00\x0e\x00UI", b"\x62\x00\x01\x00CS", b"\x28\x00\x10\x00US"):
        assert element in raw
        path = tmp_path / "vr.dcm"
        path.write_bytes(raw.replace(element, element[:4] + b"UJ"))
        with contextlib.suppress(MedimgError):
            read_segmentation(path, like)


def _highdicom_seg(sources: list[Dataset], pixels: np.ndarray, kind: str, syntax: str) -> Any:
    numbers = range(1, 4)
    algorithm = hd.AlgorithmIdentificationSequence("tests", CodedConcept("123", "99T", "test"), "1")
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"part {number}",
            segmented_property_category=CodedConcept("123037004", "SCT", "Anatomical structure"),
            segmented_property_type=CodedConcept("10200004", "SCT", "Liver"),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for number in numbers
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hd.seg.Segmentation(
            source_images=sources,
            pixel_array=pixels,
            segmentation_type=kind,
            segment_descriptions=described,
            series_instance_uid=hd.UID(),
            series_number=2,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="tests",
            manufacturer_model_name="tests",
            software_versions="1",
            device_serial_number="1",
            transfer_syntax_uid=syntax,
        )


@pytest.mark.parametrize(
    ("kind", "syntax"),
    [("BINARY", ExplicitVRLittleEndian), ("LABELMAP", ExplicitVRLittleEndian), ("LABELMAP", RLELossless)],
)
def test_what_highdicom_writes(tmp_path: Path, kind: str, syntax: str) -> None:
    scan = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    written = write_dicom_series(Volume(scan, _oblique(), "HU"), tmp_path / "ct", modality="CT", uid_seed="a")
    labels = np.random.default_rng(1).integers(0, 4, SHAPE).astype(np.uint8)
    labels[[0, 4]] = 0
    order = np.random.default_rng(2).permutation(SHAPE[0])
    sources = [pydicom.dcmread(written.paths[n]) for n in order]
    _highdicom_seg(sources, labels[order], kind, syntax).save_as(tmp_path / "seg.dcm")
    like = read(tmp_path / "ct")
    assert isinstance(like, Volume)
    np.testing.assert_array_equal(like.array, scan)
    found = read_segmentation(tmp_path / "seg.dcm", like)
    np.testing.assert_array_equal(found.label_map().array, labels)
    assert found.labels == ("part 1", "part 2", "part 3")
    assert _codes(found) == []


@pytest.mark.real
def test_real_segmentations(real_data: Path) -> None:
    folder = real_data / "dicom-conformance"
    twins = [read_segmentation(path) for path in sorted((folder / "pydicom-data" / "data").glob("liver*.dcm"))]
    assert len(twins) >= 8
    for twin in twins:
        rows, columns = twin.shape[1:]
        np.testing.assert_array_equal(twin.mask(1), twins[0].mask(1)[:, :rows, :columns])
    dcmqi = folder / "dcmqi" / "segmentations"
    image = read(dcmqi / "ct-3slice")
    found = read_segmentation(dcmqi / "partial_overlaps.dcm", image)
    assert [int(found.mask(n).sum()) for n in range(1, 6)] == [9602, 11888, 10743, 6693, 4713]
    image = read(dcmqi / "24x38x3" / "image")
    masks = [read_mask(dcmqi / f"sparse-labelmap-{name}.dcm", image).array for name in ("noppv", "ppv5")]
    np.testing.assert_array_equal(*masks)
    with pytest.raises(InputError, match="voxels of the image"):
        read_segmentation(dcmqi / "liver.dcm", image)
