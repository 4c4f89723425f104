"""Feature pyramid over any encoder with feature levels (Lin et al., "Feature pyramid networks", CVPR 2017).

Legend: B batch, C channels, ``*S`` the spatial axes, (Z, Y, X) or (Y, X); levels go from fine to coarse.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

_CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class FeaturePyramid(nn.Module):
    """Give every level the context of the coarser ones and a common width.

    Only batch normalisation is used, which is fixed at inference.

    Parameters
    ----------
    dims : {2, 3}
        Spatial dimensions.
    in_channels : sequence of int
        Width of every incoming level, the finest first.
    strides : sequence of sequence of int
        Total stride of every level per axis; each a multiple of the one before.
    out_channels : int
        Width of every outgoing level.
    """

    def __init__(
        self, dims: int, in_channels: Sequence[int], strides: Sequence[Sequence[int]], out_channels: int
    ) -> None:
        super().__init__()
        self.steps = [
            tuple(float(coarse // fine) for fine, coarse in zip(strides[i], strides[i + 1], strict=True))
            for i in range(len(strides) - 1)
        ]
        self.lateral = nn.ModuleList(_convolve(dims, width, out_channels, 1) for width in in_channels)
        self.output = nn.ModuleList(_convolve(dims, out_channels, out_channels, 3) for _ in in_channels)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Map levels B C_i *S_i to as many levels B out_channels *S_i."""
        joined = [lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)]
        for i in reversed(range(len(self.steps))):
            coarser = functional.interpolate(joined[i + 1], scale_factor=list(self.steps[i]), mode="nearest")
            joined[i] = joined[i] + coarser
        return [self.activation(output(level)) for output, level in zip(self.output, joined, strict=True)]


def _convolve(dims: int, c_in: int, c_out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(_CONV[dims](c_in, c_out, kernel, padding=kernel // 2, bias=False), _NORM[dims](c_out))
