"""A small package whose answer is known, a PACS, and the service on loopback."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from parts import Bench, Pacs, Running, settings_for
from stub_worker import refusal, results
from tiny import tiny_package

from medimg.pacs.serve.running import Writers

Serve = Callable[..., Running]
MakeBench = Callable[..., Bench]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_package(tmp_path_factory.mktemp("package"))


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    one = Pacs().start()
    yield one
    one.stop()


@pytest.fixture
def serve(tmp_path: Path, package: Path, pacs: Pacs) -> Iterator[Serve]:
    """Return a function that makes a service with these completeness settings; not started yet."""
    made: list[Running] = []

    def make(**completeness: object) -> Running:
        one = Running(settings_for(tmp_path / "spool", package, pacs.port, **completeness))
        made.append(one)
        return one

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def bench(tmp_path: Path, package: Path) -> Iterator[MakeBench]:
    """Return a function that makes a bench with these completeness settings."""
    made: list[Bench] = []

    def make(**completeness: object) -> Bench:
        settings = settings_for(tmp_path / f"bench{len(made)}", package, 1, **completeness)
        made.append(Bench(settings, Writers(results, refusal)))
        return made[-1]

    yield make
    for one in made:
        one.journal.close()
