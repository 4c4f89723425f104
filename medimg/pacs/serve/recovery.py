"""After a start: what a process that was killed has left behind is cleared, and what it has lost is found again."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from medimg.errors import InputError
from medimg.io.dicom import tags
from medimg.io.dicom.headers import read_header
from medimg.pacs.serve.intake import add_instance
from medimg.pacs.serve.journal import Journal, note
from medimg.pacs.serve.spool import Part, Spool, content_sum
from medimg.pacs.serve.wire import data_set_offset

LOG = logging.getLogger("medimg.serve")


def recover(spool: Spool, journal: Journal) -> int:
    """Bring spool and journal to one state before anything else starts.

    Parts are removed; associations that were open are ``lost``; files without a row get one. Jobs and deliveries that
    were under way are the worker's and the courier's to take up again.

    Returns
    -------
    int
        Files that got their row again.
    """
    now = time.time()
    spool.clear()
    with journal.change() as cursor:
        cursor.execute("UPDATE associations SET outcome = 'lost', closed_s = ? WHERE outcome = 'open'", (now,))
    known = {str(row["file"]) for row in journal.rows("SELECT file FROM instances")}
    found = [file for file in _files(spool.root) if file not in known]
    adopted = sum(_adopt(spool, journal, file) for file in found)
    if adopted:
        LOG.warning("%d file(s) in the spool had no row in the journal and were added again", adopted)
    return adopted


def _files(root: Path) -> list[str]:
    return [
        f"{Path(folder).relative_to(root).as_posix()}/{name}"
        for folder, _, names in os.walk(root / "series")
        for name in sorted(names)
    ]


def _adopt(spool: Spool, journal: Journal, file: str) -> bool:
    path = spool.root / file
    try:
        header = read_header(path)
        with path.open("rb") as stored:
            offset = data_set_offset(stored)
        part = Part(path, content_sum(path, offset), path.stat().st_size)
    except (InputError, OSError) as error:
        with journal.change() as cursor:
            text = "A file in the spool cannot be read; it was left where it is."
            note(cursor, time.time(), "SPOOL_DAMAGED", text, severity="error", value=type(error).__name__)
        return False
    add_instance(journal, header, tags.text(header.elements, tags.STUDY_UID), part, file, None)
    return True
