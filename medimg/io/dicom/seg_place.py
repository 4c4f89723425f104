"""Where the frames of a segmentation go: into the image's grid, into their own, or onto a picture.

Legend: Z Y X of a grid, R rows and K columns of a frame. A fit turns the pixels of one frame into an index of the
result, the pixels for it, and how many set ones lie outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg import geometry
from medimg.errors import InputError
from medimg.io.dicom.derived import instance_index
from medimg.io.dicom.seg_header import SegFrame, SegHeader
from medimg.io.findings import Finding
from medimg.io.image import Picture, Volume
from medimg.io.plane_grid import Placement, explain, own_grid, place

Index = tuple[int | slice, ...]
Fit = Callable[[NDArray[Any]], tuple[Index, NDArray[Any], int]]

# A placement that is off by more than this part of a voxel is worth a word.
_ROUNDED_VOXELS = 0.02


@dataclass(frozen=True, eq=False)
class Grid:
    """Where a result lies; ``affine`` is None on a picture."""

    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None


def target(
    header: SegHeader, chosen: SegHeader, like: Volume | Picture | None, path: Path, findings: list[Finding]
) -> tuple[Grid, list[Fit] | None]:
    """Return the wanted grid and, for every frame, how it goes there; None where a frame is off the grid."""
    if like is None:
        return own(header, chosen, path)
    if isinstance(like, Picture):
        return _on_picture(chosen, like, path)
    grid = Grid(like.shape_zyx, like.affine)
    if any(frame.plane is None for frame in chosen.frames):
        return grid, _by_reference(chosen, like, path)
    placements = _placements(chosen.frames, like.affine)
    if placements is None:
        return grid, None
    worst = max((placement.error_voxels for placement in placements), default=0.0)
    if worst > _ROUNDED_VOXELS:
        text = "The frames lie slightly beside the voxels; each was put onto the nearest slice and pixel."
        findings.append(Finding("GRID_ROUNDED", "info", text, file=str(path), value=f"{worst:.3f} voxels"))
    return grid, [partial(_fit, placement, grid.shape) for placement in placements]


def _placements(frames: Sequence[SegFrame], affine: NDArray[np.float64]) -> list[Placement] | None:
    to_index = geometry.inverse(affine)
    found = [None if frame.plane is None else place(frame.plane, to_index) for frame in frames]
    kept = [placement for placement in found if placement is not None]
    return kept if len(kept) == len(found) else None


def _fit(placement: Placement, shape: tuple[int, ...], pixels: NDArray[Any]) -> tuple[Index, NDArray[Any], int]:
    return placement.fit(pixels, shape)


def _fit_whole(index: Index, pixels: NDArray[Any]) -> tuple[Index, NDArray[Any], int]:
    return index, pixels, 0


def own(header: SegHeader, chosen: SegHeader, path: Path) -> tuple[Grid, list[Fit]]:
    """Return the grid that all frames of a file lie on, and how the chosen ones go there.

    Raises
    ------
    InputError
        Frames without a position, or not on one regular grid.
    """
    planes = [frame.plane for frame in header.frames if frame.plane is not None]
    if not planes or len(planes) < len(header.frames):
        raise InputError(
            "The segmentation does not say where its frames lie.",
            where=path,
            got="PlanePositionSequence (0020,9113), PlaneOrientationSequence or PixelMeasuresSequence absent",
            fix="read it onto its image: read_segmentation(path, like=image)",
        )
    shape, affine = own_grid(planes, header.spacing_mm, header.thickness_mm, where=path)
    placements = _placements(chosen.frames, affine)
    if placements is None:
        raise InputError("The frames do not lie on one regular grid.", where=path)
    return Grid(shape, affine), [partial(_fit, placement, shape) for placement in placements]


def _on_picture(chosen: SegHeader, like: Picture, path: Path) -> tuple[Grid, list[Fit] | None]:
    size = (like.array.shape[0], like.array.shape[1])
    if chosen.shape != size:
        text = "The segmentation has another size than its picture."
        raise InputError(text, where=path, got=chosen.shape, expected=size)
    whole = (slice(0, size[0]), slice(0, size[1]))
    return Grid(size, None), [partial(_fit_whole, whole)] * len(chosen.frames)


def _by_reference(chosen: SegHeader, like: Volume, path: Path) -> list[Fit] | None:
    """Place frames that state no position on the slices that they were made from."""
    index = instance_index(like)
    fits: list[Fit] = []
    for frame in chosen.frames:
        slices = {index[uid] for uid in frame.sources if uid in index}
        if len(slices) != 1 or chosen.shape != like.shape_zyx[1:]:
            raise InputError(
                "The segmentation does not say where its frames lie.",
                where=path,
                got=f"frame {frame.index + 1} has neither a plane position nor one source slice of its size",
                expected="PlanePositionSequence (0020,9113), or SourceImageSequence (0008,2112)",
            )
        where = (slices.pop(), slice(0, chosen.shape[0]), slice(0, chosen.shape[1]))
        fits.append(partial(_fit_whole, where))
    return fits


def off_grid_error(chosen: SegHeader, grid: Grid, path: Path) -> InputError:
    """Return the error that says how the first frame off the grid misses it."""
    affine = grid.affine if grid.affine is not None else np.eye(4)
    to_index = geometry.inverse(affine)
    first = next(frame for frame in chosen.frames if frame.plane is not None and place(frame.plane, to_index) is None)
    return InputError(
        "The segmentation does not lie on the voxels of the image.",
        where=path,
        got=f"frame {first.index + 1}: {explain(first.plane, affine) if first.plane is not None else ''}",
        expected="frames on the image's own slices and pixels",
        fix="pass off_grid='nearest' to resample it by nearest neighbour, or pair it with its own series",
    )
