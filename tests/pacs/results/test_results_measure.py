"""Axes, volume and mean against shapes whose measures are known."""

from __future__ import annotations

import numpy as np
import pytest

from medimg.pacs.results.measure import axes_of, lesions_of, picture_lesions

UPRIGHT = np.eye(3)


def ellipsoid(shape, affine, centre, half_axes, turn=UPRIGHT):
    """Voxels whose centre lies in an ellipsoid; half axes in mm along the columns of ``turn``."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3] - centre
    return (((points @ turn) / half_axes) ** 2).sum(axis=-1) <= 1


@pytest.mark.parametrize("degrees", [0, 20, 45, 77])
def test_an_ellipsoid_has_its_axes_and_its_volume(degrees: float) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([[0, 0, 1.0], [0, 0.5, 0], [0.4, 0, 0]])
    affine[:3, 3] = (-40, -50, 10)
    angle = np.radians(degrees)
    turn = np.asarray([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    centre = np.asarray([-15.3, -20.2, 29.4])
    mask = ellipsoid((40, 120, 130), affine, centre, np.asarray([16.0, 9.0, 12.0]), turn)
    values = np.where(mask, 55.0, -1000.0)
    (lesion,), count = lesions_of(mask, values, affine, most=5)
    assert count == 1
    assert lesion.long.length == pytest.approx(32.0, abs=0.5)
    assert lesion.short.length == pytest.approx(18.0, abs=0.5)
    assert lesion.size == pytest.approx(4 / 3 * np.pi * 16 * 9 * 12 / 1000, rel=0.01)
    assert lesion.mean == 55.0
    assert np.abs(np.asarray(lesion.centre_mm) - centre).max() < 0.1
    assert lesion.slice_index in (19, 20)
    along = (lesion.long.ends[1] - lesion.long.ends[0]) * (0.5, 0.4)
    across = (lesion.short.ends[1] - lesion.short.ends[0]) * (0.5, 0.4)
    assert np.linalg.norm(along) == pytest.approx(lesion.long.length)
    assert np.linalg.norm(across) == pytest.approx(lesion.short.length)
    assert along @ across == pytest.approx(0.0, abs=1e-6)


def test_sheared_slices_keep_volume_and_axes() -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([[0, 0.5, 2.0], [0, 0.5, 0], [0.5, 0, 0]])
    mask = ellipsoid((30, 140, 80), affine, np.asarray([20.0, 36.0, 30.0]), np.asarray([9.0, 12.0, 10.0]))
    (lesion,), _ = lesions_of(mask, None, affine, most=1)
    assert lesion.size == pytest.approx(4 / 3 * np.pi * 9 * 12 * 10 / 1000, rel=0.02)
    assert (lesion.long.length, lesion.short.length) == (pytest.approx(24, abs=0.5), pytest.approx(18, abs=0.5))
    assert lesion.mean is None


def test_one_voxel_is_as_long_as_it_is_wide() -> None:
    mask = np.zeros((3, 4, 5), bool)
    mask[1, 2, 3] = True
    (lesion,), _ = lesions_of(mask, None, np.diag([3.0, 2.0, 1.0, 1.0])[[2, 1, 0, 3]] @ np.eye(4), most=1)
    assert (lesion.voxels, lesion.slices, lesion.centre) == (1, (1, 2), (1.0, 2.0, 3.0))
    assert lesion.long.length >= lesion.short.length > 0


def test_a_rectangle_and_its_brute_force_diameter() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        plane = rng.random((9, 11)) > 0.7
        plane[4, 5] = True
        long, short = axes_of(plane, (0.7, 1.3))
        at = np.argwhere(plane)
        edges = np.concatenate([at + step for step in ([0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5])]) * (0.7, 1.3)
        gaps = np.linalg.norm(edges[:, None] - edges[None], axis=-1)
        assert long.length == pytest.approx(gaps.max())
        assert 0 < short.length <= long.length + 1e-9


def test_components_come_by_size_and_are_counted() -> None:
    mask = np.zeros((6, 20, 20), bool)
    mask[1, 2:4, 2:4] = True
    mask[3:5, 8:16, 8:16] = True
    mask[5, 19, 19] = True
    lesions, count = lesions_of(mask, None, np.eye(4), most=2)
    assert (count, [lesion.voxels for lesion in lesions]) == (3, [128, 4])
    assert lesions_of(np.zeros_like(mask), None, np.eye(4), most=2) == ([], 0)


def test_a_picture_is_measured_in_pixels_or_millimetres() -> None:
    mask = np.zeros((30, 40), bool)
    mask[5:15, 5:25] = True
    (lesion,), count = picture_lesions(mask, None, most=3)
    assert (count, lesion.size, lesion.centre) == (1, 200, (9.5, 14.5))
    assert lesion.long.length == pytest.approx(np.hypot(20, 9), abs=0.5)
    (scaled,), _ = picture_lesions(mask, (0.1, 0.1), most=3)
    assert scaled.size == pytest.approx(2.0)
    assert picture_lesions(np.zeros_like(mask), None, most=3) == ([], 0)
