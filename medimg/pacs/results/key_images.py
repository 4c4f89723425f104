"""Key images: secondary captures of the slices that hold most of what was found, marked 'research use only'.

They show regions to those whose viewer knows no segmentations. The label's slice with the largest area is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medimg.inference.postprocess import membership
from medimg.inference.prediction import Prediction
from medimg.io.image import Picture, Volume
from medimg.io.plane_grid import Plane
from medimg.pacs.results.colours import rgb_of
from medimg.pacs.results.drawing import Line, Region, draw, eight_bits, grey, scale_of
from medimg.pacs.results.made import EXPLICIT, PARTIAL, RESEARCH_ONLY, Making, building
from medimg.pacs.results.measure import Lesion
from medimg.pacs.results.measured import Measured, box_corners
from medimg.pacs.results.planes import on_planes
from medimg.pacs.results.source import SourceSlice

MOST_IMAGES = 6
_LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))
_SLANTED = 1e-4
_CT_WINDOW = (40.0, 400.0)
_WHITE = (255, 255, 255)


def build_key_images(
    making: Making, prediction: Prediction, image: Volume | Picture, measured: Measured
) -> list[Dataset]:
    """Build the key images of a prediction; none of a volume in which nothing was found.

    Raises
    ------
    InputError
        The source lacks what a secondary capture needs.
    """
    made = []
    for number, (index, about) in enumerate(_chosen(prediction, image, measured).items(), start=1):
        pixels = _drawn(making, prediction, image, measured, index, about)
        with building("sc"):
            made.append(making.finish(_capture(making, image, index, pixels, number), "sc"))
    return made


def _chosen(prediction: Prediction, image: Volume | Picture, measured: Measured) -> dict[int, list[str]]:
    """Return the source slices to show, in order, and a line of text for each thing that they are shown for."""
    chosen: dict[int, list[str]] = {}
    if prediction.kind == "segmentation":
        for name, (lesions, count) in measured.lesions.items():
            if lesions:
                best = measured.slice_of(measured.fullest.get(name, 0))[0]
                chosen.setdefault(best, []).append(_said(name, lesions[0], count, measured))
    elif prediction.kind == "detection":
        for box in (box for box in prediction.boxes if box.positive):
            middle = int((box.box[0] + box.box[3]) / 2) if isinstance(image, Volume) else 0
            chosen.setdefault(measured.slice_of(middle)[0], []).append(f"{box.label}: {box.score:.2f}")
    elif isinstance(image, Picture):
        chosen[0] = [f"{name}: {value:.2f}" for name, value in prediction.scores.items()]
    if not chosen and isinstance(image, Picture):
        chosen[0] = ["No finding."]
    return dict(list(chosen.items())[:MOST_IMAGES])


def _said(name: str, lesion: Lesion, count: int, measured: Measured) -> str:
    unit = "px" if measured.scale == "pixels" else "mm"
    size = f"{lesion.size:.3g} mL" if measured.scale == "volume" else f"{lesion.size:.3g} {unit}²"
    text = f"{name}: {lesion.long.length:.3g} × {lesion.short.length:.3g} {unit}, {size}"
    return text if count == 1 else f"{text}; {count} regions"


def _drawn(
    making: Making,
    prediction: Prediction,
    image: Volume | Picture,
    measured: Measured,
    index: int,
    about: Sequence[str],
) -> NDArray[np.uint8]:
    regions = []
    if prediction.labels is not None:
        plane = measured.label_plane(prediction.labels, index)
        masks = [(membership(plane, prediction.task, label.index), label.index) for label in prediction.task.labels]
        regions = [Region(mask, rgb_of(number)) for mask, number in masks if mask.any()]
    slices = making.sources.slices
    below = [*about, f"image {index + 1} of {len(slices)}"] if len(slices) > 1 else [*about]
    return draw(
        _base(making, image, measured, index),
        regions,
        [*_axes(measured, index), *_boxes(prediction, measured, index)],
        above=[f"medimg {making.title}", RESEARCH_ONLY],
        below=below,
        warning=f"{PARTIAL}: {making.partial}" if making.partial else None,
    )


def _base(making: Making, image: Volume | Picture, measured: Measured, index: int) -> NDArray[np.uint8]:
    if isinstance(image, Picture) or measured.places is None:
        return eight_bits(image.array).copy()
    values = image.array if image.array.ndim == 3 else image.array[0]
    plane = on_planes(values, [measured.places[index]], measured.shape)[0]
    return grey(plane, _window(making.sources.slices[index].dataset, image.unit))


def _window(dataset: Dataset, unit: str) -> tuple[float, float] | None:
    try:
        centre, width = dataset.WindowCenter, dataset.WindowWidth
        first = (float(np.atleast_1d(centre)[0]), float(np.atleast_1d(width)[0]))
    except (AttributeError, TypeError, ValueError, IndexError):
        return _CT_WINDOW if unit == "HU" else None
    return first if first[1] > 1 else None


def _axes(measured: Measured, index: int) -> list[Line]:
    lines = []
    for lesions, _ in measured.lesions.values():
        for lesion in lesions:
            at, shift = measured.slice_of(lesion.slice_index)
            if at == index:
                lines += [Line(axis.ends - np.asarray(shift), _WHITE) for axis in (lesion.long, lesion.short)]
    return lines


def _boxes(prediction: Prediction, measured: Measured, index: int) -> list[Line]:
    colours = {label.name: rgb_of(label.index) for label in prediction.task.labels}
    lines = []
    for box in (box for box in prediction.boxes if box.positive):
        corners = box_corners(box, measured, index)
        if corners is not None:
            lines.append(Line(corners, colours[box.label]))
    return lines


def _capture(making: Making, image: Volume | Picture, index: int, pixels: NDArray[np.uint8], number: int) -> Dataset:
    one = making.sources.slices[index]
    scale = scale_of((int(one.dataset.Rows), int(one.dataset.Columns)))
    capture = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=one.dataset,
        pixel_array=pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        # The library's hint says integers; it takes any numbers.
        pixel_spacing=cast(Any, _spacing_mm(one, image, scale)),
        patient_orientation=("L", "P"),
        transfer_syntax_uid=EXPLICIT,
        **making.identity("sc", number),
    )
    # The library takes one letter a direction, and does not take none.
    capture.PatientOrientation = [] if one.plane is None else _orientation(one.plane)
    capture.BurnedInAnnotation = str(one.dataset.get("BurnedInAnnotation", "") or "NO")
    capture.ImageComments = RESEARCH_ONLY if not making.partial else f"{PARTIAL}: {making.partial}"[:1024]
    capture.DerivationDescription = f"medimg {making.title}, package digest {making.manifest.digest}"[:1024]
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = one.dataset.SOPClassUID, one.uid
    if one.frame is not None:
        source.ReferencedFrameNumber = one.frame + 1
    capture.SourceImageSequence = [source]
    return capture


def _spacing_mm(one: SourceSlice, image: Volume | Picture, scale: float) -> tuple[float, float] | None:
    spacing = image.spacing_mm[-2:] if image.spacing_mm is not None else None
    if one.plane is not None:
        spacing = float(np.linalg.norm(one.plane.row_step_mm)), float(np.linalg.norm(one.plane.column_step_mm))
    return None if spacing is None else (spacing[0] / scale, spacing[1] / scale)


def _orientation(plane: Plane) -> list[str]:
    """Return the patient directions of rows and columns, the main one first (PS3.3 C.7.6.1.1.1)."""
    return [_letters(plane.column_step_mm), _letters(plane.row_step_mm)]


def _letters(direction: NDArray[np.float64]) -> str:
    unit = direction / np.linalg.norm(direction)
    order = np.argsort(-np.abs(unit), kind="stable")
    return "".join(_LETTERS[n][int(unit[n] < 0)] for n in order if abs(unit[n]) > _SLANTED)
