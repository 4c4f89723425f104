"""The grid that the CT phantom is drawn on.

Legend: Z slices, Y rows, X columns; coordinates in LPS millimetres from the middle of the field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Coordinates of the voxel centres, shaped (Z, 1, 1), (1, Y, 1) and (1, 1, X) so that they broadcast."""

    z: Floats
    y: Floats
    x: Floats
    spacing_mm: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of slices, rows and columns."""
        return self.z.size, self.y.size, self.x.size

    def ellipsoid(self, centre_xyz: Sequence[float], axes_xyz: Sequence[float]) -> Floats:
        """Return the approximate signed distance in mm from an ellipsoid, negative inside."""
        (a, b, c), (x, y, z) = axes_xyz, centre_xyz
        q = np.sqrt(((self.x - x) / a) ** 2 + ((self.y - y) / b) ** 2 + ((self.z - z) / c) ** 2)
        return np.asarray((q - 1) * min(axes_xyz))


def make_grid(slices: int, columns: int, spacing_mm: tuple[float, float, float]) -> Grid:
    """Return a grid of square slices round the origin; ``spacing_mm`` is along Z, Y, X."""
    z: Floats = (np.arange(slices, dtype=np.float64) - (slices - 1) / 2) * spacing_mm[0]
    x: Floats = (np.arange(columns, dtype=np.float64) - (columns - 1) / 2) * spacing_mm[2]
    return Grid(z[:, None, None], x[None, :, None], x[None, None, :], spacing_mm)
