"""The outbox: what is to be sent where, what was, and the dead letters.

::

    queued ─► sending ─► sent
      ▲          │ └───► dead         refused for good, or given up; the file stays, and `dead_letters` lists it
      └─ failed ◄┘                    waits for its next try; or superseded by a newer result
"""

from __future__ import annotations

from dataclasses import dataclass

from medimg.pacs.serve.journal import Journal, count, note


@dataclass(frozen=True)
class Letter:
    """One result for one destination. ``file`` is below the root; ``tries`` counts the present one."""

    id: int
    file: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    study_uid: str
    tries: int


def claim(journal: Journal, destination: str, owner: str, now_s: float, lease_s: float, most: int) -> list[Letter]:
    """Take what is most urgent for a destination: up to ``most`` letters of one study."""
    with journal.change() as cursor:
        first = cursor.execute(f"{_DUE} LIMIT 1", (destination, now_s, now_s)).fetchone()
        if first is None:
            return []
        rows = cursor.execute(f"{_DUE} LIMIT {10 * most}", (destination, now_s, now_s)).fetchall()
        rows = [row for row in rows if row["study_uid"] == first["study_uid"]][:most]
        cursor.executemany(
            "UPDATE deliveries SET state = 'sending', owner = ?, lease_s = ?, tries = tries + 1 WHERE id = ?",
            [(owner, now_s + lease_s, row["id"]) for row in rows],
        )
    return [
        Letter(
            id=int(row["id"]),
            file=str(row["file"]),
            sop_uid=str(row["sop_uid"]),
            sop_class=str(row["sop_class"]),
            transfer_syntax=str(row["transfer_syntax"]),
            study_uid=str(row["study_uid"]),
            tries=int(row["tries"]) + 1,
        )
        for row in rows
    ]


def sent(journal: Journal, letter: Letter, owner: str, now_s: float, status: str) -> None:
    """Write down that a peer has taken a letter."""
    with journal.change() as cursor:
        cursor.execute(
            f"UPDATE deliveries SET state = 'sent', sent_s = ?, status = ?, owner = NULL {_MINE}",
            (now_s, status, letter.id, owner),
        )
        if cursor.rowcount:
            count(cursor, "sent")


def failed(journal: Journal, letter: Letter, owner: str, now_s: float, status: str, pause_s: float | None) -> None:
    """Put a letter back for another try after a pause; None: there is no point in another."""
    state = "dead" if pause_s is None else "failed"
    with journal.change() as cursor:
        cursor.execute(
            f"UPDATE deliveries SET state = ?, not_before_s = ?, status = ?, owner = NULL {_MINE}",
            (state, now_s + (pause_s or 0.0), status, letter.id, owner),
        )
        if not cursor.rowcount:
            return
        count(cursor, "send_failed")
        if pause_s is None:
            count(cursor, "dead_letters")
            text = "A result was given up: it is a dead letter now, and stays on the disk."
            note(cursor, now_s, "DEAD_LETTER", text, severity="error", value=status)


def take_up(journal: Journal) -> int:
    """Queue again what a courier that is dead had in hand; return how many. Only for the one courier that there is."""
    with journal.change() as cursor:
        cursor.execute("UPDATE deliveries SET state = 'queued', owner = NULL, lease_s = NULL WHERE state = 'sending'")
        return cursor.rowcount


def dead_letters(journal: Journal) -> list[dict[str, object]]:
    """Return what was given up: its file, destination, tries and last status."""
    return [dict(row) for row in journal.rows(_DEAD)]


def revive(journal: Journal, destination: str) -> int:
    """Queue the dead letters of a destination again; return how many."""
    with journal.change() as cursor:
        cursor.execute(
            "UPDATE deliveries SET state = 'queued', tries = 0, not_before_s = 0 "
            "WHERE state = 'dead' AND destination = ?",
            (destination,),
        )
        return cursor.rowcount


_MINE = "WHERE id = ? AND owner = ? AND state = 'sending'"
_DUE = """
SELECT d.id, d.tries, r.file, r.sop_uid, r.sop_class, r.transfer_syntax, r.study_uid
FROM deliveries d JOIN results r ON r.id = d.result_id
WHERE d.destination = ? AND ((d.state IN ('queued', 'failed') AND d.not_before_s <= ?)
                             OR (d.state = 'sending' AND d.lease_s < ?))
ORDER BY d.priority DESC, d.id
"""
_DEAD = """
SELECT d.id, d.destination, d.tries, d.status, r.file, r.sop_class, r.sop_uid
FROM deliveries d JOIN results r ON r.id = d.result_id WHERE d.state = 'dead' ORDER BY d.id
"""
