"""Filling contours: even-odd, holes, keyholes, borders."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from medimg.io.contours import fill


def _square(low: float, high: float) -> np.ndarray:
    return np.asarray([[low, low], [low, high], [high, high], [high, low]], dtype=np.float64)


@pytest.mark.parametrize("seed", range(4))
def test_random_star_shapes_equal_a_point_in_polygon_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 40))
    radius = rng.uniform(3, 14, 40)
    corners = np.stack([15.3 + radius * np.sin(angle), 14.7 + radius * np.cos(angle)], axis=1)
    centres = np.stack(np.indices((30, 32)), axis=-1).reshape(-1, 2)
    # On the border the two may differ: what lies on a contour belongs to it.
    inner = Polygon(corners).contains_points(centres, radius=0.0).reshape(30, 32)
    found = fill([corners], (30, 32))
    edges = np.concatenate([corners, corners[:1]])
    steps = np.linspace(edges[:-1], edges[1:], 100).reshape(-1, 2)
    near = (np.square(steps[:, None] - centres).sum(axis=-1).min(axis=0) < 0.1**2).reshape(30, 32)
    np.testing.assert_array_equal(found[~near], inner[~near])
    np.testing.assert_array_equal(found, fill([corners[::-1]], (30, 32)))


def test_a_contour_through_pixel_centres_takes_them_all() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:6, 2:6] = True
    np.testing.assert_array_equal(fill([_square(2, 5)], (9, 9)), mask)
    noisy = _square(2, 5) + np.random.default_rng(0).uniform(-0.004, 0.004, (4, 2))
    np.testing.assert_array_equal(fill([noisy], (9, 9)), mask)


def test_a_contour_along_pixel_borders_takes_what_is_inside() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:6, 2:6] = True
    np.testing.assert_array_equal(fill([_square(1.5, 5.5)], (9, 9)), mask)
    halves = [_square(1.5, 5.5) * [1, 0.5] + [0, 0.75], _square(1.5, 5.5) * [1, 0.5] + [0, 2.75]]
    left, right = fill(halves[:1], (9, 9)), fill(halves[1:], (9, 9))
    assert not (left & right).any()
    np.testing.assert_array_equal(left | right, mask)


def test_inner_contours_cut_holes_and_islands_lie_in_them() -> None:
    rings = [_square(0.5, 12.5), _square(3.5, 9.5), _square(5.5, 7.5)]
    expected = np.zeros((14, 14), bool)
    expected[1:13, 1:13] = True
    expected[4:10, 4:10] = False
    expected[6:8, 6:8] = True
    for order in ([0, 1, 2], [2, 0, 1]):
        np.testing.assert_array_equal(fill([rings[n] for n in order], (14, 14)), expected)


def test_a_keyhole_is_a_hole_without_a_scar() -> None:
    outer, inner = _square(0.5, 12.5), _square(3.5, 9.5)
    keyhole = np.concatenate([outer, outer[:1], inner, inner[:1]])
    np.testing.assert_array_equal(fill([keyhole], (14, 14)), fill([outer, inner], (14, 14)))
    # The channel runs through pixel centres here.
    outer, inner = _square(0, 12), _square(4, 8)
    keyhole = np.concatenate([outer, outer[:1], inner[::-1], inner[-1:]])
    hole = fill([keyhole], (14, 14))
    assert hole[:13, :4].all()
    assert not hole[5:8, 5:8].any()


def test_crossing_itself_is_even_odd() -> None:
    figure_eight = np.asarray([[0.5, 0.5], [8.5, 8.5], [8.5, 0.5], [0.5, 8.5]])
    found = fill([figure_eight], (10, 10))
    assert found[1, 4]
    assert found[7, 5]
    assert not found[4, 1]


def test_beyond_the_plane_and_without_area() -> None:
    np.testing.assert_array_equal(fill([_square(-30, 40)], (7, 5)), np.ones((7, 5), bool))
    assert not fill([_square(20, 30)], (7, 5)).any()
    assert not fill([_square(-30, -20)], (7, 5)).any()
    assert not fill([], (7, 5)).any()
    assert not fill([np.asarray([[1.5, 0.2], [1.5, 3.2], [1.5, 2.2]])], (7, 5)).any()
    found = fill([_square(-2.5, 2.5)], (7, 5))
    np.testing.assert_array_equal(found, np.pad(np.ones((3, 3), bool), ((0, 4), (0, 2))))
