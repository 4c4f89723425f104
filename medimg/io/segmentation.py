"""Segments on the grid of the image they belong to, whatever object they came in.

Legend: Z Y X of a volume, H W of a picture. Only what is drawn is kept: one box of pixels a segment and plane,
so that a hundred organs cost what they cover, not a hundred volumes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.io.findings import Finding
from medimg.io.image import Picture, Source, Volume
from medimg.io.memory import check_allocation

Kind = Literal["binary", "fractional", "labelmap", "contours"]

# A fraction from here on counts as inside: a voxel belongs to what fills half of it.
_HALF = 0.5


@dataclass(frozen=True)
class Code:
    """A coded concept, such as (10200004, SCT, Liver)."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Segment:
    """What one segment is.

    Attributes
    ----------
    number : int
        SegmentNumber or ROINumber; the value in `Segmentation.label_map`.
    label : str
        Its name as the author wrote it. It may say anything: show it, never log it.
    category, type, region : Code or None
        Segmented property category and type, and the anatomic region, where they are coded.
    algorithm : str
        ``MANUAL``, ``SEMIAUTOMATIC``, ``AUTOMATIC`` or ''.
    """

    number: int
    label: str
    category: Code | None = None
    type: Code | None = None
    region: Code | None = None
    algorithm: str = ""


@dataclass(frozen=True, eq=False)
class Piece:
    """Pixels of one segment inside the grid.

    ``index`` selects the view of the (Z, Y, X) or (H, W) array that ``pixels`` has the shape of. In a label map
    ``segment`` is 0 and the pixels are segment numbers themselves.
    """

    segment: int
    index: tuple[int | slice, ...]
    pixels: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Segments of a DICOM SEG or RTSTRUCT, on the grid of their image.

    Attributes
    ----------
    segments : tuple of Segment
        In the order of their numbers, also those that nothing is drawn of.
    kind : {'binary', 'fractional', 'labelmap', 'contours'}
        What they were made from.
    shape : tuple of int
        (Z, Y, X), or (H, W) on a picture.
    affine : (4, 4) ndarray or None
        zyx to LPS mm; None on a picture.
    fraction_type : str
        ``PROBABILITY`` or ``OCCUPANCY`` of a fractional one, else ''.
    frame_of_reference_uid, source, findings
        As `Volume` has them.
    """

    segments: tuple[Segment, ...]
    kind: Kind
    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None
    pieces: tuple[Piece, ...]
    full_scale: int = 1
    fraction_type: str = ""
    frame_of_reference_uid: str | None = None
    source: Source = field(default_factory=Source)
    findings: tuple[Finding, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the segments, in the order of their numbers."""
        return tuple(segment.label for segment in self.segments)

    def segment(self, key: str | int) -> Segment:
        """Return the segment with this number, or with this label where only one has it.

        Raises
        ------
        InputError
            None, or several of that label.
        """
        found = [segment for segment in self.segments if key in (segment.number, segment.label)]
        if len(found) == 1:
            return found[0]
        numbers = ", ".join(str(segment.number) for segment in self.segments)
        raise InputError(
            "Several segments have this label." if found else "There is no such segment.",
            where=self._where,
            got=key,
            expected=f"one of the segment numbers {numbers}",
            fix="choose by number",
        )

    def mask(self, key: str | int) -> NDArray[np.bool_]:
        """Return where a segment is: bool of `shape`; of a fractional one where it is at least one half."""
        mask = self._empty(np.dtype(np.bool_))
        for piece, inside in self._inside(self.segment(key).number):
            mask[piece.index] |= inside
        return mask

    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """Return every segment's mask by its label; raises InputError where two have the same one."""
        return {label: self.mask(label) for label in self.labels}

    def union(self) -> NDArray[np.bool_]:
        """Return where any segment is: bool of `shape`."""
        mask = self._empty(np.dtype(np.bool_))
        for segment in self.segments:
            for piece, inside in self._inside(segment.number):
                mask[piece.index] |= inside
        return mask

    def fraction(self, key: str | int) -> NDArray[np.float32]:
        """Return a segment's fraction, 0 to 1: float32 of `shape`; 0 and 1 alone where it is not fractional."""
        number = self.segment(key).number
        if self.kind != "fractional":
            return self.mask(number).astype(np.float32)
        values = self._empty(np.dtype(np.float32))
        for piece in self.pieces:
            if piece.segment == number:
                part = piece.pixels.astype(np.float32) / np.float32(self.full_scale)
                values[piece.index] = np.maximum(values[piece.index], part)
        return values

    def label_map(self) -> Volume | Picture:
        """Return all segments in one array: 0 the background, else the segment's number.

        Returns
        -------
        Volume or Picture
            (Z, Y, X) or (H, W) of uint8 or uint16, ``unit`` or ``colour_space`` 'label'.

        Raises
        ------
        InputError
            Two segments overlap: one number a voxel cannot say so. Or a region has the number 0.
        """
        if any(segment.number == 0 for segment in self.segments):
            text = "A region has the number 0, which is the background of a label map."
            fix = "read it by its number: read_segmentation(path, like=image).mask(0)"
            raise InputError(text, where=self._where, fix=fix)
        highest = max((segment.number for segment in self.segments), default=0)
        array = self._empty(np.dtype(np.uint8 if highest < 256 else np.uint16))
        for segment in self.segments:
            for piece, inside in self._inside(segment.number):
                view = array[piece.index]
                there = view[inside]
                if ((there != 0) & (there != segment.number)).any():
                    raise self._overlap(int(there[(there != 0) & (there != segment.number)][0]), segment.number)
                view[inside] = segment.number
        if self.affine is None:
            return Picture(array, colour_space="label", source=self.source, findings=self.findings)
        return Volume(array, self.affine, "label", self.frame_of_reference_uid, self.source, self.findings)

    @property
    def _where(self) -> str | None:
        return str(self.source.paths[0]) if self.source.paths else None

    def _empty(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        check_allocation(self.shape, dtype.itemsize, where=self._where or "segmentation")
        return np.zeros(self.shape, dtype)

    def _inside(self, number: int) -> Iterator[tuple[Piece, NDArray[np.bool_]]]:
        for piece in self.pieces:
            if self.kind == "labelmap":
                yield piece, piece.pixels == number
            elif piece.segment == number:
                threshold = _HALF * self.full_scale if self.kind == "fractional" else 1
                yield piece, piece.pixels >= threshold

    def _overlap(self, first: int, second: int) -> InputError:
        return InputError(
            "Segments overlap, so that one label a voxel cannot hold them.",
            where=self._where,
            got=f"segments {first} and {second} share voxels",
            expected="segments beside each other",
            fix="read them one by one: read_segmentation(path, like=image).mask(number)",
        )
