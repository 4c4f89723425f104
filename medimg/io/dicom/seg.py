"""Read a DICOM segmentation (binary, fractional, label map) onto the grid of its image.

Legend: Z Y X of the image, R rows and K columns of a frame. Frames are matched by where they say they lie
(DICOM PS3.3 C.7.6.16.2), never by their order; frames that were left out are empty.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medimg.errors import InputError
from medimg.io.dicom.decode import open_frames
from medimg.io.dicom.derived import check_belongs, choose, damaged, instance_index, source_of
from medimg.io.dicom.headers import PYDICOM_ERRORS, Header, quietly
from medimg.io.dicom.seg_header import SegFrame, SegHeader, parse_seg
from medimg.io.dicom.seg_place import Fit, Index, off_grid_error, own, target
from medimg.io.findings import Finding
from medimg.io.image import Picture, Volume
from medimg.io.memory import check_allocation
from medimg.io.resample_labels import resampled
from medimg.io.segmentation import Piece, Segmentation

OffGrid = Literal["error", "nearest"]


def read_seg(
    dataset: Dataset,
    file: Header,
    like: Volume | Picture | None,
    *,
    segments: Collection[str | int] | None = None,
    off_grid: OffGrid = "error",
    check_references: bool = True,
) -> Segmentation:
    """Read a DICOM SEG that is open already; `medimg.io.mask.read_segmentation` says what the parameters mean.

    Raises
    ------
    InputError
        Damaged, of a slide, made on other images, off the image's grid, or with labels that no segment describes.
    MissingDependency
        Its transfer syntax needs a decoder that is not installed.
    """
    path = file.path
    try:
        with quietly():
            header = parse_seg(dataset, file)
    except PYDICOM_ERRORS as error:
        raise damaged(path, error) from error
    chosen = _restricted(header, segments, path)
    findings: list[Finding] = []
    grid, fits = target(header, chosen, like, path, findings)
    on_grid = fits is not None
    if fits is None and off_grid == "error":
        raise off_grid_error(chosen, grid, path)
    source_grid, source_fits = (grid, fits) if fits is not None else own(header, chosen, path)
    drawn = _draw(file, header, chosen, source_fits)
    _report_outside(drawn, off_grid, path, findings)
    if like is not None:
        named = tuple(each.frame.sources for each in drawn) or tuple(frame.sources for frame in chosen.frames)
        references = dataclasses.replace(header.references, frames=named)
        findings += check_belongs(references, like, path, check_references=check_references)
        findings += _same_slices(drawn, like, path) if on_grid else []
    found = Segmentation(
        segments=chosen.segments,
        kind=header.kind,
        shape=source_grid.shape,
        affine=source_grid.affine,
        pieces=tuple(each.piece for each in drawn if each.piece is not None),
        full_scale=header.full_scale,
        fraction_type=header.fraction_type,
        frame_of_reference_uid=header.references.frame_of_reference,
        source=source_of(file, "SEG"),
        findings=tuple(findings),
    )
    return found if on_grid or grid.affine is None else resampled(found, grid.shape, grid.affine)


def _restricted(header: SegHeader, segments: Collection[str | int] | None, path: Path) -> SegHeader:
    """Return the header with the wanted segments and their frames alone; all where ``segments`` is None."""
    if segments is None:
        return header
    kept = choose(header.segments, segments, path)
    numbers = {segment.number for segment in kept} | {0}
    frames = tuple(frame for frame in header.frames if frame.segment in numbers)
    return dataclasses.replace(header, segments=kept, frames=frames)


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A frame that holds anything, the part of it inside the grid, and how many voxels lie outside."""

    frame: SegFrame
    piece: Piece | None
    outside: int


def _draw(file: Header, header: SegHeader, chosen: SegHeader, fits: Sequence[Fit]) -> list[_Drawn]:
    described = [0, *(segment.number for segment in header.segments)]
    wanted = [segment.number for segment in chosen.segments]
    drawn = []
    for frame, fit, pixels in zip(chosen.frames, fits, _decode(file, chosen), strict=True):
        if header.kind == "labelmap":
            pixels = _labels(pixels, header.background, described, file.path)
            pixels = pixels if len(wanted) == len(described) - 1 else np.where(np.isin(pixels, wanted), pixels, 0)
        elif int(pixels.max(initial=0)) > header.full_scale:
            got = f"{int(pixels.max())} in frame {frame.index + 1}"
            text = "A segment has values above its full scale."
            raise InputError(text, where=file.path, got=got, expected=f"at most {header.full_scale}")
        index, inside, outside = fit(pixels)
        box = _box(inside)
        if box is not None or outside:
            piece = None if box is None else Piece(frame.segment, _narrowed(index, box), inside[box].copy())
            drawn.append(_Drawn(frame, piece, outside))
    return drawn


def _labels(pixels: NDArray[Any], background: int, described: Sequence[int], path: Path) -> NDArray[Any]:
    if background != 0:
        pixels = np.where(pixels == background, 0, pixels)
    strange = np.setdiff1d(np.unique(pixels), described)
    if len(strange):
        raise InputError(
            "The label map holds labels that no segment describes.",
            where=path,
            got=strange[:20].tolist(),
            expected=f"one of {described[:20]}",
            fix="export the segmentation again",
        )
    return pixels


def _box(pixels: NDArray[Any]) -> tuple[slice, slice] | None:
    rows = np.flatnonzero(pixels.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(pixels.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _narrowed(index: Index, box: tuple[slice, slice]) -> Index:
    """Return the index of a box inside the view that ``index`` selects."""
    sides = iter(box)
    narrowed: list[int | slice] = []
    for part in index:
        if isinstance(part, slice):
            side = next(sides)
            narrowed.append(slice(part.start + side.start, part.start + side.stop))
        else:
            narrowed.append(part)
    return tuple(narrowed)


def _decode(header: Header, chosen: SegHeader) -> Iterator[NDArray[Any]]:
    """Yield the wanted frames as (R, K) unsigned integers."""
    if not chosen.frames:
        return
    check_allocation(chosen.shape, max(1, header.bits_allocated // 8), where=header.path)
    encoded = open_frames([dataclasses.replace(header, frame=frame.index) for frame in chosen.frames])
    for frame in chosen.frames:
        pixels = encoded.frame(frame.index)
        if pixels.shape != chosen.shape or pixels.dtype.kind != "u":
            raise InputError(
                "The pixels of the segmentation are not what it may hold.",
                where=header.path,
                got=f"{pixels.dtype} of shape {pixels.shape}",
                expected=f"unsigned integers of shape {chosen.shape}",
            )
        yield pixels


def _report_outside(drawn: Sequence[_Drawn], off_grid: OffGrid, path: Path, findings: list[Finding]) -> None:
    outside = sum(each.outside for each in drawn)
    if not outside:
        return
    if off_grid == "error":
        raise InputError(
            "Parts of the segmentation lie outside the image.",
            where=path,
            got=f"{outside} voxels",
            expected="every segmented voxel to be one of the image",
            fix="read the whole series that it was made on, or pass off_grid='nearest' to leave them out",
        )
    text = "Parts of the segmentation lie outside the image; they were left out."
    findings.append(Finding("OUTSIDE_IMAGE", "warning", text, file=str(path), value=f"{outside} voxels"))


def _same_slices(drawn: Sequence[_Drawn], like: Volume | Picture, path: Path) -> list[Finding]:
    """Tell where a frame refers to another slice than the one at its position."""
    index = instance_index(like) if isinstance(like, Volume) else {}
    moved = 0
    for each in drawn:
        named = {index[uid] for uid in each.frame.sources if uid in index}
        at = each.piece.index[0] if each.piece is not None else None
        moved += bool(named) and isinstance(at, int) and at not in named
    if not moved:
        return []
    text = "Frames refer to other slices than the ones at their positions; the positions were believed."
    return [Finding("REFERENCE_MISMATCH", "warning", text, file=str(path), value=f"{moved} frames", assumed="position")]
