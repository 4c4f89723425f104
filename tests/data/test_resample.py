"""Legend: Z Y X axes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medimg.data.resample import (
    kernel,
    resample_linear,
    resample_nearest,
    resample_to_grid,
    resampled_size,
)
from medimg.errors import InputError


@pytest.mark.parametrize(("size", "old", "new", "expected"), [(10, 1, 2, 6), (11, 1, 2, 6), (1, 1, 9, 1), (5, 2, 1, 9)])
def test_size_rule(size, old, new, expected):
    assert resampled_size(size, old, new) == expected


def test_kernel_rows_sum_to_one_and_identity_is_exact():
    assert np.array_equal(kernel(7, 0.0, 1.0, 7), np.eye(7, dtype=np.float32))
    for step in (0.3, 0.77, 1.0, 1.7, 4.2):
        np.testing.assert_allclose(kernel(9, -0.2, step, 6).sum(axis=1), 1, atol=1e-6)


def test_upsampling_equals_scipy():
    rng = np.random.default_rng(0)
    array = rng.normal(size=(2, 9, 11, 40)).astype(np.float32)
    first, step, shape = (0.2, 0.0, 1.5), (0.5, 0.7, 0.9), (17, 15, 41)
    ours = resample_linear(array, first, step, shape)
    for channel in range(2):
        theirs = ndimage.affine_transform(
            array[channel], np.asarray(step), offset=first, output_shape=shape, order=1, mode="nearest"
        )
        np.testing.assert_allclose(ours[channel], theirs, atol=1e-5)


def test_linear_ramps_stay_linear_when_downsampling():
    ramp = np.arange(60, dtype=np.int16)[:, None, None] + 2 * np.arange(50, dtype=np.int16)[:, None]
    ramp = ramp + np.zeros(45, dtype=np.int16)
    out = resample_linear(ramp[None], (0, 0, 0), (2.5, 1.5, 3.0), (24, 33, 15))[0]
    z, y = np.arange(24) * 2.5, np.arange(33) * 1.5
    expected = z[:, None] + 2 * y
    np.testing.assert_allclose(out[2:-2, 2:-2, 7], expected[2:-2, 2:-2], atol=1e-3)


def test_downsampling_does_not_alias():
    stripes = np.tile(np.array([0, 1000], dtype=np.int16), 64)[None, None] * np.ones((1, 128, 1), np.int16)
    out = resample_linear(stripes, (0, 0), (2, 2), (64, 64))
    assert np.abs(out[0, :, 2:-2] - 500).max() < 1


def test_pictures_use_the_same_code():
    array = np.random.default_rng(1).integers(0, 255, (3, 20, 30), dtype=np.uint8)
    out = resample_linear(array, (0.0, 0.0), (0.5, 0.5), (39, 59))
    np.testing.assert_array_equal(out[:, ::2, ::2], array)


def test_nearest_never_mixes_and_marks_what_is_outside():
    labels = np.random.default_rng(2).integers(1, 5, (6, 7, 8)).astype(np.uint8)
    out = resample_nearest(labels, (-1.0, 0.2, 0.0), (1.0, 0.4, 1.0), (9, 15, 8), outside=9)
    assert out.dtype == np.uint8
    assert set(np.unique(out[0])) == {9}
    assert set(np.unique(out[7:])) == {9}
    np.testing.assert_array_equal(out[1:7, 2], labels[:, 1])
    assert not resample_nearest(labels, (50, 0, 0), (1, 1, 1), (6, 7, 8)).any()


def _rotation(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


def test_oblique_resampling_reads_the_right_places():
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in (12, 40, 40)), indexing="ij")
    field = 3 * z + 2 * y - x
    matrix = _rotation(20)
    matrix[:3, 3] = (1.5, 12.0, 2.0)
    out, outside = resample_to_grid(field, matrix, (8, 20, 20), nearest=False, outside=-99)
    points = np.stack(np.meshgrid(*(np.arange(n) for n in (8, 20, 20)), indexing="ij"), axis=-1)
    where = points @ matrix[:3, :3].T + matrix[:3, 3]
    inside = np.all((where >= 0) & (where <= np.array([11, 39, 39])), axis=-1)
    expected = where @ np.array([3, 2, -1])
    np.testing.assert_allclose(out[inside], expected[inside], atol=1e-3)
    far = np.any((where < -0.6) | (where > np.array([11.6, 39.6, 39.6])), axis=-1)
    assert (out[far] == -99).all()
    assert outside == pytest.approx(1 - inside.mean(), abs=0.05)


def test_parallel_and_oblique_ways_agree():
    array = np.random.default_rng(3).normal(size=(10, 12, 14)).astype(np.float32)
    matrix = np.diag([0.8, 0.9, 0.7, 1.0])
    matrix[:3, 3] = (1, 2, 3)
    separable, _ = resample_to_grid(array, matrix, (9, 9, 9), nearest=False)
    tilted = matrix.copy()
    tilted[0, 1] = 2e-4
    general, _ = resample_to_grid(array, tilted, (9, 9, 9), nearest=False)
    assert np.abs(separable - general).max() < 0.02


def test_flat_grid_is_refused():
    with pytest.raises(InputError, match="no thickness"):
        resample_to_grid(np.zeros((2, 2, 2)), np.diag([0.0, 1, 1, 1]), (2, 2, 2), nearest=True)
