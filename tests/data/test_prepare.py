"""Legend: C channels, Z Y X axes."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from medimg.data.preparation import Intensity, Preparation
from medimg.data.prepare import (
    Grid,
    normalise,
    prepare,
    prepare_boxes,
    prepare_mask,
    restore_boxes,
    restore_labels,
    restore_probabilities,
)
from medimg.errors import InputError
from medimg.io.image import Picture, Volume

WINDOW = Intensity(rule="window", low=-1000, high=1000, mean=(0.0,), std=(500.0,))
ZSCORE = Intensity(rule="zscore")
RGB = Intensity(rule="rgb", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def affine_for(order, signs, spacing=(2.0, 0.8, 0.7), tilt_deg=0.0, origin=(-80.0, 40.0, 700.0)):
    """Affine of an array whose axes Z, Y, X run along world axes ``order`` with ``signs``."""
    matrix = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(zip(order, signs)):
        matrix[world, axis] = sign * spacing[axis]
    angle = np.deg2rad(tilt_deg)
    turn = np.eye(3)
    turn[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, :3] = turn @ matrix[:3, :3]
    matrix[:3, 3], matrix[3, 3] = origin, 1
    return matrix


ORIENTATIONS = [
    affine_for(order, signs, tilt_deg=tilt)
    for order in itertools.permutations(range(3))
    for signs, tilt in (((1, 1, 1), 0.0), ((-1, 1, -1), 12.0))
]


def volume(array, affine=None, unit="HU"):
    return Volume(array, affine_for((2, 1, 0), (1, 1, 1)) if affine is None else affine, unit)


def world(affine, index):
    return affine[:3, :3] @ np.asarray(index, dtype=float) + affine[:3, 3]


@pytest.mark.parametrize("affine", ORIENTATIONS)
@pytest.mark.parametrize("size", [None, (20, 24, 30)])
def test_marked_point_survives_any_orientation(affine, size):
    array = np.full((22, 30, 28), -1000, dtype=np.int16)
    mark = (12, 17, 9)
    array[tuple(slice(m - 1, m + 2) for m in mark)] = 3000
    wanted = Preparation(kind="volume", channels=("ct",), spacing_mm=(1.0, 1.1, 0.9), size_zyx=size, intensity=WINDOW)
    centre = world(affine, mark) if size else None
    prepared = prepare({"ct": volume(array, affine)}, wanted, centre_mm=centre)
    assert prepared.array.dtype == np.int16
    weights = prepared.array[0].astype(float) + 1024
    weights[weights < 200] = 0
    index = [
        (weights.sum(axis=tuple(a for a in range(3) if a != k)) * np.arange(n)).sum() / weights.sum()
        for k, n in enumerate(weights.shape)
    ]
    error_mm = world(prepared.grid.affine, index) - world(affine, mark)
    assert np.linalg.norm(error_mm) < 0.3
    np.testing.assert_allclose(prepared.grid.to_source(np.array([index]))[0], mark, atol=0.3)
    directions = prepared.grid.affine[:3, :3] / np.linalg.norm(prepared.grid.affine[:3, :3], axis=0)
    assert all(directions[w, a] > 0.9 for a, w in enumerate((2, 1, 0)))
    np.testing.assert_allclose(np.linalg.norm(prepared.grid.affine[:3, :3], axis=0), (1.0, 1.1, 0.9))


@pytest.mark.parametrize("affine", ORIENTATIONS)
def test_labels_on_the_same_grid_come_back_bit_identical(affine):
    labels = np.random.default_rng(0).integers(0, 9, (7, 9, 11)).astype(np.uint8)
    wanted = Preparation(kind="volume", channels=("ct",), intensity=WINDOW)
    scan = np.random.default_rng(1).integers(-1000, 1000, (7, 9, 11)).astype(np.int16)
    prepared = prepare({"ct": volume(scan, affine)}, wanted)
    turned = prepare_mask(volume(labels, affine, "label"), prepared.grid, wanted)
    np.testing.assert_array_equal(prepared.grid.unturn(prepared.array[0]), scan)
    for order in (0, 1):
        np.testing.assert_array_equal(restore_labels(turned, prepared.grid, order), labels)
        back = restore_labels(turned, prepared.grid, order, bitmask=True)
        np.testing.assert_array_equal(back, labels)
        assert back.dtype == np.uint8


@pytest.mark.parametrize("affine", ORIENTATIONS[:4])
@pytest.mark.parametrize("order", [0, 1])
def test_labels_survive_resampling_both_ways(affine, order):
    z, y, x = np.meshgrid(*(np.arange(n) for n in (24, 40, 44)), indexing="ij")
    ball = ((z - 12) * 2.0) ** 2 + ((y - 20) * 0.8) ** 2 + ((x - 22) * 0.7) ** 2 < 100
    labels = ball.astype(np.uint8) * 2
    labels[ball & (x > 24)] = 3
    wanted = Preparation(kind="volume", channels=("ct",), spacing_mm=(1.0, 1.0, 1.0), intensity=WINDOW)
    prepared = prepare({"ct": volume(labels.astype(np.int16), affine)}, wanted)
    there = prepare_mask(volume(labels, affine, "label"), prepared.grid, wanted)
    for bitmask in (False, True):
        back = restore_labels(there, prepared.grid, order, bitmask=bitmask)
        assert set(np.unique(back)) == {0, 2, 3}
        for value in (2, 3):
            dice = 2 * ((back == value) & (labels == value)).sum() / ((back == value).sum() + (labels == value).sum())
            assert dice > 0.88


def test_linear_restoring_is_smoother_than_nearest():
    y, x = np.meshgrid(np.arange(240), np.arange(240), indexing="ij")
    disc = ((y - 119.5) ** 2 + (x - 119.5) ** 2 < 80**2).astype(np.uint8)
    wanted = Preparation(kind="picture", channels=("image",), scale=0.125, intensity=RGB)
    grid = prepare({"image": Picture(np.zeros((240, 240, 3), np.uint8))}, wanted).grid
    small = prepare_mask(Picture(disc, colour_space="label"), grid, wanted)
    wrong = [int((restore_labels(small, grid, order) != disc).sum()) for order in (0, 1)]
    assert wrong[1] < 0.8 * wrong[0]


def test_probabilities_come_back_on_the_source_grid():
    affine = affine_for((1, 2, 0), (-1, 1, 1))
    scan = np.random.default_rng(1).integers(-1000, 1000, (20, 30, 26)).astype(np.int16)
    wanted = Preparation(
        kind="volume", channels=("ct",), spacing_mm=(1.5, 1.5, 1.5), size_zyx=(10, 12, 40), intensity=WINDOW
    )
    grid = prepare({"ct": volume(scan, affine)}, wanted).grid
    ramp = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in grid.shape), indexing="ij")[0]
    back = restore_probabilities(np.stack([ramp, ramp]), grid, outside=(7.0, -7.0))
    assert back.shape == (2, 20, 30, 26)
    points = np.argwhere(back[0] != 7.0)
    expected = np.clip(grid.to_prepared(points)[:, 0], 0, 9)
    np.testing.assert_allclose(back[0][tuple(points.T)], expected, atol=0.6)
    assert (back[1][back[0] == 7.0] == -7.0).all()


def test_crop_pads_with_air_and_statistics_ignore_padding():
    scan = np.random.default_rng(0).normal(100, 10, (6, 8, 8)).astype(np.float32)
    mr = Preparation(kind="volume", channels=("t1",), size_zyx=(12, 8, 6), intensity=ZSCORE)
    prepared = prepare({"t1": volume(scan, unit="arbitrary")}, mr)
    assert prepared.array.shape == (1, 12, 8, 6)
    assert (prepared.array[0, :3] == prepared.array[0, 0, 0, 0]).all()
    inner = normalise(prepared.array, ZSCORE, prepared.stats)[0, 3:9]
    assert inner.mean() == pytest.approx(0, abs=1e-3)
    assert inner.std() == pytest.approx(1, abs=1e-3)
    ct = Preparation(kind="volume", channels=("ct",), size_zyx=(12, 8, 6), intensity=WINDOW)
    assert prepare({"ct": volume(scan)}, ct).array[0, 0, 0, 0] == -1024


def test_storage_rules():
    rng = np.random.default_rng(0)
    plain = Preparation(kind="volume", channels=("t1",), intensity=ZSCORE)
    smooth = rng.normal(0.3, 0.1, (4, 5, 6)).astype(np.float32)
    quantised = prepare({"t1": volume(smooth, unit="arbitrary")}, plain)
    assert quantised.array.dtype == np.int16
    np.testing.assert_allclose(
        normalise(quantised.array, ZSCORE, quantised.stats)[0], (smooth - smooth.mean()) / smooth.std(), atol=1e-3
    )
    spiked = rng.normal(1, 1e-3, (48, 48, 48)).astype(np.float32)
    spiked[0, 0, 0] = 1e7
    assert prepare({"t1": volume(spiked, unit="arbitrary")}, plain).array.dtype == np.float32
    whole = rng.integers(0, 4000, (4, 5, 6)).astype(np.uint16)
    kept = prepare({"t1": volume(whole, unit="arbitrary")}, plain)
    np.testing.assert_array_equal(kept.array[0], whole)
    window = Preparation(kind="volume", channels=("pet",), intensity=WINDOW)
    assert prepare({"pet": volume(smooth, unit="SUV")}, window).array.dtype == np.float32
    beyond = np.array([-40000.0, 40000.6, 12.5], np.float32).reshape(1, 1, 3)
    assert prepare({"pet": volume(beyond)}, window).array.ravel().tolist() == [-32768, 32767, 12]


def test_channels_are_brought_to_the_first_grid():
    a = affine_for((2, 1, 0), (1, 1, 1), spacing=(2, 1, 1), origin=(0, 0, 0))
    b = affine_for((1, 2, 0), (-1, 1, 1), spacing=(1.5, 1.5, 1.2), tilt_deg=9, origin=(-10, 60, -12))

    def field(affine, shape):
        index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
        place = index @ affine[:3, :3].T + affine[:3, 3]
        return (place @ np.array([1.0, 2.0, 3.0])).astype(np.float32)

    images = {
        "flair": volume(field(b, (56, 56, 60)), b, "arbitrary"),
        "t1": volume(field(a, (20, 40, 40)), a, "arbitrary"),
    }
    intensity = Intensity(rule="window", low=None, high=None)
    wanted = Preparation(kind="volume", channels=("t1", "flair"), spacing_mm=(2, 2, 2), intensity=intensity)
    prepared = prepare(images, wanted)
    assert prepared.array.shape[:2] == (2, 20)
    difference = np.abs(prepared.array[0] - prepared.array[1])[2:-2, 2:-2, 2:-2]
    assert np.median(difference) < 0.05
    assert np.quantile(difference, 0.9) < 0.5


def test_a_drawn_outline_is_an_input_beside_the_scan():
    rng = np.random.default_rng(0)
    scan = volume(rng.normal(-600, 200, (12, 20, 20)).astype(np.float32), affine_for((0, 1, 2), (1, 1, 1), (2, 1, 1)))
    drawn = np.zeros((12, 20, 20), np.uint8)
    drawn[4:8, 5:15, 6:14] = 3
    intensity = Intensity(rule="window", low=-1000, high=400, mean=(-300,), std=(350,), outlines=(1,))
    how = Preparation(
        kind="volume", channels=("image", "outline"), spacing_mm=(1, 1, 1), size_zyx=(32, 24, 24), intensity=intensity
    )
    assert how.outlines == ("outline",)
    found = prepare({"image": scan, "outline": volume(drawn, scan.affine, unit="arbitrary")}, how)
    assert found.array.dtype == np.int16
    assert found.array[1].min() == 0
    assert found.array[1].max() == 255
    assert 0 < ((found.array[1] > 0) & (found.array[1] < 255)).mean() < 0.1
    shown = normalise(found.array, intensity)
    assert shown[1].min() == -1
    assert shown[1].max() == 1
    assert shown[1][0, 0, 0] == -1
    assert shown[0].min() >= -2
    assert shown[0].max() <= 2


def test_one_array_may_hold_all_channels():
    both = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
    wanted = Preparation(kind="volume", channels=("t1", "t2"), intensity=Intensity(rule="window"))
    np.testing.assert_array_equal(prepare({"study": volume(both, unit="arbitrary")}, wanted).array, both)


def test_mask_on_another_grid_is_found_in_space():
    scan_affine = affine_for((2, 1, 0), (1, 1, 1), spacing=(2, 1, 1), origin=(0, 0, 0))
    mask_affine = affine_for((2, 1, 0), (-1, -1, 1), spacing=(2, 1, 1), origin=(0, 29, 38))
    labels = np.random.default_rng(0).integers(0, 3, (20, 30, 30)).astype(np.uint8)
    wanted = Preparation(kind="volume", channels=("ct",), intensity=WINDOW)
    prepared = prepare({"ct": volume(np.zeros((20, 30, 30), np.int16), scan_affine)}, wanted)
    flipped = volume(labels[::-1, ::-1], mask_affine, "label")
    np.testing.assert_array_equal(prepare_mask(flipped, prepared.grid, wanted), labels)
    away = mask_affine + np.array([[0, 0, 0, 900]] + 3 * [[0, 0, 0, 0]])
    with pytest.raises(InputError, match="elsewhere"):
        prepare_mask(volume(labels, away, "label"), prepared.grid, wanted)


def test_boxes_go_there_and_back():
    affine = affine_for((1, 0, 2), (-1, 1, -1))
    scan = np.full((24, 40, 36), -1000, np.int16)
    scan[5:9, 10:22, 30:33] = 500
    wanted = Preparation(kind="volume", channels=("ct",), spacing_mm=(1, 1, 1), intensity=WINDOW)
    prepared = prepare({"ct": volume(scan, affine)}, wanted)
    box = np.array([[5, 10, 30, 9, 22, 33]], np.float32)
    there = prepare_boxes(box, prepared.grid)
    np.testing.assert_allclose(restore_boxes(there, prepared.grid), box, atol=1e-4)
    low, high = np.rint(there[0, :3]).astype(int), np.rint(there[0, 3:]).astype(int)
    inside = prepared.array[0][tuple(slice(a, b) for a, b in zip(low, high))]
    assert (inside > -300).mean() > 0.9
    bright = (prepared.array[0] > -250).sum()
    assert bright == pytest.approx(np.prod(there[0, 3:] - there[0, :3]), rel=0.25)


def fundus(height=300, width=420):
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    disc = (y - 150) ** 2 + (x - 200) ** 2 < 120**2
    array = rng.integers(0, 8, (height, width, 3)).astype(np.uint8)
    array[disc] = (160, 70, 30)
    return array, disc


def test_field_of_view_is_found_and_undone():
    array, disc = fundus()
    wanted = Preparation(kind="picture", channels=("image",), size_yx=(96, 128), field_of_view=True, intensity=RGB)
    prepared = prepare({"image": Picture(array)}, wanted)
    assert prepared.array.shape == (3, 96, 128)
    assert prepared.array.dtype == np.uint8
    crop = prepared.grid.to_source(np.array([[-0.5, -0.5], [95.5, 127.5]]))
    np.testing.assert_allclose(crop, [[30.5, 80.5], [269.5, 319.5]], atol=3)
    small = prepare_mask(Picture(disc.astype(np.uint8), colour_space="label"), prepared.grid, wanted)
    back = restore_labels(small, prepared.grid, 1)
    assert back.shape == (300, 420)
    assert (back != disc).mean() < 0.01


def test_black_picture_keeps_its_whole_field():
    wanted = Preparation(kind="picture", channels=("image",), field_of_view=True, intensity=RGB)
    prepared = prepare({"image": Picture(np.zeros((40, 50, 3), np.uint8))}, wanted)
    assert prepared.array.shape == (3, 40, 50)
    assert prepared.findings[0].code == "FIELD_OF_VIEW_NOT_FOUND"


def test_sixteen_bits_become_eight():
    array = np.array([0, 257, 65535], np.uint16).reshape(1, 1, 3)
    wanted = Preparation(kind="picture", channels=("image",), intensity=RGB)
    assert prepare({"image": Picture(array)}, wanted).array.ravel().tolist() == [0, 1, 255]


def test_picture_resize_is_half_pixel_centred():
    ramp = np.tile(np.arange(0, 200, dtype=np.uint8)[None, :, None], (100, 1, 3))
    wanted = Preparation(kind="picture", channels=("image",), scale=0.5, intensity=RGB)
    prepared = prepare({"image": Picture(ramp)}, wanted)
    places = prepared.grid.to_source(np.array([[10.0, k] for k in range(100)]))[:, 1]
    np.testing.assert_allclose(prepared.array[0, 10, 3:-3], places[3:-3], atol=0.51)
    assert np.asarray(Image.fromarray(ramp)).shape == (100, 200, 3)


def test_grid_survives_json():
    scan = volume(np.zeros((5, 6, 7), np.int16), ORIENTATIONS[3])
    wanted = Preparation(kind="volume", channels=("ct",), spacing_mm=(1, 1, 1), intensity=WINDOW)
    grid = prepare({"ct": scan}, wanted).grid
    assert Grid.from_dict(json.loads(json.dumps(grid.as_dict()))) == grid


def test_normalise_rules():
    hu = np.array([-2000, 0, 500, 3000], np.int16).reshape(1, 1, 2, 2)
    np.testing.assert_allclose(normalise(hu, WINDOW).ravel(), [-2, 0, 1, 2])
    rgb = np.full((3, 2, 2), 255, np.uint8)
    np.testing.assert_allclose(normalise(rgb, RGB)[:, 0, 0], (1 - np.array(RGB.mean)) / RGB.std, rtol=1e-5)
    assert normalise(np.full((1, 2, 2, 2), 3, np.int16), ZSCORE).any() == np.False_
    for wrong in (np.zeros((3, 2, 2), np.float32), np.zeros((2, 4, 4), np.uint8)):
        with pytest.raises(InputError):
            normalise(wrong, RGB)


def test_nan_is_repaired_and_told():
    scan = np.full((3, 4, 5), 2.0, np.float32)
    scan[0, 0, 0], scan[1, 1, 1] = np.nan, -3
    wanted = Preparation(kind="volume", channels=("t1",), intensity=WINDOW)
    prepared = prepare({"t1": volume(scan, unit="arbitrary")}, wanted)
    assert prepared.array[0, 0, 0, 0] == -3
    assert prepared.findings[0].code == "NOT_FINITE"
    with pytest.raises(InputError, match="no finite voxel"):
        prepare({"t1": volume(np.full((2, 2, 2), np.nan), unit="arbitrary")}, wanted)


def test_wrong_studies_are_refused():
    ct = Preparation(kind="volume", channels=("ct",), size_zyx=(4, 4, 4), intensity=WINDOW)
    mr = Preparation(kind="volume", channels=("t1", "t2"), intensity=ZSCORE)
    photo = Preparation(kind="picture", channels=("image",), intensity=RGB)
    scan, picture = volume(np.zeros((4, 5, 6), np.int16)), Picture(np.zeros((4, 5, 3), np.uint8))
    cases = [
        ({"t1": scan, "flair": scan}, mr, "lacks an input channel"),
        ({"ct": picture}, ct, "reads a volume"),
        ({"image": scan}, photo, "reads a picture"),
        ({"image": Picture(np.zeros((4, 5), np.uint8))}, photo, "not a colour picture"),
        ({"ct": volume(np.zeros((3, 4, 5, 6), np.int16))}, ct, "A channel is one volume"),
    ]
    for images, preparation, message in cases:
        with pytest.raises(InputError, match=message):
            prepare(images, preparation)
    with pytest.raises(InputError, match="outside the scan"):
        prepare({"ct": scan}, ct, centre_mm=(9000.0, 0.0, 0.0))
    grid = prepare({"image": picture}, photo).grid
    with pytest.raises(InputError, match="differ in size"):
        prepare_mask(Picture(np.zeros((5, 5), np.uint8), colour_space="label"), grid, photo)


@pytest.mark.real
def test_real_scans_go_there_and_back(real_data):
    from medimg.io.mask import read_mask
    from medimg.io.read import read

    native = Preparation(kind="volume", channels=("t1",), intensity=ZSCORE)
    finer = Preparation(kind="volume", channels=("t1",), spacing_mm=(0.8, 0.9, 0.7), intensity=ZSCORE)
    for image in sorted((real_data / "mri-hippocampus" / "images").glob("*.nii.gz"))[:6]:
        scan, mask = read(image), read_mask(real_data / "mri-hippocampus" / "labels" / image.name)
        grid = prepare({"t1": scan}, native).grid
        np.testing.assert_array_equal(restore_labels(prepare_mask(mask, grid, native), grid, 1), mask.array)
        prepared = prepare({"t1": scan}, finer)
        assert normalise(prepared.array, ZSCORE, prepared.stats).std() == pytest.approx(1, abs=1e-3)
        back = restore_labels(prepare_mask(mask, prepared.grid, finer), prepared.grid, 1)
        both = ((back > 0) & (mask.array > 0)).sum()
        assert 2 * both / ((back > 0).sum() + (mask.array > 0).sum()) > 0.95


@pytest.mark.real
def test_field_of_view_of_real_photographs(real_data):
    from medimg.io.read import read

    wanted = Preparation(kind="picture", channels=("image",), size_yx=(256, 256), field_of_view=True, intensity=RGB)
    folders = ("fundus-idrid-lesions", "fundus-drive", "endoscopy-polypgen")
    for path in [p for folder in folders for p in sorted((real_data / folder / "images").glob("*.*"))[:6]]:
        picture = read(path)
        prepared = prepare({"image": picture}, wanted)
        assert not prepared.findings, path.name
        outside = np.ones(picture.array.shape[:2], bool)
        low, high = np.rint(prepared.grid.to_source(np.array([[-0.5, -0.5], [255.5, 255.5]])) + 0.5).astype(int)
        outside[low[0] : high[0], low[1] : high[1]] = False
        bright = picture.array.max(axis=2) > 40
        assert (bright & outside).sum() < 0.005 * bright.sum(), path.name
