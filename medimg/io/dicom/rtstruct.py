"""Read a DICOM RT structure set onto the grid of its image: contours become masks.

Legend: Z Y X of the image. Contour points are LPS mm; `medimg.io.contours` states which voxels a contour takes.
A region is filled plane by plane; nothing is filled in between planes. A contour may lie 0.1 of a slice gap
beside its slice, or half of one where it names that slice as the one it was drawn on (with a finding).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medimg import geometry
from medimg.errors import InputError
from medimg.io.contours import fill
from medimg.io.dicom import rtstruct_header as header
from medimg.io.dicom.derived import check_belongs, choose, damaged, instance_index, source_of
from medimg.io.dicom.headers import PYDICOM_ERRORS, Header, quietly
from medimg.io.dicom.rtstruct_header import Contour
from medimg.io.dicom.seg import OffGrid
from medimg.io.findings import Finding
from medimg.io.image import Picture, Volume
from medimg.io.segmentation import Piece, Segmentation

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# A contour may lie this far beside a slice, and leave its plane by as much, in voxels.
_BESIDE = 0.1


@dataclass
class _Tally:
    """What could not be drawn as it stands, counted over all contours."""

    moved: list[float] = field(default_factory=list)
    unproven: int = 0
    turned: int = 0
    outside: int = 0
    clipped: int = 0
    open_or_point: int = 0
    degenerate: int = 0
    doubled: int = 0
    mismatched: int = 0


def read_rtstruct(
    dataset: Dataset,
    file: Header,
    like: Volume | Picture | None,
    *,
    segments: Collection[str | int] | None = None,
    off_grid: OffGrid = "error",
    check_references: bool = True,
) -> Segmentation:
    """Read an RTSTRUCT that is open already; `medimg.io.mask.read_segmentation` says what the parameters mean.

    Raises
    ------
    InputError
        No image to draw on, damaged, made on other images, or contours that do not lie on its slices.
    """
    path = file.path
    if not isinstance(like, Volume):
        raise InputError(
            "Contours become a mask only on the grid of their image.",
            where=path,
            got="a picture" if like is not None else "no image",
            fix="pass the volume that they were drawn on: read_segmentation(path, like=volume)",
        )
    try:
        with quietly():
            every, frames = header.regions(dataset, path)
            regions = choose(every, segments, path)
            contours = list(header.contours(dataset, {region.number for region in regions}))
            references = header.references(dataset, contours, {frames[region.number] for region in regions}, path)
    except PYDICOM_ERRORS as error:
        raise damaged(path, error) from error
    findings = check_belongs(references, like, path, check_references=check_references)
    tally = _Tally()
    pieces = _draw(contours, like, tally)
    findings += _report(tally, off_grid, path) + _gaps(pieces, path)
    return Segmentation(
        segments=regions,
        kind="contours",
        shape=like.shape_zyx,
        affine=like.affine,
        pieces=tuple(pieces),
        frame_of_reference_uid=references.frame_of_reference,
        source=source_of(file, "RTSTRUCT"),
        findings=tuple(findings),
    )


def _draw(contours: Sequence[Contour], like: Volume, tally: _Tally) -> list[Piece]:
    to_index = geometry.inverse(like.affine)
    closed = [(contour, geometry.apply(to_index, contour.points_mm)) for contour in _closed(contours, tally)]
    axis = _stacking_axis([points for _, points in closed])
    slice_of = instance_index(like) if axis == 0 else {}
    planes: dict[tuple[int, int], list[NDArray[np.float64]]] = {}
    for contour, points in closed:
        named = {slice_of[uid] for uid in contour.sources if uid in slice_of}
        at = _plane_of(points, axis, like.shape_zyx, named, tally)
        if at is None:
            continue
        tally.mismatched += bool(named) and at not in named
        flat = np.delete(points, axis, axis=1)
        same = planes.setdefault((contour.region, at), [])
        if any(flat.shape == other.shape and np.array_equal(flat, other) for other in same):
            # Even-odd would make nothing of a contour that is there twice.
            tally.doubled += 1
        else:
            same.append(flat)
    return [piece for (region, at), same in planes.items() if (piece := _filled(region, at, axis, same, like, tally))]


def _closed(contours: Sequence[Contour], tally: _Tally) -> Iterator[Contour]:
    for contour in contours:
        if contour.kind not in _CLOSED:
            tally.open_or_point += 1
        elif len(contour.points_mm) < 3:
            tally.degenerate += 1
        else:
            yield contour


def _stacking_axis(contours: Sequence[NDArray[np.float64]]) -> int:
    """Return the grid axis that most contours are perpendicular to; Z where it is undecided."""
    flat = np.zeros(3, np.int64)
    for points in contours:
        flat += np.ptp(points, axis=0) <= _BESIDE
    return int(flat.argmax())


def _plane_of(
    points: NDArray[np.float64], axis: int, shape_zyx: tuple[int, ...], named: set[int], tally: _Tally
) -> int | None:
    along = points[:, axis]
    if np.ptp(along) > 2 * _BESIDE:
        tally.turned += 1
        return None
    middle = float(along.mean())
    at = round(middle)
    if not 0 <= at < shape_zyx[axis]:
        tally.outside += 1
        return None
    if abs(middle - at) > _BESIDE:
        # A contour that names the slice it was drawn on may have had its position rounded.
        tally.moved.append(abs(middle - at))
        tally.unproven += at not in named
    return at


def _filled(
    region: int, at: int, axis: int, contours: Sequence[NDArray[np.float64]], like: Volume, tally: _Tally
) -> Piece | None:
    sides = [side for n, side in enumerate(like.shape_zyx) if n != axis]
    points = np.concatenate(contours)
    tally.clipped += bool((points < -0.5).any() or (points > np.asarray(sides) - 0.5).any())
    low = np.clip(np.floor(points.min(axis=0)), 0, sides).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)) + 1, low, sides).astype(int)
    pixels = fill([contour - low for contour in contours], (int(high[0] - low[0]), int(high[1] - low[1])))
    if not pixels.any():
        return None
    index: list[int | slice] = [slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))]
    index.insert(axis, at)
    return Piece(region, tuple(index), pixels)


def _report(tally: _Tally, off_grid: OffGrid, path: Path) -> list[Finding]:
    """Turn the tally into findings, or into an error where contours do not lie on the image's slices."""
    file, found = str(path), []
    if off_grid == "error" and (tally.unproven or tally.turned or tally.outside):
        parts = [
            f"{tally.unproven} contours lie up to {max(tally.moved):.2f} of a slice gap beside a slice"
            if tally.unproven
            else "",
            f"{tally.turned} contours lie in another plane" if tally.turned else "",
            f"{tally.outside} contours lie beyond the first or last slice" if tally.outside else "",
        ]
        raise InputError(
            "Contours do not lie on the slices of the image.",
            where=path,
            got="; ".join(part for part in parts if part),
            expected=f"every closed contour within {_BESIDE:g} of a slice gap of a slice",
            fix="pass the series that they were drawn on; off_grid='nearest' takes the nearest slice and leaves "
            "out the others; segments=[…] reads some regions alone",
        )
    if tally.moved:
        worst = f"{len(tally.moved)}, up to {max(tally.moved):.2f} of a slice gap"
        text = "Contours between slices were drawn on the nearest slice."
        found.append(Finding("CONTOUR_MOVED", "warning", text, file=file, value=worst, assumed="nearest slice"))
    texts: tuple[tuple[str, int, str, Any], ...] = (
        ("CONTOUR_OTHER_PLANE", tally.turned, "Contours in another plane than the slices were left out.", "warning"),
        ("OUTSIDE_IMAGE", tally.outside, "Contours beyond the first or last slice were left out.", "warning"),
        ("CONTOUR_CLIPPED", tally.clipped, "Contours that reach beyond the image were cut at its border.", "warning"),
        ("CONTOUR_OPEN", tally.open_or_point, "Points and open contours enclose nothing; they were left out.", "info"),
        ("CONTOUR_DEGENERATE", tally.degenerate, "Contours of fewer than three points were left out.", "warning"),
        ("CONTOUR_DOUBLED", tally.doubled, "Contours that stand there twice were drawn once.", "warning"),
        (
            "REFERENCE_MISMATCH",
            tally.mismatched,
            "Contours refer to other slices than the ones at their positions; the positions were believed.",
            "warning",
        ),
    )
    return found + [
        Finding(name, severity, text, file=file, value=str(count)) for name, count, text, severity in texts if count
    ]


def _gaps(pieces: Sequence[Piece], path: Path) -> list[Finding]:
    """Tell of regions with empty slices between drawn ones: contours may have been drawn on every other slice."""
    planes: dict[int, set[int]] = {}
    for piece in pieces:
        planes.setdefault(piece.segment, set()).update(part for part in piece.index if isinstance(part, int))
    gaps = {region: max(drawn) - min(drawn) + 1 - len(drawn) for region, drawn in planes.items()}
    holed = {region: count for region, count in gaps.items() if count}
    if not holed:
        return []
    text = "Regions have empty slices between drawn ones; nothing was filled in."
    value = ", ".join(f"region {region}: {count}" for region, count in sorted(holed.items())[:10])
    return [Finding("CONTOUR_GAPS", "warning", text, file=str(path), value=value)]
