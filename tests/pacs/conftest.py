"""Helpers of these tests are plain modules: processes that the tests start import them by the same names."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), *(str(HERE / name) for name in ("serve", "servers", "results"))]
