"""Verbs beside the main way: doctor, samples, plan, sweeps; a kill in mid-run, and two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from medimg.pipelines import doctor, samples

from .conftest import medimg, words, write_discs

FEW = ("trainer.steps=40", "evaluation.replicates=200")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs of 40 people."""
    return write_discs(tmp_path_factory.mktemp("few"), 40)


def runs_of(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob("config.yaml") if not path.parent.name.endswith(".medimg"))


def test_doctor_names_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["json=true"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["torch"]["found"] != "not installed"
    assert facts["cores"]["found"] >= 1
    assert doctor.main([]) == 0


def test_samples_of_one_modality(tmp_path: Path) -> None:
    assert samples.main([f"output={tmp_path / 's'}", "modalities=[endoscopy]", "subjects=3"]) == 0
    assert len(list((tmp_path / "s" / "endoscopy" / "images").glob("*.jpg"))) >= 3


def test_a_plan_explains_itself_and_forecasts(few: Path, tmp_path: Path) -> None:
    done = medimg("plan", *words(few, tmp_path, "json=true", f"output={tmp_path / 'plan.yaml'}"))
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert set(plan["forecast"]) >= {"seconds_per_step", "training_minutes", "memory_gb", "store_gb"}
    assert "configuration" in plan["reasons"]["batch_size"]
    assert (tmp_path / "plan.yaml").is_file()


def test_a_sweep_trains_each_combination(few: Path, tmp_path: Path) -> None:
    done = medimg("train", "-m", *words(few, tmp_path, *FEW, "trainer.seed=0,1"))
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(path.read_text()) for path in sorted(tmp_path.rglob("outcome.json"))]
    assert len(outcomes) == 2
    first, second = (load_file(Path(one["run"]) / "weights.safetensors") for one in outcomes)
    assert any((first[name] != second[name]).any() for name in first)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_ends_with_the_very_weights(few: Path, tmp_path: Path, workers: int) -> None:
    settings = ("trainer.checkpoint_every_steps=2", f"trainer.workers={workers}", "transforms=light")
    whole = medimg("train", *words(few, tmp_path / "whole", *FEW, *settings))
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, "-m", "medimg", "train", *words(few, tmp_path / "killed", *FEW, *settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment) as process:
        deadline = time.monotonic() + 240
        # Only where a run lies: folders of the store come and go under their '.part' names meanwhile.
        while not list((tmp_path / "killed" / "discs").glob("*/checkpoints/last.safetensors")):
            assert process.poll() is None, "ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    (killed,) = runs_of(tmp_path / "killed" / "discs")
    assert not (killed / "outcome.json").exists()
    done = medimg("train", f"resume={killed}")
    assert done.returncode == 0, done.stderr
    (intact,) = runs_of(tmp_path / "whole" / "discs")
    # By tensor: the order of the entries in a checkpoint's header is not fixed.
    best = [load_file(run / "checkpoints" / "best.safetensors") for run in (killed, intact)]
    assert best[0].keys() == best[1].keys()
    assert all(best[0][name].tobytes() == best[1][name].tobytes() for name in best[0])
    assert (killed / "weights.safetensors").read_bytes() == (intact / "weights.safetensors").read_bytes()
    assert len((killed / "metrics.csv").read_text().splitlines()) == len(
        (intact / "metrics.csv").read_text().splitlines()
    )


def test_two_processes_train_through_the_command_line(few: Path, tmp_path: Path) -> None:
    done = medimg("train", *words(few, tmp_path, *FEW, "trainer.devices=2", "trainer.accelerator=cpu"))
    assert done.returncode == 0, done.stderr
    (run,) = runs_of(tmp_path / "discs")
    assert (run / "outcome.json").is_file()


def test_resume_takes_no_other_override(tmp_path: Path) -> None:
    done = medimg("train", f"resume={tmp_path}", "trainer.steps=3")
    assert done.returncode == 2
    assert "goes on as it was started" in done.stderr
