"""What was measured of a prediction, and where the slices of its source lie in the volume.

Legend: Z Y X of the volume; R rows and K columns of a source slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.inference.prediction import Box
from medimg.pacs.results.measure import Lesion
from medimg.pacs.results.planes import Spot, on_planes

MOST_LESIONS = 50
"""Components of a label that are measured, and boxes that are reported: the largest, and the most certain."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of a prediction.

    Attributes
    ----------
    lesions : dict of str to (list of Lesion, int)
        By label: the measured components and how many there are in all.
    places : sequence of Spot or None
        Where the source's slices lie in the volume; None for a picture.
    unit : str
        Of the volume's values.
    spacing_mm : tuple or None
        Of a picture.
    """

    lesions: dict[str, tuple[list[Lesion], int]] = field(default_factory=dict)
    places: Sequence[Spot] | None = None
    unit: str = "arbitrary"
    spacing_mm: tuple[float, ...] | None = None
    shape: tuple[int, int] = (0, 0)
    fullest: dict[str, int] = field(default_factory=dict)

    @property
    def scale(self) -> str:
        """What lengths and sizes are in: ``volume``, ``mm`` or ``pixels``."""
        return "volume" if self.places is not None else "pixels" if self.spacing_mm is None else "mm"

    def slice_of(self, index: int) -> tuple[int, tuple[int, int]]:
        """Return the source slice nearest to a slice of the volume, and where its first pixel lies."""
        if self.places is None:
            return 0, (0, 0)
        best = min(range(len(self.places)), key=lambda n: abs(self.places[n].z - index) if self.places else 0)
        return best, (self.places[best].y, self.places[best].x)

    def label_plane(self, labels: NDArray[Any], index: int) -> NDArray[Any]:
        """Return the labels (R, K) on a source slice."""
        if self.places is None:
            return labels
        return np.asarray(on_planes(labels, [self.places[index]], self.shape)[0])


def box_corners(box: Box, measured: Measured, index: int) -> NDArray[np.float64] | None:
    """Return a box's closed outline (5, 2) as (row, column) on a source slice; None where it does not cross it."""
    dims = len(box.box) // 2
    (y0, x0), (y1, x1) = box.box[dims - 2 : dims], box.box[2 * dims - 2 :]
    shift = (0, 0)
    if measured.places is not None:
        spot = measured.places[index]
        if not box.box[0] <= spot.z + 0.5 < box.box[3]:
            return None
        shift = (spot.y, spot.x)
    return np.asarray([[y0, x0], [y0, x1], [y1, x1], [y1, x0], [y0, x0]]) - 0.5 - np.asarray(shift)
