"""Puts the toys beside these tests on the path; the processes that tests start find them there too."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def start_run():
    """Return a function that starts the toy run in a folder in a process of its own, and returns its number."""
    server = subprocess.Popen(
        [sys.executable, str(HERE / "run_toy.py")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def start(folder, changes):
        server.stdin.write(json.dumps([str(folder), changes]) + "\n")
        server.stdin.flush()
        return int(server.stdout.readline())

    yield start
    server.communicate()
