"""A presentation state that draws what was found on the source's own images: outlines, axes, boxes, and names."""

from __future__ import annotations

from collections.abc import Iterator

import highdicom as hd
import numpy as np
from highdicom import pr
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from skimage.measure import find_contours

from medimg.inference.postprocess import membership
from medimg.inference.prediction import Prediction
from medimg.pacs.results.made import PARTIAL, RESEARCH_ONLY, Making, building
from medimg.pacs.results.measured import Measured, box_corners

_STRAIGHT = 1e-9


def build_presentation(making: Making, prediction: Prediction, measured: Measured) -> Dataset | None:
    """Build the presentation state of a prediction; None where nothing is drawn, or the source is in colour.

    Raises
    ------
    InputError
        The source lacks what a presentation state needs.
    """
    if int(making.sources.first.get("SamplesPerPixel", 1) or 1) != 1:
        return None
    with building("gsps"):
        layer = hd.pr.GraphicLayer("MEDIMG", 1, description="medimg, research use only")
        drawn = {index: _objects(making, prediction, measured, index) for index in range(len(making.sources.slices))}
        drawn = {index: objects for index, objects in drawn.items() if objects}
        if not drawn:
            return None
        notes = [] if making.partial is None else [_text(f"{PARTIAL}: {making.partial}"[:1024], (1.0, 2.0))]
        annotations = []
        for index, objects in drawn.items():
            one = making.sources.slices[index]
            annotations.append(
                pr.GraphicAnnotation(
                    referenced_images=[one.dataset],
                    graphic_layer=layer,
                    referenced_frame_number=None if one.frame is None else one.frame + 1,
                    graphic_objects=objects,
                    text_objects=[_text(RESEARCH_ONLY, (1.0, 1.0)), *notes],
                )
            )
        images = list(
            {making.sources.slices[index].uid: making.sources.slices[index].dataset for index in drawn}.values()
        )
        state = pr.GrayscaleSoftcopyPresentationState(
            referenced_images=images,
            content_label="MEDIMG",
            content_description=f"medimg {making.title}"[:64],
            graphic_layers=[layer],
            graphic_annotations=annotations,
            **making.identity("gsps"),
            **making.equipment(),
        )
        return making.finish(state, "gsps")


def _objects(making: Making, prediction: Prediction, measured: Measured, index: int) -> list[pr.GraphicObject]:
    lines = [*_outlines(prediction, measured, index), *_axes(measured, index), *_boxes(prediction, measured, index)]
    return [
        pr.GraphicObject(
            "POLYLINE",
            _inside(line, making.sources.slices[index].dataset),
            units="PIXEL",
            tracking_id=name[:64],
            tracking_uid=making.uid("tracking", name),
        )
        for name, line in lines
    ]


def _outlines(prediction: Prediction, measured: Measured, index: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
    if prediction.labels is None:
        return
    plane = measured.label_plane(prediction.labels, index)
    if not plane.any():
        return
    for label in prediction.task.labels:
        mask = membership(plane, prediction.task, label.index)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            corner = np.asarray([rows[0] - 1, columns[0] - 1])
            for contour in find_contours(np.pad(part, 1).astype(np.float32), 0.5):
                yield label.name, _corners(contour + corner)


def _corners(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out the points of a closed line between which it goes straight on."""
    steps = np.diff(line, axis=0)
    before = np.roll(steps, 1, axis=0)
    turns = np.abs(before[:, 0] * steps[:, 1] - before[:, 1] * steps[:, 0]) > _STRAIGHT
    turns[0] = True
    return np.concatenate([line[:-1][turns], line[-1:]])


def _axes(measured: Measured, index: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
    for name, (lesions, _) in measured.lesions.items():
        for n, lesion in enumerate(lesions, start=1):
            at, shift = measured.slice_of(lesion.slice_index)
            if at == index:
                yield f"{name} {n}", lesion.long.ends - np.asarray(shift)
                yield f"{name} {n}", lesion.short.ends - np.asarray(shift)


def _boxes(prediction: Prediction, measured: Measured, index: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
    for n, box in enumerate((box for box in prediction.boxes if box.positive), start=1):
        corners = box_corners(box, measured, index)
        if corners is not None:
            yield f"{box.label} {n}", corners


def _inside(line: NDArray[np.float64], dataset: Dataset) -> NDArray[np.float64]:
    """Turn (row, column) from 0 at pixel centres into (column, row) where the first pixel spans 0 to 1."""
    most = np.asarray([dataset.Columns, dataset.Rows], dtype=np.float64)
    return np.clip(line[:, ::-1] + 0.5, 0.0, most)


def _text(text: str, anchor: tuple[float, float]) -> pr.TextObject:
    return pr.TextObject(text, units="PIXEL", anchor_point=anchor, anchor_point_visible=False)
