"""Compare segmentations that medimg read with the frames that pydicom decodes, voxel by voxel in the patient.

Each frame's corner is turned into indices of our grid by the affine; where every pixel of every frame is found there,
and our mask holds nothing else, place, order, bit packing and segment numbers are all right at once. Contours have
no second reader here.

Legend: F frames, H W of a frame, Z Y X of the grid.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from conformance_pixels import Comparison, decoded, frame_corners_mm, functional_group
from numpy.typing import NDArray

from medimg import geometry
from medimg.errors import MedimgError
from medimg.io.image import Volume
from medimg.io.mask import read_segmentation
from medimg.io.read import scan
from medimg.io.segmentation import Segmentation

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
CONTOURS = "1.2.840.10008.5.1.4.1.1.481.3"
INDEX_STEP = 0.02


def is_mask(path: Path) -> bool:
    """Tell whether a file says that it is a segmentation or a set of contours."""
    return _sop_class(path) in (*SEGMENTATIONS, CONTOURS)


def _sop_class(path: Path) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, force=True, specific_tags=["SOPClassUID"], stop_before_pixels=True)
        return str(dataset.get("SOPClassUID", ""))
    except Exception:  # noqa: BLE001 - what pydicom cannot parse says nothing
        return ""


def read_as_mask(path: Path) -> Segmentation:
    """Read a mask on its own grid; contours on the series beside them that they refer to.

    Raises
    ------
    MedimgError
        The file is refused, for contours on each volume that is there.
    """
    if _sop_class(path) != CONTOURS:
        return read_segmentation(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True)
    wanted = {str(element.value) for element in dataset.iterall() if element.keyword == "SeriesInstanceUID"}
    for entry in scan(path.parent).entries:
        if entry.series_uid in wanted and entry.series_uid and entry.problem is None:
            try:
                return read_segmentation(path, entry.load())
            except MedimgError:
                continue
    return read_segmentation(path)


def compare_mask(path: Path, mask: Segmentation) -> Comparison:
    """Compare every frame that pydicom decodes with our segments."""
    if mask.affine is None or mask.kind == "contours":
        return Comparison("")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset, frames = decoded(path)
        except Exception as error:  # noqa: BLE001 - whatever keeps pydicom from decoding is a result, not a failure
            return Comparison("", f"pydicom: {type(error).__name__}")
        expected = {segment.number: np.zeros(mask.shape, np.float64) for segment in mask.segments}
        for index, frame in enumerate(frames):
            where = _indices(dataset, index, frame.shape, mask)
            if where is None:
                return Comparison("differs", f"frame {index}: not on the voxels of the grid")
            for number, values in _values(dataset, index, frame, mask):
                np.maximum.at(expected[number], where, values)
    for number, wanted in expected.items():
        ours = mask.fraction(number)
        if np.abs(ours - wanted).max() > 1e-6:
            wrong = int((np.abs(ours - wanted) > 1e-6).sum())
            return Comparison("differs", f"segment {number}: {wrong} voxels differ")
    return Comparison("equal", f"{len(frames)} frames")


def _indices(
    dataset: Any, index: int, shape: tuple[int, ...], mask: Segmentation
) -> tuple[NDArray[np.int64], ...] | None:
    """Return the grid indices (z, y, x), each (H, W), of a frame's pixels; None where they miss the voxels."""
    corners = frame_corners_mm(dataset, index)
    if corners is None or mask.affine is None:
        return None
    first, along_row, along_column = geometry.apply(geometry.inverse(mask.affine), corners)
    rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    places = first + columns[..., None] * (along_row - first) + rows[..., None] * (along_column - first)
    whole = np.rint(places)
    if np.abs(places - whole).max() > INDEX_STEP or (whole < 0).any() or (whole >= mask.shape).any():
        return None
    z, y, x = np.moveaxis(whole.astype(np.int64), -1, 0)
    return z, y, x


def _values(dataset: Any, index: int, frame: NDArray[Any], mask: Segmentation) -> Iterator[tuple[int, NDArray[Any]]]:
    if mask.kind == "labelmap":
        for segment in mask.segments:
            yield segment.number, (frame == segment.number).astype(np.float64)
        return
    named = functional_group(dataset, index, "SegmentIdentificationSequence")
    scale = float(dataset.MaximumFractionalValue) if mask.kind == "fractional" else 1.0
    yield int(named.ReferencedSegmentNumber), frame / scale


def as_volume(mask: Segmentation) -> Any:
    """Return one array of segment numbers, for comparison with twins."""
    found = mask.label_map()
    return Volume(found.array, found.affine) if isinstance(found, Volume) else found
