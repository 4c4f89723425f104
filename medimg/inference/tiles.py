"""Windows over a scan: one pass where it fits, else tiles with halos that give the same answer.

A scan is padded at its far ends to a multiple of the network's divisor with zeros (of the normalised scan), as
training pads. A window starts at a multiple of the divisor, so strided layers see the same phase as in one pass; only
its core is kept, and where the halo covers the receptive field and the normalisation is fixed (BatchNorm), the core
equals the whole pass.

Legend: C channels, K outputs, ``*S`` the spatial axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.packaging.manifest import Tiling

DEFAULT_MEMORY_BYTES = 4 << 30
"""What one pass may take. Fixed, not measured: the same scan is cut the same way on every machine."""

_OVERHEAD = 1.5
_UNKNOWN_BYTES_PER_VOXEL = 1024.0

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Window:
    """A part of the padded scan.

    Attributes
    ----------
    start, stop : tuple of int
        What the network sees.
    core : tuple of slice
        The part of the scan that this window answers for.
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]
    core: tuple[slice, ...]

    @property
    def inner(self) -> tuple[slice, ...]:
        """The core in the window's own indices."""
        return tuple(slice(c.start - s, c.stop - s) for c, s in zip(self.core, self.start))


def padded_shape(shape: Sequence[int], divisor: Sequence[int]) -> tuple[int, ...]:
    """Return the shape rounded up to the divisor.

    >>> padded_shape((5, 16), (4, 8))
    (8, 16)
    """
    return tuple(-(-size // step) * step for size, step in zip(shape, divisor))


def pass_bytes(shape: Sequence[int], tiling: Tiling) -> float:
    """Return the estimated memory of one pass over ``shape``."""
    per_voxel = tiling.bytes_per_voxel or _UNKNOWN_BYTES_PER_VOXEL
    return math.prod(padded_shape(shape, tiling.divisor)) * per_voxel * _OVERHEAD


def plan_windows(shape: Sequence[int], tiling: Tiling, memory_bytes: float = DEFAULT_MEMORY_BYTES) -> list[Window]:
    """Cut a scan into windows.

    Parameters
    ----------
    shape : tuple of int
        Spatial shape of the prepared scan, without padding.
    tiling : Tiling
    memory_bytes : float
        One pass is taken where its estimate stays below this.

    Returns
    -------
    list of Window
        Cores partition the scan. One window where one pass fits.

    Raises
    ------
    InputError
        The network must see the scan whole, and that does not fit.
    """
    padded = padded_shape(shape, tiling.divisor)
    needed = pass_bytes(shape, tiling)
    if needed <= memory_bytes:
        return [Window((0,) * len(padded), padded, tuple(slice(0, size) for size in shape))]
    if tiling.mode == "whole" or tiling.tile is None or tiling.halo is None:
        raise InputError(
            "The scan is too large for one pass, and this model is not made for tiles.",
            got=f"{tuple(shape)}, about {needed / 1e9:.1f} GB",
            expected=f"at most {memory_bytes / 1e9:.1f} GB",
            fix="raise memory_bytes if the machine has more, or export the model with tiles",
        )
    axes = [
        _cut(size, whole, tile, halo)
        for size, whole, tile, halo in zip(shape, padded, tiling.tile, tiling.halo, strict=True)
    ]
    return [
        Window(tuple(p[0] for p in parts), tuple(p[1] for p in parts), tuple(p[2] for p in parts))
        for parts in itertools.product(*axes)
    ]


def _cut(size: int, padded: int, tile: int, halo: int) -> list[tuple[int, int, slice]]:
    """Cut one axis into (start, stop, core); windows at the border need no halo there."""
    if padded <= tile:
        return [(0, padded, slice(0, size))]
    parts, done = [], 0
    while done < size:
        start = min(max(0, done - halo), padded - tile)
        stop = start + tile
        end = size if stop >= padded else stop - halo
        parts.append((start, stop, slice(done, end)))
        done = end
    return parts


def run_windows(
    read: Callable[[tuple[slice, ...]], NDArray[np.float32]],
    shape: Sequence[int],
    windows: Sequence[Window],
    run: Callable[[NDArray[np.float32]], Answer],
) -> Iterator[tuple[Window, Answer]]:
    """Pass every window through the network.

    Parameters
    ----------
    read : callable
        Returns the normalised (C, *s) part of the scan for slices within it.
    shape : tuple of int
        Spatial shape of the scan; windows that reach beyond it see zeros.
    windows : sequence of Window
    run : callable
        What to do with a (1, C, *s) window.

    Yields
    ------
    Window and answer, one window at a time
    """
    for window in windows:
        inside = tuple(slice(a, min(b, size)) for a, b, size in zip(window.start, window.stop, shape))
        part = read(inside)
        missing = [(0, b - a - n) for a, b, n in zip(window.start, window.stop, part.shape[1:])]
        if any(after for _, after in missing):
            part = np.pad(part, [(0, 0), *missing])
        yield window, run(np.ascontiguousarray(part[None], dtype=np.float32))
