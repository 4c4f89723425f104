"""Legend: B batch, C channels."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from medimg.errors import InputError
from medimg.models.unet import ResidualUNet
from medimg.packaging.export import OPSET, export_onnx, peak_bytes_per_voxel, save_weights
from medimg.packaging.parity import check_parity


def test_any_batch_and_any_size(tmp_path):
    torch.manual_seed(0)
    network = ResidualUNet(2, 3, 3, channels=(4, 8, 8), strides=((1, 2, 2), 2)).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    export_onnx(network, (1, 2, 8, 16, 16), tmp_path / "net.onnx")
    assert network.training
    model = onnx.load(str(tmp_path / "net.onnx"))
    assert model.opset_import[0].version == OPSET
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    shapes = [(1, 2, 8, 16, 16), (2, 2, 4, 24, 8), (1, 2, 12, 4, 20)]
    images = [np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in shapes]
    found = check_parity(network, tmp_path / "net.onnx", images, "softmax")
    assert found.cases == 3
    assert found.max_abs_difference < 1e-5


def test_two_outputs(tmp_path):
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 2, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.layer(x).movedim(1, -1)
            return y.reshape(y.shape[0], -1, 2), y.reshape(y.shape[0], -1, 2) * 2

    network = Two()
    export_onnx(network, (1, 1, 8, 8), tmp_path / "two.onnx", ("class_logits", "box_deltas"))
    image = np.random.default_rng(0).normal(size=(2, 1, 12, 8)).astype(np.float32)
    assert check_parity(network, tmp_path / "two.onnx", [image], "sigmoid").max_abs_difference < 1e-5


def test_weights_keep_their_names(network, tmp_path):
    digest = save_weights(network, tmp_path / "w.safetensors")
    assert len(digest) == 64
    loaded = load_file(str(tmp_path / "w.safetensors"))
    assert loaded.keys() == network.state_dict().keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in network.state_dict().items())


def test_peak_memory_follows_the_lifetimes(files):
    # 3 channels in, then 4 and 4 alive at once (ReLU), then 4 and 1: 4-byte floats.
    assert peak_bytes_per_voxel(files / "model.onnx", (1, 3, 16, 16)) == pytest.approx(32, abs=1)


def test_a_network_that_onnx_cannot_hold_is_named(tmp_path):
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(x) * self.scale

    with pytest.raises(InputError, match="cannot be written as ONNX"):
        export_onnx(Odd(), (1, 1, 4, 4), tmp_path / "odd.onnx")
    assert not list(tmp_path.iterdir())
