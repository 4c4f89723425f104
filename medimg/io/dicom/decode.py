"""Find the frames of one DICOM file, which is parsed once however many of its frames are wanted."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from io import BytesIO
from itertools import islice
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, generate_frames, parse_basic_offsets
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

from medimg.errors import InputError
from medimg.io.dicom import tags
from medimg.io.dicom.codestream import NATIVE, is_encapsulated, true_syntax
from medimg.io.dicom.encoded import Encoded, guarded, too_few
from medimg.io.dicom.groups import values
from medimg.io.dicom.headers import Header, known_uid
from medimg.io.dicom.packed import frame_bytes
from medimg.io.dicom.parse import parse
from medimg.io.findings import Finding

__all__ = ["Encoded", "decode", "is_float", "open_frames"]

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def is_float(header: Header) -> bool:
    """Tell whether the pixels are FloatPixelData or DoubleFloatPixelData (DICOM PS3.3 C.7.6.24, C.7.6.25)."""
    return header.bits_allocated in (32, 64) and not tags.has(header.elements, tags.SIGNED)


def decode(header: Header, *, as_rgb: bool = False) -> NDArray[Any]:
    """Decode one frame of a file: (Y, X), or (Y, X, 3) where ``as_rgb`` converts YBR.

    Raises
    ------
    InputError
        Damaged pixels, or pixels that do not fit the header.
    MissingDependency
        No decoder for the transfer syntax is installed.
    """
    return open_frames([header]).frame(header.frame, as_rgb=as_rgb)


def open_frames(headers: Sequence[Header]) -> Encoded:
    """Parse one file and keep the encoded frames that are wanted.

    Parameters
    ----------
    headers : sequence of Header
        Of frames of one file.

    Raises
    ------
    InputError
        The file cannot be parsed, has no pixels, or fewer frames than it states.
    """
    header, wanted = headers[0], {one.frame for one in headers}
    stated = known_uid(header.transfer_syntax)
    if header.encapsulated_offset is not None:
        kept = guarded(header, stated, lambda: _located(header, wanted))
        return _encapsulated(header, stated, kept, 0)
    if header.pixel_offset is not None and _is_plain(header):
        kept = guarded(header, stated, lambda: _cut_out(header, wanted))
        return Encoded(header, stated, (), kept, None, tags.short(header.elements, tags.PLANAR) or 0)
    return guarded(header, stated, lambda: _parsed(header, stated, wanted))


def _parsed(header: Header, stated: UID, wanted: set[int]) -> Encoded:
    """Open a file whose pixels the header does not locate."""
    dataset = parse(header, pixels=True)
    dataset.file_meta.TransferSyntaxUID = stated
    keyword = next((keyword for keyword in _PIXELS if keyword in dataset), None)
    element = dataset.get_item(keyword) if keyword is not None else None
    value = element.value if element is not None else None
    if not isinstance(value, bytes) or not value or keyword is None:
        raise InputError("The file has no pixels.", where=header.path, fix="copy or export the file again")
    if not is_encapsulated(value) or keyword != "PixelData":
        return _native(header, dataset, stated, len(value))
    planar = values(dataset, tags.PLANAR)
    frames = _frames(value, header.frames, wanted, _extended_offsets(dataset))
    return _encapsulated(header, stated, frames, int(planar[:1] == ["1"]))


def _encapsulated(header: Header, stated: UID, frames: dict[int, bytes], planar: int) -> Encoded:
    if not frames:
        raise too_few(header, header.frame)
    first = next(iter(frames.values()))
    syntax = true_syntax(stated, first, segments=header.samples * max(1, header.bits_allocated // 8))
    findings = () if syntax == stated else (_wrong_syntax(header, stated, syntax),)
    return Encoded(header, syntax, findings, frames, None, planar)


def _located(header: Header, wanted: set[int]) -> dict[int, bytes]:
    """Take the wanted frames from where the header says that the first item lies."""
    # Read whole or mapped, so that no length in the file makes anything be allocated that the file does not have.
    with header.path.open("rb", buffering=0) as file:
        if header.frames == 1:
            # Every thread's unmapping would stop all others for a moment.
            file.seek(header.encapsulated_offset or 0)
            return _frames(file.readall(), header.frames, wanted, None)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            mapped.seek(header.encapsulated_offset or 0)
            return _frames(mapped, header.frames, wanted, None)


def _is_plain(header: Header) -> bool:
    """Tell whether every frame is a run of whole bytes of the size that the header says."""
    swapped = header.big_endian and header.bits_allocated == 8
    whole = header.bits_allocated in (8, 16, 32) and not header.photometric.endswith(("422", "420"))
    return whole and not swapped and (header.pixel_length or 0) >= header.frames * frame_bytes(header)


def _cut_out(header: Header, wanted: set[int]) -> dict[int, bytes]:
    length, kept = frame_bytes(header), {}
    with header.path.open("rb") as file:
        for n in sorted(wanted):
            file.seek((header.pixel_offset or 0) + n * length)
            kept[n] = file.read(length)
    return kept


def _native(header: Header, dataset: Dataset, stated: UID, n_bytes: int) -> Encoded:
    if stated in NATIVE:
        return Encoded(header, stated, (), {}, dataset)
    expected = header.rows * header.columns * header.samples * header.frames * header.bits_allocated // 8
    if n_bytes not in (expected, expected + 1):
        raise InputError(
            "The pixels are not in the stated transfer syntax.",
            where=header.path,
            got=f"{n_bytes} bytes that are not encapsulated, stated as {stated.name}",
            expected=f"encapsulated frames, or {expected} bytes of plain pixels",
            fix="ask the sender to export the file again",
        )
    syntax = ExplicitVRLittleEndian if dataset.original_encoding[1] else ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = syntax
    return Encoded(header, syntax, (_wrong_syntax(header, stated, syntax),), {}, dataset)


def _extended_offsets(dataset: Dataset) -> tuple[bytes, bytes] | None:
    offsets, lengths = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    if isinstance(offsets, bytes) and isinstance(lengths, bytes) and 0 < len(offsets) == len(lengths):
        return offsets, lengths
    return None


def _frames(
    source: bytes | mmap.mmap, count: int, wanted: set[int], offsets: tuple[bytes, bytes] | None
) -> dict[int, bytes]:
    file: Any = BytesIO(source) if isinstance(source, bytes) else source
    start = file.tell()
    found = generate_frames(file, number_of_frames=count, extended_offsets=offsets)
    kept = {n: frame for n, frame in enumerate(islice(found, max(wanted) + 1)) if n in wanted}
    if len(kept) == len(wanted) or count == 1:
        return kept
    # An offset table that names fewer frames than there are: one fragment a frame, where the numbers say so.
    file.seek(start)
    parse_basic_offsets(file)
    fragments = list(generate_fragments(file))
    return {n: fragments[n] for n in wanted} if len(fragments) == count else kept


def _wrong_syntax(header: Header, stated: UID, syntax: UID) -> Finding:
    text = "The pixels are not in the transfer syntax that the file states."
    return Finding(
        "WRONG_SYNTAX",
        "warning",
        text,
        file=str(header.path),
        tag=tags.show(tags.TRANSFER_SYNTAX),
        value=stated.name,
        assumed=syntax.name,
    )
