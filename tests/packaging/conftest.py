from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from torch import nn

from medimg.data.preparation import Intensity, Preparation
from medimg.packaging.export import OPSET, export_onnx, save_weights
from medimg.packaging.manifest import Label, Network, PackageManifest, Provenance, TaskSpec, Tiling
from medimg.packaging.package import ModelPackage, create


@pytest.fixture(scope="session")
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))
    layers[1].running_mean.normal_()
    layers[1].running_var.uniform_(0.5, 2)
    return layers


@pytest.fixture(scope="session")
def files(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with model.onnx and weights.safetensors."""
    folder = tmp_path_factory.mktemp("exported")
    export_onnx(network, (1, 3, 8, 8), folder / "model.onnx")
    save_weights(network, folder / "weights.safetensors")
    return folder


@pytest.fixture(scope="session")
def manifest(files: Path) -> PackageManifest:
    from medimg.data.digest import digest_path

    return PackageManifest(
        name="polyp",
        version="1",
        modality="ES",
        intended_use="tests",
        task=TaskSpec(kind="segmentation", mode="multilabel", spatial_dims=2, labels=(Label(name="polyp", index=0),)),
        preparation=Preparation(kind="picture", channels=("image",), intensity=Intensity(rule="rgb")),
        tiling=Tiling(divisor=(1, 1)),
        network=Network(name="tiny", options={"channels": (4,)}, onnx_opset=OPSET, outputs=("logits",)),
        provenance=Provenance(medimg_version="0", torch_version="0", created=datetime.now(UTC)),
        weights_sha256=digest_path(files / "weights.safetensors"),
        onnx_sha256=digest_path(files / "model.onnx"),
    )


@pytest.fixture
def candidate(tmp_path: Path, files: Path, manifest: PackageManifest) -> ModelPackage:
    """A fresh candidate package."""
    return create(
        tmp_path,
        manifest,
        onnx=files / "model.onnx",
        weights=files / "weights.safetensors",
        config="name: polyp\n",
        model_card="# Polyp\n",
    )
