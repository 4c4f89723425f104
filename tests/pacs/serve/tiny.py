"""A package whose answer is known: above 500 HU is bone."""

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
    """Above 500 HU is bone."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(1, 1, 1)
        nn.init.constant_(self.convolution.weight, 40.0)
        nn.init.constant_(self.convolution.bias, -20.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(x)


def tiny_package(folder: Path) -> Path:
    """Write the package into a folder and return its path."""
    network = Bright()
    onnx_sha = export_onnx(network, (1, 1, 16, 16, 16), folder / "model.onnx", ("logits",))
    weights_sha = save_weights(network, folder / "weights.safetensors")
    intensity = Intensity(rule="window", low=-1000, high=1000, mean=(0.0,), std=(1000.0,))
    manifest = PackageManifest(
        name="bright",
        version="1",
        modality="CT",
        intended_use="tests",
        task=TaskSpec(kind="segmentation", mode="multilabel", spatial_dims=3, labels=(Label(name="bone", index=0),)),
        preparation=Preparation(kind="volume", channels=("ct",), intensity=intensity),
        tiling=Tiling(mode="tiles", tile=(32, 256, 256), halo=(0, 0, 0), divisor=(1, 1, 1), bytes_per_voxel=16),
        network=Network(name="tiny", onnx_opset=OPSET, outputs=("logits",)),
        provenance=Provenance(medimg_version="0", torch_version="0", created=datetime.now(UTC)),
        weights_sha256=weights_sha,
        onnx_sha256=onnx_sha,
    )
    weights = folder / "weights.safetensors"
    return create(folder, manifest, onnx=folder / "model.onnx", weights=weights, config="a: 1\n").folder
