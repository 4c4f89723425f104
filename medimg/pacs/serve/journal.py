"""The journal: one SQLite file (write-ahead log) that says what came, what is to be done, and what became of it.

Several processes write to it. Every change is one transaction that begins with the write lock, so that a process
that is killed leaves either all of a change or none. Files in the spool are the truth about what was received:
rows of instances are rebuilt from them (`medimg.pacs.serve.recovery`), so that theirs need not reach the disk one by
one; rows of jobs, results and deliveries do (``durable``).

Nothing here says who the patient is: UIDs, times, counts, states and sentences of medimg's own.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medimg.errors import InputError

VERSION = 2
_BUSY_S, _SELDOM_S = 60.0, 60.0

SCHEMA = """
CREATE TABLE associations (
    id INTEGER PRIMARY KEY, calling TEXT NOT NULL, source TEXT NOT NULL, opened_s REAL NOT NULL, closed_s REAL,
    outcome TEXT NOT NULL DEFAULT 'open', refused INTEGER NOT NULL DEFAULT 0);
CREATE TABLE instances (
    id INTEGER PRIMARY KEY, sop_uid TEXT NOT NULL UNIQUE, series_uid TEXT NOT NULL, study_uid TEXT NOT NULL,
    sop_class TEXT NOT NULL, file TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL,
    received_s REAL NOT NULL);
CREATE INDEX instances_series ON instances(series_uid, id);
CREATE TABLE touches (
    association_id INTEGER NOT NULL, series_uid TEXT NOT NULL, n INTEGER NOT NULL, last_s REAL NOT NULL,
    PRIMARY KEY (series_uid, association_id));
CREATE TABLE series (
    series_uid TEXT PRIMARY KEY, study_uid TEXT NOT NULL, folder TEXT NOT NULL, n INTEGER NOT NULL,
    bytes INTEGER NOT NULL, first_s REAL NOT NULL, last_s REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'receiving', reason TEXT NOT NULL DEFAULT '', evaluated_s REAL NOT NULL DEFAULT 0);
CREATE INDEX series_state ON series(state);
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY, series_uid TEXT NOT NULL, study_uid TEXT NOT NULL, package TEXT NOT NULL,
    package_digest TEXT NOT NULL DEFAULT '', rule TEXT NOT NULL, inputs_to INTEGER NOT NULL,
    input_digest TEXT NOT NULL, mode TEXT NOT NULL DEFAULT 'whole', reason TEXT NOT NULL DEFAULT '',
    priority INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'queued', tries INTEGER NOT NULL DEFAULT 0,
    not_before_s REAL NOT NULL DEFAULT 0, owner TEXT, lease_s REAL, created_s REAL NOT NULL, started_s REAL,
    finished_s REAL, error TEXT NOT NULL DEFAULT '', flagged INTEGER NOT NULL DEFAULT 0, supersedes INTEGER,
    UNIQUE (series_uid, package_digest, input_digest, mode));
CREATE INDEX jobs_state ON jobs(state, priority, id);
CREATE TABLE results (
    id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL, sop_uid TEXT NOT NULL UNIQUE, sop_class TEXT NOT NULL,
    series_uid TEXT NOT NULL, study_uid TEXT NOT NULL, transfer_syntax TEXT NOT NULL, file TEXT NOT NULL,
    bytes INTEGER NOT NULL, created_s REAL NOT NULL);
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY, result_id INTEGER NOT NULL, destination TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued', priority INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0,
    not_before_s REAL NOT NULL DEFAULT 0, owner TEXT, lease_s REAL, status TEXT NOT NULL DEFAULT '',
    sent_s REAL, UNIQUE (result_id, destination));
CREATE INDEX deliveries_state ON deliveries(destination, state, priority, id);
CREATE TABLE notices (
    id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL, recipient TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'queued',
    tries INTEGER NOT NULL DEFAULT 0, not_before_s REAL NOT NULL DEFAULT 0, status TEXT NOT NULL DEFAULT '',
    sent_s REAL, UNIQUE (job_id, recipient));
CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE watched (name TEXT PRIMARY KEY, bytes INTEGER NOT NULL, changed_ns INTEGER NOT NULL);
CREATE TABLE findings (
    id INTEGER PRIMARY KEY, at_s REAL NOT NULL, code TEXT NOT NULL, severity TEXT NOT NULL, message TEXT NOT NULL,
    series_uid TEXT, value TEXT);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE processes (name TEXT PRIMARY KEY, pid INTEGER NOT NULL, started_s REAL NOT NULL, alive_s REAL NOT NULL);
"""


class Journal:
    """A connection that threads of one process share.

    Parameters
    ----------
    path : Path
        The file; made with its tables where it is missing.
    durable : bool
        Whether a transaction waits until it is on the disk.

    Raises
    ------
    InputError
        The file cannot be opened, or another version of medimg wrote it.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._make()
        except (OSError, sqlite3.Error) as error:
            raise InputError("The journal cannot be opened.", where=path, got=type(error).__name__) from error

    def _make(self) -> None:
        with self.change() as cursor:
            found = int(cursor.execute("PRAGMA user_version").fetchone()[0])
            if found == 0:
                for statement in SCHEMA.split(";\n"):
                    cursor.execute(statement)
                cursor.execute(f"PRAGMA user_version={VERSION}")
        if found not in (0, VERSION):
            raise InputError(
                "Another version of medimg wrote the journal.", where=self.path, got=found, expected=VERSION,
                fix="let that version finish its jobs, then start with an empty folder",
            )  # fmt: skip

    @contextmanager
    def change(self) -> Iterator[sqlite3.Cursor]:
        """Yield a cursor inside a transaction that holds the write lock; it is rolled back when the block fails."""
        with self._lock:
            cursor = self._connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    def rows(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        """Return what a SELECT finds."""
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def one(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Row | None:
        """Return the first row that a SELECT finds."""
        with self._lock:
            row: sqlite3.Row | None = self._connection.execute(statement, values).fetchone()
            return row

    def close(self) -> None:
        """Close the connection; harmless when it is closed already."""
        with self._lock:
            self._connection.close()


def count(cursor: sqlite3.Cursor, name: str, by: int = 1) -> None:
    """Add to a counter that status and metrics show."""
    cursor.execute(
        "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value", (name, by)
    )


def note(
    cursor: sqlite3.Cursor,
    now_s: float,
    code: str,
    message: str,
    *,
    severity: str = "warning",
    series_uid: str | None = None,
    value: str | None = None,
) -> None:
    """Write down what was noticed. ``message`` and ``value`` never hold anything that could name a patient."""
    cursor.execute(
        "INSERT INTO findings (at_s, code, severity, message, series_uid, value) VALUES (?, ?, ?, ?, ?, ?)",
        (now_s, code, severity, message, series_uid, value),
    )


def note_seldom(cursor: sqlite3.Cursor, now_s: float, code: str, message: str, *, value: str | None = None) -> None:
    """Write down what may be noticed thousands of times, such as a full disk: once a minute and value."""
    cursor.execute(
        "SELECT 1 FROM findings WHERE code = ? AND value IS ? AND at_s > ?", (code, value, now_s - _SELDOM_S)
    )
    if cursor.fetchone() is None:
        note(cursor, now_s, code, message, value=value)


def short(uid: str) -> str:
    """Return the end of a UID, as logs show it.

    >>> short("1.2.840.113619.2.55.3.12345678")
    '…12345678'
    """
    return f"…{uid[-8:]}"
