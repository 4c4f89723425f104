"""The report of a result: DICOM SR by TID 1500, a measurement group for each lesion, box, score or statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import SecondaryCaptureImageStorage

from medimg.inference.prediction import Box, Prediction
from medimg.packaging.manifest import Label
from medimg.pacs.results import report_parts as parts
from medimg.pacs.results.codes import (
    ABSENT,
    FINDING,
    NOT_ATTEMPTED,
    PARTLY_SUCCEEDED,
    PRESENT,
    SUCCEEDED,
    category_of,
    private,
    procedure_of,
    quantity_of,
    type_of,
    unit_of,
)
from medimg.pacs.results.made import PARTIAL, RESEARCH_ONLY, Making, building
from medimg.pacs.results.measure import Lesion
from medimg.pacs.results.measured import MOST_LESIONS, Measured
from medimg.pacs.results.seg import MadeSeg


def build_report(making: Making, prediction: Prediction, measured: Measured, seg: MadeSeg | None) -> Dataset:
    """Build the report of a prediction.

    Raises
    ------
    InputError
        The source lacks what a report needs.
    """
    with building("sr"):
        groups = _groups(making, prediction, measured, seg)
        done = PARTLY_SUCCEEDED if making.partial else SUCCEEDED
        notes = [RESEARCH_ONLY]
        if making.partial:
            notes.insert(0, f"{PARTIAL}: {making.partial}")
        notes += [f"{one.code}: {one.message}" for one in prediction.findings if one.severity != "info"]
        about = parts.statement(
            making, "analysis", [parts.summary(done)], comments=notes, images=making.sources.slices[:1]
        )
        return _document(making, [about, *groups], seg)


def build_refusal(making: Making, reason: str) -> Dataset:
    """Build a report that says why there is no result.

    Parameters
    ----------
    making : Making
    reason : str
        One sentence that names no patient.

    Raises
    ------
    InputError
        The source lacks what a report needs.
    """
    with building("sr"):
        comments = [f"Not analysed: {reason}", RESEARCH_ONLY]
        group = parts.statement(
            making, "refusal", [parts.summary(NOT_ATTEMPTED)], comments=comments, images=making.sources.slices[:1]
        )
        return _document(making, [group], None)


def _groups(making: Making, prediction: Prediction, measured: Measured, seg: MadeSeg | None) -> list[parts.Group]:
    if prediction.kind == "segmentation":
        return [group for label in prediction.task.labels for group in _label_groups(making, label, measured, seg)]
    if prediction.kind == "detection":
        return _box_groups(making, prediction, measured)
    return [_classification(making, prediction)]


def _label_groups(making: Making, label: Label, measured: Measured, seg: MadeSeg | None) -> list[parts.Group]:
    lesions, count = measured.lesions[label.name]
    if not lesions:
        return [_absent(making, label)]
    groups = [_lesion_group(making, label, n, lesion, measured, seg) for n, lesion in enumerate(lesions, start=1)]
    if count > len(lesions):
        parts.comment(
            groups[0], f"{count} regions of {label.name} were found; the {len(lesions)} largest are measured."
        )
    return groups


def _absent(making: Making, label: Label) -> parts.Group:
    return parts.statement(
        making,
        f"{label.name}: no finding",
        [(FINDING, ABSENT)],
        comments=[f"No finding: no {label.name} was found."],
        images=making.sources.slices[:1],
        finding=label,
    )


def _lesion_group(
    making: Making, label: Label, n: int, lesion: Lesion, measured: Measured, seg: MadeSeg | None
) -> parts.Group:
    index, shift = measured.slice_of(lesion.slice_index)
    one = making.sources.slices[index]
    modality = making.manifest.modality
    unit = unit_of(measured.unit) if measured.scale == "volume" else None
    number = None if seg is None else seg.numbers.get(label.name)
    shared: dict[str, Any] = {
        "tracking_identifier": parts.tracking(making, f"{label.name} {n}"),
        "finding_type": type_of(label),
        "finding_category": category_of(label),
        "algorithm_id": parts.algorithm(making),
        "measurements": parts.lesion_measurements(
            lesion, one if number is None else None, shift, unit, quantity_of(measured.unit, modality), measured.scale
        ),
    }
    group: parts.Group
    if seg is None or number is None:
        group = sr.MeasurementsAndQualitativeEvaluations(source_images=[parts.group_image(one)], **shared)
    else:
        group = _on_segment(making, seg.dataset, number, lesion, measured, shared)
    frame_of_reference = str(making.sources.first.get("FrameOfReferenceUID", "") or "")
    if frame_of_reference and measured.places is not None:
        parts.centre_of(group, lesion, frame_of_reference)
    return group


def _on_segment(
    making: Making, seg: Dataset, number: int, lesion: Lesion, measured: Measured, shared: dict[str, Any]
) -> parts.Group:
    if measured.places is None:
        one = making.sources.slices[0]
        frame = next(n for n, held in enumerate(_frame_segments(seg), start=1) if number in held)
        source = sr.SourceImageForSegmentation(
            str(one.dataset.SOPClassUID), one.uid, None if one.frame is None else [one.frame + 1]
        )
        on_frame = sr.ReferencedSegmentationFrame(
            seg.SOPClassUID, seg.SOPInstanceUID, frame, number, source_image=source
        )
        for item in on_frame:
            for reference in item.get("ReferencedSOPSequence", ()):
                # A frame says which segment it is of; both at once are not allowed (PS3.3 C.18.4).
                if "ReferencedFrameNumber" in reference and "ReferencedSegmentNumber" in reference:
                    del reference.ReferencedSegmentNumber
        return sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=on_frame, **shared)
    series = sr.SourceSeriesForSegmentation(str(making.sources.first.SeriesInstanceUID))
    segment = sr.ReferencedSegment(seg.SOPClassUID, seg.SOPInstanceUID, number, source_series=series)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **shared)


def _frame_segments(seg: Dataset) -> list[set[int]]:
    everything = {int(item.SegmentNumber) for item in seg.SegmentSequence}
    held = []
    for frame in seg.PerFrameFunctionalGroupsSequence:
        items = frame.get("SegmentIdentificationSequence")
        held.append({int(items[0].ReferencedSegmentNumber)} if items else everything)
    return held


def _box_groups(making: Making, prediction: Prediction, measured: Measured) -> list[parts.Group]:
    labels = {label.name: label for label in prediction.task.labels}
    found = [box for box in prediction.boxes if box.positive]
    seen = {box.label for box in found}
    groups = [_box_group(making, labels[box.label], n, box, measured) for n, box in enumerate(found[:MOST_LESIONS], 1)]
    if len(found) > MOST_LESIONS:
        parts.comment(groups[0], f"{len(found)} regions were found; the {MOST_LESIONS} most certain are listed.")
    return groups + [_absent(making, label) for name, label in labels.items() if name not in seen]


def _box_group(making: Making, label: Label, n: int, box: Box, measured: Measured) -> parts.Group:
    dims = len(box.box) // 2
    middle = int((box.box[0] + box.box[dims]) / 2) if dims == 3 else 0
    index, shift = measured.slice_of(middle)
    one = making.sources.slices[index]
    measurements = [parts.score(f"{label.name} probability", box.score)]
    measurements += parts.box_sizes(box, measured.spacing_mm)
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=parts.tracking(making, f"{label.name} {n}"),
        referenced_region=parts.box_region(box, one, shift),
        finding_type=type_of(label),
        finding_category=category_of(label),
        algorithm_id=parts.algorithm(making),
        measurements=measurements,
    )
    return group


def _classification(making: Making, prediction: Prediction) -> parts.Group:
    task = prediction.task
    evaluations = [
        (private(name), PRESENT if reached else ABSENT) for name, reached in sorted(prediction.decisions.items())
    ]
    comments = []
    if prediction.grade is not None and task.mode != "binary":
        label = next(label for label in task.labels if label.index == prediction.grade)
        evaluations.append((private("grade" if task.mode == "ordinal" else "class"), type_of(label)))
        comments.append(f"{'Grade' if task.mode == 'ordinal' else 'Class'}: {label.name}")
    if prediction.decisions and not any(prediction.decisions.values()):
        comments.append("No finding: no score reaches its threshold.")
    return parts.statement(
        making,
        task.score_name,
        evaluations,
        comments=comments,
        images=making.sources.slices[:1],
        finding=task.labels[0] if task.mode == "binary" else None,
        measurements=[parts.score(name, value) for name, value in prediction.scores.items()],
    )


def _document(making: Making, groups: Sequence[parts.Group], seg: MadeSeg | None) -> Dataset:
    content = sr.MeasurementReport(
        observation_context=parts.observer(making),
        procedure_reported=procedure_of(str(making.sources.first.get("Modality", ""))),
        imaging_measurements=list(groups),
        title=codes.DCM.ImagingMeasurementReport,
    )
    evidence = parts.images_of(making.sources.slices)
    if seg is not None:
        evidence.append(seg.dataset)
    first = evidence[0]
    # The library knows no retired and private classes; what it copies from the first image, all classes have.
    sop_class, first.SOPClassUID = first.SOPClassUID, SecondaryCaptureImageStorage
    report = sr.Comprehensive3DSR(
        evidence=evidence,
        content=content[0],
        is_complete=making.partial is None,
        **making.identity("sr"),
    )
    first.SOPClassUID = sop_class
    for item in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence:
        for reference in item.ReferencedSOPSequence:
            if reference.ReferencedSOPInstanceUID == first.SOPInstanceUID:
                reference.ReferencedSOPClassUID = sop_class
    finished = making.finish(report, "sr")
    if making.partial is not None:
        finished.CompletionFlagDescription = f"{PARTIAL}: {making.partial}"[:64]
    return finished
