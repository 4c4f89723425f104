"""A run that is killed at any moment goes on to the very bits of a run that was not."""

import os
import signal
import time

import pytest
from run_toy import run
from training_toys import digest, wait_for_end

from medimg.training.checkpoint import read_progress

CHANGES = {"steps": 30, "validate_every_steps": 7, "checkpoint_every_steps": 4, "warmup_steps": 5}
TIMED = ("seconds", "data_wait_share", "memory_mb")


def _untimed(history):
    return [{name: value for name, value in row.items() if name not in TIMED} for row in history]


def kill_after(number, folder, step):
    """Kill a process with SIGKILL a moment after its checkpoint of a step or a later one is there."""
    checkpoint = folder / "checkpoints" / "last.safetensors"
    deadline = time.monotonic() + 60
    while not checkpoint.is_file() or read_progress(checkpoint).step < step:
        failure = folder.with_name(folder.name + ".error")
        assert not failure.is_file(), failure.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.15)
    os.kill(number, signal.SIGKILL)
    wait_for_end(number)
    return read_progress(checkpoint).step


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_resumed_is_bit_identical(tmp_path, start_run, workers):
    whole = run(tmp_path / "whole", CHANGES)
    killed = tmp_path / "killed"
    number = start_run(killed, {**CHANGES, "workers": workers, "slow": 0.1})
    done = kill_after(number, killed, step=8)
    assert 8 <= done < 30
    resumed = run(killed, {**CHANGES, "workers": workers}, resume=True)
    assert digest(resumed.last_checkpoint) == digest(whole.last_checkpoint)
    assert digest(resumed.best_weights) == digest(whole.best_weights)
    assert _untimed(resumed.history) == _untimed(whole.history)
    assert (resumed.best_step, resumed.best_value) == (whole.best_step, whole.best_value)


def test_resume_without_a_checkpoint_starts_anew(tmp_path):
    changes = {**CHANGES, "steps": 6}
    (tmp_path / "empty").mkdir()
    resumed = run(tmp_path / "empty", changes, resume=True)
    whole = run(tmp_path / "whole", changes)
    assert digest(resumed.last_checkpoint) == digest(whole.last_checkpoint)
