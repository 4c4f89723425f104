"""Lesions of a mask: connected components with axes, volume, mean, place.

The long axis is the longest distance between two edges of a component within one slice as acquired; the short axis is
the longest one perpendicular to it in that slice (RECIST 1.1, Eisenhauer et al., Eur J Cancer 2009, and the WHO
criteria measure so). Edges lie half a pixel beyond the centres of the outermost pixels.

Legend: Z Y X of a volume, H W of a picture; M points. Points of a slice are (row, column).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from medimg import geometry

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Axis:
    """A line within a slice: its length in the unit of the spacing, its ends as (row, column)."""

    length: float
    ends: Floats


@dataclass(frozen=True, eq=False)
class Lesion:
    """One connected component.

    Attributes
    ----------
    voxels : int
    slice_index : int
        Slice of the long axis; 0 in a picture.
    slices : (int, int)
        First slice, and the one after the last.
    long, short : Axis
        In mm; in pixels where a picture states no spacing.
    centre : tuple of float
        Centre of mass in indices, (z, y, x) or (y, x).
    centre_mm : tuple of float or None
        The same in LPS mm.
    size : float
        Volume in mL; area of a picture in mm² or pixels.
    mean : float or None
        Mean of the image's values there.
    """

    voxels: int
    slice_index: int
    slices: tuple[int, int]
    long: Axis
    short: Axis
    centre: tuple[float, ...]
    centre_mm: tuple[float, float, float] | None
    size: float
    mean: float | None


def lesions_of(
    mask: NDArray[np.bool_],
    values: NDArray[Any] | None,
    affine: Floats,
    *,
    most: int,
    corner: tuple[int, int, int] = (0, 0, 0),
) -> tuple[list[Lesion], int]:
    """Measure the components of a volume's mask, the largest first.

    Parameters
    ----------
    mask : (Z, Y, X) ndarray of bool
        Or a part of the volume's mask that holds all of it.
    values : (Z, Y, X) ndarray or None
        The image, of the same part.
    affine : (4, 4) ndarray
        zyx indices of the volume to LPS mm; slices may be sheared against each other.
    most : int
        Only as many are measured.
    corner : tuple of int
        Where the part begins in the volume.

    Returns
    -------
    lesions : list of Lesion
        In indices of the volume.
    count : int
        Components in all, connected over faces, edges and corners.
    """
    where = _bounds(mask)
    if where is None:
        return [], 0
    import cc3d

    components = cc3d.connected_components(np.ascontiguousarray(mask[where]).astype(np.uint8), connectivity=26)
    statistics = cc3d.statistics(components)
    sizes = np.asarray(statistics["voxel_counts"])[1:].astype(np.int64)
    start = np.asarray(corner) + [side.start for side in where]
    found = []
    for number in np.argsort(-sizes, kind="stable")[:most] + 1:
        box = statistics["bounding_boxes"][number]
        first = start + [side.start for side in box]
        inside = components[box] == number
        lesion = _volume_lesion(inside, first, start + statistics["centroids"][number], affine)
        found.append(lesion if values is None else replace(lesion, mean=_mean(values[where][box], inside)))
    return found, len(sizes)


def _mean(values: NDArray[Any], inside: NDArray[np.bool_]) -> float:
    return float(np.mean(values[inside], dtype=np.float64))


def _volume_lesion(inside: NDArray[np.bool_], corner: NDArray[np.int64], centre: Floats, affine: Floats) -> Lesion:
    _, rows_mm, columns_mm = geometry.spacing_mm(affine)
    z, (long, short) = 0, _no_axes()
    for index, plane in enumerate(inside):
        axes = axes_of(plane, (rows_mm, columns_mm))
        if axes is not None and axes[0].length > long.length:
            z, (long, short) = index, axes
    voxels = int(np.count_nonzero(inside))
    x_mm, y_mm, z_mm = (float(v) for v in geometry.apply(affine, centre))
    return Lesion(
        voxels=voxels,
        slice_index=int(corner[0]) + z,
        slices=(int(corner[0]), int(corner[0]) + len(inside)),
        long=_moved(long, corner[1:]),
        short=_moved(short, corner[1:]),
        centre=tuple(float(v) for v in centre),
        centre_mm=(x_mm, y_mm, z_mm),
        size=voxels * abs(float(np.linalg.det(affine[:3, :3]))) / 1000.0,
        mean=None,
    )


def picture_lesions(
    mask: NDArray[np.bool_], spacing_mm: tuple[float, float] | None, *, most: int
) -> tuple[list[Lesion], int]:
    """Measure the components of a picture's mask (H, W), the largest first; returns them and their count.

    Lengths are in mm and areas in mm² where there is a spacing, else in pixels.
    """
    if not mask.any():
        return [], 0
    import cc3d

    components = cc3d.connected_components(np.ascontiguousarray(mask).astype(np.uint8), connectivity=8)
    sizes = np.bincount(components.ravel())[1:]
    order = np.argsort(-sizes, kind="stable")[:most] + 1
    unit = spacing_mm or (1.0, 1.0)
    found = []
    for number in order:
        inside = components == number
        axes = axes_of(inside, unit)
        long, short = axes if axes is not None else _no_axes()
        y, x = (float(line.mean()) for line in np.nonzero(inside))
        voxels = int(sizes[number - 1])
        found.append(Lesion(voxels, 0, (0, 1), long, short, (y, x), None, voxels * unit[0] * unit[1], None))
    return found, len(sizes)


def axes_of(plane: NDArray[np.bool_], spacing: tuple[float, float]) -> tuple[Axis, Axis] | None:
    """Return the long and the short axis of the set pixels of a plane (Y, X); None where nothing is set."""
    rows = np.flatnonzero(plane.any(axis=1))
    if not len(rows):
        return None
    first = plane[rows].argmax(axis=1).astype(np.float64)
    last = plane.shape[1] - 1 - plane[rows, ::-1].argmax(axis=1).astype(np.float64)
    line = rows.astype(np.float64)
    # Middles of the outer edges of each row's first and last pixel: the hull of these is the outline's.
    points = np.concatenate(
        [
            np.stack([line, first - 0.5], axis=1),
            np.stack([line, last + 0.5], axis=1),
            *(np.stack([line + side, column], axis=1) for side in (-0.5, 0.5) for column in (first, last)),
        ]
    )
    scaled = points * spacing
    hull = ConvexHull(scaled).vertices
    corners, pixels = scaled[hull], points[hull]
    gaps = np.linalg.norm(corners[:, None] - corners[None], axis=2)
    a, b = np.unravel_index(int(gaps.argmax()), gaps.shape)
    long = Axis(float(gaps[a, b]), pixels[[a, b]])
    return long, _perpendicular(corners, corners[b] - corners[a], np.asarray(spacing))


def _perpendicular(corners: Floats, direction: Floats, spacing: Floats) -> Axis:
    """Return the longest chord of a convex outline (M, 2) across a direction; it passes through a corner."""
    along = direction / np.linalg.norm(direction)
    turned = np.column_stack([corners @ along, corners @ np.asarray([-along[1], along[0]])])
    u, v = turned.T
    left, right = int(u.argmin()), int(u.argmax())
    ring = np.arange(len(u))
    upper = np.roll(ring, -left)[: (right - left) % len(u) + 1]
    lower = np.roll(ring, -right)[: (left - right) % len(u) + 1][::-1]
    chords = [np.interp(u, u[side], v[side]) for side in (upper, lower)]
    best = int(np.abs(chords[0] - chords[1]).argmax())
    ends = np.asarray([[u[best], chord[best]] for chord in chords])
    back = np.column_stack([along, [-along[1], along[0]]])
    return Axis(float(np.abs(ends[0, 1] - ends[1, 1])), (ends @ back.T) / spacing)


def _moved(axis: Axis, corner: NDArray[np.int64]) -> Axis:
    return Axis(axis.length, axis.ends + corner)


def _no_axes() -> tuple[Axis, Axis]:
    nothing = Axis(0.0, np.zeros((2, 2)))
    return nothing, nothing


def _bounds(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice] | None:
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(slices):
        return None
    flat: NDArray[np.bool_] = np.any(mask[slices[0] : slices[-1] + 1], axis=0)
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    z, y, x = (slice(int(line[0]), int(line[-1]) + 1) for line in (slices, rows, columns))
    return z, y, x
