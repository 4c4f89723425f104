"""The service as a whole: the receiver in this process, worker and courier in theirs, started again when they die."""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medimg.errors import InputError
from medimg.packaging.manifest import read_manifest
from medimg.pacs.serve import beside
from medimg.pacs.serve.child import Child, watch
from medimg.pacs.serve.intake import Intake
from medimg.pacs.serve.journal import Journal, count
from medimg.pacs.serve.receiver import Receiver
from medimg.pacs.serve.recovery import recover
from medimg.pacs.serve.settings import ServeSettings, check, save
from medimg.pacs.serve.spool import Spool

LOG = logging.getLogger("medimg.serve")
CHILDREN = {"worker": "medimg.pacs.serve.worker", "courier": "medimg.pacs.serve.courier"}
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _STEADY_S = 0.5, 30.0, 60.0
_PATIENCE_S = 30.0

Loop = Callable[["Service", threading.Event], None]


@dataclass
class _Started:
    process: subprocess.Popen[bytes]
    since: float
    pause_s: float = _FIRST_PAUSE_S
    again: float | None = None


@dataclass
class Service:
    """Start, watch, stop.

    Parameters
    ----------
    settings : ServeSettings
    loops : sequence of callable
        More to be run in threads of this process, as ``loop(service, stop)``.
    children : mapping of str to str
        Names and modules of the other processes.
    """

    settings: ServeSettings
    loops: Sequence[Loop] = ()
    children: dict[str, str] = field(default_factory=lambda: dict(CHILDREN))

    def start(self) -> tuple[str, int]:
        """Bring spool and journal in order, listen, and start the other processes; return the address.

        Raises
        ------
        ConfigError
            The settings cannot work.
        InputError
            A package is not there, the folder is in use by another service or cannot be written to, or the address is
            taken.
        """
        check(self.settings)
        for route in self.settings.routes:
            read_manifest(Path(route.package) / "package.json")
        root = Path(self.settings.root)
        self.spool = Spool(root)
        self._lock = _locked(root / "lock")
        # Rows of instances can be found again from the files, which are safe: no need to wait for theirs.
        self.journal = Journal(self.spool.journal_path, durable=False)
        recover(self.spool, self.journal)
        self.intake = Intake(self.spool, self.journal, self.settings.receiver)
        self.receiver = Receiver(self.intake, self.settings.receiver)
        address = self.receiver.start()
        self._settings_file = root / "settings.json"
        save(self.settings, self._settings_file)
        self._started: dict[str, _Started] = {}
        for name in self.children:
            self._started[name] = _Started(self._launch(name), time.monotonic())
        return address

    def run(self, stop: threading.Event) -> None:
        """Watch until ``stop`` is set, then end everything in order."""
        here = Child("receiver", self.settings, self.journal, self.spool, stop)
        threads = [threading.Thread(target=watch, args=(here, 0), daemon=True)]
        threads += [
            threading.Thread(target=loop, args=(self, stop), daemon=True)
            for loop in (*self.loops, *beside.loops(self.settings))
        ]
        for thread in threads:
            thread.start()
        while not stop.wait(0.2):
            self._look()
        self.stop()
        for thread in threads:
            thread.join(timeout=5.0)
        self.journal.close()
        os.close(self._lock)

    def stop(self) -> None:
        """Take nothing new, let the others finish what they have in hand or give it back."""
        LOG.info("stopping")
        for one in self._started.values():
            if one.process.poll() is None:
                one.process.terminate()
        self.receiver.stop()
        until = time.monotonic() + _PATIENCE_S
        for one in self._started.values():
            try:
                one.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                # Its lease runs out, and the job is done again after the next start.
                one.process.kill()
                one.process.wait()

    def _launch(self, name: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", self.children[name], str(self._settings_file), str(os.getpid())]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL)

    def _look(self) -> None:
        """Start again what has died, after a pause that grows where it dies at once."""
        now = time.monotonic()
        for name, one in self._started.items():
            if one.process.poll() is None:
                continue
            if one.again is None:
                LOG.error("the %s has died (%s)", name, one.process.returncode)
                with self.journal.change() as cursor:
                    count(cursor, f"{name}_restarts")
                steady = now - one.since > _STEADY_S
                one.pause_s = _FIRST_PAUSE_S if steady else min(2 * one.pause_s, _LONGEST_PAUSE_S)
                one.again = now + one.pause_s
            elif now >= one.again:
                one.process, one.since, one.again = self._launch(name), now, None


def _locked(path: Path) -> int:
    """Hold a lock file for as long as this process lives."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise InputError(
            "Another service uses this folder.", where=path.parent, fix="stop it first, or choose another root=FOLDER"
        ) from error
    return handle
