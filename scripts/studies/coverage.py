"""How often the report's intervals hold the truth, and how often its verdicts are wrong.

People are simulated whose truth is known (coverage_people.py), and go through the project's own functions
(``measure``, ``difference``, ``make_cell``, ``adjust``, ``build_report``):

* coverage of the 95 % intervals of AUC, sensitivity, specificity, mean and median Dice in a group, and of its gap to
  the rest, with one to four images a patient that correlate (coverage_cells.py);
* equal groups: how often any group DOES NOT MEET a floor that lies at the truth, or a gap margin of 0; and a planted
  gap of 0.12 in sensitivity at 400 positives: how often it DOES NOT MEET the margin 0 (coverage_families.py).

    OMP_NUM_THREADS=1 python scripts/studies/coverage.py

writes coverage.json beside this file and the tables of docs/statistics.md. Every cell has a random stream of its own
and is written when it is done: an interrupted study goes on where it was. ``--quick`` takes a few cells with wide
bounds and writes nothing; it exits with 1 where one lies outside.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from coverage_cells import Cell, all_cells, small_cells, study_cell
from coverage_families import FAMILIES, Family, study_family
from coverage_reports import study_reports
from coverage_tables import LOWEST, write_tables

HERE = Path(__file__).resolve().parent
REPORT_SHARE = 10
"""Whole reports take longer: one for so many runs of the rest."""
QUICK_RUNS = 300
QUICK = [
    Cell("auc", 0.85, 50, 0.6),
    Cell("sensitivity", 0.85, 50, 0.6),
    Cell("specificity", 0.95, 50, 0.6),
    Cell("dice_mean", "skewed, 5 % zeros", 50, 0.6),
    Cell("dice_median", "skewed", 50, 0.6),
]
"""Cells that a change of the intervals would show in."""


def run(path: Path, runs: int, seed: int, only: str) -> dict[str, Any]:
    """Do what is not done yet, and return all results."""
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if done and (done["runs"], done["seed"]) != (runs, seed):
        sys.exit(f"{path} holds a study with {done['runs']} runs and seed {done['seed']}: name another output")
    done = {"runs": runs, "seed": seed, "cells": {}, "small": {}, "families": {}, "reports": {}} | done
    for part, name, study in _studies(runs, seed):
        if name in done[part] or only not in name:
            continue
        start = time.perf_counter()
        done[part][name] = study()
        beside = path.with_name(f".{path.name}.partial")
        beside.write_text(json.dumps(done, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(beside, path)
        print(f"{name}  {time.perf_counter() - start:.0f} s  {done[part][name]}", flush=True)
    return done


def _studies(runs: int, seed: int) -> Iterator[tuple[str, str, Any]]:
    for part, cells in (("cells", all_cells()), ("small", small_cells())):
        for cell in cells:
            yield part, cell.name, lambda cell=cell: study_cell(cell, runs, seed)
    for family in FAMILIES:
        yield "families", family.name, lambda family=family: study_family(family, runs, seed)
    for family in FAMILIES:
        if not family.gap and family.quick:
            yield "reports", family.name, lambda family=family: study_reports(family, runs // REPORT_SHARE, seed)


def quick(seed: int) -> int:
    """Study a few cells and families with few runs; return how many lie outside wide bounds."""
    outside = 0
    for cell in QUICK:
        found = study_cell(cell, QUICK_RUNS, seed)
        for part in ("estimate", "gap"):
            good = found[part]["covered"] >= LOWEST - 3 * _error(QUICK_RUNS)
            outside += not good
            print(f"{cell.name}, {part}: {found[part]['covered']:.3f}{'' if good else '  TOO LOW'}")
    return outside + sum(not _quick_family(family, seed) for family in FAMILIES if family.quick)


def _error(runs: int) -> float:
    return float(np.sqrt(0.05 * 0.95 / runs))


def _quick_family(family: Family, seed: int) -> bool:
    found = study_family(family, QUICK_RUNS, seed)
    spread = 3 * _error(QUICK_RUNS)
    good = found["flagged"] >= 0.8 - spread if family.gap else found["any"] <= 0.05 + spread
    print(f"{family.name}: {found}{'' if good else '  OUTSIDE'}")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE / "coverage.json")
    parser.add_argument("--document", type=Path, default=HERE.parents[1] / "docs" / "statistics.md")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the names of what is to be done")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    if given.quick:
        sys.exit(1 if quick(given.seed) else 0)
    write_tables(run(given.output, given.runs, given.seed, given.only), given.document)


if __name__ == "__main__":
    main()
