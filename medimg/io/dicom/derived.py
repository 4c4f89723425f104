"""What SEG and RTSTRUCT share: opening the object, codes, and whether it belongs to an image at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from medimg.errors import InputError
from medimg.io.dicom import tags
from medimg.io.dicom.headers import PYDICOM_ERRORS, Header, quietly, read_header
from medimg.io.findings import Finding
from medimg.io.image import Picture, Source, Volume
from medimg.io.segmentation import Code, Segment

_STORAGE = "1.2.840.10008.5.1.4.1.1."
SEG, LABELMAP_SEG, RTSTRUCT = _STORAGE + "66.4", _STORAGE + "66.7", _STORAGE + "481.3"


def open_object(path: Path) -> tuple[Dataset, Header]:
    """Read a whole DICOM object, and its header as the reader of images sees it.

    Raises
    ------
    InputError
        Not DICOM, or damaged.
    """
    header = read_header(path)
    try:
        with quietly():
            dataset = pydicom.dcmread(path, force=True)
    except PYDICOM_ERRORS as error:
        raise damaged(path, error) from error
    if not len(dataset):
        raise InputError("Not a DICOM file, or one without content.", where=path, fix="export the file again")
    return dataset, header


def damaged(path: Path, error: Exception) -> InputError:
    """Return the error for an object whose attributes cannot be used; the message holds none of their values."""
    return InputError(
        "The DICOM object is damaged, or lacks what it must have.",
        where=path,
        got=type(error).__name__,
        fix="copy or export the file again",
    )


def items(dataset: Any, keyword: str) -> Sequence[Dataset]:
    """Return the items of a sequence, none where it is absent."""
    return dataset.get(keyword) or ()


def code(dataset: Any, keyword: str) -> Code | None:
    """Return the first coded concept of a code sequence, or None."""
    for item in items(dataset, keyword):
        value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
        return Code(str(value), str(item.get("CodingSchemeDesignator", "")), str(item.get("CodeMeaning", "")))
    return None


def choose(segments: tuple[Segment, ...], wanted: Collection[str | int] | None, path: Path) -> tuple[Segment, ...]:
    """Return the segments that have one of the wanted numbers or labels; all where ``wanted`` is None.

    Raises
    ------
    InputError
        A number or label that no segment has.
    """
    if wanted is None:
        return segments
    kept = tuple(segment for segment in segments if {segment.number, segment.label} & set(wanted))
    missing = set(wanted) - {segment.number for segment in kept} - {segment.label for segment in kept}
    if missing:
        got, expected = sorted(map(str, missing)), f"one of {[segment.number for segment in segments]}"
        raise InputError("The segmentation has no such segment.", where=path, got=got, expected=expected)
    return kept


def source_of(header: Header, kind: str) -> Source:
    """Return where an object came from."""
    return Source(
        paths=(header.path,),
        format=f"DICOM {kind}",
        modality=kind,
        series_uid=header.series_uid or None,
        study_uid=tags.text(header.elements, tags.STUDY_UID) or None,
        instance_uids=(header.instance_uid,),
    )


@dataclass(frozen=True)
class References:
    """What an object says it belongs to.

    Attributes
    ----------
    frames : tuple of frozenset of str
        For every frame or contour, the SOP instances that it was made from; empty sets where it names none.
    listed : frozenset of str
        SOP instances named for the object as a whole.
    series : frozenset of str
        Series named.
    frame_of_reference : str or None
    """

    frames: tuple[frozenset[str], ...] = ()
    listed: frozenset[str] = frozenset()
    series: frozenset[str] = frozenset()
    frame_of_reference: str | None = None


def check_belongs(
    references: References, like: Volume | Picture, path: Path, *, check_references: bool = True
) -> list[Finding]:
    """Compare what an object refers to with the image that it is wanted on.

    Returns
    -------
    list of Finding
        REFERENCES_UNCHECKED where the image or the object names nothing to compare, REFERENCES_IGNORED,
        FRAME_OF_REFERENCE where only that differs although the object names the image's own slices.

    Raises
    ------
    InputError
        It refers to images, or to a frame of reference, that the image is not of.
    """
    known = set(like.source.instance_uids) - {""}
    stated = [frame for frame in references.frames if frame]
    proven = bool(known and stated) and all(frame & known for frame in stated)
    findings = _referenced(references, stated, known, like, path, check_references)
    return findings + _same_space(references, like, path, proven, check_references)


def _referenced(
    references: References,
    stated: list[frozenset[str]],
    known: set[str],
    like: Volume | Picture,
    path: Path,
    check_references: bool,
) -> list[Finding]:
    file = str(path)
    foreign = sum(not frame & known for frame in stated)
    if stated:
        got = f"{foreign} of {len(stated)} frames or contours refer to images that are not in the series"
    elif references.listed:
        foreign = int(not references.listed & known)
        got = "none of the images that it refers to is in the series"
    else:
        foreign = int(bool(references.series) and like.source.series_uid not in references.series)
        got = "it refers to another series"
    if not known or not (stated or references.listed or references.series):
        text = "Whether the segmentation was made on this image could not be checked: one of them names no instances."
        return [Finding("REFERENCES_UNCHECKED", "info", text, file=file, assumed="it was")]
    if not foreign:
        return []
    if not check_references:
        text = "The segmentation refers to other images; its geometry alone was believed, as asked."
        return [Finding("REFERENCES_IGNORED", "warning", text, file=file, value=got)]
    raise InputError(
        "The segmentation was made on other images.",
        where=path,
        got=got,
        expected="references (0008,1155) to the slices of the image",
        fix="pair it with its own series; where UIDs were replaced by de-identification, check_references=False "
        "goes by geometry alone",
    )


def _same_space(
    references: References, like: Volume | Picture, path: Path, proven: bool, check_references: bool
) -> list[Finding]:
    theirs = references.frame_of_reference
    ours = like.frame_of_reference_uid if isinstance(like, Volume) else None
    if not theirs or not ours or theirs == ours:
        return []
    if proven or not check_references:
        text = "The frame of reference differs from the image's" + (
            ", although the image's own slices are referred to." if proven else "; it was not checked, as asked."
        )
        return [Finding("FRAME_OF_REFERENCE", "warning", text, file=str(path), tag="(0020,0052)", assumed="the same")]
    raise InputError(
        "The segmentation lies in another frame of reference than the image.",
        where=path,
        got="FrameOfReferenceUID (0020,0052) differs",
        expected="the one of the image",
        fix="pair it with its own series, or register the two first",
    )


def instance_index(like: Volume) -> dict[str, int]:
    """Return which slice each SOP instance of a volume is; empty where that is not one to one."""
    uids = like.source.instance_uids
    if len(uids) != like.shape_zyx[0] or len(set(uids)) != len(uids):
        return {}
    return {uid: n for n, uid in enumerate(uids)}


def uids(found: Iterable[Any], keyword: str = "ReferencedSOPInstanceUID") -> frozenset[str]:
    """Return the non-empty UIDs of reference items."""
    return frozenset(str(item.get(keyword, "")) for item in found) - {""}
