"""What a finished result is told besides: that its input was incomplete, and which results it takes the place of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from medimg.errors import InputError
from medimg.io.atomic import replacing
from medimg.io.dicom.headers import PYDICOM_ERRORS, quietly
from medimg.pacs.serve.jobs import Made

PARTIAL = "PARTIAL INPUT"
_LONG_STRING, _SHORT_TEXT = 64, 1024


def mark(path: Path, *, partial: str | None, earlier: Sequence[Made]) -> Made:
    """Complete a result's file and return what the outbox needs to know of it.

    Parameters
    ----------
    path : Path
        The file.
    partial : str or None
        What was missing of the input, in a sentence; None where nothing was. SeriesDescription then begins with
        ``PARTIAL INPUT``; a report also gets the completion flag PARTIAL (PS3.3 C.17.2).
    earlier : sequence of Made
        Results of fewer instances that this one supersedes: named in the related series (PS3.3 C.7.3.1), and in a
        report as predecessor documents (PS3.3 C.17.2).

    Raises
    ------
    InputError
        The file is no DICOM file that can be read.
    """
    try:
        with quietly():
            dataset = pydicom.dcmread(path)
            if partial is not None or earlier:
                if partial is not None:
                    _mark_partial(dataset, partial)
                _refer(dataset, earlier)
                with replacing(path) as part:
                    dataset.save_as(part, enforce_file_format=True)
            return Made(
                sop_uid=str(dataset.SOPInstanceUID),
                sop_class=str(dataset.SOPClassUID),
                series_uid=str(dataset.SeriesInstanceUID),
                study_uid=str(dataset.StudyInstanceUID),
                transfer_syntax=str(dataset.file_meta.TransferSyntaxUID),
                file=str(path),
                size=path.stat().st_size,
            )
    except PYDICOM_ERRORS as error:
        raise InputError("A result cannot be read again.", where=path, got=type(error).__name__) from error


def _mark_partial(dataset: Dataset, reason: str) -> None:
    said = str(dataset.get("SeriesDescription", ""))
    dataset.SeriesDescription = f"{PARTIAL} {said}".strip()[:_LONG_STRING]
    if "ContentDescription" in dataset:
        dataset.ContentDescription = f"{PARTIAL} {dataset.ContentDescription}".strip()[:_LONG_STRING]
    if "CompletionFlag" in dataset:
        dataset.CompletionFlag = "PARTIAL"
        dataset.CompletionFlagDescription = f"{PARTIAL}: {reason}"[:_LONG_STRING]
    elif "ImageType" in dataset:
        dataset.ImageComments = f"{PARTIAL}: {reason}"[:_SHORT_TEXT]


def _refer(dataset: Dataset, earlier: Sequence[Made]) -> None:
    others = [one for one in earlier if one.sop_uid != str(dataset.SOPInstanceUID)]
    if not others:
        return
    related = []
    for series_uid in dict.fromkeys(one.series_uid for one in others):
        item = Dataset()
        item.StudyInstanceUID = dataset.StudyInstanceUID
        item.SeriesInstanceUID = series_uid
        item.PurposeOfReferenceCodeSequence = Items()
        related.append(item)
    dataset.RelatedSeriesSequence = Items(related)
    same = [one for one in others if one.sop_class == str(dataset.SOPClassUID)]
    if "CompletionFlag" in dataset and same:
        dataset.PredecessorDocumentsSequence = Items([_document(one) for one in same])


def _document(one: Made) -> Dataset:
    instance = Dataset()
    instance.ReferencedSOPClassUID = one.sop_class
    instance.ReferencedSOPInstanceUID = one.sop_uid
    series = Dataset()
    series.SeriesInstanceUID = one.series_uid
    series.ReferencedSOPSequence = Items([instance])
    study = Dataset()
    study.StudyInstanceUID = one.study_uid
    study.ReferencedSeriesSequence = Items([series])
    return study
