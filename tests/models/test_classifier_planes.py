from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medimg.errors import ConfigError
from medimg.models.classifier_planes import PlaneClassifier
from medimg.packaging.export import export_onnx
from medimg.packaging.parity import check_parity


def test_the_three_planes_through_the_middle_are_seen_with_the_outline_in_the_third_colour() -> None:
    net = PlaneClassifier(2, 4, zoom=1)
    x = torch.arange(2 * 32**3, dtype=torch.float32).reshape(1, 2, 32, 32, 32)
    shown, coronal, sagittal = (view[0] for view in net.views(x))
    axial = x[0, :, 15:17].mean(1)
    torch.testing.assert_close(shown, torch.stack([axial[0], axial[0], axial[1]]))
    torch.testing.assert_close(coronal[2], x[0, 1, :, 15:17].mean(1))
    torch.testing.assert_close(sagittal[0], x[0, 0, :, :, 15:17].mean(2))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_each_volume_is_answered_by_itself(channels: int) -> None:
    net = PlaneClassifier(channels, 4, zoom=1, levels=[8]).train()
    x = torch.randn(3, channels, 32, 32, 32)
    torch.nn.init.normal_(net.output.weight)
    with torch.inference_mode():
        for _ in range(8):  # Until the running statistics fit the features of random weights.
            net(x)
        net.eval()
        together = net(x)
        alone = torch.cat([net(one[None]) for one in x])
    assert together.shape == (3, 4)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ConfigError, match="three colours"):
        PlaneClassifier(4, 2)
    with pytest.raises(ConfigError, match="cube"):
        PlaneClassifier(1, 2, zoom=1)(torch.zeros(1, 1, 32, 32, 64))


def test_the_exported_graph_answers_alike(tmp_path: Path) -> None:
    net = PlaneClassifier(2, 4, zoom=2, levels=[8, 16]).eval()
    torch.nn.init.normal_(net.output.weight)
    export_onnx(net, (1, 2, 32, 32, 32), tmp_path / "net.onnx", ("logits",))
    image = np.random.default_rng(0).normal(size=(2, 2, 48, 48, 48)).astype(np.float32)
    assert check_parity(net, tmp_path / "net.onnx", [image], "sigmoid").max_abs_difference < 1e-5
