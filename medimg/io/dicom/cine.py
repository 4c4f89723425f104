"""Multi-frame pictures (ultrasound, angiography, endoscopy, secondary capture) as a video of frames on demand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medimg.io.dicom import tags
from medimg.io.dicom.colours import Colours
from medimg.io.dicom.decode import open_frames
from medimg.io.dicom.groups import values
from medimg.io.dicom.headers import Header
from medimg.io.findings import Finding

_FRAME_TIME, _FRAME_TIMES = 0x00181063, 0x00181065
_CINE_RATE, _DISPLAY_RATE = 0x00180040, 0x00082144


def cine_frames(header: Header, colours: Colours, start: int) -> Iterator[NDArray[Any]]:
    """Decode the frames of one file from ``start`` on, each (H, W, 3) uint8 or uint16.

    The file is opened and parsed once; only encoded frames are held, decoded ones one at a time.

    Raises
    ------
    InputError
        Damaged or missing frames.
    MissingDependency
        A decoder is missing.
    """
    # The first frame alone, so that asking for one frame does not load the others.
    for wanted in (range(start, start + 1), range(start + 1, header.frames)):
        if wanted:
            opened = open_frames([replace(header, frame=n) for n in wanted])
            for n in wanted:
                yield np.ascontiguousarray(colours.convert(opened.frame(n, as_rgb=header.samples == 3)))


def frame_times(dataset: Dataset, n_frames: int, file: str) -> tuple[NDArray[np.float64] | None, list[Finding]]:
    """Return when each frame begins, in ms after the first, and what was assumed.

    FrameTimeVector where it fits the number of frames, else FrameTime, else a rate (DICOM PS3.3 C.7.6.5).
    """
    vector = _numbers(dataset, _FRAME_TIMES)
    if len(vector) == n_frames and min(vector) >= 0:
        # The first value is the time before the first frame.
        return np.cumsum(np.asarray([0.0, *vector[1:]])), []
    found: list[Finding] = []
    if vector:
        text = "FrameTimeVector does not fit the number of frames and was not used."
        value = f"{len(vector)} for {n_frames} frames"
        found.append(Finding("FRAME_TIMES", "warning", text, file=file, tag=tags.show(_FRAME_TIMES), value=value))
    single = _numbers(dataset, _FRAME_TIME)
    if single and single[0] > 0:
        return np.arange(n_frames, dtype=np.float64) * single[0], found
    for tag, name in ((_CINE_RATE, "CineRate"), (_DISPLAY_RATE, "RecommendedDisplayFrameRate")):
        rate = _numbers(dataset, tag)
        if rate and rate[0] > 0:
            text = f"Frame times were made from {name}, which is meant for display."
            found.append(
                Finding("FRAME_TIMES", "warning", text, file=file, tag=tags.show(tag), value=f"{rate[0]:g} frames/s")
            )
            return np.arange(n_frames, dtype=np.float64) * (1000.0 / rate[0]), found
    return None, found


def _numbers(dataset: Dataset, tag: int) -> list[float]:
    try:
        found = [float(value) for value in values(dataset, tag)]
    except ValueError:
        return []
    return found if np.isfinite(found).all() else []
