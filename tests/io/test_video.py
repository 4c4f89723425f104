"""Videos: frames, times and jumps of DICOM video objects and ordinary files, against PyAV's own decoding in order."""

from __future__ import annotations

import io
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, fragment_frame, itemize_fragment
from pydicom.uid import UID, VideoEndoscopicImageStorage

from medimg.errors import InputError, MissingDependency
from medimg.io.dicom.cine import frame_times
from medimg.io.dicom.video import video_kind
from medimg.io.image import Video
from medimg.io.read import read
from medimg.io.video import read_video

av = pytest.importorskip("av")

HEIGHT, WIDTH, N, RATE = 48, 64, 30, 25
MPEG2, H264, HEVC = (f"1.2.840.10008.1.2.4.{end}" for end in (100, 102, 107))


def _frame(n: int) -> np.ndarray:
    """A grey ramp with a bright bar that tells the number of the frame."""
    picture = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    picture[:, 2 * n : 2 * n + 4] = 220
    return picture


def stream(codec: str, container: str, *, size: tuple[int, int] = (HEIGHT, WIDTH), frames: int = N) -> bytes:
    """Encode the test pictures."""
    target = io.BytesIO()
    options = {"g": "10", "bf": "2"}
    with av.open(target, mode="w", format=container) as output:
        video = output.add_stream(codec, rate=RATE, options=options)
        video.height, video.width, video.pix_fmt = *size, "yuv420p"
        video.bit_rate = 4_000_000
        for n in range(frames):
            picture = np.ascontiguousarray(np.resize(_frame(n % N), (*size, 3)))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, RATE)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return target.getvalue()


def in_order(content: bytes) -> np.ndarray:
    """Decode all frames one after another."""
    with av.open(io.BytesIO(content)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def dicom(content: bytes, syntax: str, *, pieces: int = 1, **elements: Any) -> Dataset:
    """A DICOM video object."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.SOPClassUID, ds.SOPInstanceUID = VideoEndoscopicImageStorage, "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    ds.Modality, ds.PatientName = "ES", "SECRET^NAME"
    ds.Rows, ds.Columns, ds.NumberOfFrames = HEIGHT, WIDTH, N
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "YBR_PARTIAL_420", 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.FrameTime = 1000 / RATE
    if pieces == 1:
        ds.PixelData = encapsulate([content], has_bot=False)
    else:
        fragments = fragment_frame(content, pieces)
        ds.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00" + b"".join(itemize_fragment(one) for one in fragments)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    for keyword, value in elements.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def _save(ds: Dataset, path: Path) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path


def _codes(video: Video) -> list[str]:
    return [finding.code for finding in video.findings]


@pytest.mark.parametrize(
    ("codec", "container", "syntax", "pieces"),
    [
        ("libx264", "mp4", H264, 1),
        ("libx264", "mp4", H264 + ".1", 5),
        ("libx264", "h264", H264, 1),
        ("libx264", "h264", H264, 3),
        ("mpeg2video", "mpeg2video", MPEG2, 1),
        ("mpeg2video", "vob", MPEG2, 1),
        ("libx265", "hevc", HEVC, 1),
    ],
)
def test_dicom_video(tmp_path: Path, codec: str, container: str, syntax: str, pieces: int) -> None:
    content = stream(codec, container)
    video = read(_save(dicom(content, syntax, pieces=pieces), tmp_path / "a.dcm"))
    assert isinstance(video, Video)
    assert (len(video), video.size, video.source.modality) == (N, (HEIGHT, WIDTH), "ES")
    expected = in_order(content)
    np.testing.assert_array_equal(np.stack(list(video)), expected)
    for n in (N - 1, 0, 17, 3):
        np.testing.assert_array_equal(video[n], expected[n])
        assert abs(int(video[n][HEIGHT // 2, : 2 * N + 2].argmax(axis=0).min()) - 2 * n) <= 4
    np.testing.assert_allclose(np.diff(video.frame_times_ms), 1000 / RATE, atol=0.1)
    assert _codes(video) == []
    assert "SECRET" not in repr(video)


def test_fragments_are_one_stream_and_not_frames(tmp_path: Path) -> None:
    content = stream("libx264", "mp4")
    one, many = (dicom(content, H264, pieces=pieces) for pieces in (1, N))
    left, right = read(_save(one, tmp_path / "a.dcm")), read(_save(many, tmp_path / "b.dcm"))
    np.testing.assert_array_equal(np.stack(list(left)), np.stack(list(right)))


def test_what_the_header_says_wrong_is_told(tmp_path: Path) -> None:
    content = stream("libx264", "mp4")
    ds = dicom(content, H264, NumberOfFrames=12, Rows=50, FrameTime=33.3)
    video = read(_save(ds, tmp_path / "a.dcm"))
    assert (len(video), video.size) == (N, (HEIGHT, WIDTH))
    assert set(_codes(video)) == {"FRAME_COUNT", "FRAME_SIZE", "FRAME_TIMES_DIFFER"}
    counted = next(finding for finding in video.findings if finding.code == "FRAME_COUNT")
    assert (counted.value, counted.assumed) == ("12", str(N))


def test_damaged_and_cut_videos(tmp_path: Path) -> None:
    content = stream("libx264", "h264")
    for wrong in (b"no video at all" * 20, b"\x00\x00\x00\x01" + bytes(500)):
        with pytest.raises(InputError, match="MPEG-4"):
            read(_save(dicom(wrong, H264), tmp_path / "a.dcm"))
    path = _save(dicom(content, H264), tmp_path / "b.dcm")
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) * 2 // 3])
    video = read(path)
    assert "FRAME_COUNT" in _codes(video)
    assert 0 < len(video) < N
    np.testing.assert_array_equal(video[0], in_order(content)[0])


def test_a_play_list_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(stream("libx264", "mp4"))
    lists = [f"ffconcat version 1.0\nfile {tmp_path / 'secret.mp4'}\n", "#EXTM3U\n#EXTINF:1,\nsecret.mp4\n"]
    for text in lists:
        (tmp_path / "list.mp4").write_text(text)
        with pytest.raises(InputError, match="cannot be decoded"):
            read_video(tmp_path / "list.mp4")
        with pytest.raises(InputError, match="cannot be decoded"):
            read(_save(dicom(text.encode() * 9, H264), tmp_path / "a.dcm"))


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_ordinary_files(tmp_path: Path, name: str) -> None:
    kind = {"mp4": "mp4", "avi": "avi", "mkv": "matroska"}[name[2:]]
    content = stream("libx264", kind)
    (tmp_path / name).write_bytes(content)
    video = read(tmp_path / name)
    assert isinstance(video, Video)
    expected = in_order(content)
    np.testing.assert_array_equal(np.stack(list(video)), expected)
    np.testing.assert_array_equal(video.picture(21).array, expected[21])
    np.testing.assert_allclose(np.diff(video.frame_times_ms), 1000 / RATE, atol=1.1)


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _save(dicom(stream("libx264", "mp4"), H264), tmp_path / "a.dcm")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependency, match=r"medimg\[video\]") as caught:
        read(path)
    assert caught.value.exit_code == 5


def test_kinds() -> None:
    assert video_kind(MPEG2) == "an MPEG-2 video"
    assert video_kind(HEVC + ".1") == "an HEVC video"
    assert video_kind("1.2.840.10008.1.2.4.90") == ""
    assert video_kind("") == ""


@pytest.mark.parametrize(
    ("elements", "times", "codes"),
    [
        ({"FrameTime": 40}, [0, 40, 80], []),
        ({"FrameTimeVector": [0, 30, 50], "FrameTime": 1}, [0, 30, 80], []),
        ({"FrameTimeVector": [0, 30], "FrameTime": 10}, [0, 10, 20], ["FRAME_TIMES"]),
        ({"CineRate": 25}, [0, 40, 80], ["FRAME_TIMES"]),
        ({"RecommendedDisplayFrameRate": 10}, [0, 100, 200], ["FRAME_TIMES"]),
        ({"FrameTime": 0}, None, []),
        ({}, None, []),
    ],
)
def test_frame_times(elements: dict[str, Any], times: list[float] | None, codes: list[str]) -> None:
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    found, findings = frame_times(ds, 3, "a.dcm")
    assert [finding.code for finding in findings] == codes
    if times is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, times)
