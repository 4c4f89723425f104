"""Results go out once, to peers that are down, slow, full, choosy or gone; and peers are asked for counts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from parts import Bench, Pacs, ct_series, free_port
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from medimg.pacs.serve import outbox
from medimg.pacs.serve.counts import counter
from medimg.pacs.serve.sender import Sender
from medimg.pacs.serve.settings import CountSettings, DestinationSettings


def ready(bench: Any, peer: DestinationSettings, tries: int = 3) -> tuple[Bench, Sender]:
    """A bench with three results for a peer."""
    here = bench()
    here.settings.destinations["pacs"] = peer
    here.settings.retry.tries, here.settings.retry.first_s, here.settings.retry.longest_s = tries, 0.0, 0.0
    here.take(ct_series("a", 4))
    here.turn()
    return here, Sender("pacs", here.settings, here.journal)


def states(here: Bench) -> list[tuple[str, str]]:
    return [(row["state"], row["status"]) for row in here.journal.rows("SELECT * FROM deliveries ORDER BY id")]


def go(sender: Sender) -> int:
    return sender.turn(threading.Event())


def test_results_arrive_whole(bench, pacs: Pacs) -> None:
    here, sender = ready(bench, DestinationSettings(port=pacs.port))
    assert go(sender) == 3
    assert states(here) == [("sent", "0x0000")] * 3
    assert go(sender) == 0
    assert {str(one.SOPInstanceUID) for one in pacs.got} == {str(one.SOPInstanceUID) for one in here.files()}


def test_a_peer_that_is_down_gets_everything_when_it_is_back(bench) -> None:
    port = free_port()
    here, sender = ready(bench, DestinationSettings(port=port, timeout_s=2.0), tries=5)
    assert go(sender) == 3
    assert states(here) == [("failed", "the peer cannot be reached")] * 3
    back = Pacs(port=port).start()
    assert go(sender) == 3
    assert states(here) == [("sent", "0x0000")] * 3
    assert len(back.got) == 3
    back.stop()


def test_a_peer_that_stays_away_makes_dead_letters_that_stay_on_the_disk(bench) -> None:
    here, sender = ready(bench, DestinationSettings(port=free_port(), timeout_s=1.0), tries=2)
    assert (go(sender), go(sender), go(sender)) == (3, 3, 0)
    dead = outbox.dead_letters(here.journal)
    assert len(dead) == 3
    assert all((here.spool.root / str(one["file"])).is_file() for one in dead)
    assert here.one("SELECT COUNT(*) FROM findings WHERE code = 'DEAD_LETTER'") == 3


@pytest.mark.parametrize(
    ("answer", "state"), [(0xA700, "failed"), (0xA900, "dead"), (0xC000, "dead"), (0xB000, "sent")]
)
def test_every_status_is_looked_at(bench, pacs: Pacs, answer: int, state: str) -> None:
    pacs.answer = answer
    here, sender = ready(bench, DestinationSettings(port=pacs.port))
    go(sender)
    assert states(here) == [(state, f"0x{answer:04X}")] * 3


def test_a_slow_peer_is_given_up_on_for_now(bench, pacs: Pacs) -> None:
    pacs.delay_s = 1.5
    here, sender = ready(bench, DestinationSettings(port=pacs.port, timeout_s=0.5))
    go(sender)
    assert {state for state, _ in states(here)} == {"failed"}
    pacs.delay_s = 0.0
    time.sleep(1.6)
    go(sender)
    assert {state for state, _ in states(here)} == {"sent"}


def test_a_peer_that_does_not_know_the_object_is_not_asked_again(bench) -> None:
    ae, port = AE("PACS"), free_port()
    ae.add_supported_context("1.2.840.10008.1.1")
    ae.add_supported_context("1.2.840.10008.5.1.4.1.1.2")
    server = ae.start_server(("127.0.0.1", port), block=False)
    here, sender = ready(bench, DestinationSettings(port=port))
    go(sender)
    server.shutdown()
    assert {state for state, _ in states(here)} == {"dead"}


def test_what_was_not_reached_before_the_stop_is_not_counted_as_tried(bench, pacs: Pacs) -> None:
    here, sender = ready(bench, DestinationSettings(port=pacs.port), tries=1)
    stop = threading.Event()
    stop.set()
    sender.turn(stop)
    assert sorted(state for state, _ in states(here)) == ["failed", "failed", "sent"]


@dataclass
class Web:
    """A DICOMweb server that answers what it is told to, and keeps what it is asked."""

    status: int = 200
    body: bytes = b""
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def web() -> Iterator[Web]:
    one = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            one.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
            self.send_response(one.status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(one.body)))
            self.end_headers()
            self.wfile.write(one.body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    one.url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    yield one
    server.shutdown()
    server.server_close()


def stored(uid: str, reason: int | None = None) -> bytes:
    item = {"00081155": {"vr": "UI", "Value": [uid]}, "00081150": {"vr": "UI", "Value": ["1.2"]}}
    if reason is None:
        return json.dumps({"00081199": {"vr": "SQ", "Value": [item]}}).encode()
    item["00081197"] = {"vr": "US", "Value": [reason]}
    return json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()


def test_stow_sends_one_by_one_with_its_token(bench, web: Web, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    web.body = stored("1.2.3")
    peer = DestinationSettings(protocol="stow", url=web.url, token_file=str(tmp_path / "token"))
    here, sender = ready(bench, peer)
    go(sender)
    assert states(here) == [("sent", "stored")] * 3
    method, path, headers, body = web.asked[0]
    assert (method, headers["Authorization"]) == ("POST", "Bearer secret")
    assert path.startswith("/dicom-web/studies/2.25.")
    assert b"DICM" in body


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        (503, b"", "failed"),
        (401, b"", "failed"),
        (409, b"", "dead"),
        (200, stored("1.2.3", 0xA700), "failed"),
        (200, stored("1.2.3", 0xC000), "dead"),
    ],
)
def test_stow_answers_are_looked_at(bench, web: Web, status: int, body: bytes, state: str) -> None:
    web.status, web.body = status, body
    here, sender = ready(bench, DestinationSettings(protocol="stow", url=web.url))
    go(sender)
    assert {one for one, _ in states(here)} == {state}


def test_stow_to_nobody_is_tried_again(bench) -> None:
    peer = DestinationSettings(protocol="stow", url=f"http://127.0.0.1:{free_port()}", timeout_s=1.0)
    here, sender = ready(bench, peer)
    go(sender)
    assert {one for one, _ in states(here)} == {"failed"}


def test_qido_gives_the_count(web: Web) -> None:
    count = counter(CountSettings(qido=web.url), "MEDIMG")
    assert count is not None
    web.body = json.dumps([{"00201209": {"vr": "IS", "Value": [300]}}]).encode()
    assert count("1.2", "1.2.3") == 300
    assert "SeriesInstanceUID=1.2.3" in web.asked[0][1]
    for body in (b"[]", b"[{}]", b"no json", json.dumps([{"00201209": {"vr": "IS", "Value": ["many"]}}]).encode()):
        web.body = body
        assert count("1.2", "1.2.3") is None
    web.status = 500
    assert count("1.2", "1.2.3") is None


def test_find_gives_the_count() -> None:
    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        answer = Dataset()
        answer.QueryRetrieveLevel = "SERIES"
        answer.SeriesInstanceUID = event.identifier.SeriesInstanceUID
        answer.NumberOfSeriesRelatedInstances = 42
        yield 0xFF00, answer
        yield 0x0000, None

    ae, port = AE("PACS"), free_port()
    ae.add_supported_context("1.2.840.10008.5.1.4.1.2.2.1")
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    count = counter(CountSettings(host="127.0.0.1", port=port, timeout_s=2.0), "MEDIMG")
    assert count is not None
    assert count("1.2", "1.2.3") == 42
    server.shutdown()
    assert count("1.2", "1.2.3") is None
    assert counter(CountSettings(), "MEDIMG") is None


def test_a_series_waits_for_the_count_of_its_peer(bench, web: Web) -> None:
    here = bench(count=CountSettings(qido=web.url))
    web.body = json.dumps([{"00201209": {"vr": "IS", "Value": [6]}}]).encode()
    series = ct_series("a", 6)
    here.take(series[:5])
    here.turn(100.0)
    assert here.one("SELECT reason FROM series") == "5 of 6 instances are here"
    # All are here, whatever became of the association.
    here.take(series[5:], "aborted")
    here.turn()
    assert here.one("SELECT state, mode FROM jobs") == {"state": "done", "mode": "whole"}
