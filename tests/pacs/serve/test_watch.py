"""Watched folders: what is still is taken in once, what is growing or no image is not."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from parts import NAME, Bench, Pacs, ct_series, wait_for
from pydicom.dataset import Dataset

from medimg.errors import ConfigError
from medimg.pacs.serve.settings import WatchSettings, check
from medimg.pacs.serve.watch import Watcher

GO = threading.Event()


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def write(folder: Path, datasets: Sequence[Dataset]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, dataset in enumerate(datasets):
        paths.append(folder / f"{NAME}-{index:03d}")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def watcher(one: Bench, folder: Path) -> tuple[Watcher, Clock]:
    clock = Clock()
    return Watcher(one.intake, WatchSettings([str(folder)], still_s=10.0), clock), clock


def test_files_are_taken_as_one_association_once_they_are_still(bench, tmp_path: Path) -> None:
    one, (looks, clock) = (made := bench()), watcher(made, tmp_path / "in")
    paths = write(tmp_path / "in" / "study", ct_series("one", 6))
    whole = paths[-1].read_bytes()
    paths[-1].write_bytes(whole[:-100])
    assert looks.turn(GO) == 0
    clock.now = 9.0
    paths[-1].write_bytes(whole)
    assert looks.turn(GO) == 0
    clock.now = 18.9
    assert looks.turn(GO) == 0
    clock.now = 19.1
    assert looks.turn(GO) == 6
    assert one.one("SELECT COUNT(*) FROM associations WHERE outcome = 'released' AND source = 'folder'") == 1
    assert looks.turn(GO) == 0
    one.turn()
    assert one.one("SELECT state FROM jobs") == "done"
    assert all(path.exists() for path in paths)


def test_a_restart_does_not_take_files_again_but_changed_ones(bench, tmp_path: Path) -> None:
    one = bench()
    paths = write(tmp_path / "in", ct_series("one", 3))
    for taken in (3, 0):
        looks, clock = watcher(one, tmp_path / "in")
        looks.turn(GO)
        clock.now = 11.0
        assert looks.turn(GO) == taken
    assert NAME not in str([tuple(row) for row in one.journal.rows("SELECT * FROM watched")])
    with paths[0].open("ab") as file:
        file.write(bytes(8))
    looks.turn(GO)
    clock.now = 22.0
    assert looks.turn(GO) + one.one("SELECT COALESCE(SUM(refused), 0) FROM associations") == 1


def test_what_is_no_image_or_unfinished_holds_nothing_up(bench, tmp_path: Path) -> None:
    one, (looks, clock) = (made := bench()), watcher(made, tmp_path / "in")
    write(tmp_path / "in", ct_series("one", 4))
    (tmp_path / "in" / "README.txt").write_text("nothing")
    (tmp_path / "in" / "next.dcm.part").write_bytes(b"half")
    (tmp_path / "in" / ".hidden").write_bytes(b"half")
    (tmp_path / "in" / "empty").write_bytes(b"")
    looks.turn(GO)
    clock.now = 11.0
    assert looks.turn(GO) == 4
    assert one.one("SELECT SUM(refused) FROM associations") == 0
    assert one.one("SELECT value FROM counters WHERE name = 'watched_skipped'") == 2
    one.turn()
    assert one.one("SELECT state FROM jobs") == "done"


def test_a_full_disk_leaves_the_files_for_later(bench, tmp_path: Path) -> None:
    one, (looks, clock) = (made := bench()), watcher(made, tmp_path / "in")
    write(tmp_path / "in", ct_series("one", 4))
    one.settings.receiver.min_free_bytes = 1 << 60
    looks.turn(GO)
    clock.now = 11.0
    assert looks.turn(GO) == 0
    one.settings.receiver.min_free_bytes = 0
    one.intake._looked_s = 0.0
    assert looks.turn(GO) == 4
    one.turn()
    assert one.one("SELECT state FROM jobs") == "done"


def test_a_folder_that_was_cut_off_is_taken_again_as_a_whole(bench, tmp_path: Path, monkeypatch) -> None:
    one, (looks, clock) = (made := bench()), watcher(made, tmp_path / "in")
    write(tmp_path / "in", [*ct_series("study/a", 4), *ct_series("study/b", 4)])
    looks.turn(GO)
    clock.now = 11.0
    takes = iter([""] * 5 + ["the disk is nearly full"] * 99)
    with monkeypatch.context() as patch:
        patch.setattr(one.intake, "full", lambda: next(takes))
        assert looks.turn(GO) < 4
    one.turn()
    assert one.one("SELECT COUNT(*) FROM jobs") == 0
    assert looks.turn(GO) == 8
    one.turn()
    assert [row["state"] for row in one.journal.rows("SELECT state FROM jobs")] == ["done", "done"]


def test_a_folder_that_is_not_there_yet_is_waited_for(bench, tmp_path: Path) -> None:
    looks, _ = watcher(bench(), tmp_path / "later")
    assert looks.turn(GO) == 0


@pytest.mark.parametrize("below", ["series", "..", "."])
def test_the_spool_itself_is_not_watched(bench, below: str) -> None:
    one = bench()
    one.settings.watch.folders = [str(Path(one.settings.root) / below)]
    with pytest.raises(ConfigError, match="lie in each other"):
        check(one.settings)


def test_the_service_runs_what_is_copied_into_its_folder(serve, pacs: Pacs, tmp_path: Path) -> None:
    service = serve()
    service.settings.watch = WatchSettings([str(tmp_path / "in")], still_s=0.3, poll_s=0.1)
    service.start()
    write(tmp_path / "in", ct_series("one", 6))
    wait_for(lambda: len(pacs.got) == 3, what="no results")
    assert service.stop() == 0
    assert NAME not in service.log()
