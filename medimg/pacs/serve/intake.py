"""Take instances in, wherever they come from: checked, written to the spool, put down in the journal, in this order.

The caller acknowledges an instance only after `Intake.take` has returned ``kept`` or ``known``: by then it is on
the disk.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medimg.errors import InputError
from medimg.io.dicom import tags
from medimg.io.dicom.headers import Header, read_header
from medimg.pacs.serve.journal import Journal, count, note, note_seldom, short
from medimg.pacs.serve.settings import ReceiverSettings
from medimg.pacs.serve.spool import Part, Spool, content_sum
from medimg.pacs.serve.wire import data_set_offset

Kind = Literal["kept", "known", "beside", "full", "damaged", "mismatch", "failed"]

LOG = logging.getLogger("medimg.serve")
_BLOCK_BYTES = 1 << 20
_LONGEST_UID = 64
_LOOK_S = 0.25
_STATUS: dict[Kind, int] = {
    "kept": 0x0000,
    "known": 0x0000,
    "beside": 0x0000,
    "full": 0xA700,
    "mismatch": 0xA900,
    "damaged": 0xC000,
    "failed": 0xC001,
}


@dataclass(frozen=True)
class Outcome:
    """What became of one instance, and the C-STORE status (PS3.4 B.2.3) that says so."""

    kind: Kind

    @property
    def status(self) -> int:
        """C-STORE status: success, 0xA700 out of resources, 0xA900 mismatch, 0xC000 not understood, 0xC001 failed."""
        return _STATUS[self.kind]


class Intake:
    """Puts instances into a spool and its journal. Threads and processes may share one spool."""

    def __init__(self, spool: Spool, journal: Journal, settings: ReceiverSettings) -> None:
        self.spool, self.journal, self.settings = spool, journal, settings
        self._looked_s, self._reason = 0.0, ""

    def open_association(self, calling: str, source: str) -> int:
        """Note that somebody begins to send; ``source`` is ``dicom``, ``folder`` or ``orthanc``."""
        with self.journal.change() as cursor:
            cursor.execute(
                "INSERT INTO associations (calling, source, opened_s) VALUES (?, ?, ?)", (calling, source, time.time())
            )
            count(cursor, "associations")
            return int(cursor.lastrowid or 0)

    def close_association(self, association: int, outcome: Literal["released", "aborted", "lost"]) -> None:
        """Note how it ended; the first outcome stands."""
        with self.journal.change() as cursor:
            cursor.execute(
                "UPDATE associations SET outcome = ?, closed_s = ? WHERE id = ? AND outcome = 'open'",
                (outcome, time.time(), association),
            )
            if cursor.rowcount:
                count(cursor, f"associations_{outcome}")

    def full(self) -> str:
        """Return why nothing more can be taken now, '' where it can; looked at four times a second at most."""
        if time.monotonic() - self._looked_s > _LOOK_S:
            self._looked_s, self._reason = time.monotonic(), self._look()
        return self._reason

    def _look(self) -> str:
        limits = self.settings
        if self.spool.free_bytes() < limits.min_free_bytes:
            return "the disk is nearly full"
        row = self.journal.one(
            "SELECT (SELECT COALESCE(SUM(bytes), 0) FROM series), "
            "(SELECT COUNT(*) FROM jobs WHERE state IN ('queued', 'running', 'failed'))"
        )
        used, waiting = (0, 0) if row is None else (int(row[0]), int(row[1]))
        if limits.max_spool_bytes is not None and used >= limits.max_spool_bytes:
            return "the spool has reached its limit"
        return "too many jobs are waiting" if waiting >= limits.max_waiting_jobs else ""

    def take(
        self, association: int, head: bytes, body: Iterable[bytes | memoryview], sop_uid: str | None = None
    ) -> Outcome:
        """Take one instance in.

        Parameters
        ----------
        association : int
            From `open_association`.
        head : bytes
            Preamble and meta header (see `medimg.pacs.serve.wire.meta_header`).
        body : iterable of bytes
            The encoded data set.
        sop_uid : str, optional
            The UID that the sender announced; the data set must have the same.
        """
        reason = self.full()
        if reason:
            return self._refused(association, "full", f"Instances are refused: {reason}.")
        try:
            part = self.spool.write(head, body)
        except OSError as error:
            return self._refused(association, "full", "An instance could not be written.", type(error).__name__)
        try:
            return self._take(association, part, sop_uid)
        except (OSError, sqlite3.Error) as error:
            return self._refused(association, "failed", "An instance could not be kept.", type(error).__name__)
        finally:
            self.spool.drop(part)

    def take_file(self, association: int, path: Path) -> Outcome:
        """Take a DICOM file in, as `take` does; the file itself stays where it is."""
        try:
            with path.open("rb") as file:
                offset = data_set_offset(file)
                file.seek(0)
                head = file.read(offset)
                blocks = iter(lambda: file.read(_BLOCK_BYTES), b"")
                return self.take(association, head, blocks)
        except InputError as error:
            return self._refused(association, "damaged", error.what)
        except OSError as error:
            return self._refused(association, "failed", "A file could not be read.", type(error).__name__)

    def _take(self, association: int, part: Part, sop_uid: str | None) -> Outcome:
        try:
            header = read_header(part.path)
        except InputError as error:
            return self._refused(association, "damaged", error.what)
        study_uid = tags.text(header.elements, tags.STUDY_UID)
        lacking = _lacking(header, study_uid, part)
        if lacking:
            return self._refused(association, "damaged", lacking)
        if sop_uid is not None and header.instance_uid != sop_uid:
            return self._refused(association, "mismatch", "An instance's UID is not the one that was announced.")
        file = self.spool.file_of(header.series_uid, header.instance_uid)
        if not self._is_known(header.instance_uid) and self.spool.keep(part, file):
            add_instance(self.journal, header, study_uid, part, file, association)
            return Outcome("kept")
        return self._known(association, header, study_uid, part, file)

    def _is_known(self, sop_uid: str) -> bool:
        return self.journal.one("SELECT 1 FROM instances WHERE sop_uid = ?", (sop_uid,)) is not None

    def _known(self, association: int, header: Header, study_uid: str, part: Part, file: str) -> Outcome:
        """Deal with an instance whose UID, or whose file, is there already."""
        row = self.journal.one("SELECT sha256 FROM instances WHERE sop_uid = ?", (header.instance_uid,))
        if row is None:
            # Kept by a process that was killed before it wrote its row, or by one that is about to write it.
            with (self.spool.root / file).open("rb") as stored:
                offset = data_set_offset(stored)
            there = content_sum(self.spool.root / file, offset)
            add_instance(self.journal, header, study_uid, Part(part.path, there, part.size), file, association)
        else:
            there = str(row["sha256"])
        now = time.time()
        if there == part.sha256:
            with self.journal.change() as cursor:
                touch(cursor, association, header.series_uid, now)
                count(cursor, "duplicates")
            return Outcome("known")
        self.spool.keep(part, f"beside/{Path(file).stem}-{part.sha256[:16]}.dcm")
        with self.journal.change() as cursor:
            touch(cursor, association, header.series_uid, now)
            count(cursor, "duplicates_differing")
            text = "An instance came again under the same UID with other bytes; the first one counts."
            note(cursor, now, "DUPLICATE_DIFFERS", text, series_uid=header.series_uid, value=short(header.instance_uid))
        return Outcome("beside")

    def _refused(self, association: int, kind: Kind, message: str, value: str | None = None) -> Outcome:
        LOG.warning("refused (0x%04X): %s", _STATUS[kind], message)
        try:
            with self.journal.change() as cursor:
                count(cursor, f"refused_{kind}")
                cursor.execute("UPDATE associations SET refused = refused + 1 WHERE id = ?", (association,))
                note_seldom(cursor, time.time(), f"REFUSED_{kind.upper()}", message, value=value)
        except sqlite3.Error as error:
            LOG.error("the journal cannot be written: %s", type(error).__name__)
        return Outcome(kind)


def add_instance(
    journal: Journal, header: Header, study_uid: str, part: Part, file: str, association: int | None
) -> None:
    """Write the row of an instance that is on the disk, and that its series has grown."""
    now = time.time()
    with journal.change() as cursor:
        cursor.execute(
            "INSERT OR IGNORE INTO instances (sop_uid, series_uid, study_uid, sop_class, file, sha256, bytes, "
            "received_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (header.instance_uid, header.series_uid, study_uid, header.sop_class, file, part.sha256, part.size, now),
        )
        if cursor.rowcount:
            cursor.execute(
                "INSERT INTO series (series_uid, study_uid, folder, n, bytes, first_s, last_s) "
                "VALUES (?, ?, ?, 1, ?, ?, ?) ON CONFLICT (series_uid) DO UPDATE SET n = n + 1, "
                "bytes = bytes + excluded.bytes, last_s = excluded.last_s, state = 'receiving', reason = ''",
                (header.series_uid, study_uid, str(Path(file).parent), part.size, now, now),
            )
            count(cursor, "received")
            count(cursor, "received_bytes", part.size)
        if association is not None:
            touch(cursor, association, header.series_uid, now)


def touch(cursor: sqlite3.Cursor, association: int, series_uid: str, now_s: float) -> None:
    """Note that an association has delivered an instance of a series, new or not."""
    cursor.execute(
        "INSERT INTO touches VALUES (?, ?, 1, ?) ON CONFLICT (series_uid, association_id) "
        "DO UPDATE SET n = n + 1, last_s = excluded.last_s",
        (association, series_uid, now_s),
    )


def _lacking(header: Header, study_uid: str, part: Part) -> str:
    uids = (header.instance_uid, header.series_uid, study_uid, header.sop_class)
    if any(not uid or len(uid) > _LONGEST_UID for uid in uids):
        return "An instance lacks a UID of itself, its class, series or study, or has one that is too long."
    if header.pixel_offset is None or header.pixel_length is None:
        return ""
    wanted = header.rows * header.columns * header.samples * header.frames * header.bits_allocated // 8
    subsampled = header.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420")
    return "" if subsampled or header.pixel_length >= wanted else "An instance is cut off before its last pixel."
