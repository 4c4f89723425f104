"""Retention: what is finished and old goes, what somebody still waits for stays."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from parts import Bench, ct_series

from medimg.errors import ConfigError
from medimg.pacs.serve import retention
from medimg.pacs.serve.recovery import recover
from medimg.pacs.serve.settings import check

DAY_S = 86400.0


def sent(one: Bench) -> None:
    with one.journal.change() as cursor:
        cursor.execute("UPDATE deliveries SET state = 'sent', sent_s = ?", (time.time(),))


def sweep(one: Bench, days_later: float = 8.0) -> int:
    return retention.turn(one.journal, one.spool, 7.0, time.time() + days_later * DAY_S)


def stored(one: Bench) -> list[Path]:
    folders = (one.spool.root / name for name in ("series", "results", "beside"))
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def test_what_is_finished_and_old_is_removed_and_written_down(bench) -> None:
    one = bench()
    one.take(ct_series("one", 6))
    one.take(ct_series("one", 1, PatientComments="other bytes"))
    one.turn()
    sent(one)
    assert len(stored(one)) == 6 + 3 + 1
    assert sweep(one, 6.0) == 0
    assert sweep(one) == 1
    assert stored(one) == []
    for table in ("series", "instances", "touches", "jobs", "results", "deliveries", "associations"):
        assert one.one(f"SELECT COUNT(*) FROM {table}") == 0, table
    assert one.one("SELECT value FROM counters WHERE name = 'series_removed'") == 1
    assert one.one("SELECT value FROM findings WHERE code = 'RETENTION'") == "6 instances"


@pytest.mark.parametrize("state", ["queued", "sending", "failed", "dead"])
def test_what_was_not_sent_stays(bench, state: str) -> None:
    one = bench()
    one.take(ct_series("one", 6))
    one.turn()
    sent(one)
    with one.journal.change() as cursor:
        cursor.execute("UPDATE deliveries SET state = ? WHERE id = 2", (state,))
    before = len(stored(one))
    assert sweep(one, 4000.0) == 0
    assert len(stored(one)) == before


@pytest.mark.parametrize("state", ["queued", "running", "failed", "dead"])
def test_what_was_not_run_stays(bench, state: str) -> None:
    one = bench()
    one.take(ct_series("one", 6))
    one.scheduler.turn(time.time() + 1.0)
    with one.journal.change() as cursor:
        cursor.execute("UPDATE jobs SET state = ?", (state,))
    assert sweep(one, 4000.0) == 0
    assert len(stored(one)) == 6


def test_held_series_and_pending_notices_stay_and_unrouted_series_go(bench) -> None:
    one = bench()
    held = ct_series("held", 6)
    one.take([*held[:2], *held[4:]])
    one.take(ct_series("mr", 5, Modality="MR"))
    one.take(ct_series("flagged", 6))
    one.turn()
    sent(one)
    with one.journal.change() as cursor:
        cursor.execute("INSERT INTO notices (job_id, recipient, state) VALUES (1, 'ward', 'dead')")
    assert sweep(one) == 1
    assert one.one("SELECT COUNT(*) FROM series WHERE state = 'unrouted'") == 0
    assert sorted(row["state"] for row in one.journal.rows("SELECT state FROM series")) == ["held", "routed"]
    assert len(stored(one)) == 4 + 6 + 3


def test_a_removed_series_may_come_again(bench) -> None:
    one = bench()
    one.take(ct_series("one", 6))
    one.turn()
    sent(one)
    first = [str(dataset.SOPInstanceUID) for dataset in one.files()]
    sweep(one)
    assert one.take(ct_series("one", 6)) == ["kept"] * 6
    one.turn()
    assert [str(dataset.SOPInstanceUID) for dataset in one.files()] == first
    assert one.one("SELECT COUNT(*) FROM deliveries WHERE state = 'queued'") == 3


def test_a_sweep_that_was_killed_between_files_and_rows_is_finished_by_the_next(bench, monkeypatch) -> None:
    one = bench()
    one.take(ct_series("one", 6))
    one.turn()
    sent(one)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(retention, "note", killed)
        with pytest.raises(KeyboardInterrupt):
            sweep(one)
    assert stored(one) == []
    assert recover(one.spool, one.journal) == 0
    assert sweep(one) == 1
    assert one.one("SELECT COUNT(*) FROM series") == 0


def test_an_instance_that_came_meanwhile_stays(bench) -> None:
    one = bench()
    one.take(ct_series("one", 6))
    one.turn()
    sent(one)
    folder = one.spool.root / one.one("SELECT folder FROM series")
    (folder / "new.dcm").write_bytes(b"not yet in the journal")
    assert sweep(one) == 1
    assert [path.name for path in stored(one)] == ["new.dcm"]


def test_days_must_be_a_time(bench) -> None:
    one = bench()
    one.settings.retention.days = 0.0
    with pytest.raises(ConfigError, match="days"):
        check(one.settings)
