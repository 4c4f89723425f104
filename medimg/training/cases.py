"""What training needs to know of a prepared case; the prepared store's cases fit this shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class PreparedCase(Protocol):
    """A case of the prepared store.

    Attributes
    ----------
    case_id : str
        Name for messages.
    image : (C, *S) int16, uint8, uint16 or float32
        Stored values, usually memory-mapped; intensity not yet applied.
    label : (*S) uint8 or uint16, or None
        Class index (multiclass), or bitmask with bit l set where label l is present (multilabel).
    boxes : (N, 2*D) float32, or None
        Lower corner, then upper corner, half-open, in prepared index coordinates.
    box_labels : (N,) int, or None
        Class of every box, from 0.
    classes : mapping of str to float
        Class or grade by target name.
    foreground : mapping of str to (n, D) int32
        Some voxel indices of every label that the case has.
    stats : mapping
        ``mean`` and ``std``: one number a channel, for the z-score.
    """

    @property
    def case_id(self) -> str:
        """Name for messages."""

    @property
    def image(self) -> NDArray[Any]:
        """(C, *S) stored values."""

    @property
    def label(self) -> NDArray[Any] | None:
        """(*S) class index or bitmask."""

    @property
    def boxes(self) -> NDArray[np.float32] | None:
        """(N, 2*D), half-open."""

    @property
    def box_labels(self) -> NDArray[Any] | None:
        """(N,) from 0."""

    @property
    def classes(self) -> Mapping[str, float]:
        """Class or grade by target name."""

    @property
    def foreground(self) -> Mapping[str, NDArray[np.int32]]:
        """(n, D) voxel indices by label."""

    @property
    def stats(self) -> Mapping[str, Any]:
        """``mean`` and ``std``, one number a channel."""
