"""The header of a DICOM segmentation: its segments, and for every frame which one it is and where it lies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from medimg.errors import InputError
from medimg.io.dicom.derived import LABELMAP_SEG, References, code, items, uids
from medimg.io.dicom.headers import Header
from medimg.io.plane_grid import Plane
from medimg.io.segmentation import Kind, Segment

_KINDS: dict[str, Kind] = {"BINARY": "binary", "FRACTIONAL": "fractional", "LABELMAP": "labelmap"}
_BITS = {"binary": (1, 8), "fractional": (8, 16), "labelmap": (8, 16)}


@dataclass(frozen=True, eq=False)
class SegFrame:
    """One frame: its index in the file, its segment (0 in a label map), its place, what it was made from."""

    index: int
    segment: int
    plane: Plane | None
    sources: frozenset[str]


@dataclass(frozen=True, eq=False)
class SegHeader:
    """All that a segmentation says before its pixels.

    ``full_scale`` is MaximumFractionalValue (1 where it is not fractional), ``background`` the value that a label
    map states for no segment.
    """

    kind: Kind
    segments: tuple[Segment, ...]
    frames: tuple[SegFrame, ...]
    shape: tuple[int, int]
    bits: int
    full_scale: int
    fraction_type: str
    background: int
    spacing_mm: float | None
    thickness_mm: float | None
    references: References


def parse_seg(dataset: Dataset, file: Header) -> SegHeader:
    """Return the header of a SEG.

    Raises
    ------
    InputError
        Contradictory, of a slide, or without what its kind must state. What pydicom raises on damaged attributes
        passes through.
    """
    path = file.path
    kind = _kind(dataset, file)
    bits = int(dataset.BitsAllocated)
    if bits not in _BITS[kind]:
        got = f"BitsAllocated (0028,0100) = {bits} in a {kind} segmentation"
        raise InputError("Segments of this depth are not supported.", where=path, got=got, expected=_BITS[kind])
    segments = _segments(dataset, kind, path)
    frames = _frames(dataset, kind, {segment.number for segment in segments}, path)
    shared = (items(dataset, "SharedFunctionalGroupsSequence") or (Dataset(),))[0]
    first = items(dataset, "PerFrameFunctionalGroupsSequence")[0]
    measures = (_group(first, shared, "PixelMeasuresSequence") or (Dataset(),))[0]
    full_scale = int(dataset.MaximumFractionalValue) if kind == "fractional" else 1
    if full_scale < 1:
        got = f"MaximumFractionalValue (0062,000E) = {full_scale}"
        raise InputError("The fractions have no scale.", where=path, got=got, expected="at least 1")
    return SegHeader(
        kind=kind,
        segments=segments,
        frames=frames,
        shape=(int(dataset.Rows), int(dataset.Columns)),
        bits=bits,
        full_scale=full_scale,
        fraction_type=str(dataset.get("SegmentationFractionalType", "")) if kind == "fractional" else "",
        background=int(dataset.get("PixelPaddingValue") or 0) if kind == "labelmap" else 0,
        spacing_mm=_number(measures, "SpacingBetweenSlices"),
        thickness_mm=_number(measures, "SliceThickness"),
        references=_listed(dataset),
    )


def _kind(dataset: Dataset, file: Header) -> Kind:
    path = file.path
    stated = str(dataset.get("SegmentationType", "")).upper()
    if file.sop_class == LABELMAP_SEG:
        stated = stated or "LABELMAP"
    if stated not in _KINDS:
        raise InputError(
            "The segmentation does not say of which type it is.",
            where=path,
            got="SegmentationType (0062,0001) absent or unknown",
            expected=", ".join(_KINDS),
        )
    slide = "TotalPixelMatrixRows" in dataset or str(dataset.get("DimensionOrganizationType", "")) == "TILED_FULL"
    if slide:
        raise InputError(
            "A segmentation of a whole-slide image is not supported.",
            where=path,
            got="tiles of a total pixel matrix (0048,0007)",
            expected="a segmentation of a volume or a picture",
        )
    return _KINDS[stated]


def _segments(dataset: Dataset, kind: Kind, path: Path) -> tuple[Segment, ...]:
    found = [
        Segment(
            number=int(item.SegmentNumber),
            label=str(item.get("SegmentLabel", "") or ""),
            category=code(item, "SegmentedPropertyCategoryCodeSequence"),
            type=code(item, "SegmentedPropertyTypeCodeSequence"),
            region=code(item, "AnatomicRegionSequence"),
            algorithm=str(item.get("SegmentAlgorithmType", "") or ""),
        )
        for item in items(dataset, "SegmentSequence")
    ]
    numbers = [segment.number for segment in found]
    if kind == "labelmap":
        # A label map may describe its background as segment 0.
        found = [segment for segment in found if segment.number != 0]
    if not numbers or len(set(numbers)) != len(numbers) or min(numbers) < (0 if kind == "labelmap" else 1):
        raise InputError(
            "The segments are not numbered 1, 2, … each once.",
            where=path,
            got=f"SegmentNumber (0062,0004) = {numbers[:20]}",
        )
    return tuple(sorted(found, key=lambda segment: segment.number))


def _frames(dataset: Dataset, kind: Kind, numbers: set[int], path: Path) -> tuple[SegFrame, ...]:
    groups = items(dataset, "PerFrameFunctionalGroupsSequence")
    count = int(dataset.get("NumberOfFrames") or 1)
    if len(groups) != count:
        raise InputError(
            "The number of frames and their descriptions differ.",
            where=path,
            got=f"NumberOfFrames (0028,0008) = {count}, {len(groups)} items of (5200,9230)",
            fix="export the segmentation again",
        )
    shared = (items(dataset, "SharedFunctionalGroupsSequence") or (Dataset(),))[0]
    shape = (int(dataset.Rows), int(dataset.Columns))
    frames = tuple(_frame(n, group, shared, kind, shape) for n, group in enumerate(groups))
    strange = {frame.segment for frame in frames} - numbers if kind != "labelmap" else set()
    if strange:
        raise InputError(
            "Frames are of segments that are not described.",
            where=path,
            got=f"ReferencedSegmentNumber (0062,000B) = {sorted(strange)[:20]}",
            expected=f"one of {sorted(numbers)[:20]}",
        )
    return frames


def _frame(index: int, group: Dataset, shared: Dataset, kind: Kind, shape: tuple[int, int]) -> SegFrame:
    number = 0
    if kind != "labelmap":
        number = int(_group(group, shared, "SegmentIdentificationSequence")[0].ReferencedSegmentNumber)
    sources = [
        source
        for derivation in _group(group, shared, "DerivationImageSequence")
        for source in items(derivation, "SourceImageSequence")
    ]
    return SegFrame(index, number, _plane(group, shared, shape), uids(sources))


def _plane(group: Dataset, shared: Dataset, shape: tuple[int, int]) -> Plane | None:
    found = [
        _group(group, shared, name)
        for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    ]
    if not all(found):
        return None
    position, orientation, measures = (each[0] for each in found)
    origin = np.asarray([float(v) for v in position.ImagePositionPatient], dtype=np.float64)
    cosines = np.asarray([float(v) for v in orientation.ImageOrientationPatient], dtype=np.float64).reshape(2, 3)
    rows_mm, columns_mm = (float(v) for v in measures.PixelSpacing)
    steps = cosines[1] * rows_mm, cosines[0] * columns_mm
    volume = float(np.linalg.norm(np.cross(*steps)))
    if origin.shape != (3,) or not np.isfinite([*origin, *steps[0], *steps[1]]).all() or volume <= 1e-6:
        raise ValueError("unusable plane position or orientation")
    return Plane(origin, steps[0], steps[1], shape)


def _group(group: Dataset, shared: Dataset, keyword: str) -> Any:
    return items(group, keyword) or items(shared, keyword)


def _number(item: Dataset, keyword: str) -> float | None:
    value = item.get(keyword)
    number = None if value in (None, "") else float(value)
    return number if number is None or math.isfinite(number) else None


def _listed(dataset: Dataset) -> References:
    series = items(dataset, "ReferencedSeriesSequence")
    return References(
        listed=uids(instance for one in series for instance in items(one, "ReferencedInstanceSequence")),
        series=uids(series, "SeriesInstanceUID"),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID", "") or "") or None,
    )
