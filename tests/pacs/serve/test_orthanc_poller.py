"""The poller of Orthanc's changes: beside a stub of its REST API, and beside a real one where it is installed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
from orthanc import Orthanc, missing
from parts import Bench, Pacs, ct_series, encoded, free_port, serving, wait_for
from pydicom.dataset import Dataset

from medimg.pacs.serve.orthanc import Poller
from medimg.pacs.serve.settings import OrthancSettings

GO = threading.Event()


@dataclass
class Stub:
    """As much of Orthanc as is asked for. ``broken`` instances end in the middle, ``lost`` ones are errors."""

    series: dict[str, list[Dataset]] = field(default_factory=dict)
    changes: list[dict[str, Any]] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    page: int = 100
    url: str = ""

    def add(self, name: str, datasets: list[Dataset]) -> None:
        self.series[name] = datasets
        for kind in ("NewSeries", "StableSeries"):
            self.changes.append({"ChangeType": kind, "ID": name, "Seq": len(self.changes) + 1})

    def answer(self, path: str) -> tuple[int, bytes, int]:
        """Return status, body and announced length."""
        place, _, query = path.partition("?")
        words = place.strip("/").split("/")
        if words[0] == "changes":
            return self._changes(query)
        if words[0] == "series" and words[1] in self.series:
            datasets = self.series[words[1]]
            uid = str(datasets[0].SeriesInstanceUID)
            names = [f"{words[1]}.{index}" for index in range(len(datasets))]
            return _said({"Instances": names, "MainDicomTags": {"SeriesInstanceUID": uid}})
        if words[0] == "instances":
            self.asked.append(words[1])
            if words[1] in self.lost:
                return 500, b"", 0
            name, index = words[1].rsplit(".", 1)
            head, (body,), _ = encoded(self.series[name][int(index)])
            whole = head + body
            return 200, (whole[: len(whole) // 2] if words[1] in self.broken else whole), len(whole)
        return 404, b"", 0

    def _changes(self, query: str) -> tuple[int, bytes, int]:
        if query == "last":
            return _said({"Changes": self.changes[-1:], "Last": len(self.changes), "Done": True})
        since = int(query.split("&")[0].removeprefix("since="))
        page = self.changes[since : since + self.page]
        done = since + self.page >= len(self.changes)
        return _said({"Changes": page, "Last": page[-1]["Seq"] if page else since, "Done": done})


def _said(value: Any) -> tuple[int, bytes, int]:
    body = json.dumps(value).encode()
    return 200, body, len(body)


@pytest.fixture
def stub() -> Iterator[Stub]:
    one = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, length = one.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as address:
        one.url = address
        yield one


def poller(one: Bench, stub: Stub, **more: Any) -> Poller:
    return Poller(one.intake, OrthancSettings(stub.url, timeout_s=5.0, **{"from_start": True, **more}))


def test_stable_series_are_fetched_once_even_after_a_restart(bench, stub: Stub) -> None:
    one = bench()
    stub.page = 3
    stub.add("a", ct_series("study/a", 5))
    stub.add("b", ct_series("study/b", 4))
    looks = poller(one, stub)
    while looks.turn(GO):
        pass
    assert len(stub.asked) == 9
    one.turn()
    assert [row["state"] for row in one.journal.rows("SELECT state FROM jobs")] == ["done", "done"]
    assert poller(one, stub).turn(GO) is False
    stub.add("c", ct_series("study/c", 3))
    poller(one, stub).turn(GO)
    assert len(stub.asked) == 12
    assert not list((one.spool.root / "incoming").iterdir())


def test_at_first_contact_only_what_comes_from_then_on_is_fetched(bench, stub: Stub) -> None:
    one = bench()
    stub.add("old", ct_series("old", 4))
    looks = poller(one, stub, from_start=False)
    while looks.turn(GO):
        pass
    assert stub.asked == []
    stub.add("new", ct_series("new", 4))
    looks.turn(GO)
    assert stub.asked == [f"new.{index}" for index in range(4)]


def test_a_series_that_was_cut_off_is_fetched_again_and_becomes_whole(bench, stub: Stub) -> None:
    one = bench()
    stub.add("a", ct_series("a", 6))
    stub.broken = {"a.4"}
    looks = poller(one, stub)
    with pytest.raises(requests.RequestException):
        looks.turn(GO)
    one.turn()
    assert one.one("SELECT state FROM series") == "held"
    assert one.one("SELECT COUNT(*) FROM instances") == 4
    stub.broken = set()
    looks.turn(GO)
    one.turn()
    assert one.one("SELECT state FROM jobs") == "done"
    assert one.one("SELECT COUNT(*) FROM instances") == 6


def test_what_was_made_here_and_what_is_gone_is_passed_over(bench, stub: Stub) -> None:
    one = bench()
    one.take(ct_series("one", 6))
    one.turn()
    stub.add("results", one.files())
    stub.add("gone", ct_series("gone", 3))
    del stub.series["gone"]
    looks = poller(one, stub)
    assert looks.turn(GO) is False
    assert stub.asked == []
    assert one.one("SELECT value FROM marks") == 4


def test_an_instance_that_is_too_large_is_refused_and_holds_its_series(bench, stub: Stub) -> None:
    one = bench()
    one.settings.receiver.max_object_bytes = 100
    stub.add("a", ct_series("a", 3))
    poller(one, stub).turn(GO)
    assert one.one("SELECT refused FROM associations") == 3
    assert one.one("SELECT COUNT(*) FROM instances") == 0


def test_a_series_that_orthanc_cannot_give_does_not_hold_up_the_next(bench, stub: Stub) -> None:
    one = bench()
    stub.add("a", ct_series("study/a", 4))
    stub.add("b", ct_series("study/b", 4))
    stub.lost = {"a.2"}
    looks = poller(one, stub)
    for _ in range(7):
        with pytest.raises(requests.HTTPError):
            looks.turn(GO)
    looks.turn(GO)
    assert one.one("SELECT value FROM findings WHERE code = 'ORTHANC_GIVEN_UP'") == "a"
    one.turn()
    assert sorted(row["state"] for row in one.journal.rows("SELECT state FROM series")) == ["held", "routed"]


def test_a_full_disk_leaves_series_for_later(bench, stub: Stub) -> None:
    one, stop = bench(), threading.Event()
    stub.add("a", ct_series("a", 4))
    one.settings.receiver.min_free_bytes = 1 << 60
    looks = poller(one, stub, poll_s=0.05)
    thread = threading.Thread(target=looks.run, args=(stop,))
    thread.start()
    wait_for(lambda: one.one("SELECT value FROM marks") == 1, 5.0)
    one.settings.receiver.min_free_bytes = 0
    wait_for(lambda: one.one("SELECT value FROM marks") == 2, 10.0)
    stop.set()
    thread.join(5)
    assert one.one("SELECT COUNT(*) FROM instances") == 4
    assert one.one("SELECT COUNT(*) FROM associations") == 1


def test_a_server_that_is_no_orthanc_is_asked_again(bench, stub: Stub) -> None:
    one, stop = bench(), threading.Event()
    looks = Poller(one.intake, OrthancSettings(stub.url + "/elsewhere", timeout_s=5.0, poll_s=0.01))
    thread = threading.Thread(target=looks.run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    with pytest.raises(requests.HTTPError):
        looks.turn(GO)


@pytest.mark.skipif(missing() is not None, reason=missing() or "")
def test_a_real_orthanc_is_followed(serve, pacs: Pacs, tmp_path: Path) -> None:
    (tmp_path / "orthanc").mkdir()
    server = Orthanc(tmp_path / "orthanc", free_port(), free_port()).start()
    try:
        service = serve()
        service.settings.orthanc = OrthancSettings(server.url, poll_s=0.2)
        service.start()
        wait_for(lambda: service.rows("SELECT * FROM marks"), what="no first contact")
        for dataset in ct_series("one", 6):
            head, (body,), _ = encoded(dataset)
            requests.post(f"{server.url}/instances", data=head + body, timeout=5).raise_for_status()
        wait_for(lambda: len(pacs.got) == 3, 100.0, what="no results")
        assert service.stop() == 0
    finally:
        server.stop()
