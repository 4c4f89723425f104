"""What runs beside the receiver in its process, as the settings say: each in a thread that outlives its errors."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from medimg.errors import MedimgError
from medimg.pacs.serve import retention, status
from medimg.pacs.serve.notices import Notifier
from medimg.pacs.serve.orthanc import Poller
from medimg.pacs.serve.settings import ServeSettings
from medimg.pacs.serve.watch import Watcher

if TYPE_CHECKING:
    from medimg.pacs.serve.service import Service

LOG = logging.getLogger("medimg.serve")
_AGAIN_S = 5.0

Loop = Callable[["Service", threading.Event], None]


def loops(settings: ServeSettings) -> list[Loop]:
    """Return what the settings ask for."""
    found: dict[str, Loop] = {}
    if settings.status.port is not None:
        found["status"] = _status
    if settings.retention.days is not None:
        found["retention"] = _retention
    if settings.watch.folders:
        found["watch"] = _watch
    if settings.orthanc.url is not None:
        found["orthanc"] = _orthanc
    if any(route.notify for route in settings.routes):
        found["notices"] = _notices
    return [partial(_steady, name, loop) for name, loop in found.items()]


def _status(service: Service, stop: threading.Event) -> None:
    ours = service.settings.status
    answers = status.Status(
        service.settings, service.journal, service.spool, lambda: service.receiver.listening and not stop.is_set()
    )
    server = status.start(answers, ours.host, int(ours.port or 0))
    LOG.info("status on http://%s:%d/", *server.server_address[:2])
    status.serve(server, stop)


def _retention(service: Service, stop: threading.Event) -> None:
    retention.run(service.journal, service.spool, float(service.settings.retention.days or 0.0), stop)


def _watch(service: Service, stop: threading.Event) -> None:
    Watcher(service.intake, service.settings.watch).run(stop)


def _orthanc(service: Service, stop: threading.Event) -> None:
    Poller(service.intake, service.settings.orthanc).run(stop)


def _notices(service: Service, stop: threading.Event) -> None:
    Notifier(service.settings, service.journal).run(stop)


def _steady(name: str, loop: Loop, service: Service, stop: threading.Event) -> None:
    """Begin again what has failed for a reason that may pass: a busy journal, a full disk, an address taken."""
    while not stop.is_set():
        try:
            loop(service, stop)
        except MedimgError as error:
            LOG.error("%s: %s", name, error.what)
        except (OSError, sqlite3.Error) as error:
            LOG.error("%s: %s", name, type(error).__name__)
        stop.wait(_AGAIN_S)
