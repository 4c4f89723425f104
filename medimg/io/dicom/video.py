"""DICOM objects whose pixels are one video stream (MPEG-2, MPEG-4 AVC, HEVC), DICOM PS3.5 8.2.5 to 8.2.15.

The fragments of such an object are pieces of one stream, not frames: they are read as one file, in place.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from typing import Any, BinaryIO, cast

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import parse_basic_offsets, parse_fragments

from medimg.errors import InputError
from medimg.io.dicom import tags
from medimg.io.dicom.calibration import Spacing
from medimg.io.dicom.cine import frame_times
from medimg.io.dicom.headers import PYDICOM_ERRORS, Header, quietly
from medimg.io.findings import Finding
from medimg.io.image import Source, Video
from medimg.io.video import Movie, decoded_frames, survey

_PREFIX = "1.2.840.10008.1.2.4."
_BASES = {
    **dict.fromkeys((100, 101), "an MPEG-2 video"),
    **dict.fromkeys((102, 103, 104, 105, 106), "an MPEG-4 video"),
    **dict.fromkeys((107, 108), "an HEVC video"),
}
_RAW = {"an MPEG-2 video": "mpegvideo", "an MPEG-4 video": "h264", "an HEVC video": "hevc"}
_NEAR_MS = 0.5


def video_kind(syntax: str) -> str:
    """Return what kind of video a transfer syntax is ('' for none); the fragmentable ones end in .1.

    >>> video_kind("1.2.840.10008.1.2.4.102.1")
    'an MPEG-4 video'
    """
    number = syntax.removeprefix(_PREFIX).removesuffix(".1")
    return _BASES.get(int(number), "") if syntax.startswith(_PREFIX) and number.isdigit() else ""


def dicom_video(
    header: Header, dataset: Dataset, spacing_mm: Spacing | None, source: Source, findings: Sequence[Finding]
) -> Video:
    """Open the video of a DICOM file.

    Parameters
    ----------
    header : Header
    dataset : Dataset
        The whole header as pydicom parses it.
    spacing_mm : (float, float) or None
    source : Source
    findings : sequence of Finding
        Noticed before.

    Raises
    ------
    InputError
        The stream is absent or damaged.
    MissingDependency
        PyAV is not installed.
    """
    kind, file = video_kind(header.transfer_syntax), str(header.path)
    pieces = _fragments(header)
    movie = Movie(header.path, partial(_open, header, pieces), kind, _RAW[kind])
    stream = survey(movie)
    notes: list[Finding] = []
    if stream.n_frames != header.frames:
        text = "The video holds another number of frames than NumberOfFrames (0028,0008) states."
        notes.append(
            Finding(
                "FRAME_COUNT",
                "warning",
                text,
                file=file,
                tag=tags.show(tags.FRAMES),
                value=str(header.frames),
                assumed=str(stream.n_frames),
            )
        )
    if stream.size != (header.rows, header.columns):
        text = "The video has another size than Rows and Columns state."
        stated, found = f"{header.rows}×{header.columns}", f"{stream.size[0]}×{stream.size[1]}"
        notes.append(
            Finding("FRAME_SIZE", "warning", text, file=file, tag=tags.show(tags.ROWS), value=stated, assumed=found)
        )
    stated_ms, more = frame_times(dataset, stream.n_frames, file)
    times_ms = stream.times_ms if stream.times_ms is not None else stated_ms
    if stream.times_ms is not None and stated_ms is not None and len(stated_ms) > 1:
        off_ms = float(np.abs(np.diff(stated_ms) - np.diff(stream.times_ms)).max())
        if off_ms > _NEAR_MS:
            text = "Frame times of the stream differ from those of the header."
            notes.append(
                Finding("FRAME_TIMES_DIFFER", "warning", text, file=file, value=f"{off_ms:.3g} ms", assumed="stream")
            )
    elif stream.times_ms is None:
        notes += more
    return Video(
        size=stream.size,
        n_frames=stream.n_frames,
        frame_times_ms=times_ms,
        frames_from=partial(decoded_frames, movie, stream),
        spacing_mm=spacing_mm,
        source=source,
        findings=(*findings, *notes),
    )


def _fragments(header: Header) -> list[tuple[int, int]]:
    """Return offset and length of every fragment in the file."""
    try:
        with header.path.open("rb") as file:
            if header.encapsulated_offset is None:
                with quietly():
                    pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=[])
                file.seek(12, io.SEEK_CUR)
            else:
                file.seek(header.encapsulated_offset)
            parse_basic_offsets(file)
            _, offsets = parse_fragments(file)
            pieces = []
            for offset in offsets:
                file.seek(offset + 4)
                pieces.append((offset + 8, int.from_bytes(file.read(4), "little")))
    except PYDICOM_ERRORS as error:
        raise InputError(
            "The video of this file is damaged or cut short.",
            where=header.path,
            got=type(error).__name__,
            fix="copy or fetch the file again",
        ) from error
    return pieces


class _Joined(io.RawIOBase):
    """Pieces of a file, read as if they were one file."""

    def __init__(self, file: BinaryIO, pieces: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self._file, self._pieces = file, pieces
        self._ends = np.cumsum([length for _, length in pieces], dtype=np.int64)
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        size = int(self._ends[-1]) if len(self._ends) else 0
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        number = int(np.searchsorted(self._ends, self._place, side="right"))
        if number >= len(self._pieces):
            return 0
        offset, length = self._pieces[number]
        left = int(self._ends[number]) - self._place
        self._file.seek(offset + length - left)
        read = self._file.read(min(left, len(buffer)))
        buffer[: len(read)] = read
        self._place += len(read)
        return len(read)

    def close(self) -> None:
        self._file.close()
        super().close()


def _open(header: Header, pieces: list[tuple[int, int]]) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Joined(header.path.open("rb"), pieces)))
