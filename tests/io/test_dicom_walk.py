"""The walker finds what pydicom finds, in every file that it does not hand over."""

from __future__ import annotations

import dataclasses
import os
import random
import struct
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from medimg.io.dicom import headers as dicom_headers
from medimg.io.dicom import tags
from medimg.io.dicom.headers import Header, probe, read_header
from medimg.io.dicom.layouts import Layouts
from medimg.io.dicom.walk import HEAD_BYTES, walk
from medimg.io.read import read
from medimg.io.sniff import Content

PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless)
UNDEFINED = 0xFFFFFFFF
LONG_VR = ("OB", "OW", "UN", "UT", "SQ", "OF", "UC", "UR")
SEQUENCES = (0x00081140, 0x00400275, 0x00082218, tags.MODALITY_LUT, 0x00091200)
TEXTS = (
    b"",
    b"1",
    b"-1024 ",
    b"1e3",
    b" 2",
    b"abc ",
    b"nan ",
    b"1\\2\\3 ",
    b"0\\0\\1\\0\\1\\0 ",
    b"\xe4\xff",
    b"A\\B\0",
)
CASES = int(os.environ.get("MEDIMG_WALK_CASES", "600"))


def _same(a: Header, b: Header) -> None:
    for one in dataclasses.fields(Header):
        if one.name not in ("elements", "encapsulated_offset"):
            assert getattr(a, one.name) == getattr(b, one.name), one.name
    assert a.elements.little is b.elements.little is True
    assert sorted(a.elements.raw) == sorted(b.elements.raw)
    for tag, (vr, value) in a.elements.raw.items():
        other_vr, other = b.elements.raw[tag]
        # pydicom has decoded and encoded the character set to know how to go on.
        assert value == other or (tag == tags.CHARACTER_SET and value.strip(b" \0") == other), tags.show(tag)
        assert vr == other_vr or not (vr and other_vr), tags.show(tag)


def _walks(path: Path) -> bool:
    """Compare a file's two headers; tell whether the walker took the file."""
    raw = path.read_bytes()
    with open(path, "rb", buffering=0) as file:
        if walk(file, raw[:HEAD_BYTES], len(raw), frozenset(tags.WANTED)) is None:
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = dicom_headers._pydicom_header(path, file, raw[:HEAD_BYTES], len(raw), None)
    _same(read_header(path), theirs)
    return True


def _element(tag: int, vr: str, value: bytes, implicit: bool, length: int | None = None) -> bytes:
    head, size = struct.pack("<HH", tag >> 16, tag & 0xFFFF), len(value) if length is None else length
    if implicit:
        return head + struct.pack("<L", size) + value
    if vr in LONG_VR:
        return head + vr.encode() + b"\0\0" + struct.pack("<L", size) + value
    return head + vr.encode() + struct.pack("<H", size) + value


def _item(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return b"\xfe\xff\x00\xe0" + struct.pack("<L", len(content)) + content
    return b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + content + b"\xfe\xff\x0d\xe0\0\0\0\0"


def _sequence(tag: int, rng: random.Random, implicit: bool, depth: int) -> bytes:
    unknown = not implicit and rng.random() < 0.1
    turned = implicit or unknown or rng.random() < 0.05
    content = b"".join(_item(_elements(rng, turned, depth + 1), rng) for _ in range(rng.randrange(3)))
    vr = "UN" if unknown else "SQ"
    if rng.random() < 0.4:
        return _element(tag, vr, content, implicit)
    return _element(tag, vr, content + b"\xfe\xff\xdd\xe0\0\0\0\0", implicit, UNDEFINED)


def _elements(rng: random.Random, implicit: bool, depth: int = 0) -> bytes:
    binary = {tags.MODALITY_LUT: "SQ", tags.B_VALUE: "FD", tags.GRADIENT: "FD", tags.PADDING: "SS", tags.SIGNED: "US"}
    binary |= {tags.CHARACTER_SET: "CS", tags.ROWS: "US", tags.COLUMNS: "US", tags.BITS_ALLOCATED: "US"}
    found = {}
    for tag in rng.sample(tags.WANTED, rng.randrange(25 if depth == 0 else 4)):
        vr = binary.get(tag) or rng.choice(["DS", "LO", "CS", "UI", "UN", "UT"])
        value = {"US": struct.pack("<H", rng.choice([0, 1, 8, 16, 512, 65535])), "SS": b"\x30\xf8"}.get(vr)
        if vr == "FD":
            value = struct.pack("<d", rng.uniform(-9, 9))
        found[tag] = _element(tag, vr, rng.choice(TEXTS) if value is None else value, implicit)
    for tag in rng.sample(range(0x00090010, 0x00091100), rng.randrange(3)):
        found[tag] = _element(tag, rng.choice(["LO", "OB", "UN", "SH"]), rng.randbytes(rng.randrange(9)), implicit)
    if depth < 3:
        for tag in rng.sample(SEQUENCES, rng.randrange(3)):
            found[tag] = _sequence(tag, rng, implicit, depth)
    return b"".join(found[tag] for tag in sorted(found))


def _file(rng: random.Random) -> bytes:
    syntax = rng.choice(PLAIN)
    implicit = syntax == ImplicitVRLittleEndian
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = _element(0x00020002, "UI", b"1.2.840.10008.5.1.4.1.1.2\0", False) + _element(0x00020010, "UI", uid, False)
    raw = bytes(128) + b"DICM" + _element(0x00020000, "UL", struct.pack("<L", len(meta)), False) + meta
    raw += _elements(rng, implicit)
    if rng.random() < 0.3:
        return raw
    native = syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
    if native:
        return raw + _element(tags.PIXEL_DATA, rng.choice(["OW", "OB"]), rng.randbytes(30), implicit)
    content = _item(b"", random.Random(1)) + _item(rng.randbytes(30), random.Random(1)) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return raw + _element(tags.PIXEL_DATA, "OB", content, implicit, UNDEFINED)


def _damage(raw: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.randrange(1, 6)):
        place = rng.randrange(132, len(raw))
        raw[place] = rng.choice([0, 1, 0xFF, 0xFE, rng.randrange(256), raw[place] ^ (1 << rng.randrange(8))])
    if rng.random() < 0.3:
        del raw[rng.randrange(140, len(raw)) :]
    if rng.random() < 0.2:
        place = rng.randrange(132, len(raw))
        raw[place:place] = raw[place : place + rng.randrange(40)]
    return raw


@pytest.mark.parametrize("damaged", [False, True])
def test_any_file(tmp_path: Path, damaged: bool) -> None:
    path, taken = tmp_path / "a.dcm", 0
    for seed in range(CASES):
        rng = random.Random(seed)
        raw = bytearray(_file(rng))
        path.write_bytes(_damage(raw, rng) if damaged else raw)
        try:
            taken += _walks(path)
        except BaseException:
            print(f"seed {seed}")
            raise
    assert taken > CASES * (0.1 if damaged else 0.8)


@pytest.mark.parametrize("damaged", [False, True])
def test_files_walked_with_the_layouts_of_others(tmp_path: Path, damaged: bool) -> None:
    layouts, path, wanted = Layouts(), tmp_path / "a.dcm", frozenset(tags.WANTED)
    for seed in range(CASES):
        rng = random.Random(seed // 5)
        raw = bytearray(_file(rng))
        rng = random.Random(seed)
        # Values alone differ, then lengths too.
        raw = raw.replace(b"-1024 ", rng.choice([b"-1024 ", b"+1000 "])).replace(b"1\\2\\3 ", b"3\\2\\1 ")
        path.write_bytes(_damage(raw, rng) if damaged or seed % 5 == 4 else raw)
        raw = bytearray(path.read_bytes())
        with open(path, "rb", buffering=0) as file:
            alone = walk(file, bytes(raw[:HEAD_BYTES]), len(raw), wanted)
            same = walk(file, bytes(raw[:HEAD_BYTES]), len(raw), wanted, layouts)
        assert (alone is None) is (same is None), seed
        if alone is not None and same is not None:
            assert list(alone.elements.raw.items()) == list(same.elements.raw.items()), seed
            assert list(alone.meta.raw.items()) == list(same.meta.raw.items()), seed
            for name in ("transfer_syntax", "pixel_offset", "pixel_length", "encapsulated_offset"):
                assert getattr(alone, name) == getattr(same, name), (seed, name)


def _on_disk(path: Path, ds: object, factory: ModuleType, edit: object = None) -> Path:
    factory.save(ds, path)
    if callable(edit):
        path.write_bytes(edit(path.read_bytes()))
    return path


def test_what_is_handed_over(tmp_path: Path, factory: ModuleType) -> None:
    plane = factory.planes(1)[0]
    for syntax in (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
        assert not _walks(_on_disk(tmp_path / "a.dcm", factory.slice_dataset(plane, (0, 0, 0), syntax=syntax), factory))
    twice = _element(tags.ROWS, "US", b"\x06\0", False)
    edits = (
        lambda raw: raw[132:],
        lambda raw: raw.replace(ExplicitVRLittleEndian.encode() + b"\0", b"1.2.3.4.5.6.7.8.9.10"),
        lambda raw: raw.replace(twice, twice + twice),
        lambda raw: raw.replace(b"\x08\x00\x60\x00CS", b"\x08\x00\x60\x00Cs"),
        lambda raw: raw.replace(b"\x08\x00\x60\x00CS\x02\x00", b"\x08\x00\x60\x00CS\xff\xff"),
    )
    for edit in edits:
        path = _on_disk(tmp_path / "a.dcm", factory.slice_dataset(plane, (0, 0, 0)), factory, edit)
        with open(path, "rb", buffering=0) as file:
            assert walk(file, path.read_bytes()[:HEAD_BYTES], path.stat().st_size, frozenset(tags.WANTED)) is None


def test_a_head_longer_than_one_read(tmp_path: Path, factory: ModuleType) -> None:
    for length, taken in ((40_000, True), (1 << 23, False)):
        ds = factory.slice_dataset(factory.planes(1)[0], (0, 0, 0))
        ds.add_new(0x00090010, "LO", "TEST")
        ds.add_new(0x00091001, "OB", bytes(length))
        path = _on_disk(tmp_path / "a.dcm", ds, factory)
        assert _walks(path) is taken
        np.testing.assert_array_equal(read(path).array[0], factory.planes(1)[0].astype(int) - 1024)


def test_probe_tells_what_is_not_dicom(tmp_path: Path, factory: ModuleType) -> None:
    (tmp_path / "a.txt").write_text("hello, this is text")
    found = probe(tmp_path / "a.txt")
    assert isinstance(found, Content)
    assert found.kind == "other"
    header = probe(_on_disk(tmp_path / "a.dcm", factory.slice_dataset(factory.planes(1)[0], (1, 2, 3)), factory))
    assert isinstance(header, Header)
    assert header.position == (1, 2, 3)


def test_numbers_that_are_none(tmp_path: Path, factory: ModuleType) -> None:
    for value in (b"nan ", b"inf ", b"-3", b"1e99", b"0 "):
        ds = factory.slice_dataset(factory.planes(1)[0], (0, 0, 0), NumberOfFrames=1)
        path = _on_disk(
            tmp_path / "a.dcm",
            ds,
            factory,
            lambda raw, value=value: raw.replace(
                _element(tags.FRAMES, "IS", b"1 ", False), _element(tags.FRAMES, "IS", value, False)
            ),
        )
        assert read_header(path).frames == 1


def test_files_that_pydicom_brings() -> None:
    folder = Path(get_testdata_file("CT_small.dcm", download=False)).parent
    taken = [path.name for path in sorted(folder.rglob("*.dcm")) if _walks(path)]
    assert {"CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "693_J2KI.dcm"} <= set(taken)


@pytest.mark.real
def test_conformance_files(real_data: Path) -> None:
    paths = [path for path in (real_data / "dicom-conformance").rglob("*") if path.is_file() and path.stat().st_size]
    assert sum(_walks(path) for path in paths) > 0.5 * len(paths)
