"""Watched folders: files that somebody copies there are taken in as if they had been sent.

The files of one folder (each folder below the watched one by itself) are one association, begun once all that are new
have been still: same size, same time of change. They stay where they are; what was taken is remembered by a hash of
its path, so that a restart does not take it again. Whoever writes slowly should write beside and rename: names that
begin with a dot or end with ``.part`` or ``.tmp`` are left alone.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medimg.errors import InputError
from medimg.pacs.serve.intake import Intake
from medimg.pacs.serve.journal import Journal, count
from medimg.pacs.serve.settings import WatchSettings
from medimg.pacs.serve.wire import read_meta

LOG = logging.getLogger("medimg.serve")
_CALLING = "FOLDER"
_DIRECTORY = "1.2.840.10008.1.3.10"
_UNFINISHED = (".part", ".tmp", ".partial", ".crdownload")


@dataclass(frozen=True)
class _Look:
    """A file as it was when it was looked at."""

    size: int
    changed_ns: int


class Watcher:
    """Looks at folders, and takes in what is new and still."""

    def __init__(self, intake: Intake, settings: WatchSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.intake, self.settings, self.clock = intake, settings, clock
        self._since: dict[Path, tuple[_Look, float]] = {}
        self._taken: set[tuple[Path, _Look]] = set()

    def run(self, stop: threading.Event) -> None:
        """Go on until stopped."""
        while not stop.is_set():
            self.turn(stop)
            stop.wait(self.settings.poll_s)

    def turn(self, stop: threading.Event) -> int:
        """Look once at every folder; return how many files were taken in."""
        taken = 0
        seen: set[Path] = set()
        for watched in self.settings.folders:
            for names in _folders(Path(watched)):
                new = self._new(names)
                seen |= new.keys()
                if new and self._still(new) and not stop.is_set():
                    taken += self._take(new, stop)
        self._since = {path: value for path, value in self._since.items() if path in seen}
        return taken

    def _new(self, paths: Sequence[Path]) -> dict[Path, _Look]:
        found = {}
        for path in paths:
            try:
                status = path.stat()
            except OSError:
                # Gone since it was listed.
                continue
            look = _Look(status.st_size, status.st_mtime_ns)
            if (path, look) in self._taken:
                continue
            if _is_known(self.intake.journal, path, look):
                self._taken.add((path, look))
                continue
            found[path] = look
        return found

    def _still(self, new: dict[Path, _Look]) -> bool:
        now, still = self.clock(), True
        for path, look in new.items():
            before = self._since.get(path)
            if before is None or before[0] != look:
                self._since[path] = (look, now)
                still = still and self.settings.still_s <= 0
            else:
                still = still and now - before[1] >= self.settings.still_s
        return still

    def _take(self, new: dict[Path, _Look], stop: threading.Event) -> int:
        images = {path: look for path, look in new.items() if _is_dicom(path)}
        self._remember({path: look for path, look in new.items() if path not in images}, "watched_skipped")
        if not images or self.intake.full():
            return 0
        association = self.intake.open_association(_CALLING, "folder")
        outcome: Literal["released", "aborted"] = "aborted"
        taken = 0
        try:
            for path in images:
                if stop.is_set() or self.intake.full():
                    return taken
                kind = self.intake.take_file(association, path).kind
                if kind in ("full", "failed"):
                    return taken
                taken += kind in ("kept", "known", "beside")
            outcome = "released"
        finally:
            self.intake.close_association(association, outcome)
        # Only now: what was cut off is taken again as a whole, which tells of every series that it is whole.
        self._remember(images, "watched")
        LOG.info("%d file(s) taken in from a watched folder", taken)
        return taken

    def _remember(self, files: Mapping[Path, _Look], counter: str) -> None:
        if not files:
            return
        rows = [(_name(path), look.size, look.changed_ns) for path, look in files.items()]
        with self.intake.journal.change() as cursor:
            cursor.executemany("INSERT OR REPLACE INTO watched VALUES (?, ?, ?)", rows)
            count(cursor, counter, len(rows))
        self._taken |= set(files.items())


def _is_known(journal: Journal, path: Path, look: _Look) -> bool:
    row = journal.one("SELECT bytes, changed_ns FROM watched WHERE name = ?", (_name(path),))
    return row is not None and (row["bytes"], row["changed_ns"]) == (look.size, look.changed_ns)


def _name(path: Path) -> str:
    """Return what stands for a path: paths on shared disks often hold names of patients."""
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()


def _is_dicom(path: Path) -> bool:
    """Whether it is a DICOM file that holds an instance: no readme, no DICOMDIR."""
    try:
        return read_meta(path).sop_class != _DIRECTORY
    except InputError:
        return False


def _folders(top: Path) -> Iterator[list[Path]]:
    """Yield the files of each folder; links to folders are not followed."""
    for folder, names_of_folders, names in os.walk(top):
        names_of_folders[:] = sorted(name for name in names_of_folders if not name.startswith("."))
        wanted = [name for name in sorted(names) if not name.startswith(".") and not name.endswith(_UNFINISHED)]
        files = [path for path in (Path(folder) / name for name in wanted) if path.is_file()]
        if files:
            yield files
