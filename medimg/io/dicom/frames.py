"""Headers of the frames of a multi-frame object, as if every frame were a file of its own.

What the functional groups say of a frame (DICOM PS3.3 C.7.6.16: first those shared by all, then the frame's own)
is laid over the elements of the file, under the tags that single-frame files use. Sorting, splitting, rescaling
and reading then need not know where a slice came from. A geometry that is not stated is never guessed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from medimg.errors import InputError
from medimg.io.dicom import tags
from medimg.io.dicom.groups import (
    DIMENSION_INDEX,
    DIMENSIONS,
    GRADIENT,
    PER_FRAME,
    SHARED,
    STACK_ID,
    dimension_values,
    first_item,
    group_values,
    items,
    kept_dimensions,
    values,
)
from medimg.io.dicom.headers import Header
from medimg.io.dicom.parse import interpreting, parse

__all__ = ["DIMENSIONS", "GRADIENT", "STACK_ID", "frames_of"]

_DETECTORS = 0x00540022
_DOSE_OFFSETS, _DOSE_SCALING = 0x3004000C, 0x3004000E
_VECTORS = {"slice": 0x00540080, "time slot": 0x00540070, "R-R interval": 0x00540060}
_PARSED = [SHARED, PER_FRAME, DIMENSION_INDEX, _DETECTORS, _DOSE_OFFSETS, _DOSE_SCALING, *_VECTORS.values()]

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_WHOLE_SLIDE = _STORAGE + "77.1.6"
_DOSE, _NUCLEAR = _STORAGE + "481.2", _STORAGE + "20"
# Single files of these classes carry their geometry in functional groups too.
_GROUPED = {
    _STORAGE + end
    for end in (
        *("2.1", "2.2", "4.1", "4.4", "128.1", "130", "30", "13.1.1", "13.1.2", "13.1.3", "14.1", "14.2"),
        *("77.1.5.4", "200.1", "200.3", "200.8"),
    )
}
_NEEDS_GEOMETRY = ("CT", "MR", "PT")
_AXIAL_TOLERANCE = 1e-4


def frames_of(header: Header) -> tuple[Header, ...]:
    """Return one header per frame where the frames lie in the patient, else the header itself.

    Parameters
    ----------
    header : Header
        Of any image file.

    Returns
    -------
    tuple of Header
        Per frame: ``frame`` (from 0), ``position``, ``orientation``, ``pixel_spacing`` in mm (LPS),
        ``image_type``, and ``elements`` with rescale, echo time, b-value, temporal position, … of the frame.
        A single header with ``position`` None for frames without a place in the patient: cine, endoscopy, colour.

    Raises
    ------
    InputError
        Functional groups that are damaged, do not fit NumberOfFrames, or place some frames only; one position
        for many CT, MR or PET frames; a whole-slide image.
    """
    if header.sop_class == _WHOLE_SLIDE:
        raise InputError(
            "Whole-slide microscopy images are tiles of one large picture; they are not read.",
            where=header.path,
            got=f"{header.frames} frames",
            fix="export the region of interest as one picture",
        )
    grouped = header.position is None and header.sop_class in _GROUPED
    if (header.frames <= 1 and not grouped and header.sop_class != _DOSE) or not header.is_image:
        return (header,)
    if header.samples != 1 or not header.photometric.startswith("MONOCHROME"):
        return (replace(header, position=None),)
    dataset = parse(header, _PARSED)
    with interpreting(header, "the functional groups (5200,9229) and (5200,9230) or frame vectors"):
        if items(dataset, PER_FRAME):
            return _from_groups(header, dataset)
        if header.sop_class == _DOSE:
            return _from_dose_grid(header, dataset)
        if header.sop_class == _NUCLEAR:
            return _from_detectors(header, dataset)
    if header.frames > 1 and header.position is not None and header.modality in _NEEDS_GEOMETRY:
        raise InputError(
            "The file states one position for many frames; where each of them lies is not known.",
            where=header.path,
            got=f"{header.frames} frames, no PerFrameFunctionalGroupsSequence (5200,9230)",
            expected="a position for every frame",
            fix="export the series as single-frame DICOM, or as an enhanced object",
        )
    return (replace(header, position=None) if header.frames > 1 else header,)


def _from_groups(header: Header, dataset: Dataset) -> tuple[Header, ...]:
    per_frame = items(dataset, PER_FRAME)
    if len(per_frame) != header.frames:
        raise InputError(
            "The functional groups do not fit the number of frames.",
            where=header.path,
            got=f"{len(per_frame)} items in PerFrameFunctionalGroupsSequence (5200,9230)",
            expected=f"NumberOfFrames (0028,0008) = {header.frames}",
            fix="copy or export the file again",
        )
    shared = first_item(dataset, SHARED)
    common = group_values(shared) if shared is not None else {}
    kept = kept_dimensions(dataset)
    frames = []
    for number, item in enumerate(per_frame):
        found = {**common, **group_values(item)}
        found[DIMENSIONS] = dimension_values(item, kept)
        frames.append(_frame(header, number, found))
    return _all_or_none(header, tuple(frames))


def _frame(header: Header, number: int, found: Mapping[int, list[str]]) -> Header:
    elements = header.elements.with_values({tag: stated for tag, stated in found.items() if stated})
    return replace(
        header,
        frame=number,
        elements=elements,
        image_type=tuple(tags.texts(elements, tags.IMAGE_TYPE)),
        position=_vector(elements, tags.POSITION, 3),
        orientation=_vector(elements, tags.ORIENTATION, 6),
        pixel_spacing=_vector(elements, tags.PIXEL_SPACING, 2),
    )


def _vector(elements: tags.Elements, tag: int, length: int) -> tuple[float, ...] | None:
    found = tags.floats(elements, tag)
    if found is None or len(found) != length or not all(abs(value) < 1e7 for value in found):
        return None
    return tuple(found)


def _all_or_none(header: Header, frames: tuple[Header, ...]) -> tuple[Header, ...]:
    placed = sum(frame.has_geometry for frame in frames)
    if placed == len(frames):
        return frames
    if placed:
        raise InputError(
            "Some frames of the file say where they lie in the patient and some do not.",
            where=header.path,
            got=f"{placed} of {len(frames)} frames with plane position, orientation and pixel measures",
            expected="all or none",
            fix="export the series again from the scanner or PACS",
        )
    if header.modality in _NEEDS_GEOMETRY:
        return (frames[0],)
    return (replace(header, position=None),)


def _from_dose_grid(header: Header, dataset: Dataset) -> tuple[Header, ...]:
    """Place the planes of a dose by their offsets (DICOM PS3.3 C.8.8.3.2)."""
    offsets = [float(value) for value in values(dataset, _DOSE_OFFSETS)]
    row, column, origin = _axes(header)
    if not offsets and header.frames == 1:
        offsets = [0.0]
    if len(offsets) != header.frames or header.pixel_spacing is None:
        raise InputError(
            "The planes of this dose are not placed.",
            where=header.path,
            got=f"{len(offsets)} values in GridFrameOffsetVector (3004,000C)",
            expected=f"one for each of {header.frames} frames, and PixelSpacing (0028,0030)",
            fix="export the dose again from the planning system",
        )
    normal = np.cross(row, column)
    if offsets[0] != 0:
        # The other form of the vector: patient z of every plane, for axial grids alone.
        if abs(abs(normal[2]) - 1) > _AXIAL_TOLERANCE or not math.isclose(offsets[0], origin[2], abs_tol=0.01):
            raise InputError(
                "The first plane of this dose is neither at offset 0 nor at its stated position.",
                where=header.path,
                got=f"GridFrameOffsetVector (3004,000C) starts with {offsets[0]:g} mm",
                expected="0, or the z of ImagePositionPatient (0020,0032) of an axial grid",
                fix="export the dose again from the planning system",
            )
        offsets = [(value - origin[2]) * float(np.sign(normal[2])) for value in offsets]
    scaling = values(dataset, _DOSE_SCALING)
    scale = {tags.SLOPE: scaling, tags.INTERCEPT: ["0"]} if scaling else {}
    return tuple(
        _frame(header, n, {**scale, tags.POSITION: _text(origin + offset * normal)}) for n, offset in enumerate(offsets)
    )


def _from_detectors(header: Header, dataset: Dataset) -> tuple[Header, ...]:
    """Place the slices of a nuclear-medicine reconstruction (DICOM PS3.3 C.8.4.15); projections are pictures."""
    reconstructed = any(value.upper().startswith("RECON") for value in header.image_type)
    detector = first_item(dataset, _DETECTORS)
    if not reconstructed or detector is None:
        return (replace(header, position=None),)
    stated = {tag: values(detector, tag) for tag in (tags.POSITION, tags.ORIENTATION)}
    first = _frame(header, 0, stated)
    numbers = {name: values(dataset, tag) for name, tag in _VECTORS.items()}
    gap = tags.number(header.elements, tags.SPACING_BETWEEN)
    slices = [int(value) for value in numbers["slice"]] or list(range(1, header.frames + 1))
    if not first.has_geometry or gap is None or not np.isfinite(gap) or gap == 0 or len(slices) != header.frames:
        raise InputError(
            "The slices of this reconstruction are not placed.",
            where=header.path,
            got=f"SpacingBetweenSlices (0018,0088) = {gap}, {len(slices)} values in SliceVector (0054,0080)",
            expected="position and orientation in DetectorInformationSequence (0054,0022), a gap, a slice per frame",
            fix="export the reconstruction again, if possible as single-frame slices",
        )
    row, column, origin = _axes(first)
    step = gap * np.cross(row, column)
    times = [
        "\\".join(numbers[name][n] for name in ("R-R interval", "time slot") if n < len(numbers[name]))
        for n in range(header.frames)
    ]
    return tuple(
        _frame(
            header,
            n,
            {**stated, tags.POSITION: _text(origin + (number - 1) * step), tags.TEMPORAL_POSITION: [times[n]]},
        )
        for n, number in enumerate(slices)
    )


def _axes(header: Header) -> tuple[Any, Any, Any]:
    if header.orientation is None or header.position is None:
        raise InputError(
            "The file does not say where it lies in the patient.",
            where=header.path,
            got="ImagePositionPatient (0020,0032) or ImageOrientationPatient (0020,0037) absent or malformed",
            fix="export it again from its source",
        )
    cosines = np.asarray(header.orientation, dtype=np.float64)
    return cosines[:3], cosines[3:], np.asarray(header.position, dtype=np.float64)


def _text(position: Sequence[float]) -> list[str]:
    return [repr(float(value)) for value in position]
