"""U-Net decoder over a 2-D encoder with feature levels.

Shape legend: B batch, C channels, K outputs, Y rows, X columns.

Ronneberger et al., 2015 (U-Net), with batch normalisation only: at inference it is a fixed scale and shift,
so tiles with a sufficient halo equal the full picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medimg.errors import ConfigError
from medimg.models.efficientnet_lite import EfficientNetLite0, check_multiple

DECODER_CHANNELS = (128, 64, 48, 32)


class DecoderBlock(nn.Module):
    """Upsample twofold, join the skip connection, convolve twice."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, momentum: float) -> None:
        super().__init__()
        self.first = _convolve(in_channels + skip_channels, out_channels, momentum)
        self.second = _convolve(out_channels, out_channels, momentum)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """Map B C Y X and a skip of B S 2Y 2X to B C' 2Y 2X."""
        x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        if skip is not None:
            x = torch.cat((x, skip), dim=1)
        y: Tensor = self.second(self.first(x))
        return y


class UNet2d(nn.Module):
    """U-Net over an EfficientNet-Lite0 encoder.

    ``net.encoder.load_pretrained()`` fills the encoder with ImageNet weights.

    Parameters
    ----------
    out_channels : int
        Logits per pixel, K.
    in_channels : int
        Channels of the picture.
    decoder_channels : sequence of int
        Channels of the decoder's blocks, coarsest first, that end at strides 16, 8, 4, 2. A fifth entry adds
        a block at full resolution; without it logits are computed at stride 2 and upsampled bilinearly,
        which trains about a fifth faster.
    dropout : float
        Probability of dropping a whole channel before the last convolution.
    momentum : float
        Momentum of the batch normalisations' running statistics.

    Raises
    ------
    ConfigError
        `decoder_channels` has neither four nor five entries.
    """

    def __init__(
        self,
        *,
        out_channels: int,
        in_channels: int = 3,
        decoder_channels: Sequence[int] = DECODER_CHANNELS,
        dropout: float = 0.0,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if len(decoder_channels) not in (4, 5):
            raise ConfigError(
                "the decoder has a wrong number of blocks",
                where="decoder_channels",
                got=list(decoder_channels),
                expected="four entries (strides 16, 8, 4, 2), or five for full resolution",
            )
        self.encoder = EfficientNetLite0(in_channels=in_channels, momentum=momentum, head=False)
        *skips, deepest = self.encoder.channels
        widths = (deepest, *decoder_channels)
        skip_widths = (*reversed(skips), 0)
        self.decoder = nn.ModuleList(
            DecoderBlock(widths[i], skip_widths[i], widths[i + 1], momentum) for i in range(len(decoder_channels))
        )
        self.upsampled = len(decoder_channels) == 4
        self.dropout = nn.Dropout2d(dropout)
        self.output = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of every pixel.

        Parameters
        ----------
        x : Tensor, B C Y X
            Picture scaled by the encoder's `INPUT_MEAN` and `INPUT_STD`; Y and X multiples of 32.

        Returns
        -------
        Tensor, B K Y X

        Raises
        ------
        ConfigError
            Y or X is not a multiple of 32.
        """
        check_multiple(x)
        *skips, y = self.encoder.features(x)
        sources: list[Tensor | None] = [*reversed(skips), None]
        for block, skip in zip(self.decoder, sources, strict=False):
            y = block(y, skip)
        logits: Tensor = self.output(self.dropout(y))
        if self.upsampled:
            logits = functional.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)
        return logits


def _convolve(in_channels: int, out_channels: int, momentum: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels, momentum=momentum),
        nn.ReLU(inplace=True),
    )
