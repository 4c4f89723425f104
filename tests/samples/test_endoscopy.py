from __future__ import annotations

import numpy as np

from medimg.samples.endoscopy import DEVICES, render_endoscopy
from medimg.samples.endoscopy_scene import Polyp, polyp_coordinate, sample_wall


def test_frame_with_polyp_has_a_mask_inside_the_field_of_view() -> None:
    frame = render_endoscopy(DEVICES["site-1"], np.random.default_rng(0), size_px=64, with_polyp=True)
    assert frame.rgb.shape == (64, 64, 3)
    assert frame.polyp.sum() > 10
    assert not (frame.polyp & ~frame.field_of_view).any()


def test_frame_without_polyp_has_no_mask() -> None:
    frame = render_endoscopy(DEVICES["site-2"], np.random.default_rng(1), size_px=64, with_polyp=False)
    assert not frame.polyp.any()
    assert frame.polyps == ()


def test_mucosa_is_red_the_lumen_dark_and_the_corner_black() -> None:
    frame = render_endoscopy(DEVICES["site-1"], np.random.default_rng(2), with_polyp=False)
    inside = frame.rgb[frame.field_of_view].astype(float)
    assert inside[:, 0].mean() > 1.15 * inside[:, 1].mean()
    assert np.quantile(inside.mean(axis=1), 0.02) < 0.5 * np.median(inside.mean(axis=1))
    assert frame.rgb[0, 0].max() < 60


def test_wall_texture_repeats_round_the_tube() -> None:
    texture = np.random.default_rng(3).standard_normal((32, 32))
    angle = np.linspace(-np.pi, np.pi, 9)
    depth = np.linspace(0, 5, 9)
    np.testing.assert_allclose(sample_wall(texture, angle, depth), sample_wall(texture, angle + 2 * np.pi, depth))


def test_polyp_coordinate_wraps_at_the_seam() -> None:
    polyp = Polyp(np.pi - 0.05, 2.0, 0.3, 0.2, "Is", 2.0)
    near = polyp_coordinate(polyp, np.array([-np.pi + 0.05]), np.array([2.0]))
    assert near[0] < 0.5
