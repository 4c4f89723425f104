"""A made-up test set of graders' labels, for the tests of the report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medimg.evaluation.build import build_report
from medimg.evaluation.document import ModelInfo, Report, TaskInfo
from medimg.evaluation.protocol import declare, freeze

DIGEST = "d" * 64
WHEN = datetime(2026, 1, 2, tzinfo=UTC)
AUC = {"metric": "auc", "target": "dr", "primary": True, "floor": 0.8, "gap_margin": 0.1}


def make_subjects(rng: np.random.Generator, n: int, ancestry: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "subject_id": [f"s{i:05d}" for i in range(n)],
            "ancestry_group": ancestry,
            "ancestry_source": "self_report",
            "ancestry_scheme": "made-up",
            "sex_at_birth": rng.choice(["F", "M"], n),
            "age": rng.integers(20, 90, n),
        }
    )


def make_cases(rng: np.random.Generator, patient: Any, *, effect: Any = 2.5, shared: float = 0.5) -> pd.DataFrame:
    m, own = len(patient), rng.normal(size=max(patient) + 1)[patient]
    truth = rng.random(m) < 0.4
    logit = effect * truth - effect / 2 + shared * own + rng.normal(size=m)
    score = 1 / (1 + np.exp(-logit))
    grade = np.where(truth, rng.integers(2, 5, m), rng.integers(0, 2, m))
    return pd.DataFrame(
        {
            "case_id": [f"c{i:05d}" for i in range(m)],
            "subject_id": [f"s{i:05d}" for i in patient],
            "site_id": rng.choice(["north", "south"], m),
            "scanner": rng.choice(["one", "two", "three"], m),
            "target": "dr",
            "task": "classification",
            "truth": truth.astype(int),
            "score": score,
            "predicted": (score >= 0.5).astype(int),
            "grade_true": grade,
            "grade_pred": np.clip(grade + rng.integers(-1, 2, m), 0, 4),
        }
    )


@pytest.fixture
def graded() -> SimpleNamespace:
    """Two images a patient, 400 patients, five ancestries and some unknown."""
    rng = np.random.default_rng(11)
    ancestry = rng.choice(["AFR", "EAS", "EUR", "UNK", "ASKU"], 400, p=[0.25, 0.25, 0.4, 0.06, 0.04])
    cases = make_cases(rng, np.repeat(np.arange(400), 2))
    return SimpleNamespace(cases=cases, subjects=make_subjects(rng, 400, ancestry))


@pytest.fixture
def report_of() -> Callable[..., Report]:
    """Build a report from tables and a protocol given as a mapping."""

    def build(cases: pd.DataFrame, subjects: pd.DataFrame, protocol: dict[str, Any] | None = None, **more: Any):
        settings = {"endpoints": [AUC], "replicates": 400, "panel": "declared", **(protocol or {})}
        kind = cases["task"].iloc[0]
        return build_report(
            cases,
            subjects,
            protocol=freeze(declare(settings), {"dr": 0.5}, package_digest=DIGEST, at=WHEN),
            model=ModelInfo(name="made-up", package_digest=DIGEST, weights_sha256="w" * 64),
            task=TaskInfo(kind=kind, mode="binary", labels=sorted(set(cases["target"]))),
            created=more.pop("created", WHEN),
            **more,
        )

    return build
