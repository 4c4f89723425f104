from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from medimg.geometry import to_lps
from medimg.io.image import Picture, Volume
from medimg.reports.overlay import PREDICTION_COLOUR, SIDE_PX, TRUTH_COLOUR, overlay_png


def _affine(z: float, y: float, x: float) -> np.ndarray:
    """zyx indices to LPS mm for an axial stack."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = z, y, x, 1
    return affine


def _open(content: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(content))
    assert image.format == "PNG"
    assert max(image.size) == SIDE_PX
    return np.asarray(image)


def _drawn(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.argwhere((picture == colour).all(-1))


def _volume(shape=(8, 24, 24), affine=None) -> Volume:
    return Volume(np.zeros(shape, np.int16), _affine(5.0, 1.0, 1.0) if affine is None else affine)


def test_truth_is_unbroken_and_prediction_dashed():
    truth, predicted = np.zeros((8, 24, 24), np.uint8), np.zeros((8, 24, 24), np.uint8)
    truth[3, 2:10, 2:10], predicted[3, 14:22, 14:22] = 1, 2
    picture = _open(overlay_png(_volume(), truth=truth, predicted=predicted))
    blue, orange = _drawn(picture, TRUTH_COLOUR), _drawn(picture, PREDICTION_COLOUR)
    assert blue.min() >= 38
    assert blue.max() <= 202
    assert orange.min() >= 278
    # Equal squares: the dashes cover about half of the line.
    assert 0.35 < len(orange) / len(blue) < 0.75


@pytest.mark.parametrize("corner", ["rising", "falling"])
def test_dashes_do_not_vanish_along_a_diagonal(corner):
    predicted = np.tril(np.ones((240, 240), np.uint8))
    if corner == "rising":
        predicted = predicted[:, ::-1]
    picture = _open(overlay_png(Picture(np.zeros((240, 240, 3), np.uint8)), predicted=predicted))
    orange = _drawn(picture, PREDICTION_COLOUR)
    inner = orange[(orange > 40).all(1) & (orange < 440).all(1)]
    assert len(inner) > 300


def test_slice_with_most_truth_is_shown_whatever_the_orientation():
    array = np.zeros((8, 24, 24), np.int16)
    array[5, :12] = 100
    truth = np.zeros(array.shape, np.uint8)
    truth[5, 2:6, 15:20] = 1
    plain = overlay_png(Volume(array, _affine(5.0, 1.0, 1.0)), truth=truth)
    flipped = Volume(array[::-1, ::-1], _flip(_affine(5.0, 1.0, 1.0), array.shape))
    assert overlay_png(flipped, truth=truth[::-1, ::-1]) == plain
    top, bottom = _open(plain)[40, 240], _open(plain)[440, 240]
    assert top.mean() > bottom.mean()


def _flip(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Affine of array[::-1, ::-1]."""
    turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    turn[0, 3], turn[1, 3] = shape[0] - 1, shape[1] - 1
    return affine @ turn


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_boxes_follow_their_structure_in_every_orientation(axis):
    """A thick stack along any axis, on disk in another order: box and mask still lie on each other."""
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 6.0
    source = Volume(np.zeros((20, 22, 24), np.int16), _affine(*spacing))
    mask = np.zeros((20, 22, 24), np.uint8)
    mask[3:8, 10:15, 4:11] = 1
    array, affine, mask = _stored_otherwise(source, mask)
    where = np.argwhere(mask)
    box = np.concatenate([where.min(0), where.max(0) + 1])[None].astype(float)
    outlined = _drawn(_open(overlay_png(Volume(array, affine), truth=mask)), TRUTH_COLOUR)
    boxed = _drawn(_open(overlay_png(Volume(array, affine), boxes_true=box)), TRUTH_COLOUR)
    np.testing.assert_allclose(outlined.min(0), boxed.min(0), atol=3)
    np.testing.assert_allclose(outlined.max(0), boxed.max(0), atol=3)


def _stored_otherwise(volume: Volume, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return array, affine and mask with axes permuted and flipped."""
    order = [2, 0, 1]
    permute = np.zeros((4, 4))
    permute[3, 3] = 1
    for new, old in enumerate(order):
        permute[old, new] = 1
    affine = volume.affine @ permute
    array, turned = volume.array.transpose(order), mask.transpose(order)
    flip = np.diag([1.0, -1.0, 1.0, 1.0])
    flip[1, 3] = array.shape[1] - 1
    lps, _, _ = to_lps(array[:, ::-1], affine @ flip)
    assert lps.shape == volume.array.shape
    return array[:, ::-1], affine @ flip, turned[:, ::-1]


def test_superior_is_at_the_top_of_a_sagittal_stack():
    array = np.zeros((20, 22, 8), np.int16)
    array[15:] = 100
    picture = _open(overlay_png(Volume(array, _affine(1.0, 1.0, 6.0))))
    assert picture[20].mean() > picture[-20].mean()


def test_channels_pictures_and_empty_inputs():
    several = Volume(np.zeros((2, 8, 24, 24), np.float32), _affine(5.0, 1.0, 1.0))
    _open(overlay_png(several, predicted=np.zeros((8, 24, 24), np.uint8), boxes_true=np.zeros((0, 6))))
    deep = Picture(np.full((30, 60, 3), 65535, np.uint16))
    picture = _open(overlay_png(deep, boxes_predicted=np.array([[5.0, 10, 20, 40]])))
    assert picture.shape == (240, 480, 3)
    assert picture[0, 0].tolist() == [255, 255, 255]
    orange = _drawn(picture, PREDICTION_COLOUR)
    assert abs(orange[:, 0].min() - 40) <= 2
    assert abs(orange[:, 1].max() - 320) <= 2


def test_a_mark_beyond_the_scan_and_values_that_are_no_numbers_do_not_stop_the_report():
    array = np.full((8, 24, 24), np.nan, np.float32)
    outside = np.array([[90.0, 1, 1, 99, 5, 5]])
    _open(overlay_png(Volume(array, _affine(5.0, 1.0, 1.0)), boxes_predicted=outside))


def test_same_bytes_twice():
    truth = np.zeros((8, 24, 24), np.uint8)
    truth[2, 4:9, 4:9] = 1
    assert overlay_png(_volume(), truth=truth) == overlay_png(_volume(), truth=truth)
