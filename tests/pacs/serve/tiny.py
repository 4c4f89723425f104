"""Packages whose answers are known."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

from medimg.data.preparation import Intensity, Preparation
from medimg.packaging.export import OPSET, export_onnx, save_weights
from medimg.packaging.manifest import Label, Network, PackageManifest, Provenance, TaskSpec, Tiling
from medimg.packaging.package import create


class Bright(nn.Module):
    """Where the first channel is above a half, there it is."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.convolution = (nn.Conv2d if dims == 2 else nn.Conv3d)(channels, 1, 1)
        nn.init.zeros_(self.convolution.weight)
        with torch.no_grad():
            self.convolution.weight[0, 0] = 40.0
        nn.init.constant_(self.convolution.bias, -20.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(x)


def tiny_package(folder: Path) -> Path:
    """Write a package for CT into a folder and return its path: above 500 HU is bone."""
    return _package(
        folder,
        "bright",
        "CT",
        "bone",
        Preparation(
            kind="volume",
            channels=("ct",),
            intensity=Intensity(rule="window", low=-1000, high=1000, mean=(0.0,), std=(1000.0,)),
        ),
        Tiling(mode="tiles", tile=(32, 256, 256), halo=(0, 0, 0), divisor=(1, 1, 1), bytes_per_voxel=16),
    )


def picture_package(folder: Path) -> Path:
    """Write a package for endoscopy into a folder and return its path: what is red is a polyp."""
    rgb = Intensity(rule="rgb", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    preparation = Preparation(kind="picture", channels=("image",), intensity=rgb)
    return _package(folder, "red", "ES", "polyp", preparation, Tiling(divisor=(1, 1), bytes_per_voxel=64))


def _package(folder: Path, name: str, modality: str, label: str, preparation: Preparation, tiling: Tiling) -> Path:
    dims = len(tiling.divisor)
    channels = 1 if dims == 3 else 3
    network = Bright(dims, channels)
    onnx_sha = export_onnx(network, (1, channels, *(16,) * dims), folder / "model.onnx", ("logits",))
    weights_sha = save_weights(network, folder / "weights.safetensors")
    labels = (Label(name=label, index=0),)
    manifest = PackageManifest(
        name=name,
        version="1",
        modality=modality,
        intended_use="tests",
        task=TaskSpec(kind="segmentation", mode="multilabel", spatial_dims=dims, labels=labels),
        preparation=preparation,
        tiling=tiling,
        network=Network(name="tiny", onnx_opset=OPSET, outputs=("logits",)),
        provenance=Provenance(medimg_version="0", torch_version="0", created=datetime.now(UTC)),
        weights_sha256=weights_sha,
        onnx_sha256=onnx_sha,
    )
    weights = folder / "weights.safetensors"
    return create(folder, manifest, onnx=folder / "model.onnx", weights=weights, config="a: 1\n").folder
