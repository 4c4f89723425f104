"""A light residual U-Net in two or three dimensions whose tiles with halos equal the full pass.

Only batch normalisation is used: at inference it is a fixed scale and shift, so an output voxel depends on
nothing but its receptive field, and a large scan may be computed in tiles without any change of the result.

Legend: B batch, C channels, K classes, ``*S`` the spatial axes, (Z, Y, X) or (Y, X).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medimg.errors import ConfigError

_CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_UP: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORM: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class ConvBlock(nn.Module):
    """Two convolutions with batch normalisation, with a shortcut around them where ``residual``.

    Parameters
    ----------
    dims : {2, 3}
        Spatial dimensions.
    c_in, c_out : int
        Channels in and out.
    kernel, stride : sequence of int
        Per axis; the stride applies to the first convolution.
    residual : bool
        Add the input (projected by a 1×1 convolution where the shape changes) before the last activation,
        as in He et al., "Deep residual learning for image recognition", CVPR 2016.
    """

    def __init__(
        self,
        dims: int,
        c_in: int,
        c_out: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        residual: bool = True,
    ) -> None:
        super().__init__()
        conv, norm = _CONV[dims], _NORM[dims]
        kernel, stride = tuple(kernel), tuple(stride)
        pad = tuple(k // 2 for k in kernel)
        self.conv1 = conv(c_in, c_out, kernel, stride=stride, padding=pad, bias=False)
        self.norm1 = norm(c_out)
        self.conv2 = conv(c_out, c_out, kernel, padding=pad, bias=False)
        self.norm2 = norm(c_out)
        self.act = nn.LeakyReLU(0.01, inplace=True)
        self.shortcut: nn.Module | None = None
        if residual:
            same = c_in == c_out and all(s == 1 for s in stride)
            self.shortcut = (
                nn.Identity() if same else nn.Sequential(conv(c_in, c_out, 1, stride=stride, bias=False), norm(c_out))
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map B C *S to B C' *S', where S' is S divided by the stride, rounded up."""
        y = self.act(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return self.act(y)


class ResidualUNet(nn.Module):
    """U-Net of residual blocks, normalised by BatchNorm alone.

    The plan is that of Ronneberger et al., "U-Net", MICCAI 2015, with strided convolutions on the way down
    and transposed ones (kernel = stride) on the way up.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the scan; classes with the background.
    spatial_dims : {2, 3}
        Pictures or volumes.
    channels : sequence of int
        Width of every level, the finest first.
    strides : sequence, optional
        Factor from one level to the next, ``len(channels) - 1`` of them, each one number or one per axis.
        Default 2.
    kernels : sequence, optional
        Odd kernel size of every level, each one number or one per axis. Default 3.
    residual : bool
        Shortcuts within the blocks.
    dropout : float
        Probability with which a channel of the deepest level is dropped in training.
    deep_supervision : int
        Number of coarser decoder levels that get a head of their own in training.

    Attributes
    ----------
    channels : tuple of int
        Width of each tensor that `features` returns.
    strides_zyx : tuple of tuple of int
        Total stride of each of these tensors per axis, (z, y, x) or (y, x).
    divisor : tuple of int
        What the input's size must be a multiple of, per axis.
    receptive_halo : tuple of int
        Voxels which an output voxel can see on each side, per axis.

    Raises
    ------
    ConfigError
        Numbers of levels, strides and kernels that do not fit together.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        spatial_dims: int = 3,
        channels: Sequence[int] = (32, 64, 128, 256),
        strides: Sequence[int | Sequence[int]] | None = None,
        kernels: Sequence[int | Sequence[int]] | None = None,
        residual: bool = True,
        dropout: float = 0.0,
        deep_supervision: int = 0,
    ) -> None:
        super().__init__()
        levels = len(channels)
        _check_shape(spatial_dims, levels, deep_supervision)
        steps = _per_axis("strides", strides or (2,) * (levels - 1), levels - 1, spatial_dims)
        sizes = _per_axis("kernels", kernels or (3,) * levels, levels, spatial_dims)
        if any(k % 2 == 0 for size in sizes for k in size):
            raise ConfigError("A kernel of an even size has no centre.", where="model.kernels", got=kernels)
        one = (1,) * spatial_dims
        self.channels = tuple(channels)
        self.strides_zyx = _running_product(one, steps)
        self.divisor = self.strides_zyx[-1]
        self.receptive_halo = tuple(
            _halo([step[axis] for step in steps], [size[axis] for size in sizes]) for axis in range(spatial_dims)
        )
        widths = (in_channels, *channels)
        self.encoder = nn.ModuleList(
            ConvBlock(spatial_dims, widths[i], widths[i + 1], sizes[i], one if i == 0 else steps[i - 1], residual)
            for i in range(levels)
        )
        self.dropout = (nn.Dropout2d if spatial_dims == 2 else nn.Dropout3d)(dropout)
        self.up = nn.ModuleList(
            _UP[spatial_dims](channels[i + 1], channels[i], steps[i], stride=steps[i]) for i in range(levels - 1)
        )
        self.decoder = nn.ModuleList(
            ConvBlock(spatial_dims, 2 * channels[i], channels[i], sizes[i], one, residual) for i in range(levels - 1)
        )
        self.heads = nn.ModuleList(
            _CONV[spatial_dims](channels[i], out_channels, 1) for i in range(1 + deep_supervision)
        )

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the encoder's levels for x of B C *S, the finest first, of widths `channels`."""
        levels = []
        for block in self.encoder:
            x = block(x)
            levels.append(x)
        return levels

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Return logits.

        Parameters
        ----------
        x : Tensor, B C *S
            Every S a multiple of `divisor`.

        Returns
        -------
        Tensor, B K *S; while training with deep supervision a list of them, the finest first, each coarser
        one on the grid of its level.
        """
        levels = self.features(x)
        y = self.dropout(levels[-1])
        supervised = len(self.heads) if self.training else 1
        outputs: list[Tensor] = []
        for i in reversed(range(len(self.up))):
            y = self.decoder[i](torch.cat((levels[i], self.up[i](y)), dim=1))
            if i < supervised:
                outputs.insert(0, self.heads[i](y))
        return outputs if len(outputs) > 1 else outputs[0]


def _check_shape(spatial_dims: int, levels: int, deep_supervision: int) -> None:
    if spatial_dims not in _CONV:
        raise ConfigError("A network has two or three dimensions.", where="model.spatial_dims", got=spatial_dims)
    if levels < 2:
        raise ConfigError("A U-Net needs two levels or more.", where="model.channels", got=levels)
    if not 0 <= deep_supervision <= levels - 2:
        raise ConfigError(
            "Deep supervision asks for more decoder levels than there are.",
            where="model.deep_supervision",
            got=deep_supervision,
            expected=f"0 to {levels - 2}",
        )


def _per_axis(name: str, values: Sequence[int | Sequence[int]], count: int, dims: int) -> tuple[tuple[int, ...], ...]:
    """Return ``count`` tuples of ``dims`` numbers; a single number stands for every axis."""
    full = tuple((v,) * dims if isinstance(v, int) else tuple(int(n) for n in v) for v in values)
    if len(full) != count or any(len(v) != dims or min(v) < 1 for v in full):
        raise ConfigError(
            "The levels of the network do not fit together.",
            where=f"model.{name}",
            got=[list(v) for v in full],
            expected=f"{count} entries, each one number or {dims}",
        )
    return full


def _running_product(first: tuple[int, ...], steps: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    totals = [first]
    for step in steps:
        totals.append(tuple(a * b for a, b in zip(totals[-1], step)))
    return tuple(totals)


def _halo(steps: Sequence[int], kernels: Sequence[int]) -> int:
    """Return how far an output voxel sees along one axis, by following its interval down and up again.

    The reach differs with the voxel's place within the coarsest voxel; the largest is returned.
    """
    reach = 0
    for place in range(math.prod(steps)):
        low = high = place
        for step, kernel in zip(steps, kernels):
            low, high = (low - (kernel - 1)) // step, (high + (kernel - 1)) // step
        low, high = low - kernels[-1] // 2, high + kernels[-1] // 2
        for i in reversed(range(len(steps))):
            # The strided first convolution of level i + 1, then the rest of level i.
            radius = kernels[i + 1] // 2
            low, high = low * steps[i] - radius, high * steps[i] + radius
            rest = kernels[i] // 2 * (2 if i == 0 else 1)
            low, high = low - rest, high + rest
        reach = max(reach, place - low, high - place)
    return reach
