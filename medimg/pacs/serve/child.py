"""What the processes of the service have in common: settings, journal, logs without names, a graceful end."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from medimg.errors import MedimgError
from medimg.pacs.serve.journal import Journal
from medimg.pacs.serve.settings import ServeSettings, load
from medimg.pacs.serve.spool import Spool

LOG = logging.getLogger("medimg.serve")
_BEAT_S, _LOOK_S = 1.0, 0.1


@dataclass
class Child:
    """A running process: what it works with, and the event that ends it."""

    name: str
    settings: ServeSettings
    journal: Journal
    spool: Spool
    stop: threading.Event = field(default_factory=threading.Event)


def quiet_logs(name: str) -> None:
    """Log medimg's own sentences to stderr, and nothing of libraries that may quote what a data set says."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.ERROR, format=f"%(asctime)s {name} %(levelname)s %(message)s", force=True
    )
    LOG.setLevel(logging.INFO)
    for library in ("pydicom", "pynetdicom", "highdicom", "dicomweb_client", "urllib3"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)


def beat(journal: Journal, name: str, started_s: float) -> None:
    """Say that a process is alive."""
    with journal.change() as cursor:
        row = (name, os.getpid(), started_s, time.time())
        cursor.execute("INSERT OR REPLACE INTO processes VALUES (?, ?, ?, ?)", row)


def watch(child: Child, parent: int) -> None:
    """Beat until stopped; stop where the parent process is gone."""
    started_s = time.time()
    while not child.stop.is_set():
        if parent and os.getppid() != parent:
            LOG.warning("the parent process is gone; stopping")
            child.stop.set()
            return
        beat(child.journal, child.name, started_s)
        child.stop.wait(_BEAT_S)


def on_signals(stop: threading.Event) -> None:
    """Let SIGTERM and SIGINT set an event."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())


@contextmanager
def alone(child: Child) -> Iterator[None]:
    """Wait until an earlier process of this name has ended, or until stopped: what it has in hand is not done twice."""
    handle = os.open(child.spool.root / f"{child.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not child.stop.is_set():
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                child.stop.wait(_LOOK_S)
        yield
    finally:
        os.close(handle)


def child_main(name: str, work: Callable[[Child], None], arguments: Sequence[str] | None = None) -> int:
    """Set a child process up, run ``work`` until it is told to stop, and return the exit code.

    ``arguments`` are the settings file and the parent's process number (0: none is watched).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    quiet_logs(name)
    try:
        settings = load(Path(words[0]))
        parent = int(words[1]) if len(words) > 1 else 0
        spool = Spool(Path(settings.root))
        child = Child(name, settings, Journal(spool.journal_path), spool)
    except MedimgError as error:
        LOG.error("%s", error.describe())
        return error.exit_code
    on_signals(child.stop)
    watcher = threading.Thread(target=watch, args=(child, parent), daemon=True)
    watcher.start()
    with alone(child):
        if not child.stop.is_set():
            work(child)
    child.stop.set()
    watcher.join()
    child.journal.close()
    return 0
