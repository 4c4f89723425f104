"""Parts of a report: who measured, which images, and one group for each lesion, box, score or statement (TID 1500)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from highdicom import sr
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from medimg.inference.prediction import Box
from medimg.packaging.manifest import Label
from medimg.pacs.results.codes import (
    AREA,
    CENTER_OF_MASS,
    COMMENT,
    LONG_AXIS,
    MEAN,
    MILLILITER,
    MILLIMETER,
    NO_UNITS,
    PIXELS,
    SHORT_AXIS,
    SQUARE_MILLIMETER,
    SUMMARY,
    VOLUME,
    category_of,
    private,
    type_of,
)
from medimg.pacs.results.made import MAKER, Making
from medimg.pacs.results.measure import Axis, Lesion
from medimg.pacs.results.source import SourceSlice

Group = (
    sr.MeasurementsAndQualitativeEvaluations
    | sr.PlanarROIMeasurementsAndQualitativeEvaluations
    | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
)
_DIGITS = 4


def observer(making: Making) -> sr.ObservationContext:
    """Return the observation context: the package as a device."""
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=making.device_uid(),
        name=making.title[:64],
        manufacturer_name=MAKER,
        model_name=making.title[:64],
        serial_number=making.manifest.digest,
    )
    context = sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return sr.ObservationContext(observer_device_context=context)


def algorithm(making: Making) -> sr.AlgorithmIdentification:
    """Return name, version and digest of the package."""
    manifest = making.manifest
    digest = f"package_digest={manifest.digest}"
    return sr.AlgorithmIdentification(name=manifest.name, version=manifest.version, parameters=[digest])


def tracking(making: Making, name: str, *parts: object) -> sr.TrackingIdentifier:
    """Return a tracking identifier whose UID depends on source, package and parts alone."""
    return sr.TrackingIdentifier(uid=making.uid("tracking", name, *parts), identifier=name[:64])


def number(name: CodedConcept, value: float, unit: CodedConcept, **more: Any) -> sr.Measurement:
    """Return a measurement, rounded to five significant digits so that a decimal string holds it."""
    return sr.Measurement(name=name, value=float(f"{value:.{_DIGITS + 1}g}"), unit=unit, **more)


def group_image(one: SourceSlice) -> sr.SourceImageForMeasurementGroup:
    """Return the reference of a measurement group to a slice."""
    frames = None if one.frame is None else [one.frame + 1]
    return sr.SourceImageForMeasurementGroup(str(one.dataset.SOPClassUID), one.uid, frames)


def region_image(one: SourceSlice) -> sr.SourceImageForRegion:
    """Return the reference of drawn coordinates to a slice."""
    frames = None if one.frame is None else [one.frame + 1]
    return sr.SourceImageForRegion(str(one.dataset.SOPClassUID), one.uid, frames)


def image_points(rows_columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn (row, column) of pixel centres from 0 into SCOORD's (column, row), where a pixel spans 0 to 1."""
    return np.maximum(rows_columns[:, ::-1] + 0.5, 0.0)


def lesion_measurements(
    lesion: Lesion,
    one: SourceSlice | None,
    shift: tuple[int, int],
    unit: CodedConcept | None,
    quantity: CodedConcept | None,
    scale: str,
) -> list[sr.Measurement]:
    """Return axes, size and mean of a lesion.

    Parameters
    ----------
    lesion : Lesion
    one : SourceSlice or None
        The slice that its axes lie in, to draw them; None in templates that allow no coordinates (TID 1410, 1411).
    shift : (int, int)
        Row and column of that slice's first pixel in the volume.
    unit, quantity : CodedConcept or None
        Of the mean; no unit: no mean.
    scale : {'volume', 'mm', 'pixels'}
        What axes and size are in.
    """
    length = PIXELS if scale == "pixels" else MILLIMETER
    found = [
        number(name, axis.length, length, referenced_coordinates=None if one is None else [_line(axis, one, shift)])
        for name, axis in ((LONG_AXIS, lesion.long), (SHORT_AXIS, lesion.short))
    ]
    if scale == "volume":
        found.append(number(VOLUME, lesion.size, MILLILITER))
    else:
        found.append(number(AREA, lesion.size, SQUARE_MILLIMETER if scale == "mm" else PIXELS))
    if unit is not None and lesion.mean is not None and np.isfinite(lesion.mean):
        found.append(number(quantity or private("mean value"), lesion.mean, unit, derivation=MEAN))
    return found


def _line(axis: Axis, one: SourceSlice, shift: tuple[int, int]) -> sr.CoordinatesForMeasurement:
    ends = image_points(axis.ends - np.asarray(shift, dtype=np.float64))
    return sr.CoordinatesForMeasurement("POLYLINE", ends, source_image=region_image(one))


def box_region(box: Box, one: SourceSlice, shift: tuple[int, int]) -> sr.ImageRegion:
    """Return a box as a closed polyline on a slice."""
    dims = len(box.box) // 2
    (y0, x0), (y1, x1) = box.box[dims - 2 : dims], box.box[2 * dims - 2 :]
    corners = np.asarray([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]) - np.asarray(shift[::-1])
    rows, columns = int(one.dataset.Rows), int(one.dataset.Columns)
    corners = np.clip(corners, 0.0, np.asarray([columns, rows], dtype=np.float64))
    return sr.ImageRegion("POLYLINE", corners, source_image=region_image(one))


def box_sizes(box: Box, spacing_mm: tuple[float, ...] | None) -> list[sr.Measurement]:
    """Return the lengths of a box's sides, the longest first; none where there is no millimetre."""
    if spacing_mm is None:
        return []
    low, high = (np.asarray(part) for part in np.split(np.asarray(box.box), 2))
    sides = sorted((float(side) for side in (high - low) * spacing_mm), reverse=True)
    names = ("box length", "box width", "box height")
    return [number(private(name), side, MILLIMETER) for name, side in zip(names, sides)]


def statement(
    making: Making,
    name: str,
    evaluations: Sequence[tuple[CodedConcept, CodedConcept]],
    *,
    comments: Sequence[str] = (),
    images: Sequence[SourceSlice] = (),
    finding: Label | None = None,
    measurements: Sequence[sr.Measurement] = (),
) -> Group:
    """Return a group that says something of the whole image: present, absent, a score, a grade, or why not."""
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking(making, name),
        finding_type=None if finding is None else type_of(finding),
        finding_category=None if finding is None else category_of(finding),
        algorithm_id=algorithm(making),
        measurements=list(measurements) or None,
        qualitative_evaluations=[sr.QualitativeEvaluation(key, value) for key, value in evaluations] or None,
        source_images=[group_image(one) for one in images] or None,
    )
    comment(group, *comments)
    return group


def comment(group: Group, *texts: str) -> None:
    """Add comments to a group."""
    for text in texts:
        group[0].ContentSequence.append(
            sr.TextContentItem(name=COMMENT, value=text[:1024], relationship_type="CONTAINS")
        )


def centre_of(group: Group, lesion: Lesion, frame_of_reference_uid: str) -> None:
    """Add the centre of mass as a point in the patient."""
    if lesion.centre_mm is None:
        return
    point = np.round(np.asarray([lesion.centre_mm]), 3)
    group[0].ContentSequence.append(
        sr.Scoord3DContentItem(
            name=CENTER_OF_MASS,
            graphic_type="POINT",
            graphic_data=point,
            frame_of_reference_uid=frame_of_reference_uid,
            relationship_type="CONTAINS",
        )
    )


def score(name: str, value: float) -> sr.Measurement:
    """Return a probability."""
    return number(private(name), value, NO_UNITS)


def summary(value: CodedConcept) -> tuple[CodedConcept, CodedConcept]:
    """Return how the analysis went, as an evaluation."""
    return SUMMARY, value


def images_of(slices: Sequence[SourceSlice]) -> list[Dataset]:
    """Return every dataset of slices once, in order."""
    return list({one.uid: one.dataset for one in slices}.values())
