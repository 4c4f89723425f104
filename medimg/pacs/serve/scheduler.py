"""From series that have stopped growing to jobs: completeness, then routing, then the queue."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from medimg.errors import MedimgError
from medimg.packaging.manifest import read_manifest
from medimg.pacs.serve import jobs
from medimg.pacs.serve.completeness import Count, Verdict, gather, judge
from medimg.pacs.serve.counts import counter
from medimg.pacs.serve.journal import Journal, count, note, short
from medimg.pacs.serve.routing import choose
from medimg.pacs.serve.settings import RouteSettings, ServeSettings

LOG = logging.getLogger("medimg.serve")
_LOOK_AGAIN = 0.125


class Scheduler:
    """Looks at series that have changed, and at those that are held."""

    def __init__(self, settings: ServeSettings, journal: Journal) -> None:
        self.settings, self.journal, self.root = settings, journal, Path(settings.root)
        self._count: Count | None = counter(settings.completeness.count, settings.receiver.ae_title)
        self._digests: dict[tuple[str, int], str] = {}

    def run(self, stop: threading.Event) -> None:
        """Go on until stopped."""
        while not stop.is_set():
            self.turn(time.time())
            stop.wait(self.settings.completeness.poll_s)

    def turn(self, now_s: float) -> None:
        """Look once at every series that is due."""
        quiet_s = self.settings.completeness.quiet_s
        rows = self.journal.rows(_DUE, (now_s - quiet_s, now_s - quiet_s, now_s, _LOOK_AGAIN))
        for row in rows:
            series_uid = str(row["series_uid"])
            try:
                self._look(series_uid, int(row["n"]), now_s)
            except MedimgError as error:
                LOG.error("series %s cannot be judged: %s", short(series_uid), error.what)
                self._put(series_uid, int(row["n"]), "held", error.what, now_s)

    def _look(self, series_uid: str, n: int, now_s: float) -> None:
        evidence = gather(self.journal, self.root, series_uid, now_s, self.settings.completeness, self._count)
        if evidence is None:
            return
        verdict = judge(evidence, self.settings.completeness)
        if verdict.state == "wait":
            return
        reason = "; ".join(verdict.reasons)
        policy = self.settings.completeness.incomplete
        if verdict.state == "held" or (verdict.state == "overdue" and policy == "hold"):
            self._put(series_uid, n, "held", reason, now_s, overdue=verdict.state == "overdue")
            return
        self._route(series_uid, n, verdict, reason, now_s)

    def _route(self, series_uid: str, n: int, verdict: Verdict, reason: str, now_s: float) -> None:
        files = [self.root / str(row["file"]) for row in self.journal.rows(_FILES, (series_uid,))]
        made_here = self.journal.one(_MADE_HERE, (series_uid,)) is not None
        choice = choose(files, self.settings.routes, made_here=made_here)
        route = choice.route
        if route is None:
            self._put(series_uid, n, "unrouted", choice.reason, now_s)
            return
        mode: jobs.Mode = "whole"
        if verdict.state == "overdue":
            mode = "refuse" if self.settings.completeness.incomplete == "refuse" else "partial"
        order = jobs.Order(
            series_uid=series_uid,
            n=n,
            package=route.package,
            package_digest=self._digest(route),
            rule=route.name,
            mode=mode,
            reason=reason,
            priority=route.priority,
        )
        added = jobs.add(self.journal, order, now_s)
        if added is not None:
            LOG.info("job %d: %d instances of series %s, rule %s", added, len(files), short(series_uid), route.name)

    def _digest(self, route: RouteSettings) -> str:
        """Return the digest of a rule's package, read again where its file has changed."""
        path = Path(route.package) / "package.json"
        try:
            key = (route.package, path.stat().st_mtime_ns)
        except OSError:
            key = (route.package, 0)
        if key not in self._digests:
            self._digests[key] = read_manifest(path).digest
        return self._digests[key]

    def _put(self, series_uid: str, n: int, state: str, reason: str, now_s: float, *, overdue: bool = False) -> None:
        """Write a series' state down, unless it has grown meanwhile; once, what is worth a finding."""
        with self.journal.change() as cursor:
            before = cursor.execute("SELECT state, reason FROM series WHERE series_uid = ?", (series_uid,)).fetchone()
            cursor.execute(
                "UPDATE series SET state = ?, reason = ?, evaluated_s = ? WHERE series_uid = ? AND n = ?",
                (state, reason, now_s, series_uid, n),
            )
            code = {"held": "SERIES_OVERDUE" if overdue else "SERIES_HELD", "unrouted": "SERIES_UNROUTED"}[state]
            seen = cursor.execute(
                "SELECT 1 FROM findings WHERE series_uid = ? AND code = ? AND value = ?", (series_uid, code, reason)
            ).fetchone()
            if seen is None:
                severity = "info" if state == "unrouted" else "warning"
                text = {"held": "A series is held back.", "unrouted": "A series is run by no rule."}[state]
                note(cursor, now_s, code, text, severity=severity, series_uid=series_uid, value=reason)
            if before is not None and before["state"] != state:
                count(cursor, f"series_{state}")
                LOG.info("series %s is %s: %s", short(series_uid), state, reason)


# Series that have grown; and held ones: again when an association has ended, and now and then (an eighth of the time
# that they have been quiet).
_DUE = """
SELECT s.series_uid, s.n FROM series s
WHERE (s.state = 'receiving' AND s.last_s <= ?)
   OR (s.state = 'held' AND s.last_s <= ? AND (
        ? - s.evaluated_s >= ? * (s.evaluated_s - s.last_s)
        OR EXISTS (SELECT 1 FROM touches t JOIN associations a ON a.id = t.association_id
                   WHERE t.series_uid = s.series_uid AND a.closed_s >= s.evaluated_s)))
ORDER BY s.last_s
"""
_FILES = "SELECT file FROM instances WHERE series_uid = ? ORDER BY id"
_MADE_HERE = """
SELECT 1 FROM instances i JOIN results r ON r.sop_uid = i.sop_uid WHERE i.series_uid = ? LIMIT 1
"""
