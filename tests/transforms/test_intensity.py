from __future__ import annotations

import pytest
import torch

from medimg.errors import ConfigError
from medimg.transforms.bias_field import bias_field
from medimg.transforms.blur import blur
from medimg.transforms.brightness import Brightness, brightness
from medimg.transforms.colour import colour, saturation_hue_matrix
from medimg.transforms.contrast import contrast
from medimg.transforms.cutout import cutout
from medimg.transforms.gamma import gamma
from medimg.transforms.low_resolution import low_resolution
from medimg.transforms.noise import noise
from medimg.transforms.sampling import chance, log_uniform, uniform


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))


def test_brightness_adds(image: torch.Tensor) -> None:
    moved = brightness(image, torch.tensor([0.5, -1.0]))
    assert torch.allclose(moved - image, torch.tensor([0.5, -1.0]).reshape(2, 1, 1, 1).expand_as(image), atol=1e-6)


def test_contrast_keeps_mean_and_range(image: torch.Tensor) -> None:
    lower = contrast(image, torch.tensor([0.5, 0.5]))
    assert torch.allclose(lower.mean((2, 3)), image.mean((2, 3)), atol=1e-6)
    assert torch.allclose(lower.std((2, 3)), image.std((2, 3)) / 2, atol=1e-6)
    higher = contrast(image, torch.tensor([2.0, 2.0]))
    assert torch.equal(higher.amax((2, 3)), image.amax((2, 3)))
    assert torch.equal(higher.amin((2, 3)), image.amin((2, 3)))


def test_gamma_can_be_undone(image: torch.Tensor) -> None:
    exponent, invert = torch.tensor([0.5, 2.0]), torch.tensor([False, True])
    bent = gamma(image, exponent, invert)
    assert torch.allclose(bent.amin((2, 3)), image.amin((2, 3)), atol=1e-5)
    assert torch.allclose(bent.amax((2, 3)), image.amax((2, 3)), atol=1e-5)
    assert bent[0].mean() > image[0].mean()
    assert bent[1].mean() > image[1].mean()
    assert torch.allclose(gamma(bent, 1 / exponent, invert), image, atol=1e-4)
    flat = torch.full((1, 1, 4, 4), 0.7)
    assert torch.allclose(gamma(flat, torch.tensor([2.0]), torch.tensor([False])), flat, atol=1e-5)


def test_noise_depends_on_its_seed_alone(image: torch.Tensor) -> None:
    std, seed = torch.tensor([0.1, 0.3]), torch.tensor([4, 9])
    noisy = noise(image, std, seed)
    assert torch.equal(noisy[1:], noise(image[1:], std[1:], seed[1:]))
    assert (noisy - image)[1].std() == pytest.approx(0.3, rel=0.1)


def test_blur_of_an_impulse_is_normal() -> None:
    impulse = torch.zeros(1, 1, 21, 21, 21)
    impulse[..., 10, 10, 10] = 1.0
    blurred = blur(impulse, torch.tensor([1.5]), (3.0, 1.0, 1.0))[0, 0]
    assert blurred.sum() == pytest.approx(1.0, abs=1e-4)
    positions = torch.arange(21.0) - 10
    for axis, expected in ((0, 0.5), (2, 1.5)):
        profile = blurred.sum([a for a in range(3) if a != axis])
        assert ((profile * positions**2).sum() ** 0.5).item() == pytest.approx(expected, rel=0.08)


def test_blur_with_one_width_a_sample(image: torch.Tensor) -> None:
    both = blur(image, torch.tensor([0.4, 1.2]), (1.0, 1.0))
    assert torch.allclose(both[1:], blur(image[1:], torch.tensor([1.2]), (1.0, 1.0)), atol=1e-6)
    assert torch.allclose(blur(torch.ones_like(image), torch.tensor([1.0, 3.0]), (1.0, 1.0)), torch.ones(1), atol=1e-5)


def test_low_resolution_keeps_size_and_loses_detail(image: torch.Tensor) -> None:
    coarse = low_resolution(image, torch.tensor([1.0, 0.5]))
    assert torch.allclose(coarse[0], image[0], atol=1e-5)
    assert coarse[1].diff(dim=-1).abs().mean() < image[1].diff(dim=-1).abs().mean()


def test_bias_field_is_smooth_and_keeps_air() -> None:
    volume = torch.rand(2, 1, 8, 10, 12) + 1.0
    volume[..., 0, 0, 0] = 0.0
    strength, seed = torch.tensor([0.0, 0.3]), torch.tensor([1, 2])
    shaded = bias_field(volume, strength, seed, 3)
    assert torch.allclose(shaded[0], volume[0], atol=1e-6)
    assert shaded[1, 0, 0, 0, 0] == 0
    ratio = (shaded[1] / volume[1].clamp(min=1e-3))[0, 1:, 1:, 1:]
    assert ratio.std() > 0.01
    assert ratio.diff(n=2, dim=-1).abs().max() < ratio.std()


def test_colour_keeps_grey_and_refuses_other_channels(image: torch.Tensor) -> None:
    matrix = saturation_hue_matrix(torch.tensor([0.5, 1.5]), torch.tensor([0.2, -0.2]))
    grey = torch.ones(2, 3, 4, 4) * 0.3
    assert torch.allclose(colour(grey, matrix), grey, atol=1e-6)
    assert torch.allclose(saturation_hue_matrix(torch.ones(1), torch.zeros(1))[0], torch.eye(3), atol=1e-6)
    with pytest.raises(ConfigError, match="three channels"):
        colour(image[:, :1], matrix)


def test_cutout_blanks_a_box(image: torch.Tensor) -> None:
    holed = cutout(image, torch.full((2, 2), 0.5), torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert holed[0, :, :8, :10].abs().max() == 0
    assert torch.equal(holed[0, :, 8:], image[0, :, 8:])
    assert holed[1, :, 8:, 10:].abs().max() == 0


def test_draws_stay_in_bounds_and_bad_ones_are_refused() -> None:
    generator = torch.Generator().manual_seed(0)
    values = uniform((-2.0, 3.0), (1000,), generator)
    assert values.min() >= -2
    assert values.max() <= 3
    factors = log_uniform((0.5, 2.0), (1000,), generator)
    assert factors.log().mean().abs() < 0.05
    assert chance(0.25, 4000, generator).float().mean() == pytest.approx(0.25, abs=0.03)
    for call in (
        lambda: uniform((1.0, 0.0), (1,), generator),
        lambda: log_uniform((-1.0, 1.0), (1,), generator),
        lambda: Brightness(1.5).draw(1, generator),
    ):
        with pytest.raises(ConfigError):
            call()
