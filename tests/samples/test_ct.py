from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medimg.samples.ct import LABELS, render_ct
from medimg.samples.ct_scanner import SCANNERS, acquire
from medimg.samples.fields import ct_noise


@pytest.fixture(scope="module")
def studies() -> list:
    return [render_ct(1.0, SCANNERS[f"site-{1 + seed % 3}"], np.random.default_rng(seed)) for seed in range(6)]


def test_scan_has_air_lung_soft_tissue_and_bone(studies: list) -> None:
    for study in studies:
        assert study.hu.dtype == np.int16
        assert study.hu.min() >= -1000
        assert (np.abs(study.hu + 850) < 80).mean() > 0.08
        assert (np.abs(study.hu - 45) < 40).mean() > 0.1
        assert (study.hu > 250).mean() > 0.005


def test_affine_maps_indices_to_lps(studies: list) -> None:
    study = studies[0]
    centre = study.affine @ [*(np.array(study.hu.shape) - 1) / 2, 1]
    np.testing.assert_allclose(centre[:3], 0, atol=1e-9)
    assert study.affine[2, 0] == SCANNERS["site-1"].slice_mm


def test_liver_lies_on_the_right_and_spine_at_the_back(studies: list) -> None:
    for study in studies:
        liver = np.argwhere(study.labels == LABELS["liver_lesion"])
        if len(liver):
            assert (study.affine @ [*liver.mean(axis=0), 1])[0] < 20
        bone = np.argwhere(study.hu > 300).mean(axis=0)
        assert bone[1] > study.hu.shape[1] / 2


def test_every_lesion_is_in_the_mask_at_its_place(studies: list) -> None:
    assert sum(len(study.lesions) for study in studies) >= 8
    for study in studies:
        for lesion in study.lesions:
            x, y, z = lesion["centre_lps_mm"]
            index = np.round(np.linalg.solve(study.affine, [x, y, z, 1])[:3]).astype(int)
            assert study.labels[tuple(index)] == lesion["label"]


def test_liver_lesions_are_darker_than_the_liver_around(studies: list) -> None:
    for study in studies:
        inside = study.hu[study.labels == LABELS["liver_lesion"]]
        if inside.size:
            liver = 110 if study.latent["portal_venous"] else 55
            assert inside.mean() < liver - 15


def test_noise_has_the_wanted_strength_and_little_low_frequency() -> None:
    noise = ct_noise((4, 64, 64), 0.25, np.random.default_rng(0))
    assert abs(noise.std() - 1) < 1e-9
    power = np.abs(np.fft.fft2(noise[0])) ** 2
    assert power[0, 0] < 1e-6 * power.max()
    assert power[0, 1:4].mean() < power[0, 12:20].mean()


def test_scanner_offset_and_gain_shift_the_values() -> None:
    plain = np.full((3, 40, 40), 50.0)
    quiet = replace(SCANNERS["site-1"], noise_hu=0.5, offset_hu=0.0, gain=1.0)
    shifted = replace(quiet, offset_hu=30.0, gain=1.02)
    first, second = (
        acquire(plain, (5, 3, 3), scanner, np.random.default_rng(0)).mean() for scanner in (quiet, shifted)
    )
    assert second - first == pytest.approx(30 + 0.02 * 1050, abs=3)


def test_scale_refines_the_plane() -> None:
    study = render_ct(0.0, SCANNERS["site-2"], np.random.default_rng(0), scale=0.5)
    assert study.hu.shape == (35, 36, 36)
