"""Small packages whose answers are known: bright is what they look for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from medimg.data.preparation import Intensity, Preparation
from medimg.models.unet import ResidualUNet
from medimg.packaging.export import OPSET, export_onnx, peak_bytes_per_voxel, save_weights
from medimg.packaging.manifest import (
    Label,
    Network,
    PackageManifest,
    Postprocessing,
    Provenance,
    TaskSpec,
    Tiling,
)
from medimg.packaging.package import create

Build = Callable[..., Path]

WINDOW = Intensity(rule="window", low=-1000, high=1000, mean=(0.0,), std=(1000.0,))
FROM_AIR = Intensity(rule="window", low=-1000, high=1000, mean=(-1000.0,), std=(1000.0,))
RGB = Intensity(rule="rgb", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Bright(nn.Module):
    """Logit k is ``gain * (channel k - cut)``."""

    def __init__(self, dims: int, channels: int, outputs: int, cut: float = 0.5, gain: float = 40.0) -> None:
        super().__init__()
        self.convolution = (nn.Conv2d if dims == 2 else nn.Conv3d)(channels, outputs, 1)
        nn.init.zeros_(self.convolution.weight)
        with torch.no_grad():
            for k in range(outputs):
                self.convolution.weight[k, min(k, channels - 1)] = gain
        nn.init.constant_(self.convolution.bias, -cut * gain)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(x)


class Share(nn.Module):
    """Cumulative logits that grow with the mean of the first channel."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.cut = nn.Parameter(torch.linspace(0.2, 0.8, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 30.0 * (x[:, :1].mean(dim=tuple(range(2, x.ndim))) - self.cut)


class Spots(nn.Module):
    """A detector with one level of stride 4 and one anchor a position; deltas are zero."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = dims
        kernel = torch.ones((1, 1, *(8,) * dims)) / 8**dims
        self.kernel = nn.Parameter(kernel)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        convolve = torch.conv2d if self.dims == 2 else torch.conv3d
        # Position p answers for the 8 voxels around 4 p + 2, the centre of its anchor.
        mean = convolve(nn.functional.pad(x[:, :1], (2, 2) * self.dims), self.kernel, stride=4)
        logits = 20.0 * (mean.flatten(1) - 0.7)[..., None]
        return logits, torch.zeros((1, 1, 2 * self.dims)) * logits


def unet(dims: int, channels: int, outputs: int) -> nn.Module:
    """A network with batch normalisation that is not trivial."""
    torch.manual_seed(0)
    network = ResidualUNet(channels, outputs, dims, channels=(4, 8))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    head = network.heads[0]
    nn.init.zeros_(head.bias)
    nn.init.normal_(head.weight, std=1.0)
    return network


def labels(names: list[str], first: int) -> tuple[Label, ...]:
    return tuple(Label(name=name, index=first + i) for i, name in enumerate(names))


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Return a function that exports a network and writes a candidate package."""
    made: dict[str, Path] = {}

    def make(name: str, network: nn.Module, task: TaskSpec, preparation: Preparation, **parts: Any) -> Path:
        if name in made:
            return made[name]
        folder = tmp_path_factory.mktemp(name)
        divisor = tuple(parts.pop("divisor", (1,) * task.spatial_dims))
        tiling = parts.pop("tiling", {"divisor": divisor})
        channels = 3 if preparation.kind == "picture" else len(preparation.channels)
        outputs = ("class_logits", "box_deltas") if task.kind == "detection" else ("logits",)
        shape = (1, channels, *(16,) * task.spatial_dims)
        onnx_sha = export_onnx(network, shape, folder / "model.onnx", outputs)
        weights_sha = save_weights(network, folder / "weights.safetensors")
        tiling |= {"bytes_per_voxel": peak_bytes_per_voxel(folder / "model.onnx", shape)}
        manifest = PackageManifest(
            name=name,
            version="1",
            modality=parts.pop("modality", "CT" if task.spatial_dims == 3 else "ES"),
            intended_use="tests",
            task=task,
            preparation=preparation,
            tiling=Tiling(**tiling),
            postprocessing=parts.pop("post", Postprocessing()),
            network=Network(name="tiny", onnx_opset=OPSET, outputs=outputs),
            provenance=Provenance(medimg_version="0", torch_version="0", created=datetime.now(UTC)),
            weights_sha256=weights_sha,
            onnx_sha256=onnx_sha,
            **parts,
        )
        weights = folder / "weights.safetensors"
        made[name] = create(folder, manifest, onnx=folder / "model.onnx", weights=weights, config="a: 1\n").folder
        return made[name]

    return make


@pytest.fixture(scope="session")
def ct_bright(build: Build) -> Path:
    """CT, one label: above 500 HU; resampled to 1.5 mm."""
    return build(
        "ct_bright",
        Bright(3, 1, 1),
        TaskSpec(kind="segmentation", mode="multilabel", spatial_dims=3, labels=labels(["bone"], 0)),
        Preparation(kind="volume", channels=("ct",), spacing_mm=(1.5, 1.5, 1.5), intensity=WINDOW),
    )


@pytest.fixture(scope="session")
def picture_two(build: Build) -> Path:
    """Pictures at half size, two overlapping labels: red and green."""
    return build(
        "picture_two",
        Bright(2, 3, 2),
        TaskSpec(kind="segmentation", mode="multilabel", spatial_dims=2, labels=labels(["red", "green"], 0)),
        Preparation(kind="picture", channels=("image",), scale=0.5, intensity=RGB),
        post=Postprocessing(min_component_voxels={"red": 6}, keep_largest=("green",)),
        divisor=(8, 8),
    )


@pytest.fixture(scope="session")
def ct_unet(build: Build) -> Path:
    """CT, three classes by a small U-Net in tiles, native spacing."""
    network = unet(3, 1, 3)
    halo = tuple(-(-h // 2) * 2 for h in network.receptive_halo)
    tile = tuple(2 * h + 8 for h in halo)
    return build(
        "ct_unet",
        network,
        TaskSpec(kind="segmentation", mode="multiclass", spatial_dims=3, labels=labels(["a", "b"], 1)),
        Preparation(kind="volume", channels=("ct",), intensity=WINDOW),
        tiling={"mode": "tiles", "tile": tile, "halo": halo, "divisor": (2, 2, 2), "flips": ((2,),)},
    )


@pytest.fixture(scope="session")
def grader(build: Build) -> Path:
    """Ordinal grades 0 to 3 from the share of red; positive from grade 2."""
    return build(
        "grader",
        Share(3),
        TaskSpec(
            kind="classification",
            mode="ordinal",
            spatial_dims=2,
            labels=labels(["g0", "g1", "g2", "g3"], 0),
            target="retinopathy",
            positive_from=2,
        ),
        Preparation(kind="picture", channels=("image",), size_yx=(32, 32), intensity=RGB),
        post=Postprocessing(thresholds={"retinopathy": 0.4}),
        modality="OP",
    )


@pytest.fixture(scope="session")
def nodule_class(build: Build) -> Path:
    """Binary classification of a CT volume of interest."""
    return build(
        "nodule_class",
        Share(1),
        TaskSpec(kind="classification", mode="binary", spatial_dims=3, labels=labels(["malignant"], 0)),
        Preparation(kind="volume", channels=("ct",), size_zyx=(8, 8, 8), intensity=WINDOW),
    )


@pytest.fixture(scope="session")
def spot_finder(build: Build) -> Path:
    """Boxes of 8 mm around bright spots in CT, in tiles."""
    return build(
        "spot_finder",
        Spots(3),
        TaskSpec(kind="detection", mode="boxes", spatial_dims=3, labels=labels(["spot"], 0)),
        Preparation(kind="volume", channels=("ct",), spacing_mm=(1, 1, 1), intensity=FROM_AIR),
        tiling={"mode": "tiles", "tile": (32, 32, 32), "halo": (8, 8, 8), "divisor": (4, 4, 4)},
        # Any touching box is a double.
        anchors={
            "strides": [[4, 4, 4]],
            "scales": [1.0],
            "shapes": [[8, 8, 8]],
            "score_threshold": 0.1,
            "nms_iou": 0.02,
        },
        post=Postprocessing(thresholds={"spot": 0.5}),
    )
