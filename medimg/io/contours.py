"""Fill closed contours on a pixel grid.

Legend: Y rows, X columns. Coordinates are pixel indices: a pixel's centre is at whole numbers, its borders at
halves.

Conventions: a pixel belongs to a contour where its centre lies inside or on it. Inside is decided by the even-odd
rule over all contours of one region on one plane, so that a contour in another one cuts a hole and a keyhole's
channel, which runs there and back on one line, encloses nothing. 'On' is within 0.01 pixel, which is what writers
that trace pixel centres and round to a few decimals need: without it their borders come out ragged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ON_PIXELS = 0.01


def fill(contours: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels that lie inside or on closed contours.

    Parameters
    ----------
    contours : sequence of (N, 2) ndarray
        (y, x) indices of corners; the last one is joined to the first. They may reach beyond the plane.
    shape : (int, int)
        Y, X of the plane.

    Returns
    -------
    (Y, X) ndarray of bool

    Notes
    -----
    Scan lines: each edge toggles everything to the right of where it crosses a row; rows are half-open along
    the edge, so that a corner between two edges counts once (Foley et al., Computer Graphics, §3.6).
    """
    rows, columns = shape
    toggles = np.zeros((rows, columns + 1), np.uint8)
    on = np.zeros(shape, np.bool_)
    for corners in contours:
        begin, end = corners, np.roll(corners, -1, axis=0)
        _toggle(begin, end, toggles)
        _mark(begin, end, on)
    inside = (np.cumsum(toggles, axis=1, dtype=np.uint32)[:, :columns] & 1).astype(np.bool_)
    return np.asarray(inside | on)


def _toggle(begin: NDArray[np.float64], end: NDArray[np.float64], toggles: NDArray[np.uint8]) -> None:
    rows, columns = toggles.shape[0], toggles.shape[1] - 1
    low, high = np.minimum(begin[:, 0], end[:, 0]), np.maximum(begin[:, 0], end[:, 0])
    first = np.clip(np.ceil(low), 0, rows).astype(np.int64)
    stop = np.clip(np.ceil(high), 0, rows).astype(np.int64)
    edge, row = _spread(first, stop)
    if not len(edge):
        return
    part = (row - begin[edge, 0]) / (end[edge, 0] - begin[edge, 0])
    x = begin[edge, 1] + part * (end[edge, 1] - begin[edge, 1])
    np.add.at(toggles, (row, np.clip(np.ceil(x), 0, columns).astype(np.int64)), np.uint8(1))
    np.bitwise_and(toggles, 1, out=toggles)


def _mark(begin: NDArray[np.float64], end: NDArray[np.float64], on: NDArray[np.bool_]) -> None:
    """Set the pixels whose centre an edge passes within `_ON_PIXELS`, measured along rows and columns."""
    rows, columns = on.shape
    low, high = np.minimum(begin[:, 0], end[:, 0]), np.maximum(begin[:, 0], end[:, 0])
    first = np.clip(np.ceil(low - _ON_PIXELS), 0, rows).astype(np.int64)
    stop = np.clip(np.floor(high + _ON_PIXELS) + 1, 0, rows).astype(np.int64)
    edge, row = _spread(first, stop)
    if not len(edge):
        return
    rise = end[edge, 0] - begin[edge, 0]
    level = rise == 0
    safe = np.where(level, 1.0, rise)
    # The part of the edge that runs within reach of the row's centre line.
    a = np.where(level, 0.0, np.clip((row - _ON_PIXELS - begin[edge, 0]) / safe, 0, 1))
    b = np.where(level, 1.0, np.clip((row + _ON_PIXELS - begin[edge, 0]) / safe, 0, 1))
    run = end[edge, 1] - begin[edge, 1]
    xs = np.sort([begin[edge, 1] + a * run, begin[edge, 1] + b * run], axis=0)
    left = np.clip(np.ceil(xs[0] - _ON_PIXELS), 0, columns).astype(np.int64)
    right = np.clip(np.floor(xs[1] + _ON_PIXELS) + 1, 0, columns).astype(np.int64)
    which, column = _spread(left, right)
    on[row[which], column] = True


def _spread(first: NDArray[np.int64], stop: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return every whole number of every half-open range, with the index of its range."""
    counts = np.maximum(stop - first, 0)
    which = np.repeat(np.arange(len(counts)), counts)
    offset = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return which, first[which] + offset
