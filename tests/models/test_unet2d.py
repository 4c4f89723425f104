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
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    net = UNet2d(out_channels=2, decoder_channels=(16, 16, 8, 8)).eval()
    file = tmp_path / "net.onnx"
    sizes = {0: torch.export.Dim("batch"), 2: 32 * torch.export.Dim("y"), 3: 32 * torch.export.Dim("x")}
    torch.onnx.export(
        net, (torch.randn(2, 3, 64, 96),), file, dynamo=True, dynamic_shapes=(sizes,), verbose=False
    )
    session = onnxruntime.InferenceSession(file)
    x = torch.randn(3, 3, 96, 64)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, net(x).numpy(), atol=1e-4)
