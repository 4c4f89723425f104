"""Frames out of files: offset tables that are wrong or absent, packed bits, damaged streams that end nothing."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from medimg.errors import InputError
from medimg.io.dicom.codestream import is_plain_jpeg
from medimg.io.dicom.decode import decode, open_frames
from medimg.io.dicom.headers import read_header
from medimg.io.dicom.packed import DEFLATED_FRAMES

N = 5


def _encoded(factory: ModuleType, dtype: Any = np.uint16) -> tuple[np.ndarray, Dataset, list[bytes]]:
    """Planes, an object for them, and their RLE frames."""
    voxels = (factory.planes(N, rows=24, columns=20) % 256).astype(dtype)
    frames = []
    for plane in voxels:
        ds = factory.slice_dataset(plane, (0, 0, 0))
        ds.compress(RLELossless)
        frames += list(generate_frames(ds.PixelData, number_of_frames=1))
    ds.NumberOfFrames = N
    return voxels, ds, frames


def _read(ds: Dataset, path: Path, as_rgb: bool = False) -> np.ndarray:
    ds.save_as(path, enforce_file_format=True)
    header = read_header(path)
    opened = open_frames([replace(header, frame=n) for n in range(header.frames)])
    with ThreadPoolExecutor(3) as pool:
        return np.stack(list(pool.map(lambda n: opened.frame(n, as_rgb=as_rgb), range(header.frames))))


def test_offset_tables(tmp_path: Path, factory: ModuleType) -> None:
    voxels, ds, frames = _encoded(factory)
    for table in (True, False):
        ds.PixelData = encapsulate(frames, has_bot=table)
        np.testing.assert_array_equal(_read(ds, tmp_path / "a.dcm"), voxels)
    # A table that names the first frame alone.
    plain = encapsulate(frames, has_bot=False)
    ds.PixelData = plain[:4] + b"\x04\x00\x00\x00" + bytes(4) + plain[8:]
    np.testing.assert_array_equal(_read(ds, tmp_path / "b.dcm"), voxels)
    ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    np.testing.assert_array_equal(_read(ds, tmp_path / "c.dcm"), voxels)


def test_one_frame_of_many_and_one_too_few(tmp_path: Path, factory: ModuleType) -> None:
    voxels, ds, frames = _encoded(factory)
    ds.PixelData = encapsulate(frames)
    ds.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    header = read_header(tmp_path / "a.dcm")
    np.testing.assert_array_equal(decode(replace(header, frame=3)), voxels[3])
    ds.PixelData = encapsulate(frames[:3])
    ds.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match=r"fewer frames|damaged"):
        decode(replace(read_header(tmp_path / "b.dcm"), frame=4))


def test_deflated_frames(tmp_path: Path, factory: ModuleType) -> None:
    voxels, ds, _ = _encoded(factory)

    def deflated(content: bytes) -> bytes:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return packer.compress(content) + packer.flush()

    # pydicom does not write this syntax: another of the same length is relabelled.
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    for cut in (0, 2):
        ds.PixelData = encapsulate([deflated(plane.tobytes()[: plane.nbytes - cut]) for plane in voxels])
        ds.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        raw = (tmp_path / "a.dcm").read_bytes()
        (tmp_path / "a.dcm").write_bytes(raw.replace(JPEGBaseline8Bit.encode(), DEFLATED_FRAMES.encode() + b"\0"))
        header = replace(read_header(tmp_path / "a.dcm"), frame=2)
        if cut:
            with pytest.raises(InputError, match="damaged"):
                decode(header)
        else:
            np.testing.assert_array_equal(decode(header), voxels[2])


def test_plain_pixels_labelled_as_compressed(tmp_path: Path, factory: ModuleType) -> None:
    plane = factory.planes(1)[0]
    ds = factory.slice_dataset(plane, (0, 0, 0))
    factory.save(ds, tmp_path / "a.dcm")
    raw = (tmp_path / "a.dcm").read_bytes()
    stated = b"1.2.840.10008.1.2.1\x00"
    assert raw.count(stated) == 1
    # 1.2.840.10008.1.2.5 is RLE, and as long.
    (tmp_path / "b.dcm").write_bytes(raw.replace(stated, b"1.2.840.10008.1.2.5\x00"))
    opened = open_frames([read_header(tmp_path / "b.dcm")])
    np.testing.assert_array_equal(opened.frame(0), plane)
    assert [finding.code for finding in opened.findings] == ["WRONG_SYNTAX"]
    short = raw[: len(raw) - 12].replace(stated, b"1.2.840.10008.1.2.5\x00")
    (tmp_path / "c.dcm").write_bytes(short)
    with pytest.raises(InputError):
        decode(read_header(tmp_path / "c.dcm"))


def _jpeg(name: str) -> tuple[Dataset, bytes]:
    ds = pydicom.dcmread(get_testdata_file(name, download=False))
    return ds, next(generate_frames(ds.PixelData, number_of_frames=1))


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_gdcm.dcm", "SC_rgb_jpeg_lossy_gdcm.dcm"])
def test_a_damaged_jpeg_does_not_end_the_process(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    ds, frame = _jpeg(name)
    assert is_plain_jpeg(frame, 3, 8)
    rng = np.random.default_rng(0)
    for damage in range(40):
        broken = bytearray(frame)
        if damage == 0:
            broken[2:2] = b"\xff\x00" * 9
        else:
            broken[int(rng.integers(2, min(200, len(frame))))] ^= int(rng.integers(1, 256))
        ds.PixelData = encapsulate([bytes(broken)])
        try:
            assert _read(ds, tmp_path / "a.dcm", as_rgb=True).shape == (1, ds.Rows, ds.Columns, 3)
        except InputError as error:
            if "damaged" not in error.what:
                raise
    assert capfd.readouterr().err == ""


def test_what_a_plain_jpeg_is() -> None:
    _, frame = _jpeg("SC_rgb_jpeg_lossy_gdcm.dcm")
    assert is_plain_jpeg(frame, 3, 8)
    assert not is_plain_jpeg(frame, 1, 8)
    assert not is_plain_jpeg(frame, 3, 16)
    assert not is_plain_jpeg(frame[:2] + b"\xff\x00" + frame[2:], 3, 8)
    assert not is_plain_jpeg(frame[:2] + b"\xff\xe0\x00\x09JFIF\x00\x02\x00" + frame[2:], 3, 8)
    assert not is_plain_jpeg(frame[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x05" + frame[2:], 3, 8)
    assert not is_plain_jpeg(frame[:40], 3, 8)
    assert not is_plain_jpeg(b"", 3, 8)
    start = frame.index(b"\xff\xc0")
    assert not is_plain_jpeg(frame[: start + 4] + b"\x8b" + frame[start + 5 :], 3, 8)


def test_lossless_jpeg_of_fewer_bits_than_allocated(tmp_path: Path) -> None:
    ds, frame = _jpeg("SC_rgb_jpeg_gdcm.dcm")
    ds.PixelData = encapsulate([frame])
    expected = _read(ds, tmp_path / "a.dcm")
    ds.BitsStored, ds.HighBit = 7, 6
    np.testing.assert_array_equal(_read(ds, tmp_path / "a.dcm"), expected)


@pytest.mark.parametrize(
    ("syntax", "content"),
    [
        (RLELossless, b"\x02\x00\x00\x00\x40\x00\x00\x00\x50\x00\x00\x00" + bytes(52) + b"\x7f" * 40),
        (JPEGLSLossless, b"\xff\xd8\xff\xf7\x00\x0b\x10\x00\x06\x00\x05\x01\x01\x11\x00" + bytes(90)),
        (JPEGBaseline8Bit, b"\xff\xd8" + bytes(90)),
        (JPEGLosslessSV1, b"\xff\xd8\xff\xc3" + bytes(90)),
        ("1.2.840.10008.1.2.4.106", b"\x00\x00\x00\x01" + bytes(90)),
        ("1.2.3.4.5.6", bytes(90)),
    ],
)
def test_frames_that_nobody_can_decode(tmp_path: Path, factory: ModuleType, syntax: str, content: bytes) -> None:
    ds = factory.slice_dataset(factory.planes(1)[0], (0, 0, 0))
    ds.PixelData = encapsulate([content])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    with (tmp_path / "a.dcm").open("wb") as file:
        pydicom.dcmwrite(file, ds, implicit_vr=False, little_endian=True, enforce_file_format=True)
    with pytest.raises(InputError):
        decode(read_header(tmp_path / "a.dcm"))
