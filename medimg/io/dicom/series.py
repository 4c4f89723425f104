"""Sort DICOM files into stacks that each make one volume, and pictures that stand alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.io.dicom import refusals, tags
from medimg.io.dicom.aside import Aside, aside_of
from medimg.io.dicom.complete import completeness
from medimg.io.dicom.frames import frames_of
from medimg.io.dicom.geometry import Arrangement, arrange_parts
from medimg.io.dicom.headers import Header
from medimg.io.dicom.split import Part, separate
from medimg.io.dicom.traits import in_order
from medimg.io.findings import Finding
from medimg.io.policy import STRICT, ReadPolicy

# Orientations nearer than this (largest difference of a cosine) and pixel spacings nearer than this part
# belong to one stack.
_SAME_ORIENTATION, _SAME_SPACING = 1e-3, 1e-3
_NEEDS_GEOMETRY = ("CT", "MR", "PT")


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
    values : dict
        What it is where others differ: ``echo_time_ms``, ``b_value``, ``temporal_position``, ``image_type``, …
    aside : str
        Why the automatic choice passes it over where a scan is beside it ('' for a scan).
    findings : tuple of Finding
        How it was set apart, and what its series may lack.
    """

    headers: tuple[Header, ...]
    arrangement: Arrangement | None = None
    split_by: tuple[str, ...] = ()
    problem: InputError | None = None
    values: dict[str, Any] = field(default_factory=dict)
    aside: Aside = ""
    findings: tuple[Finding, ...] = ()

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID."""
        return self.headers[0].series_uid

    @property
    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X) of a volume; (H, W) of a picture."""
        if self.arrangement is not None:
            return self.arrangement.shape_zyx
        first = self.headers[0]
        plane = (first.rows, first.columns)
        return (len(self.headers), *plane) if self.is_volume else plane

    @property
    def is_volume(self) -> bool:
        """Whether this is (meant to be) a volume."""
        return self.headers[0].has_geometry or len(self.headers) > 1


def stacks(headers: Iterable[Header], policy: ReadPolicy = STRICT) -> list[Stack]:
    """Group image headers into stacks, in an order that does not depend on file names.

    Frames that lie in the patient are slices like any other; a file of other frames (cine, video) is a stack alone.

    Grouped by series, size, orientation and whether they are set aside first; then `separate` divides a group by
    echo, time, b-value and the like. What holes, doubles, uneven gaps or tilt remain, ``policy`` decides about.

    Returns
    -------
    list of Stack
        Those that the automatic choice passes over come last; within a series by time, echo, b-value.
    """
    found: list[Stack] = []
    frames: list[Header] = []
    for header in headers:
        try:
            frames += frames_of(header)
        except InputError as problem:
            found.append(Stack((header,), problem=problem))
    lacking = completeness(frames)
    for group in _groups(frames):
        first = group[0]
        if "MOSAIC" in {word.upper() for word in first.image_type}:
            found.append(Stack(tuple(group), problem=refusals.mosaic(first)))
        elif first.has_geometry:
            found += [stack for part in separate(group) for stack in _mended(part, policy)]
        else:
            found += _without_geometry(group)
    marked = [
        replace(
            stack,
            aside=aside_of(stack.headers[0]),
            findings=(*stack.findings, *(lacking.get(stack.series_uid, ()) if stack.is_volume else ())),
        )
        for stack in found
    ]
    return sorted(marked, key=_listing_order)


def _listing_order(stack: Stack) -> tuple[Any, ...]:
    first = stack.headers[0]
    series = tags.number(first.elements, tags.SERIES_NUMBER)
    lowest = min(tags.number(h.elements, tags.INSTANCE_NUMBER) or 0.0 for h in stack.headers)
    place = (float("inf") if series is None else series, first.series_uid)
    return (bool(stack.aside), *place, in_order(stack.values), lowest, first.instance_uid)


def _mended(part: Part, policy: ReadPolicy) -> list[Stack]:
    """Make stacks of what belongs together, as the policy says."""
    one = Stack(part.headers, None, part.split_by, None, part.values, findings=part.findings)
    if part.arrangement is not None:
        return [replace(one, headers=part.arrangement.headers, arrangement=part.arrangement)]
    try:
        arranged = arrange_parts(part.headers, policy)
    except InputError as problem:
        return [replace(one, problem=problem)]
    if len(arranged) == 1:
        return [replace(one, headers=arranged[0].headers, arrangement=arranged[0])]
    return [
        replace(
            one,
            headers=piece.headers,
            arrangement=piece,
            split_by=(*part.split_by, "gap"),
            values={**part.values, "piece": n},
        )
        for n, piece in enumerate(arranged)
    ]


def _groups(headers: Iterable[Header]) -> list[list[Header]]:
    """Group by what one stack has in common; nearly equal orientations and pixel spacings are one."""
    groups: dict[Hashable, list[list[Header]]] = {}
    planes: dict[Hashable, _Planes] = {}
    for header in headers:
        key = (
            *(_series_of(header), header.modality, header.sop_class, header.rows, header.columns, header.samples),
            *(header.photometric, header.frames > 1, header.has_geometry, aside_of(header)),
        )
        place = planes.setdefault(key, _Planes()).place(header) if header.has_geometry else 0
        found = groups.setdefault(key, [])
        if place == len(found):
            found.append([])
        found[place].append(header)
    return [group for same_key in groups.values() for group in same_key]


def _series_of(header: Header) -> Hashable:
    """Return the series, or what stands for it where a file names none: its study, series number and folder."""
    if header.series_uid:
        return header.series_uid
    stated = tags.text(header.elements, tags.STUDY_UID), tags.text(header.elements, tags.SERIES_NUMBER)
    return (*stated, header.path.parent)


class _Planes:
    """Numbers orientations with pixel spacings, nearly equal ones the same; quick where they are equal."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}
        self._firsts = np.empty((0, 8))

    def place(self, header: Header) -> int:
        """Return the number of the header's plane, a new one where none is near."""
        key = (header.orientation, header.pixel_spacing)
        if key not in self._known:
            self._known[key] = self._nearest(np.asarray([*(key[0] or ()), *(key[1] or ())]))
        return self._known[key]

    def _nearest(self, plane: NDArray[np.float64]) -> int:
        turned = np.abs(self._firsts[:, :6] - plane[:6]).max(axis=1)
        scaled = np.abs(self._firsts[:, 6:] - plane[6:]).max(axis=1)
        near = (turned <= _SAME_ORIENTATION) & (scaled <= _SAME_SPACING * np.abs(plane[6:]).max())
        if near.any():
            return int(np.flatnonzero(near)[0])
        self._firsts = np.vstack([self._firsts, plane])
        return len(self._firsts) - 1


def _without_geometry(group: list[Header]) -> list[Stack]:
    first = group[0]
    if first.modality not in _NEEDS_GEOMETRY or first.samples > 1:
        return [Stack((header,)) for header in group]
    return [Stack(tuple(group), problem=refusals.without_place(first))]
