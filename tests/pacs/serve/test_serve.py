"""The service as a whole, over real sockets on loopback: what goes in, what comes out, and what it survives."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from parts import NAME, Pacs, Running, associate, ct_series, free_port, send, wait_for
from pydicom import dcmread

from medimg.pacs.serve.service import CHILDREN


def test_a_series_goes_in_and_its_results_come_out_once(serve, pacs: Pacs) -> None:
    service = serve().start()
    series = ct_series("one", 6)
    assert len(send(service.port, series)) == 6
    wait_for(lambda: len(pacs.got) == 3, what="no results")
    assert {str(one.StudyInstanceUID) for one in pacs.got} == {str(series[0].StudyInstanceUID)}
    assert all(one.ImageComments == "6 sources" and one.SeriesDescription == "result" for one in pacs.got)
    # The same instances again: nothing new is made.
    assert len(send(service.port, series)) == 6
    assert service.stop() == 0
    assert len(pacs.got) == 3
    assert [row["state"] for row in service.rows("SELECT state FROM jobs")] == ["done"]
    assert NAME not in service.log()


def test_real_results_are_sent_read_and_not_run_again(serve, pacs: Pacs) -> None:
    service = serve()
    service.children = dict(CHILDREN)
    service.settings.receiver.peers.append("PACS")
    service.start()
    series = ct_series("one", 6)
    assert len(send(service.port, series)) == 6
    wait_for(lambda: len(pacs.got) >= 3, 60.0, "no results")
    wait_for(lambda: not service.rows("SELECT * FROM deliveries WHERE state != 'sent'"))
    by_kind = {str(one.Modality): one for one in pacs.got}
    assert {"SEG", "SR"} <= set(by_kind)
    assert all(one.PatientID == series[0].PatientID for one in pacs.got)
    assert sum(int(frame.sum()) for frame in by_kind["SEG"].pixel_array) == 6 * 36
    # The PACS routes the results back, as PACS do: they are taken in, and nothing is run on them.
    before = len(pacs.got)
    results = [dcmread(service.root / row["file"]) for row in service.rows("SELECT file FROM results")]
    assert len(send(service.port, results, calling="PACS")) == before
    wait_for(lambda: len(service.rows("SELECT * FROM series WHERE state = 'unrouted'")) >= 2)
    assert len(service.rows("SELECT * FROM jobs")) == 1
    assert service.stop() == 0
    assert NAME not in service.log()
    assert series[0].PatientID not in service.log()


def test_an_interrupted_series_is_held_and_what_was_refused_is_visible(serve, pacs: Pacs) -> None:
    service = serve().start()
    series = ct_series("one", 8)
    assert len(send(service.port, series, abort_after=5)) == 5
    assert send(service.port, series, calling="STRANGER") == []
    held = wait_for(lambda: service.rows("SELECT * FROM series WHERE state = 'held'"))
    assert "association" in held[0]["reason"]
    time.sleep(1.0)
    assert pacs.got == []
    counters = {row["name"]: row["value"] for row in service.rows("SELECT * FROM counters")}
    assert counters["associations_rejected"] == 1
    assert len(send(service.port, series)) == 8
    wait_for(lambda: len(pacs.got) == 3)
    assert all(one.ImageComments == "8 sources" for one in pacs.got)


def test_a_graceful_stop_loses_nothing(serve, pacs: Pacs) -> None:
    service = serve()
    service.environment = {"SLOW_S": "1.0"}
    service.start()
    for number in range(3):
        assert len(send(service.port, ct_series(f"s/{number}", 4))) == 4
    wait_for(lambda: service.rows("SELECT * FROM jobs WHERE state = 'running'"))
    assert service.stop() == 0
    assert not service.rows("SELECT * FROM jobs WHERE state IN ('running', 'dead')")
    assert len(pacs.got) < 9
    service.start()
    wait_for(lambda: len(pacs.got) == 9, 40.0)
    assert service.stop() == 0
    assert len({str(one.SOPInstanceUID) for one in pacs.got}) == len(pacs.got) == 9


def test_two_services_do_not_share_a_folder(serve) -> None:
    service = serve().start()
    other = Running(service.settings)
    service.settings.receiver.port = free_port()
    with pytest.raises(RuntimeError, match="Another service uses this folder"):
        other.start()


def test_a_package_that_is_not_there_is_said_at_the_start(serve) -> None:
    service = serve()
    service.settings.routes[0].package = str(service.root / "absent.medimg")
    with pytest.raises(RuntimeError, match="no readable package"):
        service.start()


def test_many_senders_at_once(serve, pacs: Pacs) -> None:
    service = serve().start()
    series = [ct_series(f"many/{number}", 15) for number in range(4)]
    taken: list[str] = []
    threads = [threading.Thread(target=lambda one=one: taken.extend(send(service.port, one))) for one in series]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == 60
    wait_for(lambda: len(pacs.got) == 12)


def test_the_command_serves_and_stops(tmp_path: Path, package: Path) -> None:
    port = free_port()
    (tmp_path / "s.yaml").write_text(
        f"root: {tmp_path / 'spool'}\nreceiver: {{port: {port}, peers: [SENDER], min_free_bytes: 0}}\n"
        f"routes: [{{name: ct, package: {package}, modality: CT}}]\n"
    )
    words = [sys.executable, "-m", "medimg", "serve", f"settings={tmp_path / 's.yaml'}", "receiver.ae_title=HERE"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def answers() -> bool:
        association = associate(port, [], called="HERE")
        if association.is_established:
            association.release()
        return bool(association.is_established or association.is_released)

    wait_for(answers, 40.0)
    process.terminate()
    said, _ = process.communicate(timeout=40.0)
    assert process.returncode == 0
    assert b"HERE receives on 127.0.0.1" in said
