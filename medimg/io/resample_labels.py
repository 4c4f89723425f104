"""Bring a segmentation from its own grid onto another one by nearest neighbour.

Legend: Z Y X of a volume. Labels are never averaged: a voxel takes what lies at its centre.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from medimg import geometry
from medimg.io.findings import Finding
from medimg.io.segmentation import Piece, Segmentation

_Box = tuple[tuple[int, int], ...]


def resampled(segmentation: Segmentation, shape_zyx: tuple[int, ...], affine: NDArray[np.float64]) -> Segmentation:
    """Return a segmentation on another grid.

    Parameters
    ----------
    segmentation : Segmentation
        On a volume grid (with an affine).
    shape_zyx : (int, int, int)
    affine : (4, 4) ndarray
        zyx indices to LPS mm of the wanted grid.

    Returns
    -------
    Segmentation
        With a finding RESAMPLED, and OUTSIDE_IMAGE where set voxels have their centre outside the wanted grid.
    """
    own = segmentation.affine if segmentation.affine is not None else np.eye(4)
    to_own = geometry.inverse(own) @ affine
    pieces, outside = [], 0
    for number in sorted({piece.segment for piece in segmentation.pieces}):
        of_segment = [piece for piece in segmentation.pieces if piece.segment == number]
        block, corner = _block(of_segment)
        outside += _outside(block, corner, geometry.inverse(to_own), shape_zyx)
        piece = _moved(number, block, corner, to_own, shape_zyx)
        if piece is not None:
            pieces.append(piece)
    file = str(segmentation.source.paths[0]) if segmentation.source.paths else None
    text = "The segmentation lay on another grid; it was brought onto the image's by nearest neighbour."
    findings = [*segmentation.findings, Finding("RESAMPLED", "warning", text, file=file, assumed="nearest neighbour")]
    if outside:
        text = "Parts of the segmentation lie outside the image; they were left out."
        findings.append(Finding("OUTSIDE_IMAGE", "warning", text, file=file, value=f"{outside} voxels"))
    return dataclasses.replace(
        segmentation, shape=shape_zyx, affine=affine, pieces=tuple(pieces), findings=tuple(findings)
    )


def _block(pieces: Sequence[Piece]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the pieces drawn into the smallest box around them, and the box's first index."""
    boxes = [_bounds(piece.index) for piece in pieces]
    low = np.min([[side[0] for side in box] for box in boxes], axis=0)
    high = np.max([[side[1] for side in box] for box in boxes], axis=0)
    block = np.zeros(high - low, np.result_type(*{piece.pixels.dtype for piece in pieces}))
    for piece, box in zip(pieces, boxes, strict=True):
        view = block[tuple(slice(begin - first, end - first) for (begin, end), first in zip(box, low, strict=True))]
        np.maximum(view, piece.pixels.reshape(view.shape), out=view)
    return block, low


def _bounds(index: tuple[int | slice, ...]) -> _Box:
    return tuple((part.start, part.stop) if isinstance(part, slice) else (part, part + 1) for part in index)


def _outside(
    block: NDArray[Any], corner: NDArray[np.int64], to_new: NDArray[np.float64], shape_zyx: tuple[int, ...]
) -> int:
    at = geometry.apply(to_new, np.argwhere(block) + corner)
    return int(((at < -0.5) | (at > np.asarray(shape_zyx) - 0.5)).any(axis=1).sum())


def _moved(
    number: int,
    block: NDArray[Any],
    corner: NDArray[np.int64],
    to_own: NDArray[np.float64],
    shape_zyx: tuple[int, ...],
) -> Piece | None:
    sides = [(first - 0.5, first + size - 0.5) for first, size in zip(corner, block.shape, strict=True)]
    reach = geometry.apply(geometry.inverse(to_own), list(itertools.product(*sides)))
    low = np.maximum(np.floor(reach.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(reach.max(axis=0)) + 1, shape_zyx).astype(int)
    if (high <= low).any():
        return None
    # One voxel of background all around: scipy cuts at the outermost centres, half a voxel too early.
    padded = np.pad(block, 1)
    offset = geometry.apply(to_own, low) - corner + 1
    moved = affine_transform(
        padded, to_own[:3, :3], offset, output_shape=tuple(high - low), order=0, mode="constant", cval=0
    )
    index = tuple(slice(int(begin), int(end)) for begin, end in zip(low, high, strict=True))
    return Piece(number, index, moved) if moved.any() else None
