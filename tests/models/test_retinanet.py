from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medimg.errors import ConfigError
from medimg.inference.boxes import Anchors, anchors_for
from medimg.models.registry import build

OPTIONS = {
    2: {"encoder_channels": (4, 4, 8, 8, 8), "fpn_channels": 8, "anchors": 2},
    3: {"encoder_channels": (4, 4, 8, 8), "fpn_channels": 8, "depth": 1},
}
INPUTS = {2: (64, 96), 3: (16, 32, 48)}


def _network(dims: int, **more: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return build("retinanet", in_channels=1, out_channels=3, spatial_dims=dims, **OPTIONS[dims], **more).eval()


@pytest.mark.parametrize("dims", [2, 3])
def test_one_row_for_each_anchor(dims: int) -> None:
    network = _network(dims)
    spec = Anchors(strides=network.strides, scales=(1.0, 2.0, 4.0), shapes=((8.0,) * dims,) * (2 if dims == 2 else 1))
    with torch.no_grad():
        logits, deltas = network(torch.randn(2, 1, *INPUTS[dims]))
    count = len(anchors_for(INPUTS[dims], spec))
    assert logits.shape == (2, count, 3)
    assert deltas.shape == (2, count, 2 * dims)
    assert logits.sigmoid().mean() == pytest.approx(0.01, abs=0.005)


@pytest.mark.parametrize("dims", [2, 3])
def test_rows_lie_at_their_anchors(dims: int) -> None:
    """A change of the image in one corner must change rows of anchors near it most."""
    network = _network(dims)
    spec = Anchors(strides=network.strides, scales=(1.0, 2.0, 4.0), shapes=((8.0,) * dims,) * (2 if dims == 2 else 1))
    anchors = anchors_for(INPUTS[dims], spec)
    centres = (anchors[:, :dims] + anchors[:, dims:]) / 2
    first = torch.zeros(1, 1, *INPUTS[dims])
    second = first.clone()
    place = tuple(n - 6 for n in INPUTS[dims])
    second[(0, 0, *(slice(p - 3, p + 3) for p in place))] = 20.0
    with torch.no_grad():
        change = (network(second)[0] - network(first)[0]).abs().amax(dim=2)[0].numpy()
    count = (change.shape[0] * 3) // 4  # the finest level alone
    nearest = centres[:count][np.argsort(-change[:count])[:4]]
    assert (np.abs(nearest - np.array(place)) <= 16).all()


def test_levels_are_chosen_by_stride_and_thick_slices_keep_z() -> None:
    network = _network(3, encoder_steps=((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2)), strides=(4, 8))
    assert network.strides == ((1, 4, 4), (2, 8, 8))
    assert network.divisor == (4, 16, 16)
    logits, _ = network(torch.zeros(1, 1, 4, 16, 16))
    assert logits.shape[1] == 4 * 4 * 4 + 2 * 2 * 2
    with pytest.raises(ConfigError, match="no such levels"):
        _network(2, strides=(3, 8))
    with pytest.raises(ConfigError, match="did you mean 'residual'"):
        _network(2, encoder="residal")
    with pytest.raises(ConfigError, match="for pictures"):
        build("retinanet", in_channels=1, out_channels=1, spatial_dims=3, encoder="efficientnet_lite0")


def test_pretrained_encoder_for_pictures() -> None:
    network = build("retinanet", in_channels=3, out_channels=1, spatial_dims=2, encoder="efficientnet_lite0").eval()
    assert network.strides == ((8, 8), (16, 16), (32, 32))
    assert network.divisor == (32, 32)
    assert network(torch.zeros(1, 3, 64, 96))[0].shape == (1, 96 + 24 + 6, 1)


@pytest.mark.parametrize("dims", [2, 3])
def test_onnx_equals_torch_at_other_sizes(dims: int, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    network = _network(dims)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    axes = {0: "batch", **{2 + axis: name for axis, name in enumerate("zyx"[-dims:])}}
    torch.onnx.export(
        network,
        (torch.randn(1, 1, *INPUTS[dims]),),
        str(tmp_path / "net.onnx"),
        opset_version=17,
        input_names=["image"],
        output_names=["class_logits", "box_deltas"],
        dynamic_axes={
            "image": axes,
            "class_logits": {0: "batch", 1: "anchor"},
            "box_deltas": {0: "batch", 1: "anchor"},
        },
        dynamo=False,
    )
    session = runtime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    for batch, size in ((1, INPUTS[dims]), (2, tuple(n + d for n, d in zip(INPUTS[dims], network.divisor)))):
        x = torch.randn(batch, 1, *size)
        got = session.run(["class_logits", "box_deltas"], {"image": x.numpy()})
        with torch.no_grad():
            expected = network(x)
        for a, b in zip(got, expected):
            assert a.shape == tuple(b.shape)
            assert np.abs(a - b.numpy()).max() < 1e-4
