"""Fixtures that every part of the suite shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# `pytest --hypothesis-profile thorough` gives property tests ten thousand cases.
settings.register_profile("thorough", max_examples=10_000)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with real scans; the test is skipped where there is none."""
    folder = os.environ.get("MEDIMG_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MEDIMG_REAL_DATA names no folder with real scans")
    return Path(folder)


@pytest.fixture(scope="session")
def data_samples() -> Path:
    """The generated samples that the project carries."""
    return Path(__file__).parents[1] / "data_samples"
