"""Videos through PyAV: DICOM video objects (MPEG-2, MPEG-4, HEVC) and ordinary video files.

Legend: H rows, W columns, N frames. Frames are decoded on demand and never all held. Frame counts and times come
from the stream; what a DICOM header says beside it is compared and told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError, MissingDependency
from medimg.io.image import Source, Video

# Taller pictures are in the colours of high definition (ITU-R BT.709) unless the stream says otherwise.
_HD_ROWS = 720
_UNSPECIFIED = 2
_HEAD_BYTES = 400
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_PACKET_BYTES = 188


@dataclass(frozen=True)
class Movie:
    """Where a stream of pictures comes from.

    Attributes
    ----------
    path : Path
        The file, for messages.
    open : callable
        Opens the stream anew, as a binary file.
    kind : str
        What it is, for messages.
    raw : str
        What a stream without container is in, where that is known.
    """

    path: Path
    open: Callable[[], BinaryIO]
    kind: str = "a video"
    raw: str = ""


@dataclass(frozen=True, eq=False)
class Stream:
    """What one pass over a stream's packets tells, without decoding.

    Attributes
    ----------
    size : (int, int)
        Rows and columns.
    stamps : list of int or None
        Presentation times in ``tick_ms``, ascending; None where the stream carries none.
    n_frames : int
    tick_ms : float
    rate_hz : float or None
        Stated frame rate.
    """

    size: tuple[int, int]
    stamps: list[int] | None
    n_frames: int
    tick_ms: float
    rate_hz: float | None

    @property
    def times_ms(self) -> NDArray[np.float64] | None:
        """When each frame begins after the first."""
        if self.stamps is not None:
            return (np.asarray(self.stamps, dtype=np.float64) - self.stamps[0]) * self.tick_ms
        if self.rate_hz is None:
            return None
        return np.arange(self.n_frames, dtype=np.float64) * (1000.0 / self.rate_hz)


def read_video(path: Path, kind: str = "a video") -> Video:
    """Read an ordinary video file (MP4, AVI, Matroska, MPEG).

    Parameters
    ----------
    path : Path
    kind : str
        What the file is, for messages.

    Returns
    -------
    Video
        (H, W, 3) uint8 frames, uint16 where the stream has more than 8 bits; times from the stream.

    Raises
    ------
    InputError
        Damaged, or without pictures.
    MissingDependency
        PyAV is not installed.
    """
    movie = Movie(path, partial(_opened, path), kind)
    stream = survey(movie)
    return Video(
        size=stream.size,
        n_frames=stream.n_frames,
        frame_times_ms=stream.times_ms,
        frames_from=partial(decoded_frames, movie, stream),
        source=Source(paths=(path,), format="video"),
    )


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


def survey(movie: Movie) -> Stream:
    """Count the frames of a stream and take their times, reading its packets without decoding them.

    Raises
    ------
    InputError, MissingDependency
        As `read_video`.
    """
    with _container(movie) as (container, stream):
        stamps: list[int | None] = [
            packet.pts for packet in container.demux(stream) if packet.size and not packet.is_discard
        ]
        known = sorted(stamp for stamp in stamps if stamp is not None)
        rate = stream.average_rate or stream.guessed_rate
        size = (int(stream.codec_context.height), int(stream.codec_context.width))
        tick_ms = float(stream.time_base) * 1000.0
    if not stamps or min(size) < 1:
        raise _damaged(movie, "no pictures in the stream")
    usable = len(known) == len(stamps) and len(set(known)) == len(known)
    return Stream(size, known if usable else None, len(stamps), tick_ms, float(rate) if rate else None)


def decoded_frames(movie: Movie, stream: Stream, start: int) -> Iterator[NDArray[Any]]:
    """Decode from frame ``start`` on: (H, W, 3) uint8, or uint16 for more than 8 bits.

    Raises
    ------
    InputError
        The stream ends early, changes its size, or cannot be decoded.
    """
    given = 0
    for array in _from(movie, stream, start):
        if array.shape[:2] != stream.size:
            raise _damaged(movie, f"frame {start + given + 1} has another size")
        given += 1
        yield array
        if start + given == stream.n_frames:
            return
    raise _damaged(movie, f"{start + given} frames could be decoded, of {stream.n_frames}")


def _from(movie: Movie, stream: Stream, start: int) -> Iterator[NDArray[Any]]:
    if start and stream.stamps is not None:
        target = stream.stamps[start]
        with _container(movie) as (container, video):
            container.seek(target, stream=video, backward=True)
            frames = (frame for frame in container.decode(video) if frame.pts is not None and frame.pts >= target)
            first = next(frames, None)
            # A jump may land behind the frame, or on one that needs earlier ones: then from the beginning.
            if first is not None and first.pts == target and not first.is_corrupt:
                yield _rgb(first)
                yield from (_rgb(frame) for frame in frames)
                return
    with _container(movie) as (container, video):
        for number, frame in enumerate(container.decode(video)):
            if number >= start:
                yield _rgb(frame)


def _rgb(frame: Any) -> NDArray[Any]:
    deep = max(component.bits for component in frame.format.components) > 8
    unstated = int(frame.colorspace) == _UNSPECIFIED
    colours = {"src_colorspace": "ITU709" if frame.height >= _HD_ROWS else "ITU601"} if unstated else {}
    turned = frame.reformat(format="rgb48le" if deep else "rgb24", **colours)
    return np.ascontiguousarray(turned.to_ndarray())


def container_format(head: bytes, raw: str = "") -> str:
    """Return FFmpeg's name of a container, '' for what is none of those read here.

    Formats are never guessed by FFmpeg: a play list that names other files would then be followed.

    Parameters
    ----------
    head : bytes
        The first bytes of the stream.
    raw : str
        What a stream without container is in (``h264``, ``hevc``, ``mpegvideo``), where that is known.
    """
    if head[4:8] in _MP4_BOXES:
        return "mov"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"\x00\x00\x01\xba"):
        return "mpeg"
    if head.startswith(b"\x00\x00\x01\xb3"):
        return "mpegvideo"
    if len(head) > _PACKET_BYTES and head[0] == head[_PACKET_BYTES] == 0x47:
        return "mpegts"
    return raw if head.startswith((b"\x00\x00\x01", b"\x00\x00\x00\x01")) else ""


@contextmanager
def _container(movie: Movie) -> Iterator[tuple[Any, Any]]:
    try:
        import av
    except ImportError as error:
        raise MissingDependency(
            "Reading videos needs a package that is not installed.",
            where=movie.path,
            got=movie.kind,
            expected="av (PyAV)",
            fix='pip install "medimg[video]"',
        ) from error
    try:
        with ExitStack() as stack:
            file = stack.enter_context(movie.open())
            name = container_format(file.read(_HEAD_BYTES), movie.raw)
            file.seek(0)
            if not name:
                raise _damaged(movie, "an unknown kind of stream")
            container = stack.enter_context(av.open(file, mode="r", format=name, metadata_errors="ignore"))
            if not container.streams.video:
                raise _damaged(movie, "no pictures in the stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _damaged(movie, type(error).__name__) from error


def _damaged(movie: Movie, got: str) -> InputError:
    return InputError(
        f"The video cannot be decoded ({movie.kind}).",
        where=movie.path,
        got=got,
        expected="a complete video",
        fix="copy or fetch the file again",
    )
