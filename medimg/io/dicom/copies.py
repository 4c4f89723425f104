"""The same file found twice, as exports that were copied into each other have it."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence

from medimg.errors import InputError
from medimg.io.dicom import tags
from medimg.io.dicom.headers import Header
from medimg.io.findings import Finding


def without_copies(headers: Sequence[Header]) -> tuple[list[Header], list[Finding]]:
    """Keep one of the files that agree byte by byte; files that share a SOPInstanceUID and differ are all kept.

    Files are compared only where their SOPInstanceUIDs are the same.

    Raises
    ------
    InputError
        A file can no longer be read.
    """
    by_uid: dict[str, list[Header]] = {}
    kept: list[Header] = []
    dropped: list[Header] = []
    for header in headers:
        same = by_uid.setdefault(header.instance_uid, []) if header.instance_uid else []
        if any(_agree(header, other) for other in same):
            dropped.append(header)
        else:
            same.append(header)
            kept.append(header)
    if not dropped:
        return kept, []
    text = f"{len(dropped)} file(s) were left out: each is, byte by byte, the copy of another one."
    tag, first = tags.show(tags.SOP_INSTANCE), str(dropped[0].path)
    return kept, [Finding("COPY_EXCLUDED", "info", text, file=first, tag=tag, value=str(len(dropped)))]


def _agree(a: Header, b: Header) -> bool:
    try:
        return filecmp.cmp(a.path, b.path, shallow=False)
    except OSError as error:
        raise InputError("The file cannot be read.", where=a.path, got=error.strerror) from error
