from __future__ import annotations

import numpy as np
import pytest
from skimage.color import rgb2lab

from medimg.samples.fundus import LESIONS, grade_from_burden, lesion_counts, render_fundus
from medimg.samples.fundus_optics import CAMERAS, REFERENCE_OD500, REFERENCE_RANGE, Camera, reflectance_percent
from medimg.samples.people import PIGMENT_OD500, draw_pigment


def published_people(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    density = rng.normal(*REFERENCE_OD500, 3 * count)
    low, high = REFERENCE_RANGE
    return density[(density >= low) & (density <= high)][:count]


def test_reflectance_has_the_published_mean_and_variation_in_every_band() -> None:
    density = published_people(200_000)
    percent = reflectance_percent(density, np.ones_like(density))
    np.testing.assert_allclose(percent.mean(axis=0), [7.05, 2.06, 1.38], rtol=0.01)
    np.testing.assert_allclose(percent.std(axis=0) / percent.mean(axis=0), [0.465, 0.212, 0.132], rtol=0.015)


def test_pigment_changes_red_most_and_hides_the_choroid() -> None:
    light, dark = (reflectance_percent(np.full(2, d), np.array([0.7, 1.3])) for d in (0.1, 1.2))
    change = light.mean(axis=0) / dark.mean(axis=0)
    assert change[0] > change[1] > change[2] > 1
    assert np.ptp(light, axis=0)[0] > 5 * np.ptp(dark, axis=0)[0]


def test_retinal_pigment_score_follows_pigment_with_overlapping_populations() -> None:
    """RPS as in Rajesh 2025: minus the first principal component of the median (a*, b*) of the background."""
    rng = np.random.default_rng(1)
    density, medians, group = [], [], []
    for index in range(45):
        population = "ABC"[index % 3]
        density.append(draw_pigment(population, rng))
        group.append(population)
        image = render_fundus(density[-1], -2.0, CAMERAS["site-1"], rng, size_px=64)
        background = image.field_of_view & ~image.vessels & ~image.disc
        medians.append(np.median(rgb2lab(image.rgb)[background][:, 1:], axis=0))
    centred = np.array(medians) - np.mean(medians, axis=0)
    component = np.linalg.svd(centred, full_matrices=False)[2][0]
    score = -centred @ component * np.sign(component.sum())
    assert np.corrcoef(score, density)[0, 1] > 0.9
    means = [score[np.array(group) == name].mean() for name in "ABC"]
    assert means == sorted(means)
    a, b = (score[np.array(group) == name] for name in "AB")
    assert a.max() > b.min(), "populations overlap"


@pytest.mark.parametrize("population", ["A", "B", "C"])
def test_pigment_stays_in_the_published_range(population: str) -> None:
    rng = np.random.default_rng(2)
    values = np.array([draw_pigment(population, rng) for _ in range(2000)])
    assert values.min() >= 0
    assert values.max() <= 1.24
    assert abs(values.mean() - PIGMENT_OD500[population][0]) < 0.05


@pytest.mark.parametrize(("severity", "grade"), [(-1.0, 0), (-0.2, 1), (0.3, 2), (1.0, 3), (2.0, 4)])
def test_grade_follows_from_the_lesions(severity: float, grade: int) -> None:
    for seed in range(20):
        assert grade_from_burden(lesion_counts(severity, np.random.default_rng(seed))) == grade


def test_healthy_eye_has_no_mask_and_sick_eye_has_lesions_of_two_pixels() -> None:
    healthy = render_fundus(0.5, -2.0, CAMERAS["site-1"], np.random.default_rng(3))
    sick = render_fundus(0.5, 2.0, CAMERAS["site-1"], np.random.default_rng(3), laterality="L")
    assert not any(healthy.masks[kind].any() for kind in LESIONS)
    assert all(sick.masks[kind].any() for kind in ("MA", "HE"))
    large = [lesion.radius_px for lesion in sick.lesions if lesion.kind in ("HE", "EX", "PRE")]
    assert np.mean(np.array(large) >= 1.9) > 0.5
    assert sick.rgb.shape == (96, 96, 3)
    assert not sick.rgb[~sick.field_of_view].any()


def test_automatic_exposure_evens_out_brightness() -> None:
    fixed = Camera("m", "x", (1, 1, 1), 1.0, 0.5)
    automatic = Camera("m", "x", (1, 1, 1), 1.0, 0.5, auto_exposure=True)

    def ratio(camera: Camera) -> float:
        pair = [render_fundus(d, -2, camera, np.random.default_rng(4), size_px=48) for d in (0.1, 1.1)]
        light, dark = (float(image.rgb[image.field_of_view].mean()) for image in pair)
        return light / dark

    assert ratio(fixed) > ratio(automatic)
