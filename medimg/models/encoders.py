"""Encoders with feature levels by name, for networks that are built on one.

Legend: B batch, C channels, ``*S`` the spatial axes, (Z, Y, X) or (Y, X).

An encoder has ``features(x: B C *S) -> list of Tensor``, the finest level first, ``channels`` (the levels' widths) and
``strides`` (the levels' total strides, one tuple per level with one number per axis).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

from torch import Tensor, nn

from medimg.errors import ConfigError, MissingDependency, nearest
from medimg.models.efficientnet_lite import LEVEL_STRIDES, EfficientNetLite0
from medimg.models.unet import ConvBlock

ENCODERS = ("residual", "efficientnet_lite0")
TIMM_PREFIX = "timm:"


class Encoder(Protocol):
    """What a network on top of an encoder uses of it."""

    channels: Sequence[int]
    strides: Sequence[tuple[int, ...]]

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the levels for x of B C *S, the finest first."""


class ResidualEncoder(nn.Module):
    """Residual blocks, each of which strides; batch normalisation only.

    The first block strides as well: detection needs no level at full resolution, which would cost most.

    Parameters
    ----------
    in_channels, spatial_dims : int
        Channels of the scan; 2 or 3 axes.
    channels : sequence of int
        Width of every level, the finest (stride 2) first.
    steps : sequence of sequence of int, optional
        Stride of every block per axis. Default 2 everywhere; give 1 along z for the first blocks of thick slices.
    """

    def __init__(
        self,
        in_channels: int,
        spatial_dims: int,
        channels: Sequence[int] = (16, 32, 64, 96),
        steps: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        taken = [tuple(s) for s in steps] if steps is not None else [(2,) * spatial_dims] * len(channels)
        if len(taken) != len(channels) or any(len(step) != spatial_dims for step in taken):
            raise ConfigError(
                "every level of the encoder needs one stride per axis",
                where="model.encoder_steps",
                got=taken,
                expected=f"{len(channels)} entries of {spatial_dims} numbers",
            )
        self.channels = tuple(channels)
        self.strides = _products(taken)
        widths = (in_channels, *channels)
        self.blocks = nn.ModuleList(
            ConvBlock(spatial_dims, widths[i], widths[i + 1], (3,) * spatial_dims, step) for i, step in enumerate(taken)
        )

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the levels for x of B C *S, the finest first."""
        levels = []
        for block in self.blocks:
            x = block(x)
            levels.append(x)
        return levels


class LiteEncoder(EfficientNetLite0):
    """EfficientNet-Lite0 with its strides per axis; ``load_pretrained()`` fills it with ImageNet weights."""

    strides = tuple((stride, stride) for stride in LEVEL_STRIDES)


class TimmEncoder(nn.Module):
    """Any timm network that offers feature levels; needs the extra ``medimg[timm]``.

    Parameters
    ----------
    name : str
        timm's name of the network.
    in_channels : int
        Channels of the picture.

    Raises
    ------
    MissingDependency
        timm is not installed, or cannot be imported beside this torch.
    ConfigError
        timm does not know the name.
    """

    def __init__(self, name: str, in_channels: int) -> None:
        super().__init__()
        timm = import_timm()
        if not timm.is_model(name):
            raise ConfigError(
                "timm has no such network",
                where="model.encoder",
                got=name,
                expected=nearest(name, timm.list_models()[:50]),
            )
        self.body = timm.create_model(name, pretrained=False, in_chans=in_channels, features_only=True)
        self.channels = tuple(self.body.feature_info.channels())
        self.strides = tuple((r, r) for r in self.body.feature_info.reduction())

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the levels for x of B C Y X, the finest first."""
        return list(self.body(x))


def build_encoder(
    name: str,
    *,
    in_channels: int,
    spatial_dims: int,
    channels: Sequence[int] | None = None,
    steps: Sequence[Sequence[int]] | None = None,
) -> nn.Module:
    """Build an encoder: ``residual``, ``efficientnet_lite0`` or ``timm:<name>``.

    Parameters
    ----------
    name : str
    in_channels, spatial_dims : int
    channels, steps : sequence, optional
        Of the residual encoder only.

    Raises
    ------
    ConfigError
        Unknown name, or a picture encoder for volumes.
    MissingDependency
        ``timm:`` without timm.
    """
    if name == "residual":
        widths = tuple(channels) if channels is not None else (16, 32, 64, 96)
        return ResidualEncoder(in_channels, spatial_dims, widths, steps)
    if name != "efficientnet_lite0" and not name.startswith(TIMM_PREFIX):
        raise ConfigError(
            "unknown encoder", where="model.encoder", got=name, expected=nearest(name, (*ENCODERS, "timm:<name>"))
        )
    if spatial_dims != 2 or channels is not None or steps is not None:
        raise ConfigError(
            f"encoder '{name}' is for pictures and has fixed levels",
            where="model.encoder",
            got={"spatial_dims": spatial_dims, "channels": channels, "steps": steps},
            fix="use encoder=residual",
        )
    if name == "efficientnet_lite0":
        return LiteEncoder(in_channels=in_channels, head=False)
    return TimmEncoder(name.removeprefix(TIMM_PREFIX), in_channels)


def as_encoder(module: nn.Module) -> Encoder:
    """Return the module as what it is: something with `features`, `channels` and `strides`."""
    return cast(Encoder, module)


def import_timm() -> Any:
    """Return the module timm.

    Raises
    ------
    MissingDependency
        It is not there, or its torchvision does not fit the installed torch.
    """
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        raise MissingDependency(
            "this network needs timm",
            where="model.name",
            got=str(error).splitlines()[0],
            fix="pip install 'medimg[timm]' (torchvision must fit the installed torch)",
        ) from error
    return timm


def _products(steps: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    totals = [steps[0]]
    for step in steps[1:]:
        totals.append(tuple(a * b for a, b in zip(totals[-1], step, strict=True)))
    return tuple(totals)
