"""Notices: a JSON text to a web address for every flagged job of a rule that says ``notify``.

They wait in the journal and are tried again like results. A notice names the package, the rule, and UIDs: nothing
else of the study. ``id`` is the same at every try, so that a receiver can tell a repetition.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import requests

from medimg.errors import InputError
from medimg.packaging.manifest import read_manifest
from medimg.pacs.serve.journal import Journal, count, note
from medimg.pacs.serve.retry import pause_s
from medimg.pacs.serve.settings import NoticeSettings, ServeSettings

LOG = logging.getLogger("medimg.serve")
_POLL_S, _DAY_S = 1.0, 86400.0


class Notifier:
    """Finds flagged jobs, and tells who wants to know."""

    def __init__(self, settings: ServeSettings, journal: Journal) -> None:
        self.settings, self.journal = settings, journal
        self._rng = np.random.default_rng()

    def run(self, stop: threading.Event) -> None:
        """Go on until stopped."""
        while not stop.is_set():
            self.turn(time.time(), stop)
            stop.wait(_POLL_S)

    def turn(self, now_s: float, stop: threading.Event | None = None) -> int:
        """Queue what is new and send what is due; return how many were sent."""
        self._queue(now_s)
        sent = 0
        for row in self.journal.rows(_DUE, (now_s,)):
            if stop is not None and stop.is_set():
                break
            recipient = self.settings.notices.get(str(row["recipient"]))
            if recipient is not None:
                sent += self._send(row, recipient, now_s)
        return sent

    def _queue(self, now_s: float) -> None:
        """Queue notices of the last day's flagged jobs: what is older is no news when a rule begins to notify."""
        for route in self.settings.routes:
            for name in route.notify:
                values = (name, route.name, now_s - _DAY_S, name)
                if self.journal.one(f"{_FLAGGED} LIMIT 1", values) is None:
                    continue
                with self.journal.change() as cursor:
                    cursor.execute(f"INSERT INTO notices (job_id, recipient) {_FLAGGED}", values)
                    count(cursor, "notices", cursor.rowcount)

    def _send(self, row: Any, recipient: NoticeSettings, now_s: float) -> bool:
        status, final = _post(recipient, notice(self.journal, row))
        tries = int(row["tries"]) + 1
        ours = self.settings.retry
        dead = final or tries >= ours.tries
        state = "sent" if not status else "dead" if dead else "failed"
        pause = pause_s(tries, ours.first_s, ours.longest_s, self._rng)
        with self.journal.change() as cursor:
            cursor.execute(
                "UPDATE notices SET state = ?, tries = ?, status = ?, not_before_s = ?, sent_s = ? WHERE id = ?",
                (state, tries, status, now_s + pause, None if status else now_s, row["id"]),
            )
            count(cursor, f"notices_{state}")
            if state == "dead":
                text = "A notice was given up."
                note(cursor, now_s, "NOTICE_DEAD", text, severity="error", value=f"{row['recipient']}: {status}")
        if status:
            LOG.warning("notice to %s: %s", row["recipient"], status)
        return not status


def notice(journal: Journal, row: Any) -> dict[str, Any]:
    """Return the text of a notice, from its row joined to that of its job."""
    made = journal.rows("SELECT sop_uid, sop_class FROM results WHERE job_id = ? ORDER BY id", (row["job_id"],))
    key = f"{row['series_uid']} {row['package_digest']} {row['input_digest']} {row['mode']} {row['recipient']}"
    name, version = _package(str(row["package"]))
    return {
        "id": hashlib.sha256(key.encode()).hexdigest(),
        "event": "flagged",
        "study_uid": str(row["study_uid"]),
        "series_uid": str(row["series_uid"]),
        "results": [{"sop_class_uid": str(one["sop_class"]), "sop_uid": str(one["sop_uid"])} for one in made],
        "package": name,
        "package_version": version,
        "package_digest": str(row["package_digest"]),
        "rule": str(row["rule"]),
        "partial": row["mode"] == "partial",
        "finished": datetime.fromtimestamp(float(row["finished_s"]), UTC).isoformat(timespec="seconds"),
        "use": "research only",
    }


def _package(folder: str) -> tuple[str, str]:
    try:
        manifest = read_manifest(Path(folder) / "package.json")
    except InputError:
        # Moved since the job was done; the digest still says which it was.
        return "", ""
    return manifest.name, manifest.version


def _post(recipient: NoticeSettings, text: dict[str, Any]) -> tuple[str, bool]:
    """Post it; return '' or what went wrong, and whether there is no point in another try."""
    headers = {}
    if recipient.token_file is not None:
        try:
            headers["Authorization"] = f"Bearer {Path(recipient.token_file).read_text(encoding='utf-8').strip()}"
        except (OSError, UnicodeDecodeError) as error:
            return f"token file: {type(error).__name__}", False
    try:
        answer = requests.post(
            recipient.url,
            json=text,
            headers=headers,
            timeout=recipient.timeout_s,
            verify=recipient.ca or True,
            allow_redirects=False,
        )
    except (requests.RequestException, UnicodeError) as error:
        return type(error).__name__, False
    if 200 <= answer.status_code < 300:
        return "", False
    # Too early, too many, timed out: these pass. Other 4xx say that the request itself is wrong.
    return f"HTTP {answer.status_code}", 300 <= answer.status_code < 500 and answer.status_code not in (408, 425, 429)


_FLAGGED = """
SELECT j.id, ? FROM jobs j WHERE j.rule = ? AND j.state = 'done' AND j.flagged = 1 AND j.finished_s > ?
AND NOT EXISTS (SELECT 1 FROM notices n WHERE n.job_id = j.id AND n.recipient = ?)
"""
_DUE = """
SELECT n.id, n.job_id, n.recipient, n.tries, j.study_uid, j.series_uid, j.package, j.package_digest, j.input_digest,
       j.mode, j.rule, j.finished_s
FROM notices n JOIN jobs j ON j.id = n.job_id
WHERE n.state IN ('queued', 'failed') AND n.not_before_s <= ? ORDER BY j.priority DESC, n.id LIMIT 50
"""
