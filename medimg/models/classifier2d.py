"""Picture classifier over the EfficientNet-Lite0 encoder, with pooling that keeps small lesions visible.

Shape legend: B batch, C channels, K outputs, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from medimg.errors import ConfigError, nearest
from medimg.models.efficientnet_lite import LEVEL_STRIDES, EfficientNetLite0, check_multiple

_SLOW_MOMENTUM = 0.05
_THRESHOLD_STEP = 30.0
Pooling = Literal["average", "max", "average_max", "gem"]


class Pool(nn.Module):
    """Reduce B C Y X to one vector a picture.

    Parameters
    ----------
    kind : {"average", "max", "average_max", "gem"}
        ``gem`` is the generalised mean ``mean(x ** p) ** (1 / p)`` of non-negative features with a learned
        exponent (Radenovic et al., 2019): between the average and the maximum. ``average_max`` joins both.
    """

    def __init__(self, kind: Pooling) -> None:
        super().__init__()
        if kind not in get_args(Pooling):
            hint = nearest(kind, get_args(Pooling))
            raise ConfigError("unknown pooling", where="pooling", got=kind, expected=hint)
        self.kind = kind
        self.widening = 2 if kind == "average_max" else 1
        self.exponent = nn.Parameter(torch.tensor(3.0)) if kind == "gem" else None

    def forward(self, x: Tensor) -> Tensor:
        """Map B C Y X to B widening*C."""
        if self.exponent is not None:
            powered = x.float().clamp(min=1e-4).pow(self.exponent)
            return powered.mean(dim=(2, 3)).pow(1.0 / self.exponent)
        parts = []
        if self.kind != "max":
            parts.append(x.mean(dim=(2, 3)))
        if self.kind != "average":
            parts.append(x.amax(dim=(2, 3)))
        return torch.cat(parts, dim=1)


class Severity(nn.Module):
    """B F to B K: one weighted sum, shifted by K learned thresholds."""

    def __init__(self, features: int, thresholds: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, features))
        self.thresholds = nn.Parameter(torch.zeros(thresholds))

    def forward(self, x: Tensor) -> Tensor:
        """Return cumulative logits B K."""
        # A threshold is one number beside a sum of many that move together: its steps are made longer.
        logits: Tensor = functional.linear(x, self.weight) + _THRESHOLD_STEP * self.thresholds
        return logits


class Classifier2d(nn.Module):
    """EfficientNet-Lite0 with a linear output.

    ``net.encoder.load_pretrained()`` fills the encoder with ImageNet weights.

    Parameters
    ----------
    out_channels : int
        Logits per picture, K (for ordinal grades 0..K: K cumulative logits).
    in_channels : int
        Channels of the picture.
    pooling : {"average", "max", "average_max", "gem"}
        How each map becomes a vector.
    levels : sequence of int
        Strides of further feature levels, of 2, 4, 8, 16, 32, pooled beside the encoder's last map.
    standardise : bool
        Bring every pooled feature to zero mean and unit variance (batch statistics while training, fixed at
        inference). Pretrained features differ widely in size, so the linear output learns faster and weight
        decay acts evenly. Training batches then need two or more pictures.
    dropout : float
        Dropout before the linear output.
    momentum : float
        Momentum of the batch normalisations' running statistics.
    frozen_stride : int
        The encoder's levels up to this stride keep their pretrained weights (see `EfficientNetLite0`).
    severity : bool
        Ordinal grades: one severity with a threshold for each cumulative logit instead of a linear map each, so that
        every grade teaches the same direction and the answers never contradict each other (Cao, Mirjalili, Raschka,
        "Rank consistent ordinal regression for neural networks", Pattern Recognition Letters 2020).

    Raises
    ------
    ConfigError
        Unknown pooling or level.
    """

    def __init__(
        self,
        *,
        out_channels: int,
        in_channels: int = 3,
        pooling: Pooling = "average",
        levels: Sequence[int] = (),
        standardise: bool = True,
        dropout: float = 0.2,
        momentum: float = 0.1,
        frozen_stride: int = 0,
        severity: bool = False,
    ) -> None:
        super().__init__()
        unknown = [stride for stride in levels if stride not in LEVEL_STRIDES]
        if unknown:
            raise ConfigError("unknown feature level", where="levels", got=unknown, expected=list(LEVEL_STRIDES))
        self.encoder = EfficientNetLite0(in_channels=in_channels, momentum=momentum, frozen_stride=frozen_stride)
        self.levels = tuple(LEVEL_STRIDES.index(stride) for stride in levels)
        widths = [self.encoder.head_channels, *(self.encoder.channels[level] for level in self.levels)]
        self.pools = nn.ModuleList(Pool(pooling) for _ in widths)
        # Projected features are signed and of unequal size between levels: normalise before they are joined.
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.dropout = nn.Dropout(dropout)
        pooled_width = sum(widths) * Pool(pooling).widening
        self.standardise: nn.Module = (
            nn.BatchNorm1d(pooled_width, affine=False, momentum=min(momentum, _SLOW_MOMENTUM))
            if standardise
            else nn.Identity()
        )
        self.output: nn.Module = (
            Severity(pooled_width, out_channels) if severity else nn.Linear(pooled_width, out_channels)
        )
        # From nothing: over a thousand features, a random start would outweigh what few pictures teach.
        for parameter in self.output.parameters():
            nn.init.zeros_(parameter)

    def pooled(self, x: Tensor) -> Tensor:
        """Return the joined vector before standardisation and the linear output, B F."""
        check_multiple(x)
        features = self.encoder.features(x)
        maps = [self.encoder.head_features(features[-1])]
        maps += [torch.relu(norm(features[level])) for level, norm in zip(self.levels, self.norms, strict=True)]
        return torch.cat([pool(each) for pool, each in zip(self.pools, maps, strict=True)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of every picture.

        Parameters
        ----------
        x : Tensor, B C Y X
            Picture scaled by the encoder's `INPUT_MEAN` and `INPUT_STD`; Y and X multiples of 32.

        Returns
        -------
        Tensor, B K

        Raises
        ------
        ConfigError
            Y or X is not a multiple of 32.
        """
        logits: Tensor = self.output(self.dropout(self.standardise(self.pooled(x).float())))
        return logits
