"""Train the experiments on real public scans and put their scores, times and memory into README's table.

    python scripts/studies/real_data.py --data FOLDER [--only mri_hippocampus ...] [--runs runs/real]

FOLDER holds one subfolder a set, named below, each with an index.csv. Every score is of the held-out part, which the
exported package saw once; people are apart. Beside it stands a trivial baseline from the same split. Cross-validated
sets pool the held-out predictions of all folds. Results are kept in results.json, so sets can be run one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from baselines import BASELINES

from medimg.evaluation.metrics.auc import auc_estimate
from medimg.evaluation.metrics.pixel_scores import BINS, pooled_average_precision

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results.json")
START, END = "<!-- results: made by scripts/studies/real_data.py -->", "<!-- end of results -->"

FOOTNOTE = (
    "Two CPU cores that other work shared, no GPU; minutes are of the whole command, all folds, from scans to report.\n"
    "`scripts/studies/results.json` holds the overrides of each run (`trainer.threads=1`: one core)."
)


@dataclass(frozen=True)
class Set:
    """One experiment: its folder, what is measured, how many folds are trained, and the floor it must reach."""

    experiment: str
    folder: str
    measure: str
    target: str
    folds: int
    what: str
    floor: float


SETS = (
    Set("mri_hippocampus", "mri-hippocampus", "dice", "", 1, "MSD hippocampus, mean Dice of both parts", 0.885),
    Set("endoscopy_polyp_segmentation", "endoscopy-kvasir", "dice", "polyp", 1, "Kvasir-SEG polyps, mean Dice", 0.84),
    Set("ct_nodule_segmentation", "ct-lidc-nodules", "dice", "nodule", 1, "LIDC nodules, mean Dice", 0.76),
    Set(
        "ct_nodule_malignancy", "ct-lidc-nodules", "auc", "malignancy", 5, "LIDC outlined nodules, 4-5 v 1-2, AUC", 0.91
    ),
    Set("fundus_dr_grading", "fundus-idrid-grading", "auc", "dr_grade", 5, "IDRiD referable DR, AUC", 0.95),
    Set("fundus_lesion_segmentation", "fundus-idrid-lesions", "aupr", "EX", 1, "IDRiD hard exudates, AUPR", 0.60),
)


def main() -> int:
    """Run the chosen sets and rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MEDIMG_REAL_DATA"))
    parser.add_argument("--only", nargs="*", choices=[one.experiment for one in SETS])
    parser.add_argument("--runs", type=Path, default=Path("runs/real"))
    parser.add_argument("--table", action="store_true", help="rewrite README's table from results.json, train nothing")
    parser.add_argument("overrides", nargs="*", help="key=value for every training run")
    arguments = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for one in SETS if not arguments.table else ():
        if arguments.only and one.experiment not in arguments.only:
            continue
        results[one.experiment] = study(one, arguments.data / one.folder, arguments.runs, arguments.overrides)
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        print(json.dumps({one.experiment: results[one.experiment]}, indent=1))
    write_table(results)
    return 0


def study(one: Set, data: Path, runs: Path, overrides: list[str]) -> dict[str, Any]:
    """Train every fold of one set, pool the held-out tables, measure."""
    folders, seconds, memory = [], 0.0, 0.0
    for fold in range(one.folds):
        words = [
            f"experiment={one.experiment}",
            f"data.root={data}",
            f"runs={runs}",
            f"store={runs / 'store'}",
            "json=true",
        ]
        words += [f"data.split.fold={fold}"] if one.folds > 1 else []
        outcome, took, peak = train([*words, *overrides])
        folders.append(Path(outcome["run"]))
        seconds, memory = seconds + took, max(memory, peak)
    baselines = [BASELINES[one.experiment](data, [folder]) for folder in folders] if one.folds > 1 else []
    cases = pd.concat([pd.read_parquet(folder / "tables" / "cases.parquet") for folder in folders])
    score, low, high = MEASURES[one.measure](one, cases, folders)
    return {
        "score": round(score, 4),
        "low": None if low is None else round(low, 4),
        "high": None if high is None else round(high, 4),
        "mean_of_folds": None if one.folds == 1 else round(float(np.mean(by_fold(one, folders))), 4),
        "baseline": round(BASELINES[one.experiment](data, folders), 4),
        "baseline_mean_of_folds": round(float(np.mean(baselines)), 4) if baselines else None,
        "minutes": round(seconds / 60, 1),
        "peak_memory_gb": round(memory, 2),
        "held_out_cases": int(cases["case_id"].nunique()),
        "held_out_people": int(cases["subject_id"].nunique()),
        "gate": outcome["status"],
        "sealed": outcome["sealed"],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "overrides": overrides,
    }


def by_fold(one: Set, folders: list[Path]) -> list[float]:
    """Return the score of every fold by itself."""
    return [
        MEASURES[one.measure](one, pd.read_parquet(folder / "tables" / "cases.parquet"), [folder])[0]
        for folder in folders
    ]


def train(words: list[str]) -> tuple[dict[str, Any], float, float]:
    """Run ``medimg train``; returns its outcome, wall seconds, and peak resident memory in GB."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "medimg", "train", *words], stdout=subprocess.PIPE, text=True)
    output = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"training failed with exit code {process.returncode}: {' '.join(words)}")
    return json.loads(output.splitlines()[-1]), time.perf_counter() - start, usage.ru_maxrss / 1e6


def dice(one: Set, cases: pd.DataFrame, folders: list[Path]) -> tuple[float, float | None, float | None]:
    """Return mean Dice over cases (of the labels' mean in each case), with a bootstrap interval over people."""
    by_case = cases.assign(dice=cases["dice"].fillna(0.0)).groupby(["subject_id", "case_id"])["dice"].mean()
    people = by_case.groupby("subject_id").agg(["sum", "count"]).to_numpy()
    rng = np.random.default_rng(0)
    drawn = people[rng.integers(0, len(people), (4000, len(people)))].sum(axis=1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    return float(by_case.mean()), float(low), float(high)


def auc(one: Set, cases: pd.DataFrame, folders: list[Path]) -> tuple[float, float | None, float | None]:
    """Return the AUC of the pooled held-out scores with its interval (patients as clusters)."""
    known = cases[(cases["target"] == one.target) & cases["truth"].notna()]
    patients = known["subject_id"].astype("category").cat.codes.to_numpy(np.int64)
    found = auc_estimate(known["truth"].to_numpy() > 0, known["score"].to_numpy(float), patients)
    return float(found.value or 0.0), found.low, found.high


def aupr(one: Set, cases: pd.DataFrame, folders: list[Path]) -> tuple[float, float | None, float | None]:
    """Return the average precision of all held-out pixels at native resolution."""
    pixels = pd.concat([pd.read_parquet(folder / "tables" / "pixels.parquet") for folder in folders])
    rows = pixels[pixels["target"] == one.target].groupby("bin")[["n_positive", "n_negative"]].sum()
    counts = np.zeros((2, 1, BINS))
    counts[:, 0, rows.index.to_numpy()] = rows.to_numpy().T
    return float(pooled_average_precision(counts[0], counts[1])[0]), None, None


MEASURES = {"dice": dice, "auc": auc, "aupr": aupr}


def write_table(results: dict[str, Any]) -> None:
    """Rewrite README's table; what was not run says so."""
    lines = [
        START,
        "| set, held-out part | score (95% CI) | trivial baseline | gate | minutes | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for one in SETS:
        found = results.get(one.experiment)
        if found is None:
            lines.append(f"| {one.what} (`{one.experiment}`) | not measured | | | | |")
            continue
        baseline = f"{found['baseline']:.3f}"
        if found.get("baseline_mean_of_folds"):
            baseline += f"; mean {found['baseline_mean_of_folds']:.3f}"
        interval = f" ({found['low']:.3f}–{found['high']:.3f})" if found["low"] is not None else ""
        folds = f", {one.folds} folds pooled; their mean {found['mean_of_folds']:.3f}" if one.folds > 1 else ""
        gate = ("sealed, " if found["sealed"] else "refused, ") + found["gate"].replace("_", " ")
        lines.append(
            f"| {one.what}{folds} (`{one.experiment}`) | **{found['score']:.3f}**{interval} | {baseline} "
            f"| {gate} | {found['minutes']:.0f} | {found['peak_memory_gb']:.1f} GB |"
        )
    lines += ["", FOOTNOTE, END]
    readme = ROOT / "README.md"
    text = readme.read_text()
    head, tail = text.split(START)[0], text.split(END)[1]
    readme.write_text(head + "\n".join(lines) + tail)


if __name__ == "__main__":
    sys.exit(main())
