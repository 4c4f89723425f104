from __future__ import annotations

import ast
import importlib.util
import inspect
from types import ModuleType

import pytest
import torch

from medimg.errors import ConfigError, MissingDependency
from medimg.models import monai_networks, registry
from medimg.models.registry import build, list_models

SEGMENTATION_3D = ["unet", "monai_unet", "monai_basicunet", "monai_dynunet", "monai_segresnet", "monai_attentionunet"]
SMALL = {
    "unet": {"channels": (4, 8, 8)},
    "monai_unet": {"channels": (4, 8, 8)},
    "monai_attentionunet": {"channels": (4, 8, 8)},
    "monai_basicunet": {"features": (4, 4, 4, 8, 8, 4)},
    "monai_dynunet": {"filters": (4, 8, 8)},
    "monai_segresnet": {"init_filters": 8, "blocks_down": (1, 1, 1), "blocks_up": (1, 1)},
}


@pytest.mark.parametrize("name", SEGMENTATION_3D)
@pytest.mark.parametrize("dims", [2, 3])
def test_segmentation_networks_keep_the_size_and_have_no_window_statistics(name: str, dims: int) -> None:
    network = build(name, in_channels=2, out_channels=3, spatial_dims=dims, **SMALL[name]).eval()
    size = tuple(2 * d for d in network.divisor)
    assert len(size) == dims
    with torch.no_grad():
        assert network(torch.randn(1, 2, *size)).shape == (1, 3, *size)
    free = name != "monai_attentionunet"  # MONAI fixes instance normalisation there
    assert not free or not [
        m for m in network.modules() if "InstanceNorm" in type(m).__name__ or "GroupNorm" in type(m).__name__
    ]


@pytest.mark.parametrize(
    ("name", "dims", "options"),
    [
        ("monai_resnet10", 3, {"width": 0.25}),
        ("monai_densenet121", 2, {}),
        ("classifier3d", 3, {"channels": (4, 8)}),
        ("classifier2d", 2, {}),
    ],
)
def test_classifiers(name: str, dims: int, options: dict[str, object]) -> None:
    network = build(name, in_channels=1, out_channels=4, spatial_dims=dims, **options).eval()
    with torch.no_grad():
        assert network(torch.randn(2, 1, *(max(32, d) for d in network.divisor))).shape == (2, 4)


def test_pictures_own_unet_has_a_divisor() -> None:
    network = build("unet2d", in_channels=3, out_channels=1, spatial_dims=2)
    assert network.divisor == (32, 32)


def test_unknown_names_and_options_name_the_nearest() -> None:
    fixed = {"in_channels": 1, "out_channels": 1, "spatial_dims": 3}
    with pytest.raises(ConfigError, match="did you mean 'monai_segresnet'"):
        build("monai_segresnt", **fixed)
    with pytest.raises(ConfigError, match=r"(?s)no option 'chanels'.*did you mean 'channels'"):
        build("unet", **fixed, chanels=(4, 8))
    with pytest.raises(ConfigError, match="did you mean 'num_res_units'"):
        build("monai_unet", **fixed, res_units=1)
    with pytest.raises(ConfigError, match="refuses its settings"):
        build("monai_unet", **fixed, channels=(4, 8), strides=())
    with pytest.raises(ConfigError, match="for pictures"):
        build("unet2d", **fixed)
    with pytest.raises(ConfigError, match="two or three"):
        build("unet", in_channels=1, out_channels=1, spatial_dims=4)


def test_patterns() -> None:
    assert "monai_resnet18" in list_models("monai_resnet*")
    assert "unet" not in list_models("monai_*")
    assert {"unet", "unet2d", "classifier2d", "classifier3d", "retinanet"} <= set(list_models())


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_timm_is_an_extra() -> None:
    with pytest.raises(MissingDependency, match=r"medimg\[timm\]"):
        build("timm:resnet18", in_channels=3, out_channels=2, spatial_dims=2)


def test_timm_networks() -> None:
    pytest.importorskip("timm", exc_type=ImportError)
    network = build("timm:resnet18", in_channels=3, out_channels=2, spatial_dims=2).eval()
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 2)
    detector = build("retinanet", in_channels=3, out_channels=1, spatial_dims=2, encoder="timm:resnet18").eval()
    assert detector(torch.zeros(1, 3, 64, 64))[0].shape == (1, 64 + 16 + 4, 1)


@pytest.mark.parametrize("module", [registry, monai_networks])
def test_monai_is_imported_only_inside_functions(module: ModuleType) -> None:
    imports = [n for n in ast.parse(inspect.getsource(module)).body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = [n.module if isinstance(n, ast.ImportFrom) else n.names[0].name for n in imports]
    assert not [name for name in names if name and name.split(".")[0] == "monai"]
