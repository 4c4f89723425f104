"""geometry: against nibabel and against its own definitions."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg import geometry
from medimg.errors import InputError


def _affine(seed: int, oblique: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    spacing = rng.uniform(0.3, 6.0, 3)
    base = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    if oblique:
        q, _ = np.linalg.qr(np.eye(3) + rng.normal(scale=0.08, size=(3, 3)))
        base = q * np.sign(np.diag(q)) @ base
    affine = np.eye(4)
    affine[:3, :3] = base * spacing
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.booleans())
def test_to_lps_keeps_every_voxel_in_place_and_inverts(seed: int, oblique: bool, channels: bool) -> None:
    affine = _affine(seed, oblique)
    array = np.random.default_rng(seed).normal(size=(2, 3, 4, 5) if channels else (3, 4, 5))
    turned, turned_affine, record = geometry.to_lps(array, affine)
    unit = geometry.directions(turned_affine)
    assert unit[2, 0] > 0.7
    assert unit[1, 1] > 0.7
    assert unit[0, 2] > 0.7
    np.testing.assert_array_equal(record.invert(turned), array)
    assert turned.shape[-3:] == record.shape_zyx
    for index in [(0, 0, 0), (1, 0, 1), tuple(n - 1 for n in turned.shape[-3:])]:
        source = np.rint(geometry.apply(record.index_affine, index)).astype(int)
        np.testing.assert_array_equal(turned[(..., *index)], array[(..., *source)])
        np.testing.assert_allclose(geometry.apply(turned_affine, index), geometry.apply(affine, source), atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_to_lps_agrees_with_nibabel(seed: int) -> None:
    affine = _affine(seed, True)
    array = np.arange(60.0).reshape(3, 4, 5)
    turned, turned_affine, _ = geometry.to_lps(array, affine)
    image = nib.Nifti1Image(array.T, geometry.to_ras_ijk(affine))
    to = nib.orientations.axcodes2ornt("LPS")
    oriented = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), to))
    np.testing.assert_array_equal(np.asarray(oriented.dataobj).T, turned)
    np.testing.assert_allclose(geometry.from_ras_ijk(oriented.affine), turned_affine, atol=1e-9)


def test_ras_and_back_is_identity_and_spacing_matches() -> None:
    affine = _affine(3, True)
    np.testing.assert_allclose(geometry.to_ras_ijk(geometry.from_ras_ijk(affine)), affine, atol=1e-12)
    ras = np.diag([2.0, 3.0, 4.0, 1.0])
    assert geometry.spacing_mm(geometry.from_ras_ijk(ras)) == (4.0, 3.0, 2.0)
    np.testing.assert_allclose(geometry.apply(geometry.from_ras_ijk(ras), (1, 1, 1)), (-2, -3, 4))


def test_apply_and_inverse() -> None:
    affine = _affine(4, True)
    points = np.random.default_rng(0).normal(size=(7, 3))
    world = geometry.apply(affine, points)
    np.testing.assert_allclose(geometry.apply(geometry.inverse(affine), world), points, atol=1e-9)


def test_oblique_and_shear() -> None:
    straight = _affine(1, False)
    assert not geometry.is_oblique(straight)
    assert geometry.is_oblique(_affine(1, True))
    assert geometry.shear_deg(_affine(1, True)) < 1e-6
    tilted = np.eye(4)
    tilted[1, 0] = np.tan(np.radians(15))
    assert geometry.shear_deg(tilted) == pytest.approx(15, abs=1e-6)


@pytest.mark.parametrize(
    "affine",
    [np.full((4, 4), np.nan), np.zeros((4, 4)), np.diag([1.0, 0.0, 1.0, 1.0]), np.eye(3), np.ones((4, 4))],
)
def test_unusable_affines_are_refused(affine: np.ndarray) -> None:
    with pytest.raises(InputError, match="affine"):
        geometry.check_affine(affine)


def test_same_grid_explains() -> None:
    affine = _affine(5, True)
    assert geometry.same_grid((3, 4, 5), affine, (2, 3, 4, 5), affine)
    assert "shapes" in geometry.same_grid((3, 4, 5), affine, (3, 4, 6), affine).explanation
    moved = affine.copy()
    moved[0, 3] += 1.5
    answer = geometry.same_grid((3, 4, 5), affine, (3, 4, 5), moved)
    assert not answer
    assert answer.max_distance_mm == pytest.approx(1.5)
    assert "first voxel" in answer.explanation
    stretched = affine @ np.diag([1.0, 1.1, 1.0, 1.0])
    assert "spacing" in geometry.same_grid((3, 4, 5), affine, (3, 4, 5), stretched).explanation


def test_wrong_shapes_are_refused() -> None:
    record = geometry.lps_reorientation((3, 4, 5), np.eye(4))
    with pytest.raises(InputError, match="grid"):
        record.invert(np.zeros((3, 4, 6)))
    with pytest.raises(InputError, match="Only volumes"):
        geometry.to_lps(np.zeros((4, 5)), np.eye(4))
