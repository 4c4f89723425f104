"""A small residual classifier of volumes of interest.

Legend: B batch, C channels, K outputs, (Z, Y, X) the spatial axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medimg.errors import ConfigError
from medimg.models.unet import ConvBlock


class VolumeClassifier(nn.Module):
    """Residual 3-D CNN whose head sees the mean and the maximum of several levels.

    Pooling the finer levels as well keeps what a small data set needs most, the size and the density of an
    object, one linear map away from the answer.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the scan; outputs (classes, or thresholds of an ordinal grade).
    channels : sequence of int
        Width of every level, the finest first; each level after the first halves the grid.
    stem_stride : int
        Stride of the first convolution; 2 costs an eighth of 1.
    pooled_levels : int
        How many levels, counted from the coarsest, the head pools.
    dropout : float
        Dropout before the last linear map.

    Attributes
    ----------
    channels : tuple of int
        Width of each tensor that `features` returns.
    strides_zyx : tuple of tuple of int
        Total stride (z, y, x) of each of these tensors.
    divisor : tuple of int
        Smallest sensible input size per axis; other sizes are allowed.

    Raises
    ------
    ConfigError
        ``pooled_levels`` outside 1 to the number of levels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (16, 32, 64, 128),
        stem_stride: int = 1,
        pooled_levels: int = 2,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if not 1 <= pooled_levels <= len(channels):
            raise ConfigError(
                "The head cannot pool that many levels.",
                where="model.pooled_levels",
                got=pooled_levels,
                expected=f"1 to {len(channels)}",
            )
        self.channels = tuple(channels)
        self.strides_zyx = tuple((stem_stride * 2**i,) * 3 for i in range(len(channels)))
        self.divisor = self.strides_zyx[-1]
        self.pooled_levels = pooled_levels
        widths = (in_channels, *channels)
        self.encoder = nn.ModuleList(
            ConvBlock(3, widths[i], widths[i + 1], (3,) * 3, (stem_stride if i == 0 else 2,) * 3)
            for i in range(len(channels))
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * sum(channels[-pooled_levels:]), out_channels)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the levels for x of B C Z Y X, the finest first."""
        levels = []
        for block in self.encoder:
            x = block(x)
            levels.append(x)
        return levels

    def forward(self, x: Tensor) -> Tensor:
        """Return logits B K for x of B C Z Y X."""
        pooled = [
            pool for f in self.features(x)[-self.pooled_levels :] for pool in (f.mean((2, 3, 4)), f.amax((2, 3, 4)))
        ]
        return self.head(self.dropout(torch.cat(pooled, dim=1)))
