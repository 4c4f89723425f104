"""What an operator wants to know, read from the journal and the disk: the ground of status, metrics and page.

Series show the end of their UID, as logs do; nothing here names a patient.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from medimg.pacs.serve.journal import Journal, short
from medimg.pacs.serve.spool import Spool

PROCESSES = ("receiver", "courier", "worker")
_STALE_S = 15.0
_MOST = 50


def problems(
    journal: Journal, spool: Spool, *, listening: bool, min_free_bytes: int, clock: Callable[[], float] = time.time
) -> list[str]:
    """Return what is wrong now; an empty list means healthy.

    Parameters
    ----------
    journal, spool
        What the service works with.
    listening : bool
        Whether the receiver takes associations.
    min_free_bytes : int
        Below this the receiver refuses instances.
    clock : callable
        Returns the time in s.
    """
    found = [] if listening else ["the receiver does not listen"]
    now = clock()
    alive = {str(row["name"]): float(row["alive_s"]) for row in journal.rows("SELECT name, alive_s FROM processes")}
    found += [f"the {name} does not beat" for name in PROCESSES if now - alive.get(name, 0.0) > _STALE_S]
    if spool.free_bytes() < min_free_bytes:
        found.append("the disk is nearly full")
    return found


def overview(journal: Journal, spool: Spool, clock: Callable[[], float] = time.time) -> dict[str, Any]:
    """Return counts, what is held and why, dead jobs and letters, bytes, and the last findings."""
    now = clock()
    spool_bytes = journal.one("SELECT COALESCE(SUM(bytes), 0) AS n FROM series")
    return {
        "processes": {
            str(row["name"]): {"last_beat_s_ago": round(now - float(row["alive_s"]), 1), "started_s": row["started_s"]}
            for row in journal.rows("SELECT * FROM processes ORDER BY name")
        },
        "series": by_state(journal, "series"),
        "waiting": [_series(row, now) for row in journal.rows(_WAITING, (_MOST,))],
        "jobs": by_state(journal, "jobs"),
        "dead_jobs": [_job(row) for row in journal.rows(_DEAD_JOBS, (_MOST,))],
        "deliveries": _deliveries(journal),
        "dead_letters": [_letter(row) for row in journal.rows(_DEAD_LETTERS, (_MOST,))],
        "counters": {str(row["name"]): int(row["value"]) for row in journal.rows(_COUNTERS)},
        "spool_bytes": 0 if spool_bytes is None else int(spool_bytes["n"]),
        "free_bytes": spool.free_bytes(),
        "findings": [_finding(row, now) for row in journal.rows(_FINDINGS, (_MOST,))],
    }


def by_state(journal: Journal, table: str) -> dict[str, int]:
    """Return how many rows of ``series`` or ``jobs`` are in each state."""
    rows = journal.rows(f"SELECT state, COUNT(*) AS n FROM {table} GROUP BY state ORDER BY state")
    return {str(row["state"]): int(row["n"]) for row in rows}


def _deliveries(journal: Journal) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for row in journal.rows(_DELIVERIES):
        found.setdefault(str(row["destination"]), {})[str(row["state"])] = int(row["n"])
    return found


def _series(row: Any, now: float) -> dict[str, Any]:
    return {
        "series": short(str(row["series_uid"])),
        "state": str(row["state"]),
        "reason": str(row["reason"]),
        "instances": int(row["n"]),
        "quiet_s": round(now - float(row["last_s"]), 1),
    }


def _job(row: Any) -> dict[str, Any]:
    return {
        "job": int(row["id"]),
        "series": short(str(row["series_uid"])),
        "rule": str(row["rule"]),
        "tries": int(row["tries"]),
        "error": str(row["error"]),
    }


def _letter(row: Any) -> dict[str, Any]:
    return {
        "result": short(str(row["sop_uid"])),
        "destination": str(row["destination"]),
        "tries": int(row["tries"]),
        "status": str(row["status"]),
    }


def _finding(row: Any, now: float) -> dict[str, Any]:
    return {
        "s_ago": round(now - float(row["at_s"]), 1),
        "severity": str(row["severity"]),
        "code": str(row["code"]),
        "message": str(row["message"]),
        "series": None if row["series_uid"] is None else short(str(row["series_uid"])),
        "value": row["value"],
    }


_WAITING = """
SELECT series_uid, state, reason, n, last_s FROM series WHERE state IN ('receiving', 'held')
ORDER BY state, last_s LIMIT ?
"""
_DEAD_JOBS = "SELECT id, series_uid, rule, tries, error FROM jobs WHERE state = 'dead' ORDER BY id DESC LIMIT ?"
_DELIVERIES = """
SELECT destination, state, COUNT(*) AS n FROM deliveries GROUP BY destination, state ORDER BY destination, state
"""
_DEAD_LETTERS = """
SELECT d.destination, d.tries, d.status, r.sop_uid FROM deliveries d JOIN results r ON r.id = d.result_id
WHERE d.state = 'dead' ORDER BY d.id DESC LIMIT ?
"""
_COUNTERS = "SELECT name, value FROM counters ORDER BY name"
_FINDINGS = "SELECT * FROM findings WHERE severity IN ('warning', 'error') ORDER BY id DESC LIMIT ?"
