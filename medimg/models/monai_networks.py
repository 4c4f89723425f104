"""MONAI's networks by name, with batch normalisation where they have a choice.

Batch normalisation is fixed at inference, so that tiles of a large scan equal the full pass; MONAI's own default is
instance normalisation, whose answer depends on the window. MONAI is imported only when one of them is built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

_RESIDUAL_DEPTHS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


def unet(
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    channels: Sequence[int] = (32, 64, 128, 256),
    strides: Sequence[int] | None = None,
    num_res_units: int = 2,
    dropout: float = 0.0,
) -> nn.Module:
    """Build ``monai.networks.nets.UNet``."""
    from monai.networks.nets import UNet

    steps = tuple(strides) if strides is not None else (2,) * (len(channels) - 1)
    network = UNet(
        spatial_dims, in_channels, out_channels, tuple(channels), steps, num_res_units=num_res_units,
        norm="batch", dropout=dropout,
    )  # fmt: skip
    return _with_divisor(network, spatial_dims, _product(steps))


def attention_unet(
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    channels: Sequence[int] = (32, 64, 128, 256),
    strides: Sequence[int] | None = None,
    dropout: float = 0.0,
) -> nn.Module:
    """Build ``monai.networks.nets.AttentionUnet``; the instance normalisation on its way up cannot be chosen."""
    from monai.networks.nets import AttentionUnet

    steps = tuple(strides) if strides is not None else (2,) * (len(channels) - 1)
    network = AttentionUnet(spatial_dims, in_channels, out_channels, tuple(channels), steps, dropout=dropout)
    return _with_divisor(network, spatial_dims, _product(steps))


def basicunet(
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    features: Sequence[int] = (32, 32, 64, 128, 256, 32),
    dropout: float = 0.0,
) -> nn.Module:
    """Build ``monai.networks.nets.BasicUNet``."""
    from monai.networks.nets import BasicUNet

    network = BasicUNet(spatial_dims, in_channels, out_channels, tuple(features), norm="batch", dropout=dropout)
    return _with_divisor(network, spatial_dims, 16)


def dynunet(
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    filters: Sequence[int] = (32, 64, 128, 256),
    res_block: bool = False,
) -> nn.Module:
    """Build ``monai.networks.nets.DynUNet`` (nnU-Net's topology) with strides of 2."""
    from monai.networks.nets import DynUNet

    levels = len(filters)
    strides = (1, *(2,) * (levels - 1))
    network = DynUNet(
        spatial_dims, in_channels, out_channels, (3,) * levels, strides, strides[1:],
        filters=tuple(filters), norm_name="batch", res_block=res_block,
    )  # fmt: skip
    return _with_divisor(network, spatial_dims, 2 ** (levels - 1))


def segresnet(
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    init_filters: int = 16,
    blocks_down: Sequence[int] = (1, 2, 2, 4),
    blocks_up: Sequence[int] = (1, 1, 1),
    dropout: float = 0.0,
) -> nn.Module:
    """Build ``monai.networks.nets.SegResNet``."""
    from monai.networks.nets import SegResNet

    network = SegResNet(
        spatial_dims, init_filters, in_channels, out_channels, dropout_prob=dropout or None, norm="batch",
        blocks_down=tuple(blocks_down), blocks_up=tuple(blocks_up),
    )  # fmt: skip
    return _with_divisor(network, spatial_dims, 2 ** (len(blocks_down) - 1))


def swin_unetr(in_channels: int, out_channels: int, spatial_dims: int, feature_size: int = 24) -> nn.Module:
    """Build ``monai.networks.nets.SwinUNETR``; its instance normalisation cannot be chosen."""
    from monai.networks.nets import SwinUNETR

    network = SwinUNETR(in_channels, out_channels, feature_size=feature_size, spatial_dims=spatial_dims)
    return _with_divisor(network, spatial_dims, 32)


def resnet(depth: int) -> Callable[..., nn.Module]:
    """Return a builder of MONAI's ResNet of a depth, with the strided stem that MONAI leaves off."""

    def build(in_channels: int, out_channels: int, spatial_dims: int, width: float = 1.0) -> nn.Module:
        from monai.networks.nets.resnet import ResNet

        network = ResNet(
            "basic" if depth < 50 else "bottleneck", list(_RESIDUAL_DEPTHS[depth]), [64, 128, 256, 512],
            spatial_dims=spatial_dims, n_input_channels=in_channels, conv1_t_stride=2,
            num_classes=out_channels, widen_factor=width,
        )  # fmt: skip
        return _with_divisor(network, spatial_dims, 32)

    return build


def densenet(name: str) -> Callable[..., nn.Module]:
    """Return a builder of one of MONAI's DenseNets."""

    def build(in_channels: int, out_channels: int, spatial_dims: int, dropout: float = 0.0) -> nn.Module:
        from monai.networks import nets

        network = getattr(nets, name)(spatial_dims, in_channels, out_channels, dropout_prob=dropout)
        return _with_divisor(network, spatial_dims, 32)

    return build


BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "monai_unet": unet,
    "monai_attentionunet": attention_unet,
    "monai_basicunet": basicunet,
    "monai_dynunet": dynunet,
    "monai_segresnet": segresnet,
    "monai_swinunetr": swin_unetr,
    "monai_resnet10": resnet(10),
    "monai_resnet18": resnet(18),
    "monai_resnet34": resnet(34),
    "monai_resnet50": resnet(50),
    "monai_densenet121": densenet("DenseNet121"),
    "monai_densenet169": densenet("DenseNet169"),
}


def _with_divisor(network: nn.Module, dims: int, divisor: int) -> nn.Module:
    network.divisor = (divisor,) * dims  # type: ignore[assignment]
    return network


def _product(steps: Sequence[int]) -> int:
    total = 1
    for step in steps:
        total *= step
    return total
