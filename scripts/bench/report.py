"""Time the report on a million cases of six groups, beside a scikit-learn loop over bootstrap samples, in one run.

python scripts/bench/report.py [--cases 1000000] [--replicates 2000] [--loops 2] [--all-axes] [--write]

The loop does what is usual: for every group, draw its cases with replacement and compute each metric of the drawn
cases. It is timed on a few replicates and scaled. The report computes more (comparisons, verdicts, curves), with
patients as the unit.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from rounds import machine, versions, write_section
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from medimg.evaluation.build import build_report
from medimg.evaluation.document import ModelInfo, Report, TaskInfo
from medimg.evaluation.protocol import AXES, declare, freeze

GROUPS = {"AFR": 0.15, "AMR": 0.1, "EAS": 0.2, "EUR": 0.4, "SAS": 0.1, "unknown": 0.05}
THRESHOLD = 0.3
GOAL_S, GOAL_GB, GOAL_RATIO = 30.0, 4.0, 50.0


def population(n: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return cases and subjects; one patient in ten comes twice."""
    rng = np.random.default_rng(np.random.SeedSequence([2026, n]))
    m = n - n // 11
    patient = np.concatenate([np.arange(m), np.arange(n - m)])
    truth = rng.random(n) < 0.2
    score = 1 / (1 + np.exp(-(2.2 * truth - 2 + 0.5 * rng.normal(size=m)[patient] + 1.1 * rng.normal(size=n))))
    names = np.char.add("s", np.char.zfill(np.arange(m).astype(str), 8))
    cases = pd.DataFrame(
        {
            "case_id": np.char.add("c", np.char.zfill(np.arange(n).astype(str), 8)),
            "subject_id": names[patient],
            "site_id": rng.choice(["a", "b", "c", "d"], m)[patient],
            "scanner": rng.choice(["one", "two", "three"], n),
            "target": "finding",
            "task": "classification",
            "truth": truth.astype(np.int64),
            "score": score,
            "predicted": (score >= THRESHOLD).astype(np.int64),
        }
    )
    subjects = pd.DataFrame(
        {
            "subject_id": names,
            "ancestry_group": rng.choice(list(GROUPS), m, p=list(GROUPS.values())),
            "ancestry_source": "self_report",
            "sex_at_birth": rng.choice(["F", "M"], m),
            "age": rng.integers(20, 90, m),
        }
    )
    return cases, subjects


def report_of(cases: pd.DataFrame, subjects: pd.DataFrame, replicates: int, *, all_axes: bool) -> Report:
    """Return the report with the standard panel of classification metrics."""
    primary = {"target": "finding", "primary": True, "floor": 0.7, "gap_margin": 0.05}
    declared = declare(
        {
            "endpoints": [{"metric": metric, **primary} for metric in ("auc", "sensitivity", "specificity")],
            "axes": list(AXES) if all_axes else ["ancestry"],
            "prevalence": {"finding": 0.1},
            "replicates": replicates,
        }
    )
    return build_report(
        cases,
        subjects,
        protocol=freeze(declared, {"finding": THRESHOLD}, package_digest="0" * 64, thresholds_from="declared"),
        model=ModelInfo(name="bench", package_digest="0" * 64, weights_sha256=""),
        task=TaskInfo(kind="classification", mode="binary", labels=["finding"]),
    )


def loop(cases: pd.DataFrame, subjects: pd.DataFrame, replicates: int) -> float:
    """Return the seconds that scikit-learn takes for some replicates of every group."""
    group = subjects.set_index("subject_id")["ancestry_group"].loc[cases["subject_id"]].to_numpy()
    truth, score, called = (cases[name].to_numpy() for name in ("truth", "score", "predicted"))
    members = [np.flatnonzero(group == name) for name in GROUPS]
    rng = np.random.default_rng(7)
    start = time.perf_counter()
    for _ in range(replicates):
        for rows in members:
            drawn = rows[rng.integers(0, len(rows), len(rows))]
            y, s, p = truth[drawn], score[drawn], called[drawn]
            roc_auc_score(y, s)
            roc_auc_score(y, s, max_fpr=0.1)
            average_precision_score(y, s)
            brier_score_loss(y, s)
            accuracy_score(y, p)
            for positive in (0, 1):
                recall_score(y, p, pos_label=positive)
                precision_score(y, p, pos_label=positive)
    return time.perf_counter() - start


def main() -> int:
    """Print the figures; with ``--write`` put them into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--loops", type=int, default=2, help="replicates of the loop that are timed")
    parser.add_argument("--all-axes", action="store_true", help="sex, age, site, scanner and crossed axes too")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks.md")
    given = parser.parse_args()
    where = machine()
    cases, subjects = population(given.cases)
    wall, cpu = time.perf_counter(), time.process_time()
    report = report_of(cases, subjects, given.replicates, all_axes=given.all_axes)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    # Linux counts in kilobytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    seconds = loop(cases, subjects, given.loops) * given.replicates / given.loops
    kinds = "all axes and their crossings" if given.all_axes else "ancestry"
    lines = [
        "## Report",
        "",
        f"`python scripts/bench/report.py{' --all-axes' if given.all_axes else ''}`: {given.cases:,} cases of "
        f"{len(subjects):,} patients in {len(GROUPS)} groups of ancestry, {len(report.endpoints)} metrics,",
        f"{len(report.groups)} rows ({kinds}), {given.replicates:,} replicates where a metric is resampled, "
        "every group compared with the rest.",
        "The scikit-learn loop draws cases, not patients, computes nine of these metrics and no comparison; "
        f"it was timed on {given.loops}",
        f"replicates and scaled to {given.replicates:,}.",
        "",
        "| | medimg | goal | reached |",
        "|---|---:|---:|---|",
        f"| seconds | {wall:.1f} (processor time {cpu:.1f}) | {GOAL_S:.0f} | {_reached(wall <= GOAL_S)} |",
        f"| peak memory of the process, GB | {peak:.2f} | {GOAL_GB:.0f} | {_reached(peak <= GOAL_GB)} |",
        f"| times as fast as the loop ({seconds:,.0f} s) | {seconds / wall:.0f} | {GOAL_RATIO:.0f} | "
        f"{_reached(seconds / wall >= GOAL_RATIO)} |",
        "",
        f"{where}.",
        f"{versions(['medimg', 'numpy', 'pandas', 'scipy', 'scikit-learn'])}.",
    ]
    print("\n".join(lines))
    if given.write:
        write_section(Path(__file__).parents[2] / "docs" / "benchmarks.md", "report", lines)
    return 0


def _reached(good: bool) -> str:
    return "yes" if good else "**no**"


if __name__ == "__main__":
    sys.exit(main())
