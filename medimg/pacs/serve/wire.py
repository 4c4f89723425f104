"""The few bytes of the DICOM file format (PS3.10) that taking in and sending on need: meta headers, not data sets."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info

from medimg.errors import InputError
from medimg.io.dicom.headers import PYDICOM_ERRORS, known_uid, quietly
from medimg.io.dicom.uid import uid_from

IMPLEMENTATION_UID = uid_from("medimg implementation class")
IMPLEMENTATION_NAME = "MEDIMG"
_PREAMBLE = bytes(128) + b"DICM"
_MOST_META_BYTES = 1 << 16


@dataclass(frozen=True)
class Meta:
    """What a meta header says of its data set."""

    sop_class: str
    sop_uid: str
    transfer_syntax: str
    offset: int


def meta_header(sop_class: str, sop_uid: str, transfer_syntax: str, source: str = "") -> bytes:
    """Return preamble and meta header of a file; ``source`` is the AE title that sent it."""
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = known_uid(sop_class)
    meta.MediaStorageSOPInstanceUID = known_uid(sop_uid)
    meta.TransferSyntaxUID = known_uid(transfer_syntax)
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = IMPLEMENTATION_NAME
    if source:
        meta.SourceApplicationEntityTitle = source
    buffer = DicomBytesIO()
    with quietly():
        write_file_meta_info(buffer, meta)
    return _PREAMBLE + buffer.getvalue()


def data_set_offset(file: BinaryIO) -> int:
    """Return where the data set of an open file begins, after preamble and meta header.

    Raises
    ------
    InputError
        It has no preamble, or no meta header with its length.
    """
    file.seek(0)
    head = file.read(144)
    plain = head[128:132] == b"DICM" and head[132:138] == b"\x02\x00\x00\x00UL" and len(head) == 144
    length = struct.unpack("<L", head[140:144])[0] if plain else _MOST_META_BYTES
    if length >= _MOST_META_BYTES:
        raise InputError("Not a DICOM file with preamble and meta header.", expected="PS3.10")
    return 144 + int(length)


def read_meta(path: Path) -> Meta:
    """Read a file's meta header.

    Raises
    ------
    InputError
        Not a DICOM file, or its meta header is damaged or lacks a UID.
    """
    try:
        with path.open("rb") as file:
            offset = data_set_offset(file)
        with quietly():
            meta = read_file_meta_info(path)
        uids = str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID), str(meta.TransferSyntaxUID)
        return Meta(*uids, offset=offset)
    except PYDICOM_ERRORS as error:
        raise InputError("The meta header cannot be read.", where=path, got=type(error).__name__) from error
