"""An Orthanc that is asked instead of sending: its list of changes says which series are stable.

``GET /changes`` is read from the number where the last reading ended, which the journal keeps. Each StableSeries is
fetched instance by instance and taken in as one association. The number moves on only after that: what was cut off is
fetched again, and what is there already is not doubled. Results that medimg itself has sent there are passed over.

Source: Orthanc Book, "Monitoring the changes that happen on the database" (REST API).
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import requests

from medimg.errors import InputError
from medimg.pacs.serve.intake import Intake
from medimg.pacs.serve.journal import count, note
from medimg.pacs.serve.settings import OrthancSettings

LOG = logging.getLogger("medimg.serve")
_MARK = "orthanc_since"
_LIMIT, _BLOCK_BYTES, _TRIES = 100, 1 << 20, 8
_CALLING = "ORTHANC"


class _Cut(Exception):
    """A series could not be fetched whole; it is tried again."""


class Poller:
    """Reads the changes of one Orthanc."""

    def __init__(self, intake: Intake, settings: OrthancSettings) -> None:
        self.intake, self.settings = intake, settings
        self._url = str(settings.url).rstrip("/")
        self._tries = 0
        self._session = requests.Session()
        self._session.verify = settings.ca or True
        if settings.user is not None:
            self._session.auth = (settings.user, _secret(settings.password_file))

    def run(self, stop: threading.Event) -> None:
        """Go on until stopped; what cannot be reached is asked again after a pause that grows up to a minute."""
        pause_s = self.settings.poll_s
        while not stop.is_set():
            try:
                more = self.turn(stop)
                pause_s = 0.0 if more else self.settings.poll_s
            except (requests.RequestException, ValueError, _Cut) as error:
                pause_s = min(max(2 * pause_s, self.settings.poll_s), 60.0)
                LOG.warning("orthanc: %s; asked again in %.0f s", type(error).__name__, pause_s)
            stop.wait(pause_s)

    def turn(self, stop: threading.Event) -> bool:
        """Read one page of changes and fetch what is stable in it; True where there are more.

        Raises
        ------
        requests.RequestException, ValueError
            Orthanc cannot be reached, or does not answer as it should.
        """
        since = self._since()
        if since is None:
            self._move(_number(self._json("/changes?last"), "Last"))
            return True
        page = self._json(f"/changes?since={since}&limit={_LIMIT}")
        changes = page.get("Changes")
        if not isinstance(changes, list) or not all(isinstance(change, dict) for change in changes):
            raise ValueError("no list of changes")
        for change in changes:
            if stop.is_set():
                return False
            if change.get("ChangeType") == "StableSeries":
                self._try(str(change.get("ID")), stop)
            self._move(_number(change, "Seq"))
        last = _number(page, "Last")
        if last > since:
            self._move(last)
        return not page.get("Done", True)

    def _since(self) -> int | None:
        row = self.intake.journal.one("SELECT value FROM marks WHERE name = ?", (_MARK,))
        if row is None:
            return 0 if self.settings.from_start else None
        return int(row["value"])

    def _move(self, number: int) -> None:
        with self.intake.journal.change() as cursor:
            cursor.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (_MARK, number))

    def _try(self, identifier: str, stop: threading.Event) -> None:
        """Fetch a series; one that Orthanc itself cannot give must not hold up for ever what comes after it."""
        try:
            self._series(identifier, stop)
        except requests.HTTPError:
            self._tries += 1
            if self._tries < _TRIES:
                raise
            with self.intake.journal.change() as cursor:
                text = "A series was given up: Orthanc answers with an error each time."
                note(cursor, time.time(), "ORTHANC_GIVEN_UP", text, severity="error", value=identifier)
        self._tries = 0

    def _series(self, identifier: str, stop: threading.Event) -> None:
        """Fetch a series and take it in; one that is not there any more is passed over."""
        try:
            series = self._json(f"/series/{quote(identifier, safe='')}")
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code == 404:
                return
            raise
        if self._made_here(series):
            return
        if self.intake.full():
            raise _Cut
        association = self.intake.open_association(_CALLING, "orthanc")
        outcome: Literal["released", "aborted"] = "aborted"
        try:
            for instance in series.get("Instances", []):
                if stop.is_set() or self.intake.full():
                    raise _Cut
                self._instance(association, str(instance))
            outcome = "released"
        finally:
            self.intake.close_association(association, outcome)
        with self.intake.journal.change() as cursor:
            count(cursor, "orthanc_series")

    def _made_here(self, series: dict[str, Any]) -> bool:
        tags = series.get("MainDicomTags")
        uid = tags.get("SeriesInstanceUID") if isinstance(tags, dict) else None
        return self.intake.journal.one("SELECT 1 FROM results WHERE series_uid = ? LIMIT 1", (uid,)) is not None

    def _instance(self, association: int, identifier: str) -> None:
        url = f"{self._url}/instances/{quote(identifier, safe='')}/file"
        incoming = self.intake.spool.root / "incoming"
        with tempfile.NamedTemporaryFile(dir=incoming, suffix=".part") as file:
            with self._session.get(url, timeout=self.settings.timeout_s, stream=True) as answer:
                answer.raise_for_status()
                size, most = 0, self.intake.settings.max_object_bytes
                for block in answer.iter_content(_BLOCK_BYTES):
                    size += len(block)
                    if size > most:
                        LOG.warning("orthanc: an instance is larger than allowed")
                        with self.intake.journal.change() as cursor:
                            count(cursor, "refused_too_large")
                            cursor.execute("UPDATE associations SET refused = refused + 1 WHERE id = ?", (association,))
                        return
                    file.write(block)
            file.flush()
            if self.intake.take_file(association, Path(file.name)).kind in ("full", "failed"):
                raise _Cut

    def _json(self, path: str) -> dict[str, Any]:
        answer = self._session.get(self._url + path, timeout=self.settings.timeout_s)
        answer.raise_for_status()
        value = answer.json()
        if not isinstance(value, dict):
            raise ValueError("no JSON object")
        return value


def _number(values: dict[str, Any], name: str) -> int:
    value = values.get(name)
    if not isinstance(value, int):
        raise ValueError(f"no number {name}")
    return value


def _secret(path: str | None) -> str:
    if path is None:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("The password file cannot be read.", where=path, got=type(error).__name__) from error
