"""A small, seeded part of scripts/fuzz_reading.py: damaged files are read or refused by name, and nothing else."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

CASES = 500


def _script(name: str) -> ModuleType:
    folder = str(Path(__file__).parents[2] / "scripts")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    """Return scripts/fuzz_reading.py."""
    return _script("fuzz_reading")


@pytest.fixture(scope="module")
def cases(fuzz: ModuleType) -> object:
    """Return the cases of seed 0 over the files that packages bring."""
    return fuzz.Cases(_script("fuzzing.seeds").seeds(None), seed=0)


def test_damaged_files_are_read_or_refused(fuzz: ModuleType, cases: object) -> None:
    outcomes = list(fuzz.run(cases, range(CASES)))
    assert [outcome.case for outcome in outcomes] == list(range(CASES))
    assert [outcome for outcome in outcomes if outcome.failed] == []
    assert {outcome.name for outcome in outcomes} == {"read", "refused"}


def test_a_case_is_the_same_bytes_every_time(fuzz: ModuleType, cases: object) -> None:
    for number in range(40):
        assert cases.make(number).data == cases.make(number).data
    assert cases.make(0).data != cases.make(1).data


def _fails(fuzz: ModuleType, cases: object, monkeypatch: pytest.MonkeyPatch, read: object) -> list[str]:
    monkeypatch.setattr(fuzz, "read_case", read)
    return [outcome.name for outcome in fuzz.run(cases, range(3))]


def test_what_must_not_happen_is_seen(fuzz: ModuleType, cases: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_: Path) -> list:
        raise ZeroDivisionError

    def die(_: Path) -> list:
        os._exit(9)

    def grow(_: Path) -> list:
        return [np.ones(fuzz.MAX_GROWTH_BYTES + (1 << 24), np.uint8)[:1]]

    def large(_: Path) -> list:
        return [np.empty(fuzz.MAX_BYTES + 1, np.uint8)]

    def tell(_: Path) -> list:
        print("a value")
        return [np.zeros(1)]

    def reserve(_: Path) -> list:
        return [np.empty(fuzz.MAX_ADDRESS_BYTES + (1 << 30), np.uint8)]

    for read, name in ((crash, "crash"), (grow, "memory"), (large, "larger than max_bytes"), (tell, "printed")):
        assert _fails(fuzz, cases, monkeypatch, read) == [name] * 3
    assert _fails(fuzz, cases, monkeypatch, reserve) == ["crash"] * 3
    assert "died" in _fails(fuzz, cases, monkeypatch, die)


def test_a_hang_is_seen_and_ended(fuzz: ModuleType, cases: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(_: Path) -> list:
        if (fuzz.os.getpid(), "warm") not in seen:
            seen.append((fuzz.os.getpid(), "warm"))
            return [np.zeros(1)]
        while True:
            pass

    seen: list = []
    monkeypatch.setattr(fuzz, "LIMIT_S", 0.1)
    assert _fails(fuzz, cases, monkeypatch, hang) == ["hang"] * 3
