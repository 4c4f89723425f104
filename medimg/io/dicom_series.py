"""Sort DICOM files into stacks that each make one volume, and pictures that stand alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.tag import BaseTag

from medimg.errors import InputError
from medimg.io import dicom_tags as tags
from medimg.io.dicom_geometry import Arrangement, arrange
from medimg.io.dicom_headers import ENHANCED, Header
from medimg.io.findings import Finding

# Orientations nearer than this (largest difference of a cosine) and pixel spacings nearer than this part
# belong to one stack.
_SAME_ORIENTATION, _SAME_SPACING = 1e-3, 1e-3
_NEEDS_GEOMETRY = ("CT", "MR", "PT")


def _texts(*wanted: BaseTag) -> Callable[[Header], Hashable]:
    return lambda header: tuple("\\".join(tags.texts(header.elements, tag)) for tag in wanted)


# What can set slices at one position apart, in the order in which a split is tried.
_DISCRIMINATORS: tuple[tuple[str, Callable[[Header], Hashable]], ...] = (
    ("image type", _texts(tags.IMAGE_TYPE)),
    ("echo", _texts(tags.ECHO_NUMBERS, tags.ECHO_TIME)),
    ("temporal position", _texts(tags.TEMPORAL_POSITION)),
    ("acquisition number", _texts(tags.ACQUISITION_NUMBER)),
    ("b-value", lambda header: tags.number(header.elements, tags.B_VALUE)),
    ("trigger time", _texts(tags.TRIGGER_TIME)),
    ("kernel", _texts(tags.KERNEL)),
)


@dataclass(frozen=True, eq=False)
class Stack:
    """Files that make one volume, or one picture, or the reason why they cannot.

    Attributes
    ----------
    headers : tuple of Header
        Sorted along the slice normal where ``arrangement`` is there.
    arrangement : Arrangement or None
        Geometry; None for pictures and for stacks with a ``problem``.
    split_by : tuple of str
        What set this stack apart from others of the same series.
    problem : InputError or None
        Why it cannot be read.
    """

    headers: tuple[Header, ...]
    arrangement: Arrangement | None = None
    split_by: tuple[str, ...] = ()
    problem: InputError | None = None

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID."""
        return self.headers[0].series_uid

    @property
    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X) of a volume; (H, W) of a picture."""
        first = self.headers[0]
        plane = (first.rows, first.columns)
        return (len(self.headers), *plane) if self.is_volume else plane

    @property
    def is_volume(self) -> bool:
        """Whether this is (meant to be) a volume."""
        return self.headers[0].has_geometry or len(self.headers) > 1


def stacks(headers: Iterable[Header]) -> list[Stack]:
    """Group image headers into stacks, in an order that does not depend on file names.

    Grouped by series, size and orientation first; a group whose slices do not lie evenly is split by image
    type, echo, temporal position, acquisition number, b-value, trigger time or kernel where that makes every
    part even.
    """
    found: list[Stack] = []
    for group in _groups(headers):
        first = group[0]
        if (problem := _unsupported(first)) is not None:
            found.append(Stack(tuple(group), problem=problem))
        elif first.has_geometry:
            found += _separate(group, _DISCRIMINATORS, ())
        else:
            found += _without_geometry(group)
    return sorted(found, key=_listing_order)


def _listing_order(stack: Stack) -> tuple[float, str, float, str]:
    first = stack.headers[0]
    series = tags.number(first.elements, tags.SERIES_NUMBER)
    lowest = min(tags.number(h.elements, tags.INSTANCE_NUMBER) or 0.0 for h in stack.headers)
    return (float("inf") if series is None else series, first.series_uid, lowest, first.instance_uid)


def _groups(headers: Iterable[Header]) -> list[list[Header]]:
    groups: dict[Hashable, list[list[Header]]] = {}
    for header in headers:
        key = (header.series_uid, header.rows, header.columns, header.samples, header.frames > 1, header.sop_class)
        for group in groups.setdefault((*key, header.has_geometry), []):
            if _same_plane(group[0], header):
                group.append(header)
                break
        else:
            groups[(*key, header.has_geometry)].append([header])
    return [group for same_key in groups.values() for group in same_key]


def _same_plane(a: Header, b: Header) -> bool:
    if not a.has_geometry:
        return True
    turned = np.abs(np.subtract(a.orientation or 0, b.orientation or 0)).max()
    spacing = np.asarray([a.pixel_spacing, b.pixel_spacing], dtype=np.float64)
    return bool(turned <= _SAME_ORIENTATION and np.ptp(spacing, axis=0).max() <= _SAME_SPACING * np.abs(spacing).max())


def _separate(
    headers: Sequence[Header],
    discriminators: Sequence[tuple[str, Callable[[Header], Hashable]]],
    split_by: tuple[str, ...],
) -> list[Stack]:
    try:
        arrangement = arrange(headers)
    except InputError as error:
        problem = error
    else:
        return [Stack(arrangement.headers, arrangement, split_by)]
    for n, (name, value) in enumerate(discriminators):
        parts: dict[Hashable, list[Header]] = {}
        for header in headers:
            parts.setdefault(value(header), []).append(header)
        if len(parts) > 1 and min(len(part) for part in parts.values()) > 1:
            tried = [
                stack
                for part in parts.values()
                for stack in _separate(part, discriminators[n + 1 :], (*split_by, name))
            ]
            if all(stack.problem is None for stack in tried):
                return tried
    return [Stack(tuple(headers), problem=problem, split_by=split_by)]


def _without_geometry(group: list[Header]) -> list[Stack]:
    first = group[0]
    if first.modality not in _NEEDS_GEOMETRY or first.samples > 1:
        return [Stack((header,)) for header in group]
    lacking = [
        f"{name} {tags.show(tag)}"
        for name, tag, value in (
            ("ImagePositionPatient", tags.POSITION, first.position),
            ("ImageOrientationPatient", tags.ORIENTATION, first.orientation),
            ("PixelSpacing", tags.PIXEL_SPACING, first.pixel_spacing),
        )
        if value is None
    ]
    problem = InputError(
        f"A {first.modality} image does not say where it lies in the patient.",
        where=first.path,
        got=f"{', '.join(lacking)} absent or malformed"
        if lacking
        else f"PhotometricInterpretation (0028,0004) = {first.photometric or 'absent'}",
        expected="position, orientation and pixel spacing of a grey image",
        fix="export the original series from the scanner or PACS; screenshots and old exports lack these tags",
    )
    return [Stack(tuple(group), problem=problem)]


def _unsupported(header: Header) -> InputError | None:
    """Return why images of this kind cannot be read yet, or None."""
    what = None
    if header.sop_class in ENHANCED:
        what = f"{ENHANCED[header.sop_class]} objects"
    elif header.frames > 1:
        what = f"multi-frame objects ({header.frames} frames)"
    elif tags.has(header.elements, tags.MODALITY_LUT):
        what = "images with a ModalityLUTSequence (0028,3000)"
    if what is None:
        return None
    return InputError(
        f"This version does not read {what}.",
        where=header.path,
        got=header.kind,
        expected="single-frame images",
        fix="export the series as single-frame DICOM, or convert it to NIfTI with dcm2niix",
    )


def without_localizers(headers: Sequence[Header]) -> tuple[list[Header], list[Finding]]:
    """Leave localizers out where anything else is there, with a finding."""
    kept = [header for header in headers if not header.is_localizer]
    if len(kept) == len(headers) or not kept:
        return list(headers), []
    left_out = [header for header in headers if header.is_localizer]
    text = f"{len(left_out)} localizer image(s) were left out."
    file, tag = str(left_out[0].path), tags.show(tags.IMAGE_TYPE)
    return kept, [Finding("LOCALIZER_EXCLUDED", "info", text, file=file, tag=tag, value=str(len(left_out)))]
