"""A trained run on generated discs: small enough to train in seconds, large enough for the gate to pass."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medimg.io.write import write_picture

SIDE, PEOPLE = 32, 160


def disc(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a (32, 32, 3) picture with one bright disc, and its mask."""
    y, x = np.mgrid[:SIDE, :SIDE]
    centre, radius = rng.uniform(10, 22, 2), rng.uniform(4, 7)
    mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
    picture = rng.normal(80, 45, (SIDE, SIDE, 3)) + 50 * mask[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8), mask.astype(np.uint8) * 255


def write_discs(folder: Path, people: int = PEOPLE) -> Path:
    """Write pictures, masks, index.csv and subjects.csv."""
    rng = np.random.default_rng(5)
    rows, subjects = [], []
    for number in range(people):
        name = f"p{number:03d}"
        picture, mask = disc(rng)
        write_picture(picture, folder / "images" / f"{name}.png")
        write_picture(mask, folder / "masks" / f"{name}.png")
        rows.append(
            {
                "image": f"images/{name}.png",
                "mask": f"masks/{name}.png",
                "person": name,
                "site": "one" if number % 4 < 2 else "two",
                "bright": int(picture.mean() > 90),
            }
        )
        group = {"ancestry_group": "AB"[number % 2], "ancestry_scheme": "synthetic", "ancestry_source": "synthetic"}
        subjects.append({"subject_id": name, "sex_at_birth": "FM"[number // 2 % 2], "age": 50, **group})
    pd.DataFrame(rows).to_csv(folder / "index.csv", index=False)
    pd.DataFrame(subjects).to_csv(folder / "subjects.csv", index=False)
    return folder


def words(data: Path, runs: Path, *more: str) -> list[str]:
    """Return the overrides of a small segmentation run on discs."""
    return [
        "name=discs",
        f"data.root={data}",
        "data.modality=ES",
        "data.csv.subject=person",
        "data.csv.site=site",
        "data.csv.subjects=subjects.csv",
        "data.csv.masks.disc.column=mask",
        "data.split.held_out=0.5",
        "task=segmentation_multilabel",
        "task.names=[disc]",
        "transforms=none",
        "model.name=unet",
        "model.options.channels=[8,16]",
        "plan.batch_size=8",
        "trainer.steps=60",
        "trainer.learning_rate=0.01",
        "trainer.ema_decay=null",
        "trainer.validate_every_steps=30",
        "trainer.checkpoint_every_steps=10",
        "trainer.workers=0",
        "trainer.loggers=[]",
        "evaluation.threshold_rule=dice",
        "evaluation.endpoints=[{metric: dice_mean, target: disc, primary: true, floor: 0.6, gap_margin: 0.1},"
        "{metric: pixel_aupr, target: disc}]",
        f"runs={runs}",
        f"store={runs}/store",
        *more,
    ]


def medimg(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "medimg", *arguments], capture_output=True, text=True, check=False, env=environment
    )


@dataclass(frozen=True)
class Trained:
    """A finished run."""

    data: Path
    run: Path
    runs: Path
    stderr: str


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Discs, trained, evaluated, reported and sealed."""
    folder = tmp_path_factory.mktemp("discs")
    data, runs = write_discs(folder / "data"), folder / "runs"
    done = medimg("train", *words(data, runs))
    assert done.returncode == 0, done.stderr
    (run,) = (path for path in (runs / "discs").iterdir() if path.is_dir())
    return Trained(data, run, runs, done.stderr)
