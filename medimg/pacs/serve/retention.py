"""Remove what is finished and old: instances, results, and their rows. Off unless ``retention.days`` is set.

A series is finished when nothing of it waits any more:

* it is routed or run by no rule (never: receiving, or held),
* all its jobs are done or superseded (never: queued, running, failed, or given up),
* all that was made of it was sent or superseded (never: waiting, or a dead letter), and its notices too.

It is old when it was last touched (received, run, sent) so many days ago. What is sent again after that is new to the
service, and gives the same UIDs and bytes as before.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from medimg.pacs.serve.journal import Journal, count, note
from medimg.pacs.serve.spool import Spool

LOG = logging.getLogger("medimg.serve")
_DAY_S, _POLL_S, _MOST = 86400.0, 600.0, 500


def run(journal: Journal, spool: Spool, days: float, stop: threading.Event) -> None:
    """Look every ten minutes until stopped."""
    while not stop.is_set():
        removed = turn(journal, spool, days, time.time(), stop)
        if removed:
            LOG.info("retention: %d series removed", removed)
        stop.wait(_POLL_S)


def turn(journal: Journal, spool: Spool, days: float, now_s: float, stop: threading.Event | None = None) -> int:
    """Remove what is finished and older than ``days``; return how many series.

    Files go before their rows: what is killed between them is finished by the next turn, while a file without a row
    would be taken for a new one.
    """
    before_s = now_s - days * _DAY_S
    removed = 0
    for row in journal.rows(f"{_OLD} LIMIT {_MOST}", {"before": before_s}):
        if stop is not None and stop.is_set():
            break
        removed += _remove(journal, spool, str(row["series_uid"]), before_s, now_s)
    with journal.change() as cursor:
        cursor.execute("DELETE FROM findings WHERE at_s < ?", (before_s,))
        cursor.execute(_CLOSED, (before_s,))
    return removed


def _remove(journal: Journal, spool: Spool, series_uid: str, before_s: float, now_s: float) -> bool:
    """Remove one series; False where something has come of it meanwhile. The journal waits until its files are gone."""
    with journal.change() as cursor:
        still = cursor.execute(f"{_OLD_BUT} AND s.series_uid = :series", {"before": before_s, "series": series_uid})
        found = still.fetchone()
        if found is None:
            return False
        files = [str(row["file"]) for row in cursor.execute(_FILES, (series_uid,))]
        job_ids = [int(row["id"]) for row in cursor.execute("SELECT id FROM jobs WHERE series_uid = ?", (series_uid,))]
        _unlink(spool.root, files, str(found["folder"]), job_ids)
        for statement in _DELETES:
            cursor.execute(statement, (series_uid,))
        count(cursor, "series_removed")
        count(cursor, "bytes_removed", int(found["bytes"]))
        text = "A finished series was removed: it was older than retention.days."
        note(cursor, now_s, "RETENTION", text, severity="info", series_uid=series_uid, value=f"{len(files)} instances")
    return True


def _unlink(root: Path, files: Iterable[str], folder: str, job_ids: Iterable[int]) -> None:
    for file in files:
        (root / file).unlink(missing_ok=True)
        for other in (root / "beside").glob(f"{Path(file).stem}-*.dcm"):
            other.unlink(missing_ok=True)
    for job_id in job_ids:
        shutil.rmtree(root / "results" / str(job_id), ignore_errors=True)
    try:
        (root / folder).rmdir()
    except FileNotFoundError:
        return
    except OSError:
        # An instance has come whose row is not written yet: it stays, and becomes a series of its own.
        LOG.info("retention: a series grows again")


# Named values: `before` is the time before which everything of the series must lie.
_OLD_BUT = """
SELECT s.series_uid, s.folder, s.bytes FROM series s
WHERE s.state IN ('routed', 'unrouted') AND s.last_s < :before AND s.evaluated_s < :before
AND NOT EXISTS (SELECT 1 FROM touches t WHERE t.series_uid = s.series_uid AND t.last_s >= :before)
AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.series_uid = s.series_uid
                AND (j.state NOT IN ('done', 'superseded') OR COALESCE(j.finished_s, j.created_s) >= :before))
AND NOT EXISTS (SELECT 1 FROM jobs j JOIN results r ON r.job_id = j.id JOIN deliveries d ON d.result_id = r.id
                WHERE j.series_uid = s.series_uid
                AND (d.state NOT IN ('sent', 'superseded') OR COALESCE(d.sent_s, 0) >= :before))
AND NOT EXISTS (SELECT 1 FROM jobs j JOIN notices n ON n.job_id = j.id
                WHERE j.series_uid = s.series_uid AND n.state != 'sent')
"""
_OLD = f"{_OLD_BUT} ORDER BY s.last_s"
_FILES = "SELECT file FROM instances WHERE series_uid = ?"
_JOBS = "SELECT id FROM jobs WHERE series_uid = ?"
_DELETES = (
    f"DELETE FROM deliveries WHERE result_id IN (SELECT id FROM results WHERE job_id IN ({_JOBS}))",
    f"DELETE FROM results WHERE job_id IN ({_JOBS})",
    f"DELETE FROM notices WHERE job_id IN ({_JOBS})",
    "DELETE FROM jobs WHERE series_uid = ?",
    "DELETE FROM touches WHERE series_uid = ?",
    "DELETE FROM instances WHERE series_uid = ?",
    "DELETE FROM series WHERE series_uid = ?",
)
_CLOSED = """
DELETE FROM associations WHERE closed_s < ? AND id NOT IN (SELECT association_id FROM touches)
"""
