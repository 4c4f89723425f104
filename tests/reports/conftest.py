"""Reports on made-up test sets, one of each kind of task; built once, since building them takes a second."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medimg.evaluation.build import build_report
from medimg.evaluation.document import Failure, ModelInfo, Report, TaskInfo
from medimg.evaluation.protocol import declare, freeze

from .filled import filled

DIGEST = "d" * 64
FROZEN, READ = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 5, tzinfo=UTC)
HOSTILE = "<script>alert('x')</script>&\"|`[a](javascript:b)"


def people(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    groups = rng.choice(["AFR", "EAS", "EUR", "SAS", "UNK", "ASKU"], n, p=[0.25, 0.2, 0.35, 0.08, 0.08, 0.04])
    return pd.DataFrame(
        {
            "subject_id": [f"s{i:05d}" for i in range(n)],
            "ancestry_group": groups,
            "ancestry_source": rng.choice(["self_report", "administrative"], n, p=[0.9, 0.1]),
            "ancestry_scheme": "made-up",
            "sex_at_birth": rng.choice(["F", "M"], n),
            "age": rng.integers(20, 90, n),
            "country": rng.choice(["CN", "US"], n),
        }
    )


def frame(patients: Any, task: str, target: str) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    n = len(patients)
    return {
        "case_id": [f"c{i:05d}" for i in range(n)],
        "subject_id": [f"s{i:05d}" for i in patients],
        "site_id": rng.choice(["north", "south"], n),
        "scanner": rng.choice(["one", "two", "three"], n),
        "target": target,
        "task": task,
        "status": "ok",
        "reason": "",
    }


def built(cases: pd.DataFrame, subjects: pd.DataFrame, protocol: dict[str, Any], **more: Any) -> Report:
    kind = cases["task"].iloc[0]
    mode = {"segmentation": "multilabel", "classification": "binary", "detection": "boxes"}[kind]
    targets = sorted(set(cases["target"]))
    settings = {"replicates": 200, "axes": ["ancestry", "sex", "site"], **protocol}
    return build_report(
        cases,
        subjects,
        protocol=freeze(declare(settings), dict.fromkeys(targets, 0.5), package_digest=DIGEST, at=FROZEN),
        model=ModelInfo(name="made-up", version="3", package_digest=DIGEST, weights_sha256="a" * 64, modality="CT"),
        task=TaskInfo(kind=kind, mode=mode, labels=targets),
        created=READ,
        predicted_at=READ,
        **more,
    )


def classified(**protocol: Any) -> Report:
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(500), 2)
    rows = frame(patients, "classification", "dr")
    truth = (rng.random(1000) < 0.4).astype(int)
    score = 1 / (1 + np.exp(-(3.4 * truth - 1.7 + rng.normal(size=1000))))
    table = pd.DataFrame({**rows, "truth": truth, "score": score, "predicted": (score >= 0.5).astype(int)})
    endpoints = [
        {"metric": "sensitivity", "target": "dr", "primary": True, "floor": 0.85, "gap_margin": 0.1},
        {"metric": "specificity", "target": "dr", "primary": True, "floor": 0.8, "gap_margin": 0.1},
        {"metric": "auc", "target": "dr", "floor": 0.9},
    ]
    return built(table, people(500), {"endpoints": endpoints, "expected_ancestries": ["AMR"], **protocol})


def segmented() -> Report:
    rng = np.random.default_rng(4)
    n = 300
    rows = frame(np.arange(n), "segmentation", "lesion")
    dice = rng.beta(8, 2, n)
    empty = (rng.random(n) < 0.1).astype(int)
    table = pd.DataFrame(
        {
            **rows,
            "dice": np.where(empty == 1, 1.0, dice),
            "nsd": np.where(empty == 1, 1.0, dice),
            "hd95_mm": np.where(empty == 1, 0.0, rng.gamma(2, 4, n)),
            "volume_true_ml": np.where(empty == 1, 0.0, 5.0),
            "volume_pred_ml": np.where(empty == 1, 0.0, 4.5),
            "truth_empty": empty,
            "pred_empty": empty,
        }
    )
    table.loc[3, ["status", "reason"]] = ["failed", HOSTILE]
    endpoints = [
        {"metric": "dice_mean", "target": "lesion", "primary": True, "floor": 0.7, "gap_margin": 0.1},
        {"metric": "hd95_median", "target": "lesion", "floor": 15.0},
        {"metric": "missed", "target": "lesion"},
        {"metric": "volume_bias", "target": "lesion"},
    ]
    worst = int(np.argmin(table["dice"]))
    overlays = {(f"c{worst:05d}", "lesion"): "worst.png"}
    return built(
        table,
        people(n),
        {"endpoints": endpoints, "worst_cases": 3},
        overlays=overlays,
        failures=[Failure(case_id="unread", reason="no pixels")],
    )


def detected() -> Report:
    rng = np.random.default_rng(5)
    n = 200
    rows = frame(np.arange(n), "detection", "nodule")
    lesions = rng.integers(0, 3, n)
    hit, wrong = rng.binomial(lesions, 0.85), rng.poisson(0.4, n)
    score = np.where(hit + wrong > 0, rng.uniform(0.5, 1, n), 0.1)
    table = pd.DataFrame(
        {
            **rows,
            "n_lesions": lesions,
            "n_hit": hit,
            "n_false_positives": wrong,
            "truth": (lesions > 0).astype(int),
            "score": score,
            "predicted": (score >= 0.5).astype(int),
        }
    )
    marks = [
        {"case_id": row.case_id, "subject_id": row.subject_id, "target": "nodule", "kind": "detection", **mark}
        for row in table.itertuples()
        for mark in (
            *[{"score": rng.uniform(0.5, 1), "matched": True} for _ in range(row.n_hit)],
            *[{"score": rng.uniform(0.5, 0.9), "matched": False} for _ in range(row.n_false_positives)],
        )
    ]
    endpoints = [
        {"metric": "lesion_sensitivity", "target": "nodule", "primary": True, "floor": 0.7, "gap_margin": 0.2},
        {"metric": "false_positives_per_image", "target": "nodule", "floor": 1.0},
        {"metric": "froc_sensitivity", "target": "nodule", "rate": 1.0},
    ]
    return built(table, people(n), {"endpoints": endpoints, "worst_cases": 4}, lesions=pd.DataFrame(marks))


@pytest.fixture(scope="session")
def reports() -> dict[str, Report]:
    """One report of each kind of task, one with small cells suppressed, and one with every part there is."""
    plain = classified()
    return {
        "classification": plain,
        "segmentation": segmented(),
        "detection": detected(),
        "suppressed": classified(suppress=True, suppress_below=60),
        "filled": filled(plain),
    }


@pytest.fixture(params=["classification", "segmentation", "detection", "suppressed", "filled"])
def report(request: pytest.FixtureRequest, reports: dict[str, Report]) -> Report:
    return reports[request.param]


@pytest.fixture
def hostile(reports: dict[str, Report]) -> Report:
    """A report whose every free text tries to break out of its page."""
    sound = reports["segmentation"]
    record = sound.model_dump(mode="json", by_alias=True)
    record["model"] |= {"name": HOSTILE, "intended_use": HOSTILE, "modality": HOSTILE}
    record["task"]["labels"] = [HOSTILE]
    record["limitations"] = [HOSTILE]
    record["status_reasons"] = [HOSTILE]
    record["worst_cases"][0] |= {"case_id": HOSTILE, "note": HOSTILE}
    record["ancestry_by_site"]["sites"][0] = HOSTILE
    for row in record["groups"]:
        if row["value"] == "AFR":
            row["value"] = HOSTILE
        if row["value"] == "SAS":
            row["value"] = "=HYPERLINK(1)"
    record["endpoints"][0]["text"] = HOSTILE
    return Report.model_validate(record)
