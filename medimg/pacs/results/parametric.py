"""Probabilities as parametric maps: one object a label, 32-bit floats on the source's own planes.

Legend: N source planes of R rows and K columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medimg.errors import InputError
from medimg.inference.prediction import Prediction
from medimg.pacs.results.codes import NO_UNITS, type_of
from medimg.pacs.results.made import EXPLICIT, Making, building
from medimg.pacs.results.planes import Spot, on_planes


def build_maps(making: Making, prediction: Prediction, places: Sequence[Spot] | None) -> list[Dataset]:
    """Build a parametric map of every label's probability; none of a prediction that is no segmentation of a volume.

    Raises
    ------
    InputError
        The prediction holds no probabilities, or the source lacks what a parametric map needs.
    """
    if prediction.labels is None or places is None:
        return []
    if prediction.probabilities is None:
        raise InputError(
            "The prediction holds no probabilities, which a parametric map shows.",
            fix="predict with probabilities=true",
        )
    shape = (int(making.sources.first.Rows), int(making.sources.first.Columns))
    made = []
    for number, label in enumerate(prediction.task.labels, start=1):
        values = on_planes(np.asarray(prediction.probabilities[number - 1], np.float32), places, shape)
        mapping = hd.pm.RealWorldValueMapping(
            lut_label=f"P{number}",
            lut_explanation=f"Probability of {label.name}"[:64],
            unit=NO_UNITS,
            value_range=(0.0, 1.0),
            slope=1.0,
            intercept=0.0,
            quantity_definition=type_of(label),
        )
        with building("pm"):
            made.append(making.finish(_build(making, values, mapping, number), "pm"))
    return made


def _build(making: Making, values: NDArray[np.float32], mapping: hd.pm.RealWorldValueMapping, number: int) -> Dataset:
    slices = making.sources.slices
    images = [one.dataset for one in slices]
    if slices[0].frame is not None:
        images = [making.sources.first]
        whole = np.zeros((int(images[0].NumberOfFrames), *values.shape[1:]), dtype=np.float32)
        whole[[one.frame or 0 for one in slices]] = values
        values = whole
    return hd.pm.ParametricMap(
        source_images=images,
        pixel_array=values,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        window_center=0.5,
        window_width=1.0,
        content_label="PROBABILITY",
        content_description=f"medimg {making.title}"[:64],
        transfer_syntax_uid=EXPLICIT,
        **making.identity("pm", number),
        **making.equipment(),
    )
