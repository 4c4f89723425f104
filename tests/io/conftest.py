"""The DICOM factory as a fixture: test folders are not packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def factory() -> ModuleType:
    """Return the module dicom_factory.py."""
    path = Path(__file__).with_name("dicom_factory.py")
    spec = importlib.util.spec_from_file_location("dicom_factory", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
