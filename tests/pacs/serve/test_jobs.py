"""Leases, tries, priorities and the outbox, with clocks that are moved by hand."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from parts import Bench, ct_series

from medimg.errors import InputError
from medimg.pacs.serve import jobs, outbox
from medimg.pacs.serve.journal import Journal
from medimg.pacs.serve.retry import pause_s
from medimg.pacs.serve.running import Writers


def queue(here: Bench, *names: str) -> None:
    for name in names:
        here.take(ct_series(name, 4))
    here.scheduler.turn(10.0**10)


def states(here: Bench) -> list[str]:
    return [row["state"] for row in here.journal.rows("SELECT state FROM jobs ORDER BY id")]


def test_a_job_is_claimed_once_and_again_when_its_lease_has_run_out(bench) -> None:
    here = bench()
    queue(here, "a")
    first = jobs.claim(here.journal, "one", 100.0, 60.0, 3)
    assert first is not None
    assert jobs.claim(here.journal, "two", 101.0, 60.0, 3) is None
    assert jobs.renew(here.journal, first, "one", 200.0)
    assert jobs.claim(here.journal, "two", 190.0, 60.0, 3) is None
    second = jobs.claim(here.journal, "two", 201.0, 60.0, 3)
    assert second is not None
    assert second.tries == 2
    # The first worker wakes up again: whatever it does, the job is not its own any more.
    assert not jobs.renew(here.journal, first, "one", 400.0)
    assert not jobs.finish(here.journal, first, "one", 202.0, [], ["pacs"])
    jobs.fail(here.journal, first, "one", 202.0, "late", 1.0, 3)
    assert states(here) == ["running"]
    assert jobs.finish(here.journal, second, "two", 203.0, [], ["pacs"])
    assert states(here) == ["done"]


def test_a_job_whose_worker_always_dies_is_given_up(bench) -> None:
    here = bench()
    queue(here, "a")
    for number in range(3):
        assert jobs.claim(here.journal, f"w{number}", 100.0 * number, 60.0, 3) is not None
    assert jobs.claim(here.journal, "w3", 1000.0, 60.0, 3) is None
    assert states(here) == ["dead"]
    assert here.one("SELECT severity FROM findings WHERE code = 'JOB_DEAD'") == "error"
    assert jobs.revive(here.journal) == 1
    here.worker.turn(threading.Event())
    assert states(here) == ["done"]


def test_a_job_that_is_given_back_has_not_been_tried(bench) -> None:
    here = bench()
    queue(here, "a")
    job = jobs.claim(here.journal, "one", 0.0, 60.0, 3)
    jobs.give_back(here.journal, job, "one")
    assert here.one("SELECT state, tries FROM jobs") == {"state": "queued", "tries": 0}


def test_what_fails_is_tried_again_later_and_then_given_up(bench) -> None:
    here = bench()
    queue(here, "a")

    def broken(*_: object) -> list[Path]:
        raise RuntimeError("Planted^Patient must not be quoted")

    here.worker.writers = Writers(broken, broken)
    here.settings.worker.first_s, here.settings.worker.tries = 0.0, 3
    for _ in range(3):
        assert here.worker.turn(threading.Event())
    assert not here.worker.turn(threading.Event())
    assert here.one("SELECT state, error FROM jobs") == {"state": "dead", "error": "RuntimeError"}
    assert not list((here.spool.root / "jobs").iterdir())


def test_the_urgent_goes_first_and_what_is_flagged_pulls_its_study_along(bench) -> None:
    here = bench()
    queue(here, "x/1", "y/1", "y/2")
    first = jobs.claim(here.journal, "w", 0.0, 60.0, 3)
    here.journal.rows("SELECT 1")
    with here.journal.change() as cursor:
        cursor.execute("UPDATE jobs SET priority = 5 WHERE id = 3")
    urgent = jobs.claim(here.journal, "w", 0.0, 60.0, 3)
    assert (first.id, urgent.id) == (1, 3)
    queue(here, "z/1")
    assert jobs.finish(here.journal, urgent, "w", 1.0, [made("1.2.3")], ["pacs"], flagged=True)
    assert here.one("SELECT priority FROM jobs WHERE id = 2") == jobs.TRIAGE
    assert here.one("SELECT priority FROM jobs WHERE id = 4") == 0
    assert here.one("SELECT priority FROM deliveries") == jobs.TRIAGE + 5


def made(uid: str) -> jobs.Made:
    return jobs.Made(uid, "1.2.840.10008.5.1.4.1.1.7", "1.2", "1.1", "1.2.840.10008.1.2.1", "results/1/a.dcm", 10)


def test_a_result_is_never_queued_twice(bench) -> None:
    here = bench()
    queue(here, "a", "b")
    for uid in ("1.2.3", "1.2.3"):
        job = jobs.claim(here.journal, "w", 0.0, 60.0, 3)
        assert jobs.finish(here.journal, job, "w", 1.0, [made(uid)], ["pacs", "archive"])
    assert here.one("SELECT COUNT(*) FROM deliveries") == 2


def test_a_series_that_grows_while_it_is_run_gets_one_set_of_results(bench) -> None:
    here = bench()
    series = ct_series("a", 8)
    here.take(series[:5])
    here.scheduler.turn(10.0**10)
    job = jobs.claim(here.journal, "slow", 0.0, 60.0, 3)
    here.take(series[5:])
    here.turn(10.0)
    assert states(here) == ["superseded", "done"]
    assert not jobs.finish(here.journal, job, "slow", 1.0, [made("1.2.3")], ["pacs"])
    assert all(one.ImageComments == "8 sources" for one in here.files())


def test_letters_wait_fail_and_die(bench) -> None:
    here = bench()
    queue(here, "a")
    job = jobs.claim(here.journal, "w", 0.0, 60.0, 3)
    jobs.finish(here.journal, job, "w", 1.0, [made("1.2.3"), made("1.2.4")], ["pacs"])
    one, two = outbox.claim(here.journal, "pacs", "s", 10.0, 60.0, 50)
    assert outbox.claim(here.journal, "pacs", "t", 20.0, 60.0, 50) == []
    outbox.sent(here.journal, one, "s", 11.0, "0x0000")
    outbox.failed(here.journal, two, "s", 11.0, "0xA700", 30.0)
    assert outbox.claim(here.journal, "pacs", "s", 40.0, 60.0, 50) == []
    (again,) = outbox.claim(here.journal, "pacs", "s", 42.0, 60.0, 50)
    assert again.tries == 2
    outbox.failed(here.journal, again, "s", 43.0, "0xA900", None)
    (dead,) = outbox.dead_letters(here.journal)
    assert dead["status"] == "0xA900"
    assert outbox.revive(here.journal, "pacs") == 1
    assert len(outbox.claim(here.journal, "pacs", "s", 44.0, 60.0, 50)) == 1


def test_pauses_double_up_to_the_longest() -> None:
    rng = np.random.default_rng(1)
    pauses = [pause_s(tries, 5.0, 100.0, rng) for tries in range(1, 12)]
    assert 4.0 <= pauses[0] <= 6.0
    assert 8.0 <= pauses[1] <= 12.0
    assert max(pauses) <= 120.0
    assert pause_s(10_000, 5.0, 100.0, rng) <= 120.0


def test_a_transaction_is_whole_or_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")

    def half() -> None:
        with journal.change() as cursor:
            cursor.execute("INSERT INTO counters VALUES ('a', 1)")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert journal.one("SELECT * FROM counters") is None
    with journal.change() as cursor:
        cursor.execute("PRAGMA user_version = 99")
    journal.close()
    with pytest.raises(InputError, match="Another version"):
        Journal(tmp_path / "j.sqlite")
