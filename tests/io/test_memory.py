"""Nothing in a file makes the reader allocate without measure, wait, or follow a path."""

from __future__ import annotations

import os
import socket
import time
import tracemalloc
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from medimg.errors import InputError
from medimg.io.memory import check_allocation, check_expansion
from medimg.io.policy import ReadPolicy
from medimg.io.read import read, scan
from medimg.io.write import write_nifti, write_picture

SMALL = ReadPolicy(max_bytes=10)


def test_check_allocation() -> None:
    assert check_allocation((2, 3), 4, where="a") == 24
    assert check_allocation((2, 3), 4, where="a", max_bytes=24) == 24
    with pytest.raises(InputError, match="larger than the limit"):
        check_allocation((2, 3), 4, where="a", max_bytes=23)
    with pytest.raises(InputError, match="larger than the free memory"):
        check_allocation((1 << 30, 1 << 30), 1, where="a")
    with pytest.raises(InputError, match="empty image"):
        check_allocation((0, 3), 4, where="a")


def test_check_expansion() -> None:
    check_expansion(1 << 28, 10, where="a")
    check_expansion(200 * (1 << 21), 1 << 21, where="a")
    for n_bytes, present, limit in ((1 + (1 << 28), 10, None), (1 + 200 * (1 << 21), 1 << 21, None), (11, 10, 10)):
        with pytest.raises(InputError, match="beyond all measure"):
            check_expansion(n_bytes, present, where="a", max_bytes=limit)


def test_the_limit_holds_for_every_kind_of_file(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path / "native", factory.planes(2))
    coded = factory.slice_dataset(factory.planes(1)[0], (0, 0, 0))
    coded.compress(RLELossless)
    factory.save(coded, tmp_path / "coded" / "a.dcm")
    write_nifti(np.ones((2, 3, 4), np.int16), tmp_path / "a.nii.gz", affine=np.eye(4))
    write_picture(np.ones((4, 5, 3), np.uint8), tmp_path / "a.png")
    for name in ("native", "coded", "a.nii.gz", "a.png"):
        read(tmp_path / name, policy=ReadPolicy(max_bytes=1 << 20))
        with pytest.raises(InputError, match=r"limit|beyond all measure"):
            read(tmp_path / name, policy=SMALL)


@pytest.mark.parametrize("syntax", ["native", RLELossless])
def test_sizes_that_the_file_cannot_hold(tmp_path: Path, factory: ModuleType, syntax: str) -> None:
    ds = factory.slice_dataset(factory.planes(1)[0], (0, 0, 0))
    if syntax != "native":
        ds.compress(syntax)
    ds.Rows = ds.Columns = 60000
    path = factory.save(ds, tmp_path / "a.dcm")
    tracemalloc.start()
    with pytest.raises(InputError, match=r"cut short|beyond all measure"):
        read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 24


def test_deflated_bomb(tmp_path: Path, factory: ModuleType) -> None:
    ds = factory.slice_dataset(factory.planes(1)[0], (0, 0, 0), syntax=DeflatedExplicitVRLittleEndian)
    path = factory.save(ds, tmp_path / "a.dcm")
    read(path)
    raw = path.read_bytes()
    start = raw.index(b"1.2.840.10008.1.2.1.99") + 22
    meta = raw[: 132 + 12 + int.from_bytes(raw[140:144], "little")]
    assert len(meta) >= start
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts = [packer.compress(b"\x08\x00\x08\x00CS\x02\x00A ")]
    parts += [packer.compress(bytes(1 << 20)) for _ in range(300)]
    path.write_bytes(meta + b"".join(parts) + packer.flush())
    begun = time.perf_counter()
    with pytest.raises(InputError, match="beyond all measure"):
        read(path)
    assert time.perf_counter() - begun < 20
    with pytest.raises(InputError, match="beyond all measure"):
        read(path, policy=ReadPolicy(max_bytes=1 << 22))


def test_a_cut_jpeg_ls_frame_is_refused_at_once(tmp_path: Path, factory: ModuleType) -> None:
    ds = factory.slice_dataset(factory.planes(1, 128, 128)[0], (0, 0, 0))
    ds.compress(JPEGLSLossless)
    ds.PixelData = ds.PixelData.replace(b"\xff\xd9", b"\0\0")
    path = factory.save(ds, tmp_path / "a.dcm")
    with pytest.raises(InputError, match="damaged"):
        read(path)


def test_pipes_sockets_and_devices_are_not_waited_for(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path, factory.planes(2))
    os.mkfifo(tmp_path / "pipe.dcm")
    with socket.socket(socket.AF_UNIX) as server:
        place = os.open(tmp_path, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{place}/socket.dcm")
        os.close(place)
        os.symlink("/dev/zero", tmp_path / "zero.dcm")
        codes = [(finding.code, Path(str(finding.file)).name) for finding in scan(tmp_path).findings]
    assert sorted(codes) == [("UNREADABLE", name) for name in ("pipe.dcm", "socket.dcm", "zero.dcm")]
    assert read(tmp_path).array.shape == (2, 6, 5)
    for name in ("pipe.dcm", "zero.dcm"):
        with pytest.raises(InputError, match="Not a regular file"):
            read(tmp_path / name)


def test_links_to_files_are_followed_links_to_folders_are_not(tmp_path: Path, factory: ModuleType) -> None:
    paths = factory.series(tmp_path / "elsewhere", factory.planes(3))
    folder = tmp_path / "here"
    folder.mkdir()
    for path in paths:
        (folder / path.name).symlink_to(path)
    (folder / "round").symlink_to(folder, target_is_directory=True)
    (folder / "other").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (folder / "broken.dcm").symlink_to(tmp_path / "nothing")
    (folder / "self.dcm").symlink_to(folder / "self.dcm")
    volume = read(folder)
    assert volume.array.shape == (3, 6, 5)
    assert {Path(str(finding.file)).name for finding in volume.findings} == {"broken.dcm", "self.dcm"}


@pytest.mark.parametrize("dtype", [None, np.float32])
@pytest.mark.parametrize("compressed", [False, True])
def test_memory_stays_near_the_volume(tmp_path: Path, factory: ModuleType, dtype: Any, compressed: bool) -> None:
    def compress(_: int, ds: Any) -> None:
        if compressed:
            ds.compress(RLELossless)

    factory.series(tmp_path, factory.planes(24, 256, 256), edit=compress)
    read(tmp_path, dtype=dtype)
    tracemalloc.start()
    array = read(tmp_path, dtype=dtype).array
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * array.nbytes + (1 << 20)
