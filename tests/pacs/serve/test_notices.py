"""Notices of flagged results: who is told what, how often, and what happens when nobody answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from parts import NAME, Bench, ct_series, free_port, serving

from medimg.errors import ConfigError
from medimg.pacs.serve.notices import Notifier
from medimg.pacs.serve.settings import NoticeSettings, check


@dataclass
class Ward:
    """Keeps what it is told; ``answer`` is its status."""

    answer: int = 204
    got: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def ward() -> Iterator[Ward]:
    one = Ward()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            one.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            one.tokens.append(self.headers["Authorization"])
            self.send_response(one.answer)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as address:
        one.url = f"{address}/hook"
        yield one


def flagged(one: Bench, url: str, **more: Any) -> Notifier:
    """Run one job, call it flagged, and return who tells of it."""
    one.settings.notices = {"ward": NoticeSettings(url, timeout_s=5.0, **more)}
    one.settings.routes[0].notify = ["ward"]
    check(one.settings)
    one.take(ct_series("one", 6))
    one.turn()
    with one.journal.change() as cursor:
        cursor.execute("UPDATE jobs SET flagged = 1")
    return Notifier(one.settings, one.journal)


def test_a_flagged_result_is_told_once_and_without_names(bench, ward: Ward, tmp_path: Path) -> None:
    one = bench()
    (tmp_path / "token").write_text("secret\n")
    tells = flagged(one, ward.url, token_file=str(tmp_path / "token"))
    assert tells.turn(time.time()) == 1
    assert tells.turn(time.time() + 3600) == 0
    assert Notifier(one.settings, one.journal).turn(time.time()) == 0
    (text,) = ward.got
    assert ward.tokens == ["Bearer secret"]
    assert text["package"] == "bright"
    assert text["series_uid"] == str(ct_series("one", 1)[0].SeriesInstanceUID)
    assert [row["sop_uid"] for row in text["results"]] == [str(made.SOPInstanceUID) for made in one.files()]
    assert set(text) == {
        *("id", "event", "study_uid", "series_uid", "results", "package", "package_version", "package_digest"),
        *("rule", "partial", "finished", "use"),
    }
    for name in (NAME, "Planted", "PLANTED"):
        assert name not in json.dumps(text)


def test_what_is_not_flagged_or_old_or_of_another_rule_is_not_told(bench, ward: Ward) -> None:
    one = bench()
    tells = flagged(one, ward.url)
    for change in ("flagged = 0", "flagged = 1, finished_s = 1", "rule = 'other'"):
        with one.journal.change() as cursor:
            cursor.execute(f"UPDATE jobs SET {change}")
        assert tells.turn(time.time()) == 0
    assert ward.got == []


def test_a_ward_that_is_busy_is_told_again_with_the_same_id(bench, ward: Ward) -> None:
    one = bench()
    tells = flagged(one, ward.url)
    ward.answer = 503
    now = time.time()
    assert tells.turn(now) == 0
    assert tells.turn(now + 0.01) == 0
    ward.answer = 200
    assert tells.turn(now + 10.0) == 1
    assert len(ward.got) == 2
    assert ward.got[0] == ward.got[1]
    assert one.one("SELECT state FROM notices") == "sent"


@pytest.mark.parametrize("answer", [302, 400, 404])
def test_a_ward_that_refuses_is_not_asked_again(bench, ward: Ward, answer: int) -> None:
    one = bench()
    tells = flagged(one, ward.url)
    ward.answer = answer
    assert tells.turn(time.time()) == 0
    assert tells.turn(time.time() + 3600) == 0
    assert len(ward.got) == 1
    assert one.one("SELECT state FROM notices") == "dead"
    assert one.one("SELECT value FROM findings WHERE code = 'NOTICE_DEAD'") == f"ward: HTTP {answer}"


def test_a_ward_that_cannot_be_reached_is_given_up_after_the_tries(bench) -> None:
    one = bench()
    one.settings.retry.tries = 3
    tells = flagged(one, f"http://127.0.0.1:{free_port()}/")
    now = time.time()
    for turn in range(5):
        tells.turn(now + 10 * turn)
    assert one.one("SELECT tries FROM notices") == 3
    assert one.one("SELECT state FROM notices") == "dead"


def test_settings_that_name_nobody_are_refused(bench) -> None:
    one = bench()
    one.settings.routes[0].notify = ["ward"]
    with pytest.raises(ConfigError, match="notify"):
        check(one.settings)
    one.settings.notices = {"ward": NoticeSettings("file:///etc/passwd")}
    with pytest.raises(ConfigError, match="url"):
        check(one.settings)
