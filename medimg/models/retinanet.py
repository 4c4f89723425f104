"""RetinaNet in two and three dimensions, without torchvision (Lin et al., "Focal loss", ICCV 2017).

Legend: B batch, C channels, D spatial axes, ``*S`` the spatial axes, (Z, Y, X) or (Y, X), A anchors per position, N
anchors of an image over all levels, K classes.

Differences from the original: batch normalisation instead of none (with one set of statistics a level, since levels
share the convolutions but not their distributions), shallow towers, and levels that start fine, for small lesions.
The order of the outputs is that of MONAI's detector: levels, then positions in row-major order, then anchors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medimg.errors import ConfigError
from medimg.models.encoders import as_encoder, build_encoder
from medimg.models.fpn import FeaturePyramid

_CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_DEFAULT_ENCODER = {2: "efficientnet_lite0", 3: "residual"}
_DEFAULT_STRIDES = {2: (8, 16, 32), 3: (4, 8, 16)}
_PRIOR_PROBABILITY = 0.01


class Head(nn.Module):
    """Convolutions that all levels share, each level with its own normalisation, to ``width`` numbers an anchor."""

    def __init__(
        self, dims: int, channels: int, depth: int, levels: int, anchors: int, width: int, bias: float
    ) -> None:
        super().__init__()
        self.width = width
        self.convolutions = nn.ModuleList(
            _CONV[dims](channels, channels, 3, padding=1, bias=False) for _ in range(depth)
        )
        self.norms = nn.ModuleList(_NORM[dims](channels) for _ in range(levels * depth))
        self.activation = nn.ReLU(inplace=True)
        self.output = _CONV[dims](channels, anchors * width, 3, padding=1)
        for name, parameter in self.output.named_parameters():
            nn.init.constant_(parameter, bias) if name == "bias" else nn.init.normal_(parameter, std=0.01)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map levels B C *S_i to B N width."""
        rows = []
        norms = iter(self.norms)
        for level in levels:
            for convolution in self.convolutions:
                level = self.activation(next(norms)(convolution(level)))
            answer = self.output(level).movedim(1, -1)
            rows.append(answer.reshape(answer.shape[0], -1, self.width))
        return torch.cat(rows, dim=1)


class RetinaNet(nn.Module):
    """One-stage detector of boxes.

    Parameters
    ----------
    in_channels : int
        Channels of the image.
    out_channels : int
        Classes K, without background.
    spatial_dims : {2, 3}
        Pictures or volumes.
    encoder : str, optional
        ``residual`` (the default for volumes, and where its levels are given), ``efficientnet_lite0`` (the default for
        pictures) or ``timm:<name>``; see `medimg.models.encoders`.
    encoder_channels, encoder_steps : sequence, optional
        Levels of the residual encoder.
    strides : sequence of int, optional
        In-plane (last axis) strides of the levels that detect: 8, 16, 32 for pictures, 4, 8, 16 for volumes. Coarser
        levels of the encoder give context, finer ones are not used.
    anchors : int
        Anchors per position, A; the same on all levels.
    fpn_channels : int, optional
        Width of pyramid and towers: 64 for pictures, 32 for volumes.
    depth : int
        Convolutions of each tower.

    Attributes
    ----------
    strides : tuple of tuple of int
        Of the detecting levels per axis; an `Anchors` specification must have the same.
    divisor : tuple of int
        What the input's size must be a multiple of, per axis.

    Raises
    ------
    ConfigError
        The encoder has no level of a wanted stride.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        spatial_dims: int,
        encoder: str | None = None,
        encoder_channels: Sequence[int] | None = None,
        encoder_steps: Sequence[Sequence[int]] | None = None,
        strides: Sequence[int] | None = None,
        anchors: int = 1,
        fpn_channels: int | None = None,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.encoder = build_encoder(
            encoder or ("residual" if encoder_channels or encoder_steps else _DEFAULT_ENCODER[spatial_dims]),
            in_channels=in_channels,
            spatial_dims=spatial_dims,
            channels=encoder_channels,
            steps=encoder_steps,
        )
        levels = as_encoder(self.encoder)
        wanted = tuple(strides) if strides is not None else _DEFAULT_STRIDES[spatial_dims]
        in_plane = [stride[-1] for stride in levels.strides]
        if not set(wanted) <= set(in_plane) or list(wanted) != sorted(set(wanted)):
            raise ConfigError(
                "the encoder has no such levels",
                where="model.strides",
                got=list(wanted),
                expected=f"some of {in_plane}, in rising order",
            )
        first = in_plane.index(wanted[0])
        self._first_level = first
        self._detecting = tuple(in_plane.index(stride) - first for stride in wanted)
        self.strides = tuple(levels.strides[first + i] for i in self._detecting)
        self.divisor = tuple(levels.strides[-1])
        width = fpn_channels if fpn_channels is not None else (64 if spatial_dims == 2 else 32)
        self.pyramid = FeaturePyramid(spatial_dims, levels.channels[first:], levels.strides[first:], width)
        shared = (spatial_dims, width, depth, len(wanted), anchors)
        bias = -math.log((1 - _PRIOR_PROBABILITY) / _PRIOR_PROBABILITY)
        self.class_head = Head(*shared, out_channels, bias)
        self.box_head = Head(*shared, 2 * spatial_dims, 0.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits and box deltas of every anchor.

        Parameters
        ----------
        x : Tensor, B C *S
            Every S a multiple of `divisor`.

        Returns
        -------
        class_logits : Tensor, B N K
        box_deltas : Tensor, B N 2D
            Offsets of the centre over the anchor's size, then logarithms of the size over the anchor's.
        """
        levels = self.pyramid(as_encoder(self.encoder).features(x)[self._first_level :])
        detecting = [levels[i] for i in self._detecting]
        return self.class_head(detecting), self.box_head(detecting)
