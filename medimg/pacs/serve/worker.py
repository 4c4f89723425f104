"""The worker: its own process, so that a network that takes all memory or crashes takes nothing else with it.

``python -m medimg.pacs.serve.worker SETTINGS.json`` claims jobs from the journal until it is told to stop. Where it is
killed, its lease runs out and another worker does the job again: the same inputs and the same package give the same
UIDs, so that nothing is doubled.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medimg.errors import MedimgError
from medimg.inference.predictor import Predictor
from medimg.inference.predictor import load as load_package
from medimg.pacs.serve import jobs, running
from medimg.pacs.serve.child import Child, child_main
from medimg.pacs.serve.jobs import Job, Made
from medimg.pacs.serve.journal import Journal, short
from medimg.pacs.serve.marking import mark
from medimg.pacs.serve.retry import pause_s
from medimg.pacs.serve.running import Writers
from medimg.pacs.serve.settings import RouteSettings, ServeSettings
from medimg.pacs.serve.spool import Spool, sync_file, sync_folder

LOG = logging.getLogger("medimg.serve")
_PACKAGES = 2


class _Stopped(Exception):
    """The worker was told to stop, or the job is another's by now."""


class Worker:
    """Claims jobs and does them, one at a time."""

    def __init__(self, settings: ServeSettings, journal: Journal, spool: Spool, writers: Writers, owner: str) -> None:
        self.settings, self.journal, self.spool, self.writers, self.owner = settings, journal, spool, writers, owner
        self._predictors: dict[tuple[str, int], Predictor] = {}
        self._rng = np.random.default_rng()

    def run(self, stop: threading.Event) -> None:
        """Go on until stopped; a job that is under way is finished up to its next image, then given back."""
        self._warm()
        while not stop.is_set():
            if not self.turn(stop):
                stop.wait(self.settings.worker.poll_s)

    def turn(self, stop: threading.Event) -> bool:
        """Do one job; False where none was waiting."""
        ours = self.settings.worker
        job = jobs.claim(self.journal, self.owner, time.time(), ours.lease_s, ours.tries)
        if job is None:
            return False
        LOG.info("job %d: series %s, try %d", job.id, short(job.series_uid), job.tries)
        lost, finished = threading.Event(), threading.Event()
        keeper = threading.Thread(target=self._keep, args=(job, lost, finished), daemon=True)
        keeper.start()
        try:
            self._do(job, stop, lost)
        except _Stopped:
            jobs.give_back(self.journal, job, self.owner)
        except Exception as error:  # noqa: BLE001 - the door of a job: one that fails must not end the worker
            self._failed(job, error)
        finally:
            finished.set()
            keeper.join()
            shutil.rmtree(self._folder(job), ignore_errors=True)
        return True

    def _keep(self, job: Job, lost: threading.Event, finished: threading.Event) -> None:
        lease_s = self.settings.worker.lease_s
        while not finished.wait(lease_s / 3):
            try:
                mine = jobs.renew(self.journal, job, self.owner, time.time() + lease_s)
            except sqlite3.Error:
                # Busy: there are two more thirds of the lease.
                continue
            if not mine and not finished.is_set():
                lost.set()
                return

    def _folder(self, job: Job) -> Path:
        return self.spool.root / "jobs" / f"{job.id}-{self.owner}"

    def _do(self, job: Job, stop: threading.Event, lost: threading.Event) -> None:
        def between() -> None:
            if stop.is_set() or lost.is_set():
                raise _Stopped

        begun = time.monotonic()
        folder, route = self._folder(job), self._route(job)
        shutil.rmtree(folder, ignore_errors=True)
        inputs = self._inputs(job, folder / "in")
        between()
        predictor = self._predictor(job.package)
        if job.mode == "refuse":
            reason = f"The series is incomplete: {job.reason}."
            files = tuple(self.writers.refusal(reason, inputs, predictor.manifest, folder / "out"))
            done = running.Done(files, False, (reason,))
        else:
            done = running.run(
                folder / "in",
                folder / "out",
                predictor,
                self.writers,
                kinds=route.results,
                partial=job.reason if job.mode == "partial" else None,
                most_images=self.settings.worker.max_images,
                between=between,
            )
        made = self._keep_results(job, done.files, folder / "out")
        error = "; ".join(dict.fromkeys(done.refused))
        kept = jobs.finish(
            self.journal, job, self.owner, time.time(), made, route.destinations, flagged=done.flagged, error=error
        )
        LOG.info(
            "job %d: %s, %d result(s) in %.1f s", job.id, "done" if kept else "superseded", len(made),
            time.monotonic() - begun,
        )  # fmt: skip

    def _warm(self) -> None:
        """Load the first packages before a study waits for them; what is wrong with one, its jobs will say."""
        for package in list(dict.fromkeys(route.package for route in self.settings.routes))[:_PACKAGES]:
            try:
                self._predictor(package)
            except (MedimgError, OSError) as error:
                LOG.error("a package cannot be loaded: %s", type(error).__name__)

    def _route(self, job: Job) -> RouteSettings:
        for route in self.settings.routes:
            if route.name == job.rule:
                return route
        return RouteSettings(name=job.rule, package=job.package)

    def _inputs(self, job: Job, folder: Path) -> list[Path]:
        """Link the job's instances into a folder of their own: what comes later is another job's."""
        folder.mkdir(parents=True)
        linked = []
        rows = self.journal.rows(
            "SELECT file FROM instances WHERE series_uid = ? AND id <= ?", (job.series_uid, job.inputs_to)
        )
        for row in rows:
            source = self.spool.root / str(row["file"])
            os.link(source, folder / source.name)
            linked.append(folder / source.name)
        return linked

    def _predictor(self, package: str) -> Predictor:
        key = (package, (Path(package) / "package.json").stat().st_mtime_ns)
        if key not in self._predictors:
            if len(self._predictors) >= _PACKAGES:
                self._predictors.pop(next(iter(self._predictors)))
            ours = self.settings.worker
            self._predictors[key] = load_package(package, backend=ours.backend, threads=ours.threads)
        return self._predictors[key]

    def _keep_results(self, job: Job, files: Sequence[Path], output: Path) -> list[Made]:
        """Mark the results, bring them to the disk, and give their folder its name."""
        partial = job.reason if job.mode == "partial" else None
        earlier = self._earlier(job)
        marked = [mark(file, partial=partial, earlier=earlier) for file in files]
        for one in marked:
            sync_file(Path(one.file))
        final = self.spool.root / "results" / f"{job.id}"
        shutil.rmtree(final, ignore_errors=True)
        if not marked:
            return []
        os.replace(output, final)
        for parent in {Path(one.file).parent.relative_to(output) for one in marked}:
            sync_folder(final / parent)
        sync_folder(final.parent)
        return [
            replace(one, file=str((final / Path(one.file).relative_to(output)).relative_to(self.spool.root)))
            for one in marked
        ]

    def _earlier(self, job: Job) -> list[Made]:
        rows = self.journal.rows("SELECT * FROM results WHERE job_id = ?", (job.supersedes,)) if job.supersedes else []
        names = ("sop_uid", "sop_class", "series_uid", "study_uid", "transfer_syntax", "file")
        return [Made(**{name: str(row[name]) for name in names}, size=int(row["bytes"])) for row in rows]

    def _failed(self, job: Job, error: Exception) -> None:
        # Messages of medimg's own errors name no patient; those of others may quote what a file says.
        said = error.what if isinstance(error, MedimgError) else ""
        text = f"{type(error).__name__}{': ' if said else ''}{said}"
        LOG.error("job %d failed: %s", job.id, text)
        ours = self.settings.worker
        pause = pause_s(job.tries, ours.first_s, self.settings.retry.longest_s, self._rng)
        jobs.fail(self.journal, job, self.owner, time.time(), text, pause, ours.tries)


def standard_writers() -> Writers:
    """Return the writers of DICOM SEG, SR, SC and their like."""
    # Here, since the library behind them takes a second to load and tests bring writers of their own.
    from medimg.pacs.results.write import write_refusal, write_results

    return Writers(results=write_results, refusal=write_refusal)


def run(child: Child, writers: Writers) -> None:
    """Work with the journal and the spool of a child process until it is stopped."""
    owner = f"worker-{os.getpid()}"
    child.spool.clear_jobs()
    jobs.take_up(child.journal)
    Worker(child.settings, child.journal, child.spool, writers, owner).run(child.stop)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a process of its own."""
    return child_main("worker", lambda child: run(child, standard_writers()), arguments)


if __name__ == "__main__":
    raise SystemExit(main())
