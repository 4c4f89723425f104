"""What a file is, by its first bytes: extensions lie, contents don't.

Only regular files are opened (through symbolic links too): a pipe, socket or device in a folder is refused and
cannot make the reader wait.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medimg.errors import InputError

Kind = Literal["dicom", "nifti", "nifti-data", "picture", "video", "other"]

_HEAD_BYTES = 560
_PICTURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "BigTIFF",
    b"MM\x00+": "BigTIFF",
    b"BM": "BMP",
    b"GIF8": "GIF",
}
_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    b"PK\x03\x04": "a zip archive",
    b"%PDF": "a PDF document",
    b"NRRD": "an NRRD image",
    b"ObjectType": "a MetaImage header",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"BZh": "a bzip2 archive",
    b"RIFF": "a WebP or WAV file",
}
_EXTENSIONS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "TIFF": (".tif", ".tiff"),
    "BigTIFF": (".tif", ".tiff", ".btf"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "NIfTI": (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz"),
}
# Boxes that open MP4 and QuickTime files; the brands of those that hold a picture instead.
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_STILLS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"avis", b"jp2 ", b"jpx ", b"jxl ")
_PACKET_BYTES = 188
# Data elements that open a DICOM file without preamble: file meta, or the identifying group.
_FIRST_TAGS = (b"\x02\x00\x00\x00", b"\x02\x00\x10\x00", b"\x08\x00", b"\x00\x08\x00")


@dataclass(frozen=True)
class Content:
    """What `sniff` found: the kind, its name for a person, and whether it is gzip-compressed."""

    kind: Kind
    name: str
    compressed: bool = False


def sniff(path: Path) -> Content:
    """Tell what a file is from its first bytes.

    Raises
    ------
    InputError
        The file is missing, empty, unreadable, or a truncated gzip.
    """
    return content_of(path, read_head(path, _HEAD_BYTES))


def content_of(path: Path, head: bytes) -> Content:
    """Tell what a file is from its first 560 bytes (or all, where it has fewer).

    Raises
    ------
    InputError
        There are none, or they open a damaged gzip file.
    """
    if not head:
        raise InputError(
            "The file is empty.", where=path, got="0 bytes", fix="copy it again; the transfer did not finish"
        )
    compressed = head.startswith(b"\x1f\x8b")
    return _content(path, _gunzip_head(path) if compressed else head[:_HEAD_BYTES], compressed)


def open_regular(path: Path) -> io.FileIO:
    """Open a regular file for unbuffered reading, without ever waiting for a writer.

    Raises
    ------
    InputError
        It cannot be opened, or is a folder, pipe, socket or device.
    """
    try:
        file = io.FileIO(path, "rb", opener=_without_waiting)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise _not_regular(path) from error
        raise InputError(
            "The file cannot be opened.",
            where=path,
            got=error.strerror or type(error).__name__,
            fix="check the path and the permissions",
        ) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _not_regular(path)
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _not_regular(path: Path) -> InputError:
    return InputError("Not a regular file.", where=path, got="a pipe, socket or device", expected="a file on a disk")


def read_head(path: Path, size: int) -> bytes:
    """Return the first ``size`` bytes, or raise InputError where the file cannot be read."""
    with open_regular(path) as file:
        try:
            return file.read(size) or b""
        except OSError as error:
            raise InputError("The file cannot be read.", where=path, got=error.strerror) from error


def wrong_extension(path: Path, name: str) -> bool:
    """Tell whether the extension claims another format than ``name`` (no extension claims nothing)."""
    lower = path.name.lower()
    if name not in _EXTENSIONS:
        return False
    known = [extension for extensions in _EXTENSIONS.values() for extension in extensions]
    claims = lower.endswith((*known, ".dcm", ".gz"))
    return claims and not lower.endswith(_EXTENSIONS[name])


def _gunzip_head(path: Path) -> bytes:
    try:
        with gzip.open(path, "rb") as file:
            return file.read(_HEAD_BYTES)
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(
            "The compressed file is damaged or cut short.",
            where=path,
            got=type(error).__name__,
            expected="a complete gzip file",
            fix="copy it again; `gzip -t FILE` must pass",
        ) from error


def _content(path: Path, head: bytes, compressed: bool) -> Content:
    # The 128 bytes before DICM are free: some scanners put a TIFF header there, so DICM is asked first.
    if head[128:132] == b"DICM":
        return Content("dicom", "DICOM", compressed)
    if nifti_version(head):
        return Content("nifti", "NIfTI", compressed)
    if path.name.lower().endswith((".img", ".img.gz")) and paired_header(path) is not None:
        return Content("nifti-data", "the data of a NIfTI pair", compressed)
    for magic, name in _PICTURES.items():
        if head.startswith(magic):
            return Content("picture", name, compressed)
    if _is_dicom_without_preamble(head):
        return Content("dicom", "DICOM", compressed)
    if video := _video(head):
        return Content("video", video, compressed)
    return Content("other", _describe(head), compressed)


def _video(head: bytes) -> str:
    """Name the container of a video, '' for anything else."""
    if head[4:8] in _BOXES and head[8:12] not in _STILLS:
        return "an MP4 video"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "an AVI video"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "a Matroska video"
    packets = len(head) > 2 * _PACKET_BYTES and set(head[: 2 * _PACKET_BYTES + 1 : _PACKET_BYTES]) == {0x47}
    return "an MPEG video" if packets or head.startswith((b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")) else ""


def nifti_version(head: bytes) -> int:
    """Return 1 or 2 for a NIfTI header (single file or pair), else 0."""
    if len(head) >= 348 and head[344:348] in (b"n+1\x00", b"ni1\x00"):
        return 1
    if len(head) >= 12 and head[4:12] in (b"n+2\x00\r\n\x1a\n", b"ni2\x00\r\n\x1a\n"):
        return 2
    return 0


def paired_header(path: Path) -> Path | None:
    """Return the ``.hdr`` or ``.hdr.gz`` that belongs to an ``.img``, where there is one."""
    stem = path.name[: path.name.lower().rindex(".img")]
    for suffix in (".hdr", ".hdr.gz", ".HDR", ".HDR.gz"):
        if (path.parent / (stem + suffix)).is_file():
            return path.parent / (stem + suffix)
    return None


def _is_dicom_without_preamble(head: bytes) -> bool:
    if not head.startswith(_FIRST_TAGS) or len(head) < 16:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    length = int.from_bytes(head[4:8], "little")
    return explicit or length < 4096


def _describe(head: bytes) -> str:
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            return name
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page (often a login or error page saved in place of the file)"
    if text.startswith(b"<"):
        return "an XML document"
    if head[4:8] == b"ftyp":
        return "a HEIF, AVIF or JPEG 2000 picture"
    if head[:4] in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c"):
        return "an Analyze 7.5 header, which does not state the patient's orientation"
    if not head.strip(b"\x00"):
        return "nothing but zero bytes"
    printable = sum(32 <= byte < 127 or byte in (9, 10, 13) for byte in head)
    return "text" if printable > 0.95 * len(head) else "an unknown format"
