"""Lies that a DICOM file can tell: lengths, sizes, syntaxes, nesting, fragments, gigabytes in a few bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache

from fuzzing.damage import ANY, Mutation, Rng, flip, truncate
from fuzzing.elements import ALL_VRS, ITEM, SYNTAXES, Element, Scanned, scan

LENGTHS = (0, 1, 2, 3, 7, 8, 255, 0x7FFF, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
# Rows, Columns, NumberOfFrames, samples, planes, bits; positions and numbers; palette; functional groups' numbers.
SIZES = (0x00280010, 0x00280011, 0x00280008, 0x00280002, 0x00280006, 0x00280100, 0x00280101, 0x00280102, 0x00280103)
PLACES = (0x00200032, 0x00200037, 0x00280030, 0x00181164, 0x00180050, 0x00281052, 0x00281053, 0x3004000C, 0x00189087)
TABLES = (0x00281101, 0x00281201, 0x00283002, 0x00283006, 0x00660006, 0x00620002, 0x0062000B, 0x30060050)
TEXTS = (
    *(b"", b"\0", b"NaN", b"inf", b"-1e400", b"1e400", b"-1", b"0", b"1", b"65536", b"4294967296", b"9" * 40, b"1e9"),
    *(b"\\" * 30, b"1\\2", b"a\\b\\c", b"1,5", b"0x10", b"\xff\xfe\xfd", b"1 2 3", b"../../etc/passwd", b"1" * 5000),
)
BOMB_BYTES = 2 << 30


def lie_length(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """Give a wrong length to an element, a sequence, an item, a fragment or the pixels."""
    scanned = scan(data)
    chosen = _choose(scanned, rng, lambda one: one.vr in (b"SQ", b"UN") or one.tag == ITEM or one.tag >= 0x7FE00000)
    if chosen is None:
        return flip(data, rng, ())
    near = (chosen.length + 1, chosen.length - 1, chosen.length + 2, chosen.length * 2, len(data))
    length = int(rng.choice(near if rng.random() < 0.4 else LENGTHS))
    return _with_length(data, scanned, chosen, length)


def _choose(scanned: Scanned, rng: Rng, preferred: Callable[[Element], bool]) -> Element | None:
    elements = [one for one in scanned.elements if preferred(one)] if rng.random() < 0.5 else []
    elements = elements or list(scanned.elements)
    return elements[int(rng.integers(0, len(elements)))] if elements else None


def _with_length(data: bytes, scanned: Scanned, element: Element, length: int) -> bytes:
    order = "<" if element.tag >> 16 == 2 else scanned.order
    code, limit = ("L", 0xFFFFFFFF) if element.length_size == 4 else ("H", 0xFFFF)
    packed = struct.pack(order + code, max(0, min(length, limit)))
    return data[: element.length_at] + packed + data[element.length_at + element.length_size :]


def absurd_value(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """Write an absurd value into an element that decides about size, place, tables or anything."""
    scanned = scan(data)
    wanted = (SIZES, PLACES, TABLES)[int(rng.choice(3, p=(0.5, 0.3, 0.2)))]
    found = [one for one in scanned.elements if one.tag in wanted] or list(scanned.elements)
    if not found:
        return flip(data, rng, ())
    one = found[int(rng.integers(0, len(found)))]
    if one.vr in (b"US", b"SS", b"UL", b"SL", b"FD", b"FL", b"AT", b"OW", b"OB"):
        value = rng.choice((0, 1, 2, 7, 8, 255, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF))
        size = min(max(one.length, 2), 8)
        packed = struct.pack(f"{scanned.order}Q", int(value))
        return _replace(data, scanned, one, packed[:size] if scanned.little else packed[-size:])
    text = TEXTS[int(rng.integers(0, len(TEXTS)))]
    return _replace(data, scanned, one, text + b" " * (len(text) % 2))


def _replace(data: bytes, scanned: Scanned, one: Element, value: bytes) -> bytes:
    end = one.value_at + (0 if one.length == 0xFFFFFFFF else one.length)
    changed = data[: one.value_at] + value + data[end:]
    return _with_length(changed, scanned, one, len(value))


def other_syntax(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """State another transfer syntax, or none."""
    scanned = scan(data)
    for one in scanned.elements:
        if one.tag == 0x00020010:
            text = SYNTAXES[int(rng.integers(0, len(SYNTAXES)))].encode()
            return _replace(data, scanned, one, text + b"\0" * (len(text) % 2))
    return flip(data, rng, ())


def other_vr(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """State another value representation."""
    scanned = scan(data)
    found = [one for one in scanned.elements if one.length_at > one.start + 4]
    if not found:
        return flip(data, rng, ())
    at = found[int(rng.integers(0, len(found)))].start + 4
    return data[:at] + ALL_VRS[int(rng.integers(0, len(ALL_VRS)))] + data[at + 2 :]


def move_element(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """Remove an element, repeat it, or put it somewhere else."""
    scanned = scan(data)
    found = [one for one in scanned.elements if one.length < len(data)]
    if not found:
        return flip(data, rng, ())
    one, other = (found[int(rng.integers(0, len(found)))] for _ in range(2))
    whole = data[one.start : one.value_at + one.length]
    kind = rng.integers(0, 3)
    if kind == 0:
        return data[: one.start] + data[one.start + len(whole) :]
    if kind == 1:
        times = int(rng.choice((2, 3, 1000 if len(whole) < 500 else 2)))
        return data[: one.start] + whole * times + data[one.start + len(whole) :]
    return data[: other.start] + whole + data[other.start :]


def nest(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """Insert sequences nested deeper than anything needs, closed or not."""
    scanned = scan(data)
    starts = [one.start for one in scanned.elements if one.start >= scanned.body_at] or [len(data)]
    at, depth = starts[int(rng.integers(0, len(starts)))], int(rng.choice((20, 200, 2000, 6000)))
    tag, undefined = rng.choice((0x00081140, 0x52009229, 0x52009230, 0x00091010, 0x00620002)), 0xFFFFFFFF
    group, number = int(tag) >> 16, int(tag) & 0xFFFF
    order = scanned.order
    head = struct.pack(f"{order}HH", group, number)
    head += b"SQ\0\0" + struct.pack(f"{order}L", undefined) if scanned.explicit else struct.pack(f"{order}L", undefined)
    head += struct.pack(f"{order}HHL", 0xFFFE, 0xE000, undefined)
    tail = struct.pack(f"{order}HHL", 0xFFFE, 0xE00D, 0) + struct.pack(f"{order}HHL", 0xFFFE, 0xE0DD, 0)
    return data[:at] + head * depth + tail * (depth if rng.random() < 0.7 else depth // 2) + data[at:]


def break_fragments(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """Make pixels a run of fragments, or damage the fragments, offset tables and ends that are there."""
    scanned = scan(data)
    pixels = [one for one in scanned.elements if one.tag == 0x7FE00010]
    if not pixels:
        return lie_length(data, rng, ())
    one = pixels[-1]
    parts = [item for item in scanned.elements if item.start >= one.value_at and item.tag == ITEM]
    if one.length == 0xFFFFFFFF and parts and rng.random() < 0.7:
        part = parts[int(rng.integers(0, len(parts)))]
        if rng.random() < 0.5:
            return _with_length(data, scanned, part, int(rng.choice((*LENGTHS, part.length + 2, part.length - 2))))
        return _replace(data, scanned, part, rng.bytes(int(rng.choice((0, 2, 4, 64, 4096)))))
    content = data[one.value_at :]
    table = b"".join(struct.pack("<L", int(v)) for v in rng.integers(0, 1 << 32, int(rng.choice((0, 1, 3, 1000)))))
    items = b""
    for _ in range(int(rng.choice((1, 2, 5, 2000)))):
        size = int(rng.choice((0, 2, 64, min(len(content), 4096))))
        stated = size if rng.random() < 0.8 else int(rng.choice(LENGTHS))
        items += struct.pack("<HHL", 0xFFFE, 0xE000, stated) + content[:size]
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) if rng.random() < 0.7 else b""
    head = _with_length(data[: one.value_at], scanned, one, 0xFFFFFFFF)
    return head + struct.pack("<HHL", 0xFFFE, 0xE000, len(table)) + table + items + end


def break_codestream(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """Change the first bytes of a compressed frame, where sizes, depths and tables are."""
    scanned = scan(data)
    pixels = [one for one in scanned.elements if one.tag == 0x7FE00010]
    parts = [one for one in scanned.elements if pixels and one.start >= pixels[-1].value_at and one.length > 16]
    if not parts:
        return absurd_value(data, rng, ())
    at = parts[int(rng.integers(0, len(parts)))].value_at
    changed = bytearray(data)
    for place in at + rng.integers(0, 120, rng.choice((1, 2, 4, 8))):
        if place < len(changed):
            changed[place] = rng.choice((0, 0xFF, 0x7F, 0x80, rng.integers(0, 256)))
    return bytes(changed)


def bare(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """Leave out the preamble, the file meta information, or both."""
    if data[128:132] != b"DICM":
        return truncate(data, rng, ())
    body = data[scan(data).body_at :]
    return (data[132:], body, bytes(128) + b"DICM" + body)[int(rng.integers(0, 3))]


def deflate_bomb(data: bytes, rng: Rng, _: Sequence[bytes]) -> bytes:
    """Turn the data set into a deflated one that goes on for gigabytes."""
    scanned = scan(data)
    if not scanned.explicit or not scanned.little or data[128:132] != b"DICM":
        return flip(data, rng, ())
    meta = _stating(data[: scanned.body_at], scanned, SYNTAXES[3])
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    pixels = [one for one in scanned.elements if one.tag == 0x7FE00010]
    head = _with_length(data, scanned, pixels[-1], 0xFFFFFFFE)[scanned.body_at : pixels[-1].value_at] if pixels else b""
    return meta + packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH) + _zeros_deflated()


def _stating(data: bytes, scanned: Scanned, syntax: str) -> bytes:
    """Return file meta information that states ``syntax``."""
    for one in scanned.elements:
        if one.tag == 0x00020010:
            return _replace(data, scanned, one, syntax.encode() + b"\0" * (len(syntax) % 2))
    return data


@lru_cache(maxsize=1)
def _zeros_deflated() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packer.compress(b"")
    packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (BOMB_BYTES >> 20)


DICOM: tuple[tuple[Mutation, float], ...] = (
    *ANY,
    *((lie_length, 3.0), (absurd_value, 4.0), (other_syntax, 1.5), (other_vr, 1.0), (move_element, 1.5), (nest, 0.5)),
    *((break_fragments, 1.5), (break_codestream, 1.5), (bare, 0.5), (deflate_bomb, 0.05)),
)
