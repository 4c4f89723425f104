"""kill -9 of receiver and worker at random points: nothing acknowledged is lost, no result comes twice."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest
from parts import Pacs, Running, ct_series, send, wait_for
from pydicom.dataset import Dataset

from medimg.pacs.serve.spool import hashed

KILLS = 5


def kill_worker(service: Running) -> bool:
    pid = service.worker_pid()
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def send_until_taken(service: Running, datasets: list[Dataset], acknowledged: set[str], end: float) -> None:
    """Send again and again, as a PACS does, until every instance was acknowledged in one association."""
    while time.monotonic() < end:
        taken = send(service.port, datasets)
        acknowledged.update(taken)
        if len(taken) == len(datasets):
            return
        time.sleep(0.2)


def survive(service: Running, pacs: Pacs, kills: int, rng: np.random.Generator) -> dict[str, int]:
    """Kill one or the other ``kills`` times while series arrive; check that all is there, once, and whole."""
    # Being killed counts as a try: here nothing may be given up for it.
    service.settings.worker.tries = 10 * kills
    service.start()
    series = [ct_series(f"kill/{number}", 12) for number in range(max(3, kills // 4))]
    acknowledged: set[str] = set()
    end = time.monotonic() + 120.0 + 6.0 * kills
    senders = [threading.Thread(target=send_until_taken, args=(service, one, acknowledged, end)) for one in series]
    done = {"receiver": 0, "worker": 0}
    for sender in senders:
        sender.start()
    for _ in range(kills):
        time.sleep(float(rng.uniform(0.05, 2.0)))
        if rng.random() < 0.5:
            service.kill()
            done["receiver"] += 1
            # What was acknowledged is on the disk, whatever else was lost.
            names = {path.stem for path in (service.root / "series").rglob("*.dcm")}
            assert {hashed(uid) for uid in set(acknowledged)} <= names
            service.start()
        else:
            done["worker"] += kill_worker(service)
    for sender in senders:
        sender.join()
    expected = {str(one.SOPInstanceUID) for datasets in series for one in datasets}
    wait_for(lambda: len({str(one.SOPInstanceUID) for one in pacs.got}) >= 3 * len(series), 90.0, "results are missing")
    time.sleep(1.5)
    assert service.stop() == 0
    assert {row["sop_uid"] for row in service.rows("SELECT sop_uid FROM instances")} == expected == acknowledged
    got = [str(one.SOPInstanceUID) for one in pacs.got]
    assert len(got) == len(set(got)) == 3 * len(series)
    assert all(one.ImageComments == "12 sources" for one in pacs.got)
    assert not list((service.root / "incoming").iterdir())
    assert not service.rows("SELECT * FROM jobs WHERE state NOT IN ('done', 'superseded')")
    return {**done, "instances": len(expected), "results": len(got)}


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_doubled(serve, pacs: Pacs) -> None:
    service = serve()
    service.environment = {"SLOW_S": "0.3"}
    survive(service, pacs, KILLS, np.random.default_rng(5))
