"""Label images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medimg.errors import InputError
from medimg.io.image import Picture, Volume
from medimg.io.mask import is_dicom_segmentation, read_mask, read_segmentation
from medimg.io.read import read
from medimg.io.write import write_nifti, write_picture

MASK = np.random.default_rng(0).integers(0, 2, (16, 16)).astype(np.uint8)


def _codes(image: Picture | Volume) -> list[str]:
    return [finding.code for finding in image.findings]


def test_255_becomes_1(tmp_path: Path) -> None:
    write_picture(MASK * 255, tmp_path / "a.png")
    mask = read_mask(tmp_path / "a.png")
    np.testing.assert_array_equal(mask.array, MASK)
    assert isinstance(mask, Picture)
    assert mask.colour_space == "label"
    assert _codes(mask) == ["MASK_255"]


def test_one_bit_labels_and_16_bits(tmp_path: Path) -> None:
    Image.fromarray(MASK.astype(bool)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png").array, MASK)
    labels = (MASK * 3).astype(np.uint8)
    write_picture(labels, tmp_path / "b.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "b.png").array, labels)
    write_picture(MASK * np.uint16(1000), tmp_path / "c.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "c.png").array, MASK * np.uint16(1000))
    write_picture(np.zeros_like(MASK), tmp_path / "d.png")
    assert read_mask(tmp_path / "d.png").array.max() == 0


def test_palette_index_is_the_label(tmp_path: Path) -> None:
    image = Image.fromarray(MASK * 2).convert("P")
    image.putpalette([0, 0, 0, 9, 9, 9, 255, 0, 0] + [0] * 759)
    image.save(tmp_path / "p.png")
    mask = read_mask(tmp_path / "p.png")
    np.testing.assert_array_equal(mask.array, MASK * 2)
    assert _codes(mask) == ["PALETTE_LABELS"]


def test_equal_channels_are_one_and_colours_are_refused(tmp_path: Path) -> None:
    write_picture(np.repeat(MASK[..., None] * 255, 3, axis=2), tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png").array, MASK)
    coloured = np.zeros((16, 16, 3), np.uint8)
    coloured[..., 0] = 200
    write_picture(coloured, tmp_path / "b.png")
    with pytest.raises(InputError, match="coloured"):
        read_mask(tmp_path / "b.png")


def test_jpeg_mask_is_thresholded_or_refused(tmp_path: Path) -> None:
    disc = (np.hypot(*np.mgrid[-40:40, -40:40]) < 25).astype(np.uint8)
    for name, image in (("a.jpg", disc * 255), ("b.jpg", np.repeat(disc[..., None] * 255, 3, axis=2))):
        Image.fromarray(image).save(tmp_path / name, quality=90)
        mask = read_mask(tmp_path / name)
        np.testing.assert_array_equal(mask.array, disc)
        assert "LOSSY_MASK" in _codes(mask)
    Image.fromarray(disc * 120).save(tmp_path / "c.jpg")
    with pytest.raises(InputError, match="lossy JPEG"):
        read_mask(tmp_path / "c.jpg")


def test_volumes(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 4, (3, 4, 5))
    for dtype in (np.float32, np.float64, np.int16, np.uint8, np.int64):
        mask = read_mask(write_nifti(labels.astype(dtype), tmp_path / "m.nii.gz", affine=np.eye(4)))
        np.testing.assert_array_equal(mask.array, labels)
        assert mask.array.dtype == np.uint8
        assert mask.unit == "label"
    assert read_mask(write_nifti(labels * 300, tmp_path / "m.nii", affine=np.eye(4))).array.dtype == np.uint16


@pytest.mark.parametrize(
    ("value", "message"), [(0.5, "whole numbers"), (np.nan, "whole numbers"), (-1, "range"), (70000, "range")]
)
def test_values_that_are_no_labels(tmp_path: Path, value: float, message: str) -> None:
    array = np.zeros((3, 4, 5), np.float32)
    array[1, 1, 1] = value
    with pytest.raises(InputError, match=message):
        read_mask(write_nifti(array, tmp_path / "m.nii", affine=np.eye(4)))


def test_what_is_no_label_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="three dimensions"):
        read_mask(write_nifti(np.zeros((2, 3, 4, 5)), tmp_path / "m.nii", affine=np.eye(4)))
    (tmp_path / "m.txt").write_text("1 2 3")
    with pytest.raises(InputError, match="Not a label image"):
        read_mask(tmp_path / "m.txt")


def test_the_image_matters_to_dicom_alone(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 4, (3, 4, 5)).astype(np.uint8)
    path = write_nifti(labels, tmp_path / "m.nii", affine=np.eye(4))
    other = Volume(np.zeros((9, 9, 9), np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
    np.testing.assert_array_equal(read_mask(path, other).array, labels)
    write_picture(MASK, tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", other).array, MASK)
    for file in (path, tmp_path / "a.png"):
        assert not is_dicom_segmentation(file)
        with pytest.raises(InputError):
            read_segmentation(file, other)
    with pytest.raises(InputError, match="cannot be opened"):
        is_dicom_segmentation(tmp_path / "missing.dcm")


@pytest.mark.real
def test_real_masks(real_data: Path) -> None:
    for pattern in ("*/masks/*.png", "ct-lidc-nodules/masks/*.nii.gz"):
        paths = sorted(real_data.glob(pattern))
        assert paths
        for path in paths[:: len(paths) // 12]:
            assert set(np.unique(read_mask(path).array)) <= {0, 1}
    folder = real_data / "dicom-conformance" / "dcmqi" / "segmentations"
    assert is_dicom_segmentation(folder / "liver.dcm")
    assert int(read_mask(folder / "liver.dcm", read(folder / "ct-3slice")).array.sum()) == 107098
    hippocampus = sorted(p for p in (real_data / "mri-hippocampus").rglob("*.nii.gz") if "label" in str(p.parent))
    assert hippocampus
    assert set(np.unique(read_mask(hippocampus[0]).array)) == {0, 1, 2}
