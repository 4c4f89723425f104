"""Make a Volume of a stack of DICOM files or frames, or a Picture or Video of a single file.

Legend: Z Y X of a volume; H rows, W columns of a picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.io.dicom import tags
from medimg.io.dicom.calibration import picture_spacing
from medimg.io.dicom.cine import cine_frames, frame_times
from medimg.io.dicom.colours import colours_of
from medimg.io.dicom.decode import open_frames
from medimg.io.dicom.geometry import Arrangement
from medimg.io.dicom.headers import Header, acquisition
from medimg.io.dicom.parse import interpreting, parse
from medimg.io.dicom.pixels import read_values
from medimg.io.dicom.regular import regrid
from medimg.io.dicom.series import Stack
from medimg.io.dicom.values import has_modality_table, looked_up, lossy, meaning_of
from medimg.io.dicom.video import dicom_video, video_kind
from medimg.io.findings import Finding
from medimg.io.image import Image, Picture, Source, Unit, Video, Volume
from medimg.io.memory import check_allocation
from medimg.io.policy import STRICT, ReadPolicy


def load(
    stack: Stack,
    findings: Sequence[Finding] = (),
    policy: ReadPolicy = STRICT,
    *,
    dtype: type[np.float32] | None = None,
) -> Image:
    """Read the pixels of a stack.

    Parameters
    ----------
    stack : Stack
    findings : sequence of Finding
        Noticed before.
    policy : ReadPolicy
        Its ``max_bytes`` is the largest array that may be allocated.
    dtype : numpy.float32, optional
        Type of a volume's values; the default is the narrowest one that holds them exactly.

    Returns
    -------
    Volume
        Where the files state position, orientation and spacing: (Z, Y, X) along the slice normal, int16 where
        the rescale is whole, else float32; ``unit`` 'HU' for CT whose RescaleType is HU or absent, 'SUV' for
        PET that says all that takes.
    Picture
        Where a single colour (or grey, without geometry) file stands alone: (H, W, 3).
    Video
        Where such a file has several frames.

    Raises
    ------
    InputError
        The stack's own problem, damaged pixels, or an unusable rescale.
    MissingDependency
        A decoder is missing.
    """
    if stack.problem is not None:
        raise stack.problem
    if stack.arrangement is not None:
        return _volume(stack, stack.arrangement, [*findings, *stack.findings], policy, dtype)
    header = stack.headers[0]
    return _pictures(header, list(findings), policy)


def _volume(
    stack: Stack,
    arrangement: Arrangement,
    findings: list[Finding],
    policy: ReadPolicy,
    dtype: type[np.float32] | None,
) -> Volume:
    headers, first = arrangement.headers, arrangement.headers[0]
    findings += arrangement.findings
    array, unit = _values(headers, findings, policy, dtype)
    if arrangement.regrid is not None:
        array, notes = regrid(array, arrangement.regrid, unit=unit, where=first.path.parent, max_bytes=policy.max_bytes)
        findings += notes
    return Volume(
        array=array,
        affine=arrangement.affine,
        unit=unit,
        frame_of_reference_uid=tags.text(first.elements, tags.FRAME_OF_REFERENCE) or None,
        source=_source(headers, stack.values),
        findings=tuple(findings + lossy(first)),
    )


def _values(
    headers: Sequence[Header], findings: list[Finding], policy: ReadPolicy, dtype: type[np.float32] | None
) -> tuple[NDArray[Any], Unit]:
    if has_modality_table(headers):
        array, unit = looked_up(headers, findings, policy.max_bytes)
        return (array if dtype is None else array.astype(dtype)), unit
    meaning = meaning_of(headers, findings)
    array = read_values(
        headers, meaning.rescales, findings, inverted=meaning.inverted, dtype=dtype, max_bytes=policy.max_bytes
    )
    return array, meaning.unit


def _source(headers: Sequence[Header], values: Mapping[str, Any] | None = None) -> Source:
    first = headers[0]
    placed = len(headers) > 1 or first.has_geometry
    return Source(
        paths=tuple(dict.fromkeys(header.path for header in headers)),
        format="DICOM",
        modality=first.modality,
        series_uid=first.series_uid or None,
        study_uid=tags.text(first.elements, tags.STUDY_UID) or None,
        instance_uids=tuple(dict.fromkeys(header.instance_uid for header in headers)),
        acquisition=acquisition(first) | dict(values or {}),
        frames=tuple(header.frame for header in headers) if placed and first.frames > 1 else (),
    )


def _pictures(header: Header, findings: list[Finding], policy: ReadPolicy) -> Picture | Video:
    dataset = parse(header)
    file = str(header.path)
    with interpreting(header, "the description of the pixels"):
        spacing, notes = picture_spacing(dataset, header.modality, file)
        if video_kind(header.transfer_syntax):
            return dicom_video(header, dataset, spacing, _source([header]), [*findings, *lossy(header), *notes])
        colours = colours_of(header, dataset)
        times, more = frame_times(dataset, header.frames, file) if header.frames > 1 else (None, [])
    findings += [*colours.findings, *notes, *lossy(header)]
    itemsize = max(1, header.bits_allocated // 8)
    check_allocation((header.rows, header.columns, 3), itemsize, where=header.path, max_bytes=policy.max_bytes)
    source = _source([header])
    if header.frames == 1:
        opened = open_frames([header])
        array = colours.convert(opened.frame(header.frame, as_rgb=header.samples == 3))
        findings += opened.findings
        return Picture(np.ascontiguousarray(array), spacing, source=source, findings=tuple(findings))
    return Video(
        size=(header.rows, header.columns),
        n_frames=header.frames,
        frame_times_ms=times,
        frames_from=partial(cine_frames, header, colours),
        spacing_mm=spacing,
        source=source,
        findings=tuple(findings + more),
    )
