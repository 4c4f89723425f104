"""The retired YBR_PARTIAL_422: luminance of 16 to 235 and colour differences of 16 to 240 (ITU-R BT.601)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PARTIAL = "YBR_PARTIAL_422"
# Rows: red, green, blue from Y', C_B, C_R (DICOM PS3.3 C.7.6.3.1.2).
_TO_RGB = np.asarray(
    [[1.1644, 0.0, 1.5960], [1.1644, -0.3917, -0.8130], [1.1644, 2.0173, 0.0]],
    dtype=np.float32,
)
_OFFSETS = np.asarray([16.0, 128.0, 128.0], dtype=np.float32)


def rgb_of_partial(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert (Y, X, 3) uint8 of YBR_PARTIAL, colour already at full resolution, to RGB."""
    turned = (samples.astype(np.float32) - _OFFSETS) @ _TO_RGB.T
    return np.clip(np.rint(turned), 0, 255).astype(np.uint8)
