"""Status over HTTP: what it says of a healthy and of a sick service, and that it tells no names."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from typing import Any

import pytest
from parts import NAME, Bench, Pacs, ct_series, free_port, send, wait_for

from medimg.errors import InputError
from medimg.pacs.serve import status
from medimg.pacs.serve.child import beat
from medimg.pacs.serve.journal import note
from medimg.pacs.serve.overview import PROCESSES, overview, problems
from medimg.pacs.serve.settings import StatusSettings
from medimg.pacs.serve.status import Status
from medimg.pacs.serve.status_page import POLICY


@dataclass
class Sick:
    listening: bool = True


def answers(one: Bench, sick: Sick | None = None) -> Status:
    state = sick or Sick()
    for name in PROCESSES:
        beat(one.journal, name, time.time())
    return Status(one.settings, one.journal, one.spool, lambda: state.listening)


def get(url: str) -> tuple[int, str, Any]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def test_health_names_everything_that_is_wrong(bench) -> None:
    one, sick = bench(), Sick()
    healthy = answers(one, sick)
    assert healthy.answer("/health").status == 200
    sick.listening = False
    one.settings.receiver.min_free_bytes = 1 << 60
    with one.journal.change() as cursor:
        cursor.execute("UPDATE processes SET alive_s = 0 WHERE name = 'worker'")
    said = healthy.answer("/health")
    assert said.status == 503
    assert json.loads(said.text)["problems"] == [
        "the receiver does not listen",
        "the worker does not beat",
        "the disk is nearly full",
    ]
    assert "medimg_healthy 0" in healthy.answer("/metrics").text


def test_a_process_that_never_beat_is_a_problem(bench) -> None:
    one = bench()
    found = problems(one.journal, one.spool, listening=True, min_free_bytes=0)
    assert found == [f"the {name} does not beat" for name in PROCESSES]


def test_status_says_what_is_held_and_what_was_sent_and_no_names(bench) -> None:
    one = bench()
    held = ct_series("held", 6)
    one.take(ct_series("whole", 6))
    one.take([*held[:2], *held[4:]], ended="aborted")
    one.turn()
    with one.journal.change() as cursor:
        cursor.execute("UPDATE deliveries SET state = 'dead', tries = 8, status = '0xA900' WHERE id = 1")
        note(cursor, time.time(), "X", '<script>alert("x")</script>', severity="error", value="<b>")
    seen = overview(one.journal, one.spool)
    assert seen["series"] == {"held": 1, "routed": 1}
    (waiting,) = seen["waiting"]
    assert waiting["instances"] == 4
    assert "slices are missing" in waiting["reason"]
    assert seen["jobs"] == {"done": 1}
    assert seen["deliveries"]["pacs"] == {"dead": 1, "queued": 2}
    assert seen["dead_letters"][0]["status"] == "0xA900"
    assert seen["spool_bytes"] == one.one("SELECT SUM(bytes) FROM instances")
    assert seen["findings"][0]["code"] == "X"
    texts = {path: answers(one).answer(path).text for path in ("/", "/status", "/metrics", "/health")}
    for text in texts.values():
        for name in (NAME, "Planted", "PLANTED", str(held[0].SeriesInstanceUID), str(held[0].StudyInstanceUID)):
            assert name not in text
    assert json.loads(texts["/status"])["jobs"] == {"done": 1}
    assert 'medimg_deliveries{destination="pacs",state="queued"} 2' in texts["/metrics"]
    assert 'medimg_events_total{event="received"} 10' in texts["/metrics"]
    assert "<script" not in texts["/"]
    assert "&lt;script&gt;" in texts["/"]


def test_it_answers_over_http_with_a_strict_policy_and_ends(bench) -> None:
    one, stop = bench(), threading.Event()
    server = status.start(answers(one), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=status.serve, args=(server, stop))
    thread.start()
    try:
        code, _, headers = get(url + "/?x=1")
        assert code == 200
        assert headers["Content-Security-Policy"] == POLICY
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert get(url + "/../settings.json")[0] == 404
        assert get(url + "/health")[0] == 200
        request = urllib.request.Request(url + "/health", method="POST", data=b"x")
        with pytest.raises(urllib.error.HTTPError, match="501"):
            urllib.request.urlopen(request, timeout=5)
        with pytest.raises(InputError):
            status.start(answers(one), "127.0.0.1", server.server_address[1])
    finally:
        stop.set()
        thread.join(5)
    assert not thread.is_alive()


def test_the_service_tells_how_it_is(serve, pacs: Pacs) -> None:
    service = serve()
    service.settings = replace(service.settings, status=StatusSettings(port=free_port()))
    service.start()
    url = f"http://127.0.0.1:{service.settings.status.port}"
    wait_for(lambda: get(url + "/health")[0] == 200, what="not healthy")
    assert len(send(service.port, ct_series("one", 6))) == 6
    wait_for(lambda: json.loads(get(url + "/status")[1])["deliveries"].get("pacs") == {"sent": 3}, what="not sent")
    assert service.stop() == 0
