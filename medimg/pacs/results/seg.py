"""DICOM segmentations on the source's own planes, whatever their orientation, tilt or gaps.

Legend: N source planes of R rows and K columns, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless, VLPhotographicImageStorage

from medimg.errors import InputError
from medimg.inference.postprocess import membership
from medimg.inference.prediction import Prediction
from medimg.packaging.manifest import TaskSpec
from medimg.pacs.results.codes import category_of, type_of
from medimg.pacs.results.colours import rgb_of
from medimg.pacs.results.kinds import SegKind
from medimg.pacs.results.made import EXPLICIT, Making, building
from medimg.pacs.results.planes import Spot, on_planes
from medimg.pacs.results.source import SourceSlice


@dataclass(frozen=True, eq=False)
class MadeSeg:
    """A segmentation, and the number of each label's segment (labels that nothing is drawn of have none)."""

    dataset: Dataset
    numbers: dict[str, int]


def build_seg(
    making: Making, prediction: Prediction, places: Sequence[Spot] | None, kind: SegKind = "BINARY"
) -> MadeSeg | None:
    """Build the DICOM segmentation of a prediction.

    Parameters
    ----------
    making : Making
    prediction : Prediction
        Of a segmentation.
    places : sequence of Spot or None
        Where the source's slices lie in the prediction's volume; None for a picture.
    kind : {'BINARY', 'FRACTIONAL', 'LABELMAP'}
        One bit a voxel and label; probabilities in 255 steps (the prediction must hold them); or one number a
        voxel, RLE compressed, which only recent viewers read.

    Returns
    -------
    MadeSeg or None
        None where no label is drawn.

    Raises
    ------
    InputError
        Probabilities are missing, labels overlap in a label map, or the source lacks what a SEG needs.
    """
    if prediction.labels is None:
        return None
    planes = _planes(prediction.labels, places, _shape(making))
    table = _table(planes, prediction.task)
    drawn = [label for label, column in zip(prediction.task.labels, table.T) if column.any()]
    if not drawn:
        return None
    names = [label.name for label in drawn]
    if kind == "FRACTIONAL":
        pixels, kept = _fractions(prediction, names, places, _shape(making))
    else:
        pixels, kept = _labels(planes, table[:, table.any(axis=0)], kind)
    with building("seg"):
        dataset = _build(making, pixels, kept, kind, [_describe(making, n + 1, label) for n, label in enumerate(drawn)])
        if places is None:
            # Asked for where nothing says how rows lie in a patient; nobody knows it of a picture.
            dataset.PatientOrientation = None
    return MadeSeg(making.finish(dataset, "seg"), {name: n + 1 for n, name in enumerate(names)})


def _shape(making: Making) -> tuple[int, int]:
    return int(making.sources.first.Rows), int(making.sources.first.Columns)


def _planes(array: NDArray[Any], places: Sequence[Spot] | None, shape: tuple[int, int]) -> NDArray[Any]:
    if places is not None:
        return on_planes(array, places, shape)
    if array.shape != shape:
        raise InputError("The prediction has another size than its picture.", got=array.shape, expected=shape)
    return array[None]


def _table(planes: NDArray[Any], task: TaskSpec) -> NDArray[np.bool_]:
    """Return which labels (columns) each value of the planes (rows) stands for; False where a value does not occur."""
    size = int(np.iinfo(planes.dtype).max) + 1
    there = np.zeros(size, dtype=bool)
    for plane in planes:
        there |= np.bincount(plane.ravel(), minlength=size) > 0
    values = np.arange(size, dtype=planes.dtype)
    return np.stack([membership(values, task, label.index) & there for label in task.labels], axis=1)


def _labels(planes: NDArray[Any], table: NDArray[np.bool_], kind: str) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Return one number a voxel (N, R, K), or (N, R, K, L) where labels overlap, and the planes that are drawn on."""
    numbers = (table * np.arange(1, table.shape[1] + 1)).sum(axis=1)
    lookup = numbers.astype(np.uint8 if table.shape[1] < 256 else np.uint16)
    inside: NDArray[np.bool_] = np.asarray(table.any(axis=1))
    kept = np.flatnonzero([np.any(inside[plane]) for plane in planes])
    if table.sum(axis=1).max() == 1:
        return lookup[planes[kept]], kept
    if kind == "LABELMAP":
        raise InputError(
            "The labels overlap: one number a voxel cannot hold them.", expected="seg", fix="ask for seg instead"
        )
    return table.astype(np.uint8)[planes[kept]], kept


def _fractions(
    prediction: Prediction, names: Sequence[str], places: Sequence[Spot] | None, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    if prediction.probabilities is None:
        raise InputError(
            "The prediction holds no probabilities, which a fractional segmentation needs.",
            fix="predict with probabilities=true",
        )
    index = {label.name: n for n, label in enumerate(prediction.task.labels)}
    stack = [_planes(np.asarray(prediction.probabilities[index[name]]), places, shape) for name in names]
    kept = np.flatnonzero(np.any([(one >= 1 / 510).any(axis=(1, 2)) for one in stack], axis=0))
    return np.clip(np.stack([one[kept] for one in stack], axis=-1), 0.0, 1.0).astype(np.float32), kept


def _describe(making: Making, number: int, label: Any) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label.name[:64],
        segmented_property_category=category_of(label),
        segmented_property_type=type_of(label),
        algorithm_type="AUTOMATIC",
        algorithm_identification=making.algorithm(),
        tracking_uid=making.uid("segment", label.name),
        tracking_id=label.name[:64],
        display_color=hd.color.CIELabColor.from_rgb(*rgb_of(label.index)),
    )


def _build(
    making: Making,
    pixels: NDArray[Any],
    kept: NDArray[np.intp],
    kind: SegKind,
    segments: Sequence[hd.seg.SegmentDescription],
) -> Dataset:
    slices = making.sources.slices
    framed = slices[0].frame is not None
    if framed:
        pixels = _all_frames(pixels, [slices[int(n)] for n in kept], making.sources.first)
        images = [making.sources.first]
    else:
        images = [slices[int(n)].dataset for n in kept]
    sop_class = None
    if all(one.plane is None for one in slices):
        # A picture has no place in a patient; and the library takes some classes of pictures for enhanced images.
        sop_class, images[0].SOPClassUID = images[0].SOPClassUID, VLPhotographicImageStorage
        for name in ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "NumberOfFrames"):
            if name in images[0]:
                del images[0][name]
    elif "FrameOfReferenceUID" not in making.sources.first:
        for image in images:
            image.FrameOfReferenceUID = making.uid("frame of reference")
    built = hd.seg.Segmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=segments,
        transfer_syntax_uid=RLELossless if kind == "LABELMAP" else EXPLICIT,
        content_label="SEGMENTATION",
        content_description=f"medimg {making.title}"[:64],
        **making.identity("seg"),
        **making.equipment(),
    )
    if sop_class is not None:
        images[0].SOPClassUID = sop_class
        for element in (element for element in built.iterall() if element.keyword == "ReferencedSOPClassUID"):
            element.value = sop_class
    return built


def _all_frames(pixels: NDArray[Any], kept: Sequence[SourceSlice], dataset: Dataset) -> NDArray[Any]:
    """Return pixels for every frame of a multi-frame source; frames that nothing is drawn on are left out later."""
    out = np.zeros((int(dataset.NumberOfFrames), *pixels.shape[1:]), dtype=pixels.dtype)
    for one, plane in zip(kept, pixels, strict=True):
        out[one.frame or 0] = plane
    return out
