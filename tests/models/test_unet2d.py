from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medimg.errors import ConfigError
from medimg.models.unet2d import UNet2d


@pytest.mark.parametrize("decoder", [(32, 24, 16, 8), (32, 24, 16, 8, 8)])
def test_logits_have_the_pictures_size(decoder: tuple[int, ...]) -> None:
    net = UNet2d(out_channels=4, in_channels=2, decoder_channels=decoder)
    assert net(torch.randn(2, 2, 64, 96)).shape == (2, 4, 64, 96)


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    net = UNet2d(out_channels=1, decoder_channels=(16, 16, 16, 16))
    net(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_wrong_decoder_or_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="decoder"):
        UNet2d(out_channels=1, decoder_channels=(16, 16))
    with pytest.raises(ConfigError, match="multiples of 32"):
        UNet2d(out_channels=1, decoder_channels=(8, 8, 8, 8))(torch.zeros(1, 3, 40, 64))


def test_onnx_export_with_free_sizes_agrees(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    net = UNet2d(out_channels=2, decoder_channels=(16, 16, 8, 8)).eval()
    file = tmp_path / "net.onnx"
    # The older exporter: the newer one takes half a minute for this network, too long for a unit test.
    torch.onnx.export(
        net,
        (torch.randn(2, 3, 64, 96),),
        file,
        dynamo=False,
        input_names=["x"],
        dynamic_axes={"x": {0: "batch", 2: "y", 3: "x"}},
    )
    x = torch.randn(3, 3, 96, 64)
    (found,) = onnxruntime.InferenceSession(file).run(None, {"x": x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, net(x).numpy(), rtol=1e-4, atol=1e-6)


def test_float32_detour_of_slow_convolutions_keeps_the_result() -> None:
    """Under CPU autocast some depthwise convolutions train in float32: same logits within bfloat16's precision."""
    torch.manual_seed(0)
    net = UNet2d(out_channels=1, decoder_channels=(16, 16, 16, 16), momentum=0.0)
    x = torch.randn(4, 3, 64, 64)
    expected = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = net(x)
    assert found.dtype == torch.bfloat16
    difference = (found.float() - expected).detach().abs().mean() / expected.detach().abs().mean()
    assert float(difference) < 0.1
