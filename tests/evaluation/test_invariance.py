"""What must not change the report: names, order, threads, copies; and sums that must agree."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from medimg.evaluation.document import dump_report

from .conftest import AUC, make_cases, make_subjects
from .test_build import MANY

SETTINGS = {"panel": "standard", "replicates": 200, "suppress": False, "prevalence": {"dr": 0.2}}
COUNTS = ("n_cases", "n_positives", "n_negatives", "n_failed")


@pytest.fixture
def people():
    """Repeated patients of one to three images, on several scanners, some failed."""
    rng = np.random.default_rng(31)
    cases = make_cases(rng, np.repeat(np.arange(260), rng.integers(1, 4, 260)))
    failed = rng.random(len(cases)) < 0.03
    cases.loc[failed, ["score", "predicted", "grade_pred"]] = np.nan
    cases["status"] = np.where(failed, "failed", "ok")
    ancestry = rng.choice(["AFR", "EAS", "EUR", "UNK", "ASKU"], 260, p=[0.3, 0.2, 0.35, 0.1, 0.05])
    return cases, make_subjects(rng, 260, ancestry)


def test_rows_of_every_axis_add_up_to_everyone(people, report_of):
    report = report_of(*people, {**SETTINGS, "panel": "declared", "endpoints": MANY})
    overall = report.groups[0]
    assert overall.n_failed > 0
    for axis in ("ancestry", "sex", "age_band", "site", "scanner"):
        rows = [row for row in report.groups if row.axis == axis]
        for name in COUNTS:
            assert sum(getattr(row, name) for row in rows) == getattr(overall, name), (axis, name)
        for k, result in enumerate(overall.results):
            if result.endpoint in ("ppv:dr", "npv:dr"):
                continue
            assert sum(row.results[k].n_cases for row in rows) == result.n_cases
            assert sum(row.results[k].n_positives for row in rows) == result.n_positives
    for axis in ("ancestry", "sex"):
        assert sum(row.n_patients for row in report.groups if row.axis == axis) == overall.n_patients


def test_order_of_rows_changes_no_byte(people, report_of):
    rng = np.random.default_rng(1)
    first = dump_report(report_of(*people, {**SETTINGS, "endpoints": [AUC]}))
    shuffled = [table.iloc[rng.permutation(len(table))].reset_index(drop=True) for table in people]
    assert dump_report(report_of(*shuffled, {**SETTINGS, "endpoints": [AUC]})) == first


def _numbers(report):
    return {
        (row.axis, row.value): [
            (
                r.endpoint,
                r.estimate,
                r.low,
                r.high,
                r.floor_verdict,
                r.gap and (r.gap.estimate, r.gap.low, r.gap.p_value),
            )
            for r in row.results
        ]
        for row in report.groups
    }


def test_names_of_groups_change_no_number(people, report_of):
    cases, subjects = people
    names = {"AFR": "Z", "EAS": "A", "EUR": "M"}
    scanners = {"one": "c", "two": "b", "three": "a"}
    other = subjects.assign(ancestry_group=subjects["ancestry_group"].replace(names))
    moved = cases.assign(scanner=cases["scanner"].replace(scanners))
    settings = {**SETTINGS, "panel": "declared", "endpoints": MANY, "crossed": []}
    first = _numbers(report_of(cases, subjects, settings))
    second = _numbers(report_of(moved, other, settings))
    for (axis, value), numbers in first.items():
        new = {"ancestry": names, "scanner": scanners}.get(axis, {}).get(value, value)
        for mine, theirs in zip(numbers, second[(axis, new)]):
            assert mine[:2] == theirs[:2], (axis, value)
            np.testing.assert_allclose(
                [np.nan if v is None else v for v in (*mine[2:4], *(mine[5] or ()))],
                [np.nan if v is None else v for v in (*theirs[2:4], *(theirs[5] or ()))],
                rtol=1e-9,
                atol=1e-12,
            )
            assert mine[4] == theirs[4]


def test_copies_of_all_cases_change_no_clustered_interval(people, report_of):
    cases, subjects = people
    twice = pd.concat([cases, cases.assign(case_id=cases["case_id"] + "x")], ignore_index=True)
    settings = {**SETTINGS, "panel": "declared", "endpoints": MANY, "axes": ["ancestry"]}
    first, second = (_numbers(report_of(table, subjects, settings)) for table in (cases, twice))
    compared = 0
    for key, numbers in first.items():
        for mine, theirs in zip(numbers, second[key]):
            if mine[2] is not None:
                np.testing.assert_allclose(mine[1:4], theirs[1:4], rtol=1e-7, err_msg=f"{key} {mine[0]}")
                compared += 1
    # Taken for independent, twice as many cases would have narrowed every interval by a factor of 1.4.
    assert compared >= 20


_SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import numpy as np, pandas as pd
from datetime import UTC, datetime
from medimg.evaluation.build import build_report
from medimg.evaluation.document import ModelInfo, TaskInfo, dump_report
from medimg.evaluation.protocol import declare, freeze
rng = np.random.default_rng(3)
n = 600
truth = rng.random(n) < 0.4
score = 1 / (1 + np.exp(-(2 * truth - 1 + rng.normal(size=n))))
cases = pd.DataFrame({"case_id": [f"c{i}" for i in range(n)], "subject_id": [f"s{i // 2}" for i in range(n)],
    "site_id": "x", "target": "t", "task": "classification", "truth": truth.astype(int), "score": score,
    "predicted": (score >= 0.5).astype(int), "grade_true": truth * 2, "grade_pred": (score * 4).astype(int)})
people = pd.DataFrame({"subject_id": [f"s{i}" for i in range(n // 2)], "ancestry_source": "self_report",
    "ancestry_group": rng.choice(["AFR", "EUR"], n // 2), "sex_at_birth": rng.choice(["F", "M"], n // 2)})
rules = [{"metric": "auc", "target": "t", "primary": True, "floor": 0.7, "gap_margin": 0.1}]
frozen = freeze(declare({"endpoints": rules, "replicates": 200, "axes": ["ancestry", "sex"]}), {"t": 0.5},
    package_digest="0" * 64, at=datetime(2026, 1, 1, tzinfo=UTC))
report = build_report(cases, people, protocol=frozen, created=datetime(2026, 1, 2, tzinfo=UTC),
    model=ModelInfo(name="m", package_digest="0" * 64, weights_sha256=""),
    task=TaskInfo(kind="classification", mode="binary", labels=["t"]))
print(hashlib.sha256(dump_report(report).encode()).hexdigest())
"""


def test_the_same_bytes_for_any_number_of_threads():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    found = []
    for threads, seed in (("1", "0"), ("2", "1")):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        run = subprocess.run(
            [sys.executable, "-c", _SCRIPT, root],
            env={**os.environ, **dict.fromkeys(names, threads), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(run.stdout.split()[-1])
    assert found[0] == found[1]
    assert len(found[0]) == 64
