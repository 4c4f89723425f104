from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from medimg.errors import ConfigError
from medimg.transforms.affine import Affine
from medimg.transforms.augment import Augment, AugmentSettings
from medimg.transforms.bias_field import BiasField
from medimg.transforms.cutout import Cutout
from medimg.transforms.mirror import Flip, QuarterTurn

SIZES = {2: (32, 32), 3: (12, 20, 20)}


def _batch(dims: int, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(count, 3 if dims == 2 else 1, *SIZES[dims], generator=generator)
    return image, (image[:, 0] > 0.5).to(torch.uint8)


def _everything(dims: int) -> AugmentSettings:
    settings = AugmentSettings.preset("strong", "picture" if dims == 2 else "volume")
    settings.quarter_turn = QuarterTurn(0.5)
    settings.flip = Flip((0.5, 0.5, 0.5))
    settings.bias_field = BiasField(0.5)
    settings.cutout = Cutout(0.5)
    return settings


@pytest.mark.parametrize("dims", [2, 3])
def test_same_generator_same_result_and_replay_of_each_sample(dims: int) -> None:
    augment = Augment(_everything(dims), dims, (3.0, 1.0, 1.0)[-dims:])
    image, label = _batch(dims, 8)
    before = image.clone()
    first = augment(image, label, generator=torch.Generator().manual_seed(7))
    second = augment(image, label, generator=torch.Generator().manual_seed(7))
    assert torch.equal(image, before)
    assert first[0].shape == image.shape
    assert first[1] is not None
    assert second[1] is not None
    assert first[1].dtype == label.dtype
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert torch.isfinite(first[0]).all()
    drawn = augment.draw(8, image.shape[2:], torch.Generator().manual_seed(7))
    for i in range(8):
        alone = augment.apply(drawn.sample(i), image[i : i + 1], label[i : i + 1])
        assert torch.allclose(alone[0], first[0][i : i + 1], atol=1e-5)
        assert torch.equal(alone[1], first[1][i : i + 1])
    names = {name for i in range(8) for name in drawn.record(i)}
    assert {"affine", "flip", "noise"} <= names


def test_nothing_drawn_changes_nothing() -> None:
    image, label = _batch(3)
    augment = Augment(AugmentSettings.preset("none", "volume"), 3)
    result = augment(image, label, generator=torch.Generator().manual_seed(0))
    assert torch.equal(result[0], image)
    assert torch.equal(result[1], label)
    assert augment.draw(4, image.shape[2:], torch.Generator()).record(0) == {}


def _box_of(mask: torch.Tensor) -> torch.Tensor:
    places = torch.nonzero(mask)
    return torch.cat((places.amin(0), places.amax(0) + 1)).float()


@pytest.mark.parametrize("dims", [2, 3])
def test_boxes_follow_flips_and_turns_exactly(dims: int) -> None:
    settings = AugmentSettings.preset("none", "volume")
    settings.flip, settings.quarter_turn = Flip((0.5, 0.5, 0.5)), QuarterTurn(0.8)
    size = SIZES[dims]
    label = torch.zeros(16, *size, dtype=torch.int64)
    window = [slice(2, 5), slice(4, 11), slice(1, 4)][-dims:]
    label[(slice(None), *window)] = 1
    row = torch.tensor([*(w.start for w in window), *(w.stop for w in window), 2], dtype=torch.float32)[None]
    _, moved, boxes = Augment(settings, dims)(
        label.float()[:, None], label, [row] * 16, generator=torch.Generator().manual_seed(1)
    )
    assert moved is not None
    assert boxes is not None
    assert len({tuple(b[0].tolist()) for b in boxes}) > 3
    for one, box in zip(moved, boxes):
        assert box.shape == (1, 2 * dims + 1)
        assert torch.equal(box[0, : 2 * dims], _box_of(one))
        assert box[0, -1] == 2


def test_boxes_follow_scale_and_translation_and_contain_rotations() -> None:
    label = torch.zeros(12, 64, 64, dtype=torch.int64)
    label[:, 20:36, 24:44] = 1
    row = torch.tensor([[20.0, 24.0, 36.0, 44.0]])
    settings = AugmentSettings.preset("none", "picture")
    settings.affine = Affine(scale_probability=1.0, scale_per_axis=True, translation_probability=1.0)
    _, moved, boxes = Augment(settings, 2)(
        label.float()[:, None], label, [row] * 12, generator=torch.Generator().manual_seed(1)
    )
    assert all((_box_of(one) - box[0]).abs().max() <= 0.51 for one, box in zip(moved, boxes))
    settings.affine.rotation_probability, settings.affine.rotation_z_degrees = 1.0, (-10.0, 10.0)
    _, moved, boxes = Augment(settings, 2)(
        label.float()[:, None], label, [row] * 12, generator=torch.Generator().manual_seed(1)
    )
    for one, box in zip(moved, boxes):
        hull = _box_of(one)
        assert (box[0, :2] <= hull[:2] + 0.51).all()
        assert (box[0, 2:] >= hull[2:] - 0.51).all()
        assert (box[0] - hull).abs().max() < 3.0


def test_boxes_that_leave_the_image_are_emptied_or_cut() -> None:
    settings = AugmentSettings.preset("none", "picture")
    settings.affine = Affine(translation_probability=1.0, translation=(0.25, 0.25))
    rows = torch.tensor([[25.0, 25.0, 31.0, 31.0, 0.0], [4.0, 4.0, 26.0, 26.0, 1.0]])
    _, _, boxes = Augment(settings, 2)(
        torch.zeros(1, 1, 32, 32), None, [rows], generator=torch.Generator().manual_seed(1)
    )
    assert boxes[0].tolist() == [[0.0, 0.0, 0.0, 0.0, 0.0], [12.0, 12.0, 32.0, 32.0, 1.0]]
    empty = torch.zeros(0, 5)
    kept = Augment(settings, 2)(torch.zeros(1, 1, 32, 32), None, [empty], generator=torch.Generator())
    assert kept[2][0].shape == (0, 5)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="'light'"):
        AugmentSettings.preset("ligth", "volume")
    with pytest.raises(ConfigError, match="'brightness'"):
        AugmentSettings.from_mapping({"brigthness": {"probability": 1.0}})
    with pytest.raises(ConfigError, match="padding"):
        AugmentSettings(padding="edge")
    with pytest.raises(ConfigError, match="spacing"):
        Augment(AugmentSettings(), 3, (1.0, 1.0))
    image, _ = _batch(2)
    augment = Augment(AugmentSettings.preset("strong", "picture"), 2)
    with pytest.raises(ConfigError, match="elastic"):
        augment(image, None, [torch.zeros(1, 4)] * 4, torch.Generator())
    assert len(augment(image, None, [torch.zeros(0, 4)] * 4, torch.Generator())[2]) == 4
    with pytest.raises(ConfigError, match="generator"):
        augment(image)
    tilted = AugmentSettings(affine=Affine(rotation_y_degrees=(-80, 80)))
    with pytest.raises(ConfigError, match="60"):
        Augment(tilted, 3).draw(1, (8, 8, 8), torch.Generator())


def test_settings_are_a_schema_for_configurations() -> None:
    omegaconf = pytest.importorskip("omegaconf")
    schema = omegaconf.OmegaConf.structured(AugmentSettings)
    merged = omegaconf.OmegaConf.merge(schema, {"affine": {"rotation_y_degrees": [-5, 5]}})
    settings = omegaconf.OmegaConf.to_object(merged)
    assert isinstance(settings, AugmentSettings)
    assert tuple(settings.affine.rotation_y_degrees) == (-5.0, 5.0)
    image, label = _batch(3)
    assert Augment(settings, 3)(image, label, None, torch.Generator())[0].shape == image.shape


def test_settings_from_nested_names() -> None:
    settings = AugmentSettings.from_mapping({"affine": {"scale": [0.9, 1.1], "scale_probability": 1.0}})
    assert settings.affine.scale == (0.9, 1.1)
    assert settings.noise.probability == 0.0


def test_outlines_move_with_the_image_and_keep_their_values() -> None:
    image = torch.zeros(2, 2, 16, 16, 16)
    image[:, 0] = torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    image[:, 1, 2:6, 3:9, 4:12] = 1.0
    settings = replace(
        AugmentSettings(),
        flip=replace(AugmentSettings().flip, probability=(1.0, 1.0, 1.0)),
        noise=replace(AugmentSettings().noise, probability=1.0, std=(0.5, 0.5)),
        brightness=replace(AugmentSettings().brightness, probability=1.0, shift=(1.0, 1.0)),
    )
    out, _, _ = Augment(settings, 3, outlines=[1])(image, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(out[:, 1], image[:, 1].flip(1, 2, 3))
    assert (out[:, 0] - image[:, 0].flip(1, 2, 3)).abs().mean() > 0.5
