"""Classifier of small volumes by three planes through their centre, on a picture encoder with pretrained weights.

Multi-view ("2.5-D") networks carry what pictures taught over to volumes that are too few to learn from alone (Setio
et al., "Pulmonary nodule detection in CT images: false positive reduction using multi-view convolutional networks",
IEEE TMI 2016).

Legend: B batch, C channels, K outputs, P planes, Z Y X the axes of the volume.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from medimg.errors import ConfigError
from medimg.models.classifier2d import Classifier2d, Pooling

_COLOURS = 3
_PLANES = 3


class PlaneClassifier(Classifier2d):
    """EfficientNet-Lite0 over the axial, coronal and sagittal plane through the middle of a cube.

    Each plane is the mean of the two middle slices, enlarged bilinearly; the features of the three planes are
    averaged before the linear output. One channel is shown in all three colours; of two channels the first takes
    two colours, so that a drawn outline is the third.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the volume, 1 to 3; outputs (classes, or thresholds of an ordinal grade).
    zoom : int
        Enlargement of a plane before the encoder, whose features are 32 pixels apart.
    pooling, levels, standardise, dropout, frozen_stride, severity
        See `Classifier2d`.

    Raises
    ------
    ConfigError
        More than three channels, or a zoom below 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        zoom: int = 4,
        pooling: Pooling = "average",
        levels: Sequence[int] = (),
        standardise: bool = True,
        dropout: float = 0.2,
        frozen_stride: int = 0,
        severity: bool = False,
    ) -> None:
        if not 1 <= in_channels <= _COLOURS or zoom < 1:
            raise ConfigError(
                "the planes of a volume are shown in three colours",
                where="model",
                got={"in_channels": in_channels, "zoom": zoom},
                expected="1 to 3 channels and a zoom of at least 1",
            )
        super().__init__(
            out_channels=out_channels,
            pooling=pooling,
            levels=levels,
            standardise=standardise,
            dropout=dropout,
            frozen_stride=frozen_stride,
            severity=severity,
        )
        self.colours = [min(max(0, colour + in_channels - _COLOURS), in_channels - 1) for colour in range(_COLOURS)]
        self.zoom = zoom
        self.divisor = (2, 2, 2)

    def views(self, x: Tensor) -> list[Tensor]:
        """Return the axial, coronal and sagittal plane of B C Z Y X as pictures B 3 S S; Z, Y, X are equal and even."""
        middle = x.shape[-1] // 2
        near = slice(middle - 1, middle + 1)
        planes = (x[:, :, near].mean(2), x[:, :, :, near].mean(3), x[..., near].mean(4))
        return [
            functional.interpolate(
                plane[:, self.colours], scale_factor=float(self.zoom), mode="bilinear", align_corners=False
            )
            for plane in planes
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits B K for x of B C Z Y X.

        Raises
        ------
        ConfigError
            The volume is no cube, or its enlarged side is not a multiple of 32.
        """
        if not torch.onnx.is_in_onnx_export() and len({int(side) for side in x.shape[2:]}) != 1:
            raise ConfigError(
                "the three planes need a cube", where="network input (Z, Y, X)", got=tuple(x.shape[2:]),
                fix="set plan.size_zyx to three equal sides",
            )  # fmt: skip
        first, second, third = (self.pooled(view).float() for view in self.views(x))
        logits: Tensor = self.output(self.dropout(self.standardise((first + second + third) / _PLANES)))
        return logits
