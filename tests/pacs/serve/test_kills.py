"""kill -9 of receiver and worker at random points: nothing acknowledged is lost, no result comes twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from parts import Pacs, Running, ct_series, send, wait_for
from pydicom.dataset import Dataset

from medimg.pacs.serve.spool import hashed

KILLS, SLICES, SENDERS = 5, 12, 2


def kill_worker(service: Running) -> bool:
    pid = service.worker_pid()
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@dataclass
class Traffic:
    """Senders that go on with new series until told to stop; each is sent again and again, as a PACS does."""

    service: Running
    stop: threading.Event = field(default_factory=threading.Event)
    acknowledged: set[str] = field(default_factory=set)
    whole: list[list[Dataset]] = field(default_factory=list)

    def run(self, sender: int) -> None:
        number = 0
        while not self.stop.is_set():
            datasets = ct_series(f"kill/{sender}/{number}", SLICES)
            number += 1
            end = time.monotonic() + 90.0
            while time.monotonic() < end:
                taken = send(self.service.port, datasets)
                self.acknowledged.update(taken)
                if len(taken) == len(datasets):
                    self.whole.append(datasets)
                    break
                time.sleep(0.2)
            self.stop.wait(0.5)


def kill_one(service: Running, traffic: Traffic, rng: np.random.Generator, done: dict[str, int]) -> None:
    if rng.random() < 0.5:
        acknowledged = set(traffic.acknowledged)
        service.kill()
        done["receiver"] += 1
        # What was acknowledged is on the disk, whatever else was lost.
        names = {path.stem for path in (service.root / "series").rglob("*.dcm")}
        assert {hashed(uid) for uid in acknowledged} <= names
        service.start()
    else:
        done["worker"] += kill_worker(service)


def survive(service: Running, pacs: Pacs, kills: int, rng: np.random.Generator) -> dict[str, int]:
    """Kill one or the other ``kills`` times while series arrive; check that all is there, once, and whole."""
    # Being killed counts as a try: here nothing may be given up for it.
    service.settings.worker.tries = 10 * kills
    service.start()
    traffic = Traffic(service)
    senders = [threading.Thread(target=traffic.run, args=(number,)) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    done = {"receiver": 0, "worker": 0}
    while sum(done.values()) < kills:
        time.sleep(float(rng.uniform(0.05, 2.0)))
        kill_one(service, traffic, rng, done)
    traffic.stop.set()
    for sender in senders:
        sender.join()
    expected = {str(one.SOPInstanceUID) for datasets in traffic.whole for one in datasets}
    results = 3 * len(traffic.whole)
    wait_for(lambda: len({str(one.SOPInstanceUID) for one in list(pacs.got)}) >= results, 120.0, "results are missing")
    time.sleep(1.5)
    assert service.stop() == 0
    assert {row["sop_uid"] for row in service.rows("SELECT sop_uid FROM instances")} == expected
    assert traffic.acknowledged == expected
    got = [str(one.SOPInstanceUID) for one in pacs.got]
    assert len(got) == len(set(got)) == results
    assert all(one.ImageComments == f"{SLICES} sources" for one in pacs.got)
    assert not list((service.root / "incoming").iterdir())
    assert not service.rows("SELECT * FROM jobs WHERE state NOT IN ('done', 'superseded')")
    return {**done, "series": len(traffic.whole), "instances": len(expected), "results": len(got)}


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_doubled(serve, pacs: Pacs) -> None:
    service = serve()
    service.environment = {"SLOW_S": "0.3"}
    survive(service, pacs, KILLS, np.random.default_rng(5))
