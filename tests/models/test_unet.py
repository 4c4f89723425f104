from __future__ import annotations

import numpy as np
import pytest
import torch

from medimg.errors import ConfigError
from medimg.models.unet import ResidualUNet


def _trained_looking(net: ResidualUNet) -> ResidualUNet:
    """Give the normalisations statistics of their own, as training would."""
    torch.manual_seed(0)
    net.train()
    for _ in range(3):
        net(torch.randn(2, 1, *(2 * d for d in net.divisor)) * 2 + 1)
    return net.eval()


@pytest.mark.parametrize("dims", [2, 3])
def test_shapes_and_features(dims: int) -> None:
    net = ResidualUNet(1, 3, spatial_dims=dims, channels=(4, 8, 16), deep_supervision=1)
    x = torch.randn(2, 1, *(16, 24, 8)[:dims])
    full, half = net.train()(x)
    assert full.shape == (2, 3, *x.shape[2:])
    assert half.shape == (2, 3, *(s // 2 for s in x.shape[2:]))
    assert net.eval()(x).shape == (2, 3, *x.shape[2:])
    for f, width, stride in zip(net.features(x), net.channels, net.strides_zyx):
        assert f.shape == (2, width, *(s // t for s, t in zip(x.shape[2:], stride)))


@pytest.mark.parametrize(
    ("strides", "kernels"),
    [(None, None), (((1, 2, 2), (2, 2, 2)), ((1, 3, 3), (3, 3, 3), (3, 3, 3))), ((2, 4), (5, 3, 3))],
)
def test_halo_is_the_reach_of_the_gradient(strides: object, kernels: object) -> None:
    net = ResidualUNet(1, 1, channels=(2, 2, 2), strides=strides, kernels=kernels).double().eval()
    for p in net.parameters():
        torch.nn.init.constant_(p, 0.1)
    for axis in range(3):
        halo, divisor = net.receptive_halo[axis], net.divisor[axis]
        size = list(net.divisor)
        size[axis] = -(-(2 * halo + 2 * divisor) // divisor) * divisor
        x = torch.ones(1, 1, *size, dtype=torch.float64, requires_grad=True)
        y = net(x)[0, 0]
        start = -(-halo // divisor) * divisor
        reach = 0
        for place in range(start, min(start + divisor, size[axis])):
            (g,) = torch.autograd.grad(y.select(axis, place).sum(), x, retain_graph=True)
            seen = g[0, 0].movedim(axis, 0).flatten(1).abs().sum(1).nonzero().flatten()
            reach = max(reach, place - int(seen[0]), int(seen[-1]) - place)
        assert reach == halo


def test_a_tile_with_its_halo_equals_the_full_pass() -> None:
    net = _trained_looking(ResidualUNet(1, 2, channels=(4, 8, 8), strides=((1, 2, 2), 2)))
    x = torch.randn(1, 1, 8, 16, 128)
    halo = -(-net.receptive_halo[2] // net.divisor[2]) * net.divisor[2]
    low, high = 48, 64
    with torch.no_grad():
        full = net(x)[..., low:high]
        tile = net(x[..., low - halo : high + halo])[..., halo:-halo]
    assert float((full - tile).abs().max()) <= 1e-5


def test_onnx_gives_the_same_logits(tmp_path) -> None:
    ort = pytest.importorskip("onnxruntime")
    net = _trained_looking(ResidualUNet(1, 2, channels=(4, 8), deep_supervision=0))
    x = torch.randn(1, 1, 8, 8, 8)
    axes = {0: "b", 2: "z", 3: "y", 4: "x"}
    path = tmp_path / "net.onnx"
    torch.onnx.export(net, (x,), path, input_names=["scan"], output_names=["logits"],
                      dynamic_axes={"scan": axes, "logits": axes}, dynamo=False)  # fmt: skip
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    big = torch.randn(2, 1, 8, 12, 10)
    with torch.no_grad():
        np.testing.assert_allclose(session.run(None, {"scan": big.numpy()})[0], net(big).numpy(), atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": (4,)},
        {"strides": (2,)},
        {"kernels": (3, 3, 2)},
        {"deep_supervision": 2},
        {"spatial_dims": 4},
    ],
)
def test_wrong_shapes_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        ResidualUNet(1, 2, **{"channels": (4, 8, 8), **wrong})
