"""Jobs: one package on one set of instances. Claimed by lease, so that a killed worker's job is done by another.

::

    queued ─► running ─► done
      ▲          │ ├───► superseded   more of the series came: another job covers it
      │          │ └───► dead         given up after several tries; somebody must look
      └─ failed ◄┘                    waits for its next try
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medimg.pacs.serve.journal import Journal, count, note

Mode = Literal["whole", "partial", "refuse"]

TRIAGE = 1000
"""What a positive decision adds to the priority of a study's other jobs, and of the results."""


@dataclass(frozen=True)
class Job:
    """What a worker needs to know.

    ``inputs_to`` is the last instance (by row) that belongs to it. ``mode`` is ``whole``; ``partial``: something is
    missing, and the results say so; or ``refuse``: something is missing, and a report that says so is all there is.
    """

    id: int
    series_uid: str
    study_uid: str
    package: str
    rule: str
    inputs_to: int
    mode: Mode
    reason: str
    priority: int
    tries: int
    supersedes: int | None


@dataclass(frozen=True)
class Made:
    """A result on the disk. ``file`` is below the root."""

    sop_uid: str
    sop_class: str
    series_uid: str
    study_uid: str
    transfer_syntax: str
    file: str
    size: int


@dataclass(frozen=True)
class Order:
    """A job to be queued, for a series of ``n`` instances; a second one of the same instances changes nothing."""

    series_uid: str
    n: int
    package: str
    package_digest: str
    rule: str
    mode: Mode
    reason: str
    priority: int


def add(journal: Journal, order: Order, now_s: float) -> int | None:
    """Queue a job for all instances of a series; None where there is such a job already, or the series has grown.

    Earlier jobs of the series that are not done, and results of them that were not sent, are superseded.
    """
    with journal.change() as cursor:
        instances = cursor.execute(_INSTANCES, (order.series_uid,)).fetchall()
        if len(instances) != order.n:
            return None
        digest = input_digest((row["sop_uid"], row["sha256"]) for row in instances)
        study_uid, last = str(instances[-1]["study_uid"]), int(instances[-1]["id"])
        before = cursor.execute(_DONE_BEFORE, (order.series_uid, order.package_digest)).fetchone()
        key = (order.series_uid, study_uid, order.package, order.package_digest, order.rule, last, digest)
        rest = (order.mode, order.reason, order.priority, now_s, None if before is None else before["id"])
        cursor.execute(_ADD, (*key, *rest))
        added = cursor.lastrowid if cursor.rowcount else None
        if added is not None:
            cursor.execute(_SUPERSEDE_JOBS, (order.series_uid, order.package_digest, added))
            cursor.execute(_SUPERSEDE_DELIVERIES, (order.series_uid, order.package_digest, added))
            count(cursor, "jobs")
            if order.mode != "whole":
                count(cursor, f"jobs_{order.mode}")
        cursor.execute(
            "UPDATE series SET state = 'routed', reason = ?, evaluated_s = ? WHERE series_uid = ?",
            (order.reason, now_s, order.series_uid),
        )
        return added


def input_digest(instances: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256 of a set of instances (UID, content sum), whatever their order."""
    lines = "\n".join(f"{uid} {sum_}" for uid, sum_ in sorted(instances))
    return hashlib.sha256(lines.encode()).hexdigest()


def claim(journal: Journal, owner: str, now_s: float, lease_s: float, most_tries: int) -> Job | None:
    """Take the most urgent job that is waiting, or whose worker has not renewed its lease."""
    with journal.change() as cursor:
        while (row := cursor.execute(_NEXT, (now_s, now_s)).fetchone()) is not None:
            if int(row["tries"]) < most_tries:
                cursor.execute(
                    "UPDATE jobs SET state = 'running', owner = ?, lease_s = ?, tries = tries + 1, started_s = ? "
                    "WHERE id = ?",
                    (owner, now_s + lease_s, now_s, row["id"]),
                )
                return _job(row)
            _bury(cursor, int(row["id"]), str(row["series_uid"]), now_s, "its worker died each time")
    return None


def renew(journal: Journal, job: Job, owner: str, until_s: float) -> bool:
    """Keep a job; False where it is no longer this worker's."""
    with journal.change() as cursor:
        cursor.execute(f"UPDATE jobs SET lease_s = ? {_MINE}", (until_s, job.id, owner))
        return cursor.rowcount == 1


def give_back(journal: Journal, job: Job, owner: str) -> None:
    """Let somebody else do it, as if it had never been tried."""
    with journal.change() as cursor:
        cursor.execute(
            f"UPDATE jobs SET state = 'queued', owner = NULL, lease_s = NULL, tries = tries - 1 {_MINE}",
            (job.id, owner),
        )


def finish(
    journal: Journal,
    job: Job,
    owner: str,
    now_s: float,
    made: Sequence[Made],
    destinations: Sequence[str],
    *,
    flagged: bool = False,
    error: str = "",
) -> bool:
    """Write down what was made, and that it is to be sent; False where the job is no longer this worker's.

    A result that is known already (same UID: same inputs, same package) is not sent again.
    """
    with journal.change() as cursor:
        cursor.execute(
            f"UPDATE jobs SET state = 'done', finished_s = ?, flagged = ?, error = ? {_MINE}",
            (now_s, int(flagged), error, job.id, owner),
        )
        if cursor.rowcount != 1:
            return False
        count(cursor, "jobs_done")
        priority = job.priority + (TRIAGE if flagged else 0)
        for one in made:
            _add_result(cursor, job, one, now_s, destinations, priority)
        if flagged:
            count(cursor, "jobs_flagged")
            cursor.execute(_FIRST, (TRIAGE, job.study_uid, TRIAGE))
    return True


def fail(journal: Journal, job: Job, owner: str, now_s: float, error: str, pause_s: float, most_tries: int) -> None:
    """Put a job back for another try, or give it up."""
    with journal.change() as cursor:
        count(cursor, "jobs_failed")
        cursor.execute(
            f"UPDATE jobs SET state = 'failed', error = ?, not_before_s = ?, owner = NULL {_MINE}",
            (error, now_s + pause_s, job.id, owner),
        )
        if cursor.rowcount and job.tries >= most_tries:
            _bury(cursor, job.id, job.series_uid, now_s, error)


def revive(journal: Journal) -> int:
    """Queue the jobs that were given up again; return how many."""
    with journal.change() as cursor:
        cursor.execute("UPDATE jobs SET state = 'queued', tries = 0, not_before_s = 0 WHERE state = 'dead'")
        return cursor.rowcount


def take_up(journal: Journal) -> int:
    """Queue again what a worker that is dead had in hand; return how many. Only for the one worker that there is."""
    with journal.change() as cursor:
        cursor.execute("UPDATE jobs SET state = 'queued', owner = NULL, lease_s = NULL WHERE state = 'running'")
        return cursor.rowcount


def _bury(cursor: sqlite3.Cursor, job_id: int, series_uid: str, now_s: float, error: str) -> None:
    cursor.execute(
        "UPDATE jobs SET state = 'dead', error = ?, finished_s = ?, owner = NULL WHERE id = ?", (error, now_s, job_id)
    )
    count(cursor, "jobs_dead")
    text = f"Job {job_id} was given up after several tries."
    note(cursor, now_s, "JOB_DEAD", text, severity="error", series_uid=series_uid, value=error)


def _add_result(
    cursor: sqlite3.Cursor, job: Job, made: Made, now_s: float, destinations: Sequence[str], priority: int
) -> None:
    cursor.execute(
        "INSERT OR IGNORE INTO results (job_id, sop_uid, sop_class, series_uid, study_uid, transfer_syntax, file, "
        "bytes, created_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(job.id, made.sop_uid, made.sop_class, made.series_uid, made.study_uid),
            *(made.transfer_syntax, made.file, made.size, now_s),
        ),
    )
    if not cursor.rowcount:
        return
    result = cursor.lastrowid
    count(cursor, "results")
    for name in destinations:
        cursor.execute(
            "INSERT INTO deliveries (result_id, destination, priority) VALUES (?, ?, ?)", (result, name, priority)
        )


def _job(row: Any) -> Job:
    return Job(
        id=int(row["id"]),
        series_uid=str(row["series_uid"]),
        study_uid=str(row["study_uid"]),
        package=str(row["package"]),
        rule=str(row["rule"]),
        inputs_to=int(row["inputs_to"]),
        mode=row["mode"],
        reason=str(row["reason"]),
        priority=int(row["priority"]),
        tries=int(row["tries"]) + 1,
        supersedes=row["supersedes"],
    )


_MINE = "WHERE id = ? AND owner = ? AND state = 'running'"
_INSTANCES = "SELECT id, sop_uid, sha256, study_uid FROM instances WHERE series_uid = ? ORDER BY id"
_DONE_BEFORE = """
SELECT MAX(id) AS id FROM jobs WHERE series_uid = ? AND package_digest = ? AND state = 'done'
"""
_ADD = """
INSERT OR IGNORE INTO jobs (series_uid, study_uid, package, package_digest, rule, inputs_to, input_digest, mode,
                            reason, priority, created_s, supersedes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_NEXT = """
SELECT * FROM jobs WHERE (state IN ('queued', 'failed') AND not_before_s <= ?) OR (state = 'running' AND lease_s < ?)
ORDER BY priority DESC, id LIMIT 1
"""
_SUPERSEDE_JOBS = """
UPDATE jobs SET state = 'superseded' WHERE series_uid = ? AND package_digest = ? AND id < ?
AND state IN ('queued', 'failed', 'running', 'dead')
"""
_SUPERSEDE_DELIVERIES = """
UPDATE deliveries SET state = 'superseded' WHERE state IN ('queued', 'failed', 'dead') AND result_id IN (
    SELECT r.id FROM results r JOIN jobs j ON j.id = r.job_id
    WHERE j.series_uid = ? AND j.package_digest = ? AND j.id < ?)
"""
_FIRST = """
UPDATE jobs SET priority = priority + ? WHERE study_uid = ? AND state IN ('queued', 'failed') AND priority < ?
"""
