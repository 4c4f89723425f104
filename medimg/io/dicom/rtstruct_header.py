"""The content of an RT structure set: its regions, and their contours as points in space."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medimg.errors import InputError
from medimg.io.dicom.derived import References, code, items, uids
from medimg.io.segmentation import Segment

_MAX_ABS_MM = 1e6


@dataclass(frozen=True, eq=False)
class Contour:
    """One contour: its region's number, geometric type, (N, 3) LPS points and the images it was drawn on."""

    region: int
    kind: str
    points_mm: NDArray[np.float64]
    sources: frozenset[str]


def regions(dataset: Dataset, path: Path) -> tuple[tuple[Segment, ...], dict[int, str]]:
    """Return the regions of interest, and the frame of reference of each."""
    observed = {int(item.ReferencedROINumber): item for item in items(dataset, "RTROIObservationsSequence")}
    found, frames = [], {}
    for item in items(dataset, "StructureSetROISequence"):
        number = int(item.ROINumber)
        observation = observed.get(number, Dataset())
        found.append(
            Segment(
                number=number,
                label=str(item.get("ROIName", "") or ""),
                type=code(observation, "RTROIIdentificationCodeSequence"),
                algorithm=str(item.get("ROIGenerationAlgorithm", "") or ""),
            )
        )
        frames[number] = str(item.get("ReferencedFrameOfReferenceUID", "") or "")
    numbers = [region.number for region in found]
    if not numbers or len(set(numbers)) != len(numbers) or not 0 <= min(numbers) <= max(numbers) <= 65535:
        raise InputError(
            "The structure set has no regions that are numbered each once.",
            where=path,
            got=f"ROINumber (3006,0022) = {numbers[:20]}",
            expected="0 … 65535, each once",
        )
    return tuple(sorted(found, key=lambda region: region.number)), frames


def contours(dataset: Dataset, wanted: Collection[int]) -> Iterator[Contour]:
    """Yield the contours of the wanted regions; ValueError where their data are not points in space."""
    for region in items(dataset, "ROIContourSequence"):
        number = int(region.ReferencedROINumber)
        if number not in wanted:
            continue
        for contour in items(region, "ContourSequence"):
            points = _numbers(contour)
            if len(points) % 3 or not (np.abs(points) < _MAX_ABS_MM).all():
                raise ValueError("contour data that are not points")
            kind = str(contour.get("ContourGeometricType", "") or "").upper()
            yield Contour(number, kind, points.reshape(-1, 3), uids(items(contour, "ContourImageSequence")))


def _numbers(contour: Dataset) -> NDArray[np.float64]:
    """Return ContourData; from its raw text, since pydicom makes an object of every number (100 times slower)."""
    element = contour.get_item("ContourData")
    value: Any = None if element is None else element.value
    if isinstance(value, bytes):
        value = value.strip(b" \x00")
        value = value.split(b"\\") if value else None
    return np.asarray([float(part) for part in value or ()], dtype=np.float64)


def references(dataset: Dataset, contours: Sequence[Contour], frames: Collection[str], path: Path) -> References:
    """Return what a structure set refers to; ``frames`` are the frames of reference of the wanted regions.

    Raises
    ------
    InputError
        The regions lie in several frames of reference.
    """
    series = [
        one
        for space in items(dataset, "ReferencedFrameOfReferenceSequence")
        for study in items(space, "RTReferencedStudySequence")
        for one in items(study, "RTReferencedSeriesSequence")
    ]
    named = {frame for frame in frames if frame}
    if not named:
        named = set(uids(items(dataset, "ReferencedFrameOfReferenceSequence"), "FrameOfReferenceUID"))
    if len(named) > 1:
        raise InputError(
            "The regions lie in different frames of reference.",
            where=path,
            got=f"{len(named)} frames of reference (3006,0024)",
            fix="read those of one frame of reference: segments=[numbers]",
        )
    return References(
        frames=tuple(contour.sources for contour in contours),
        listed=frozenset().union(*(uids(items(one, "ContourImageSequence")) for one in series)),
        series=uids(series, "SeriesInstanceUID"),
        frame_of_reference=named.pop() if named else None,
    )
