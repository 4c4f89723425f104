"""RT structure sets: contours in millimetres become masks on the grid of their image."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medimg import geometry
from medimg.errors import InputError, MedimgError
from medimg.io.image import Picture, Source, Volume
from medimg.io.mask import read_mask, read_segmentation
from medimg.io.read import read
from medimg.io.segmentation import Segmentation

SHAPE = (6, 20, 24)


def _affine() -> np.ndarray:
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * [2.5, 0.8, 0.7]
    affine[:3, 3] = 10, -20, 30
    return affine


def _volume(affine: np.ndarray | None = None, shape: tuple[int, ...] = SHAPE) -> Volume:
    uids = tuple(f"1.2.3.{n + 1}" for n in range(shape[0]))
    affine = _affine() if affine is None else affine
    return Volume(np.zeros(shape, np.int16), affine, "HU", "1.2.9", Source(series_uid="1.2.4", instance_uids=uids))


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _contour(like: Volume, points_zyx: Any, kind: str = "CLOSED_PLANAR", uid: str | None = None) -> Dataset:
    points = geometry.apply(like.affine, np.asarray(points_zyx, dtype=float).reshape(-1, 3))
    item = _item(
        ContourGeometricType=kind,
        NumberOfContourPoints=len(points),
        ContourData=[f"{value:.4f}" for value in points.ravel()],
    )
    if uid is not None:
        item.ContourImageSequence = [_item(ReferencedSOPInstanceUID=uid)]
    return item


def _box(z: float, low: tuple[float, float], high: tuple[float, float]) -> list[tuple[float, float, float]]:
    return [(z, low[0], low[1]), (z, low[0], high[1]), (z, high[0], high[1]), (z, high[0], low[1])]


def _rt(regions: dict[int, list[Dataset]], frame: str = "1.2.9", **elements: Any) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.7.2"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.5", "1.2.6"
    ds.Modality, ds.PatientName = "RTSTRUCT", "SECRET^NAME"
    ds.StructureSetROISequence = [
        _item(
            ROINumber=number,
            ROIName=f"SECRET region {number}",
            ReferencedFrameOfReferenceUID=frame,
            ROIGenerationAlgorithm="MANUAL",
        )
        for number in regions
    ]
    ds.ROIContourSequence = [
        _item(ReferencedROINumber=number, ContourSequence=contours) for number, contours in regions.items()
    ]
    code = _item(CodeValue="78961009", CodingSchemeDesignator="SCT", CodeMeaning="Spleen")
    ds.RTROIObservationsSequence = [
        _item(ReferencedROINumber=number, RTROIIdentificationCodeSequence=[code]) for number in regions
    ]
    series = _item(SeriesInstanceUID="1.2.4")
    study = _item(RTReferencedSeriesSequence=[series])
    space = _item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])
    ds.ReferencedFrameOfReferenceSequence = [space]
    for keyword, value in elements.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def _save(ds: Dataset, path: Path) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path


def _read(ds: Dataset, tmp_path: Path, like: Volume | None, **options: Any) -> Segmentation:
    return read_segmentation(_save(ds, tmp_path / "rt.dcm"), like, **options)


def _codes(segmentation: Segmentation) -> list[str]:
    return [finding.code for finding in segmentation.findings]


def _mask(z: int, rows: slice, columns: slice, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[z, rows, columns] = True
    return mask


def test_regions_on_an_oblique_grid(tmp_path: Path) -> None:
    like = _volume()
    regions = {
        1: [
            _contour(like, _box(2, (2.5, 3.5), (9.5, 12.5)), uid="1.2.3.3"),
            _contour(like, _box(3, (4, 4), (6, 6)), uid="1.2.3.4"),
        ],
        4: [_contour(like, _box(5, (0.5, 0.5), (3.5, 3.5)))],
    }
    found = _read(_rt(regions), tmp_path, like)
    expected = _mask(2, slice(3, 10), slice(4, 13)) | _mask(3, slice(4, 7), slice(4, 7))
    np.testing.assert_array_equal(found.mask(1), expected)
    np.testing.assert_array_equal(found.mask("SECRET region 4"), _mask(5, slice(1, 4), slice(1, 4)))
    assert (found.kind, found.shape, _codes(found)) == ("contours", SHAPE, [])
    assert (found.segments[0].type.meaning, found.segments[0].algorithm) == ("Spleen", "MANUAL")
    labels = read_mask(tmp_path / "rt.dcm", like)
    np.testing.assert_array_equal(labels.array, expected * 1 + found.mask(4) * 4)


def test_holes_by_a_second_contour_and_by_a_keyhole(tmp_path: Path) -> None:
    like = _volume()
    outer, inner = _box(2, (0.5, 0.5), (12.5, 12.5)), _box(2, (3.5, 3.5), (9.5, 9.5))
    expected = _mask(2, slice(1, 13), slice(1, 13)) & ~_mask(2, slice(4, 10), slice(4, 10))
    for kind in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
        two = _read(_rt({1: [_contour(like, outer, kind), _contour(like, inner, kind)]}), tmp_path, like)
        np.testing.assert_array_equal(two.mask(1), expected)
    keyhole = [*outer, outer[0], *inner, inner[0]]
    np.testing.assert_array_equal(_read(_rt({1: [_contour(like, keyhole)]}), tmp_path, like).mask(1), expected)


def test_a_contour_that_stands_there_twice_is_drawn_once(tmp_path: Path) -> None:
    like, box = _volume(), _box(2, (0.5, 0.5), (12.5, 12.5))
    found = _read(_rt({1: [_contour(like, box), _contour(like, box)]}), tmp_path, like)
    np.testing.assert_array_equal(found.mask(1), _mask(2, slice(1, 13), slice(1, 13)))
    assert _codes(found) == ["CONTOUR_DOUBLED"]


def test_between_slices_and_in_other_planes(tmp_path: Path) -> None:
    like = _volume()
    between = _rt({1: [_contour(like, _box(2.3, (2.5, 3.5), (9.5, 12.5)))]})
    with pytest.raises(InputError, match="slices of the image") as caught:
        _read(between, tmp_path, like)
    assert "up to 0.30 of a slice gap" in str(caught.value)
    found = _read(between, tmp_path, like, off_grid="nearest")
    assert _codes(found) == ["CONTOUR_MOVED"]
    np.testing.assert_array_equal(found.mask(1), _mask(2, slice(3, 10), slice(4, 13)))
    beside = _rt({1: [_contour(like, _box(2.05, (2.5, 3.5), (9.5, 12.5)))]})
    assert _codes(_read(beside, tmp_path, like)) == []
    rounded = _rt({1: [_contour(like, _box(2.3, (2.5, 3.5), (9.5, 12.5)), uid="1.2.3.3")]})
    found = _read(rounded, tmp_path, like)
    assert [(f.code, f.value) for f in found.findings] == [("CONTOUR_MOVED", "1, up to 0.30 of a slice gap")]
    np.testing.assert_array_equal(found.mask(1), _mask(2, slice(3, 10), slice(4, 13)))
    coronal = [(1, 5, 1), (1, 5, 8), (4, 5, 8), (4, 5, 1)]
    mixed = _rt({1: [_contour(like, _box(2, (2.5, 3.5), (9.5, 12.5))), _contour(like, coronal)]})
    with pytest.raises(InputError, match="another plane"):
        _read(mixed, tmp_path, like)
    found = _read(mixed, tmp_path, like, off_grid="nearest")
    assert _codes(found) == ["CONTOUR_OTHER_PLANE"]
    np.testing.assert_array_equal(found.mask(1), _mask(2, slice(3, 10), slice(4, 13)))


def test_beyond_the_image(tmp_path: Path) -> None:
    like = _volume()
    above = _rt({1: [_contour(like, _box(2, (2.5, 3.5), (9.5, 12.5))), _contour(like, _box(6, (2, 3), (9, 12)))]})
    with pytest.raises(InputError, match="beyond the first or last"):
        _read(above, tmp_path, like)
    assert _codes(_read(above, tmp_path, like, off_grid="nearest")) == ["OUTSIDE_IMAGE"]
    wide = _rt({1: [_contour(like, _box(2, (-5, -5), (50, 50)))]})
    found = _read(wide, tmp_path, like)
    assert _codes(found) == ["CONTOUR_CLIPPED"]
    np.testing.assert_array_equal(found.mask(1), _mask(2, slice(None), slice(None)))
    gone = _rt({1: [_contour(like, _box(2, (30, 30), (50, 50)))]})
    assert not _read(gone, tmp_path, like).mask(1).any()


def test_what_encloses_nothing_is_told(tmp_path: Path) -> None:
    like = _volume()
    contours = [
        _contour(like, [(2, 3, 4)], "POINT"),
        _contour(like, [(2, 3, 4), (2, 3, 9), (2, 8, 9)], "OPEN_PLANAR"),
        _contour(like, [(2, 3, 4), (2, 3, 9)]),
        _contour(like, []),
        _contour(like, _box(1, (2.5, 3.5), (9.5, 12.5))),
        _contour(like, _box(4, (2.5, 3.5), (9.5, 12.5))),
    ]
    found = _read(_rt({1: contours, 2: []}), tmp_path, like)
    assert _codes(found) == ["CONTOUR_OPEN", "CONTOUR_DEGENERATE", "CONTOUR_GAPS"]
    values = [finding.value for finding in found.findings]
    assert values == ["2", "2", "region 1: 2"]
    assert not found.mask(2).any()


def test_other_images_and_frames_of_reference(tmp_path: Path) -> None:
    like, box = _volume(), _box(2, (2.5, 3.5), (9.5, 12.5))
    foreign = _rt({1: [_contour(like, box, uid="1.2.8.1")]})
    with pytest.raises(InputError, match="other images"):
        _read(foreign, tmp_path, like)
    assert _codes(_read(foreign, tmp_path, like, check_references=False)) == ["REFERENCES_IGNORED"]
    elsewhere = _rt({1: [_contour(like, box)]}, frame="1.2.77")
    with pytest.raises(InputError, match="frame of reference"):
        _read(elsewhere, tmp_path, like)
    mixed = _rt({1: [_contour(like, box)], 2: [_contour(like, box)]})
    mixed.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.2.77"
    with pytest.raises(InputError, match="different frames"):
        _read(mixed, tmp_path, like)
    np.testing.assert_array_equal(
        _read(mixed, tmp_path, like, segments=[1]).mask(1), _mask(2, slice(3, 10), slice(4, 13))
    )
    wrong_slice = _rt({1: [_contour(like, box, uid="1.2.3.5")]})
    found = _read(wrong_slice, tmp_path, like)
    assert _codes(found) == ["REFERENCE_MISMATCH"]
    np.testing.assert_array_equal(found.mask(1), _mask(2, slice(3, 10), slice(4, 13)))
    nifti = dataclasses.replace(like, source=Source(format="NIfTI"), frame_of_reference_uid=None)
    assert _codes(_read(foreign, tmp_path, nifti)) == ["REFERENCES_UNCHECKED"]


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_image_may_have_another_axis_order(tmp_path: Path, axes: tuple[int, int, int]) -> None:
    like = _volume()
    ds = _rt({1: [_contour(like, _box(2, (2.5, 3.5), (9.5, 12.5))), _contour(like, _box(3, (2.5, 3.5), (9.5, 5.5)))]})
    expected = _mask(2, slice(3, 10), slice(4, 13)) | _mask(3, slice(3, 10), slice(4, 6))
    record = geometry.Reorientation(axes, (True, False, True), SHAPE)
    turned = Volume(record.apply(like.array), like.affine @ record.index_affine)
    np.testing.assert_array_equal(_read(ds, tmp_path, turned).mask(1), record.apply(expected))


def test_a_tilted_stack(tmp_path: Path) -> None:
    affine = _affine()
    affine[:3, 0] += 0.5 * affine[:3, 1]
    like = _volume(affine)
    ds = _rt({1: [_contour(like, _box(4, (2.5, 3.5), (9.5, 12.5)), uid="1.2.3.5")]})
    np.testing.assert_array_equal(_read(ds, tmp_path, like).mask(1), _mask(4, slice(3, 10), slice(4, 13)))


def test_it_needs_its_image(tmp_path: Path) -> None:
    path = _save(_rt({1: []}), tmp_path / "rt.dcm")
    for like in (None, Picture(np.zeros((4, 4, 3), np.uint8))):
        with pytest.raises(InputError, match="grid of their image"):
            read_segmentation(path, like)
    with pytest.raises(InputError, match="grid of their image"):
        read_mask(path)


def test_region_zero_has_a_mask_but_no_label(tmp_path: Path) -> None:
    like = _volume()
    found = _read(_rt({0: [_contour(like, _box(2, (2.5, 3.5), (9.5, 12.5)))]}), tmp_path, like)
    assert found.mask(0).sum() == 7 * 9
    with pytest.raises(InputError, match="background"):
        found.label_map()


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"StructureSetROISequence": None}, "numbered"),
        ({"StructureSetROISequence": [_item(ROINumber=1), _item(ROINumber=1)]}, "numbered"),
        ({"StructureSetROISequence": [_item(ROIName="SECRET")]}, "damaged"),
        ({"ROIContourSequence": [_item(ContourSequence=[])]}, "damaged"),
    ],
)
def test_damaged_objects_are_refused_without_naming_anybody(tmp_path: Path, elements: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        _read(_rt({1: []}, **elements), tmp_path, _volume())
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("data", [["1", "2"], ["1e300", "0", "0"] * 3, ["nan", "0", "0"] * 3])
def test_points_that_are_none(tmp_path: Path, data: list[str]) -> None:
    like = _volume()
    ds = _rt({1: [_contour(like, _box(2, (2, 3), (9, 12)))]})
    ds.ROIContourSequence[0].ContourSequence[0].ContourData = data
    with pytest.raises(InputError, match="damaged"):
        _read(ds, tmp_path, like)
    assert not _read(ds, tmp_path, like, segments=[]).segments


def test_bytes_cut_anywhere_raise_only_our_errors(tmp_path: Path) -> None:
    like = _volume()
    ds = _rt({1: [_contour(like, _box(2, (2, 3), (9, 12)), uid="1.2.3.3")]})
    raw = _save(ds, tmp_path / "rt.dcm").read_bytes()
    cut = tmp_path / "cut.dcm"
    for n in range(0, len(raw), max(1, len(raw) // 40)):
        cut.write_bytes(raw[:n])
        with contextlib.suppress(MedimgError):
            read_segmentation(cut, like)


@pytest.mark.real
def test_real_structure_sets(real_data: Path) -> None:
    folder = real_data / "dicom-conformance" / "rt-utils"
    image = read(folder / "mock_data")
    found = read_segmentation(folder / "mock_data" / "rt.dcm", image)
    assert found.mask(1).sum() > 1000
    for name in ("invalid_reference_rt.dcm", "non_existent_reference_rt.dcm"):
        with pytest.raises(InputError, match="other images"):
            read_segmentation(folder / "mock_data" / name, image)
