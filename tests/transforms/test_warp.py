from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from medimg.transforms.affine import Affine, affine_map, rotation_matrix
from medimg.transforms.elastic import displacement
from medimg.transforms.warp import warp


def _smooth(*size: int) -> torch.Tensor:
    """A field that a linear interpolation follows closely."""
    axes = torch.meshgrid(*(torch.linspace(-2, 2, s) for s in size), indexing="ij")
    return torch.stack([torch.sin(sum((i + 1) * 0.5 * a for i, a in enumerate(axes))), axes[-1] * axes[0]])[None]


def _direct(image: torch.Tensor, matrix: torch.Tensor, offset: torch.Tensor, mode: str) -> torch.Tensor:
    """One grid_sample over all axes at once: the reference."""
    size = image.shape[2:]
    axes = torch.meshgrid(*(torch.arange(s, dtype=torch.float64) + 0.5 for s in size), indexing="ij")
    source = torch.stack(axes, -1) @ matrix[0].T + offset[0]
    grid = (2 * source / torch.tensor(size) - 1).flip(-1).float()
    return functional.grid_sample(image, grid[None], mode=mode, padding_mode="border", align_corners=False)


def _map(dims: int, size: tuple[int, ...], spacing: tuple[float, ...], seed: int = 0):
    settings = Affine(1.0, (-30, 30), (-20, 20), (-20, 20), 1.0, (0.8, 1.25), True, 1.0, (-0.1, 0.1), 1.0)
    drawn = settings.draw(1, dims, torch.Generator().manual_seed(seed))
    return affine_map(drawn, size, spacing)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [(40, 33), (20, 28, 36)])
def test_planewise_warp_equals_the_direct_one(size: tuple[int, ...], seed: int) -> None:
    image = _smooth(*size)
    matrix, offset = _map(len(size), size, (1.0,) * len(size), seed)
    warped, _ = warp(image, None, matrix, offset)
    # Outside the image, borders are extended by different ways.
    inside = _direct(torch.ones_like(image), matrix, offset, "bilinear") > 0
    axes = torch.meshgrid(*(torch.arange(s, dtype=torch.float64) + 0.5 for s in size), indexing="ij")
    source = torch.stack(axes, -1) @ matrix[0].T + offset[0]
    inside = ((source > 1) & (source < torch.tensor(size) - 1)).all(-1)
    difference = (warped - _direct(image, matrix, offset, "bilinear")).abs()[:, :, inside]
    assert inside.float().mean() > 0.3
    assert difference.max() < (1e-4 if len(size) == 2 else 0.05)


@pytest.mark.parametrize("padding", ["border", "zeros", "reflection"])
def test_turn_about_z_with_scale_equals_the_direct_one_everywhere(padding: str) -> None:
    """Slices that move alike share a grid and z is a product with a matrix: no approximation is left."""
    size = (10, 14, 18)
    image = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(0))
    settings = Affine(1.0, (-30, 30), (0, 0), (0, 0), 1.0, (0.8, 1.25), True, translation_probability=1.0)
    matrix, offset = affine_map(settings.draw(1, 3, torch.Generator().manual_seed(2)), size, (2.0, 1.0, 1.0))
    axes = torch.meshgrid(*(torch.arange(s, dtype=torch.float64) + 0.5 for s in size), indexing="ij")
    source = torch.stack(axes, -1) @ matrix[0].T + offset[0]
    grid = (2 * source / torch.tensor(size) - 1).flip(-1).float()[None]
    expected = functional.grid_sample(image, grid, padding_mode=padding, align_corners=False)
    assert torch.allclose(warp(image, None, matrix, offset, padding=padding)[0], expected, atol=1e-4)


def test_labels_follow_the_image_and_keep_their_bits() -> None:
    size = (24, 28, 32)
    label = torch.zeros(1, *size, dtype=torch.int64)
    label[0, 6:18, 8:20, 8:22] = 1 + (1 << 15)
    matrix, offset = _map(3, size, (2.0, 1.0, 1.0))
    image, moved = warp((label > 0).float()[:, None], label, matrix, offset)
    assert moved is not None
    assert moved.dtype == label.dtype
    assert set(moved.unique().tolist()) == {0, 1 + (1 << 15)}
    agreement = ((image[:, 0] > 0.5) == (moved > 0)).float().mean()
    assert agreement > 0.985


def test_identity_and_padding() -> None:
    image = torch.randn(1, 1, 6, 8, 10)
    eye, none = torch.eye(3)[None], torch.zeros(1, 3)
    assert torch.equal(warp(image, None, eye, none)[0], image)
    still = torch.zeros(1, 3, 6, 8, 10)
    assert torch.allclose(warp(image, None, eye, none, still)[0], image, atol=1e-4)
    far = torch.full((1, 3), 100.0)
    assert warp(image, None, eye, far, padding="zeros")[0].abs().max() == 0
    assert torch.allclose(warp(image, None, eye, far)[0], image[:, :, -1:, -1:, -1:].expand_as(image))


def test_whole_voxel_translation_is_exact() -> None:
    image = torch.randn(2, 2, 6, 8, 10)
    offset = torch.tensor([[1.0, -2.0, 3.0], [0.0, 1.0, 0.0]])
    moved, _ = warp(image, None, torch.eye(3).repeat(2, 1, 1), offset)
    assert torch.allclose(moved[0, :, :-1, 2:, :-3], image[0, :, 1:, :-2, 3:], atol=1e-5)
    assert torch.allclose(moved[1, :, :, :-1], image[1, :, :, 1:], atol=1e-5)


def test_rotation_is_rigid_in_patient_space() -> None:
    drawn = {
        "rotation_rad": torch.tensor([[0.3, 0.2, -0.1]]),
        "scale": torch.ones(1, 3),
        "shear": torch.zeros(1, 3, 3),
        "translation": torch.zeros(1, 3),
    }
    spacing = torch.tensor([5.0, 1.0, 0.5], dtype=torch.float64)
    matrix, _ = affine_map(drawn, (10, 20, 30), spacing.tolist())
    physical = matrix[0] * spacing[:, None] / spacing
    assert torch.allclose(physical @ physical.T, torch.eye(3, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(torch.linalg.det(rotation_matrix(drawn["rotation_rad"], 3)), torch.ones(1))


def test_displacement_is_smooth_and_zero_where_not_drawn() -> None:
    drawn = {
        "on": torch.tensor([True, False]),
        "magnitude": torch.tensor([0.2, 0.2]),
        "seed": torch.tensor([1, 2]),
    }
    field = displacement(drawn, (12, 18, 24), 4)
    assert field.shape == (2, 3, 12, 18, 24)
    assert field[1].abs().max() == 0
    assert field[0].std() > 0
    coarse = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.2
    coarse = coarse * torch.tensor([3.0, 4.5, 6.0])[:, None, None, None]
    expected = functional.interpolate(coarse[None], size=(12, 18, 24), mode="trilinear", align_corners=False)
    assert torch.allclose(field[:1], expected, atol=1e-5)
