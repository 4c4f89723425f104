"""The spool: what was received, under names that say nothing, safe on the disk before it is acknowledged.

::

    ROOT/journal.sqlite      what came and what is to be done (journal.py)
    ROOT/incoming/           files that are being written; removed at start
    ROOT/series/ab/abcd…/    one folder a series, one file an instance, named by hashes of their UIDs
    ROOT/beside/             instances whose UID was known already, with other bytes
    ROOT/jobs/               work in progress; removed at start
    ROOT/results/            what was made, job by job

UIDs come from the network: they never become paths. A file is written under ``incoming``, brought to the disk, linked
into its series' folder, and the folder brought to the disk: after that, neither a killed process nor a power failure
loses it, and no reader ever sees half of one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medimg.errors import InputError

FOLDERS = ("incoming", "series", "beside", "jobs", "results")
_HASH = 40


@dataclass(frozen=True)
class Part:
    """A file under ``incoming``: its size in bytes and the SHA-256 of its data set (without the meta header)."""

    path: Path
    sha256: str
    size: int


class Spool:
    """The folders below ``root``.

    Raises
    ------
    InputError
        They cannot be made.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            for name in FOLDERS:
                (root / name).mkdir(parents=True, exist_ok=True)
            root.chmod(0o700)
        except OSError as error:
            raise InputError(
                "The spool cannot be made here.", where=root, got=error.strerror, fix="choose another root=FOLDER"
            ) from error

    @property
    def journal_path(self) -> Path:
        """Where the journal lies."""
        return self.root / "journal.sqlite"

    def free_bytes(self) -> int:
        """Return what the disk still takes."""
        return shutil.disk_usage(self.root).free

    def series_folder(self, series_uid: str) -> str:
        """Return the folder of a series, below the root."""
        name = hashed(series_uid)
        return f"series/{name[:2]}/{name}"

    def file_of(self, series_uid: str, sop_uid: str) -> str:
        """Return the file of an instance, below the root."""
        return f"{self.series_folder(series_uid)}/{hashed(sop_uid)}.dcm"

    def write(self, head: bytes, body: Iterable[bytes | memoryview]) -> Part:
        """Write a file under ``incoming``; it is not yet on the disk.

        Parameters
        ----------
        head : bytes
            Preamble and meta header.
        body : iterable of bytes
            The data set.

        Raises
        ------
        OSError
            The disk is full or fails.
        """
        handle, name = tempfile.mkstemp(dir=self.root / "incoming", suffix=".part")
        path = Path(name)
        sum_, size = hashlib.sha256(), len(head)
        try:
            with os.fdopen(handle, "wb", buffering=0) as file:
                write_all(file.fileno(), head)
                for piece in body:
                    write_all(file.fileno(), piece)
                    sum_.update(piece)
                    size += len(piece)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Part(path, sum_.hexdigest(), size)

    def keep(self, part: Part, file: str) -> bool:
        """Bring a part to the disk under its final name; False where there is a file of this name already.

        Raises
        ------
        OSError
            The disk is full or fails; nothing is left under the final name.
        """
        final = self.root / file
        sync_file(part.path)
        made = not final.parent.is_dir()
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(part.path, final)
        except FileExistsError:
            return False
        sync_folder(final.parent)
        if made:
            sync_folder(final.parent.parent)
            sync_folder(final.parent.parent.parent)
        return True

    def drop(self, part: Part) -> None:
        """Remove a part; what was kept under its final name stays."""
        part.path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what a receiver that was killed has left half-written."""
        for left in (self.root / "incoming").iterdir():
            left.unlink(missing_ok=True)

    def clear_jobs(self) -> None:
        """Remove what a worker that was killed has left."""
        for left in (self.root / "jobs").iterdir():
            shutil.rmtree(left, ignore_errors=True)


def hashed(uid: str) -> str:
    """Return a name for a UID that is a safe file name and cannot be turned back."""
    return hashlib.sha256(uid.encode()).hexdigest()[:_HASH]


def write_all(handle: int, data: bytes | memoryview) -> None:
    """Write all of it; one call may take only a part."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    sync_file(path)


def content_sum(path: Path, skip: int) -> str:
    """Return the SHA-256 of a file's content after its first ``skip`` bytes."""
    sum_ = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(skip)
        while piece := file.read(1 << 20):
            sum_.update(piece)
    return sum_.hexdigest()
