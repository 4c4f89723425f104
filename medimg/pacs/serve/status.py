"""Status over HTTP, read-only and without names: ``/health``, ``/status``, ``/metrics``, and ``/`` as a page."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from medimg.errors import InputError
from medimg.pacs.serve.journal import Journal
from medimg.pacs.serve.metrics import CONTENT_TYPE, metrics
from medimg.pacs.serve.overview import overview, problems
from medimg.pacs.serve.settings import ServeSettings
from medimg.pacs.serve.spool import Spool
from medimg.pacs.serve.status_page import POLICY, page

LOG = logging.getLogger("medimg.serve")
_TIMEOUT_S = 10.0


class Answer(NamedTuple):
    """What is answered to one request."""

    status: int
    content_type: str
    text: str


class Status:
    """Answers requests. ``listening`` says whether the receiver takes associations."""

    def __init__(self, settings: ServeSettings, journal: Journal, spool: Spool, listening: Callable[[], bool]) -> None:
        self.settings, self.journal, self.spool, self.listening = settings, journal, spool, listening

    def answer(self, path: str) -> Answer:
        """Return the answer for a path: 200, 404, or 503 where something is wrong."""
        known = {"/health": self._health, "/status": self._status, "/metrics": self._metrics, "/": self._page}
        found = known.get(path.partition("?")[0])
        if found is None:
            return Answer(404, "text/plain; charset=utf-8", "There are /, /health, /status and /metrics.\n")
        try:
            return found()
        except (sqlite3.Error, OSError) as error:
            return Answer(503, "text/plain; charset=utf-8", f"{type(error).__name__}\n")

    def _problems(self) -> list[str]:
        return problems(
            self.journal,
            self.spool,
            listening=self.listening(),
            min_free_bytes=self.settings.receiver.min_free_bytes,
        )

    def _health(self) -> Answer:
        wrong = self._problems()
        return _json(503 if wrong else 200, {"healthy": not wrong, "problems": wrong})

    def _status(self) -> Answer:
        wrong = self._problems()
        return _json(200, {"healthy": not wrong, "problems": wrong, **overview(self.journal, self.spool)})

    def _metrics(self) -> Answer:
        return Answer(200, CONTENT_TYPE, metrics(overview(self.journal, self.spool), not self._problems()))

    def _page(self) -> Answer:
        return Answer(200, "text/html; charset=utf-8", page(overview(self.journal, self.spool), self._problems()))


def start(status: Status, host: str, port: int) -> ThreadingHTTPServer:
    """Listen; requests are answered once ``serve_forever`` is called.

    Raises
    ------
    InputError
        The address is taken or is not this machine's.
    """
    try:
        return ThreadingHTTPServer((host, port), _handler(status))
    except OSError as error:
        raise InputError("Status cannot listen here.", where=f"{host}:{port}", got=error.strerror) from error


def serve(server: ThreadingHTTPServer, stop: threading.Event) -> None:
    """Answer until stopped."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    stop.wait()
    server.shutdown()
    server.server_close()
    thread.join()


def _json(status: int, value: dict[str, Any]) -> Answer:
    return Answer(status, "application/json; charset=utf-8", json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def _handler(status: Status) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """GET and HEAD; anything else is 501."""

        timeout = _TIMEOUT_S
        server_version, sys_version = "medimg", ""

        def do_GET(self) -> None:
            """Answer with a body."""
            self.wfile.write(self._head())

        def do_HEAD(self) -> None:
            """Answer without."""
            self._head()

        def _head(self) -> bytes:
            answer = status.answer(self.path)
            body = answer.text.encode()
            self.send_response(answer.status)
            headers = {
                "Content-Type": answer.content_type,
                "Content-Length": str(len(body)),
                "Content-Security-Policy": POLICY,
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
                "Cache-Control": "no-store",
            }
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            return body

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing: probes come every few seconds."""

    return Handler
