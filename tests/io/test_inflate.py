"""The inflater gives what gzip gives, and refuses what gzip refuses."""

from __future__ import annotations

import gzip
import io
import random
from pathlib import Path

import numpy as np
import pytest
from isal import igzip_lib

from medimg.io.nifti import inflate
from medimg.io.nifti.inflate import Inflated

DATA = np.random.default_rng(0).integers(0, 40, 3_000_000).astype(np.uint8).tobytes()


def _inflate(path: Path, raw: bytes, *, piece: int = 70_001) -> bytes:
    path.write_bytes(raw)
    parts, memory = [], memoryview(bytearray(piece))
    with io.FileIO(path) as file, Inflated(file) as stream:
        while count := stream.readinto(memory):
            parts.append(bytes(memory[:count]))
        assert stream.readinto(memory) == 0
    return b"".join(parts)


@pytest.fixture(autouse=True, params=[1, 2])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "available_cores", lambda: request.param)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (gzip.compress(DATA), DATA),
        (gzip.compress(b""), b""),
        (gzip.compress(DATA) + gzip.compress(b"abc"), DATA + b"abc"),
        (gzip.compress(DATA) + bytes(100), DATA),
        (gzip.compress(b"x") + bytes(5) + gzip.compress(b"abc"), b"xabc"),
    ],
)
def test_members_and_padding(tmp_path: Path, raw: bytes, expected: bytes) -> None:
    assert _inflate(tmp_path / "a.gz", raw) == expected


def test_read_takes_what_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(DATA))
    with io.FileIO(tmp_path / "a.gz") as file, Inflated(file) as stream:
        assert stream.read(540) == DATA[:540]
        assert stream.read(2_000_000) == DATA[540:2_000_540]
        assert stream.read(len(DATA)) == DATA[2_000_540:]
        assert stream.read(1) == b""


def test_other_bytes_behind_a_member(tmp_path: Path) -> None:
    for tail in (b"a", b"abc", b"\x1f", b"\0\0abc"):
        with pytest.raises((EOFError, OSError)):
            _inflate(tmp_path / "a.gz", gzip.compress(b"xyz") + tail)


@pytest.mark.parametrize("seed", range(60))
def test_damage_is_never_read_over(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    raw = bytearray(gzip.compress(DATA[:50_000], mtime=0))
    if seed % 2:
        raw[rng.randrange(10, len(raw))] ^= 1 << rng.randrange(8)
    else:
        del raw[rng.randrange(1, len(raw)) :]
    with pytest.raises((EOFError, OSError, igzip_lib.error)):
        _inflate(tmp_path / "a.gz", bytes(raw))
