"""Positive and negative calls of foreign predictions: by the frozen threshold, never by one that knew the test set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd

from medimg.errors import InputError
from medimg.evaluation.canonical import round_significant
from medimg.evaluation.foreign.files import Table
from medimg.evaluation.metrics.classification import choose_threshold
from medimg.evaluation.metrics.intervals import Floats
from medimg.evaluation.protocol import FrozenProtocol

_TOLERANCE = 1e-8
"""Frozen thresholds are rounded to nine digits: scores as near to one as this may fall on either side."""

FITTED_DIGITS = 6
"""Digits from which a number was computed, not chosen."""


_FINE = 1e-4
"""Distance of two scores that no coarse grid has."""


def add_calls(cases: pd.DataFrame, thresholds: Mapping[str, float], table: Table, notes: list[str]) -> pd.DataFrame:
    """Return the cases with the calls of the frozen thresholds.

    A target with scores and without a frozen threshold has no calls. A target without scores keeps the calls that
    the table states, and a note says that their threshold is unknown.

    Raises
    ------
    InputError
        The stated calls are not those of the frozen threshold.
    """
    cases = cases.copy()
    stated = cases["predicted"] if "predicted" in cases else pd.Series(np.nan, index=cases.index)
    score = cases["score"] if "score" in cases else pd.Series(np.nan, index=cases.index)
    calls = pd.Series(np.nan, index=cases.index)
    for target in cases["target"].unique():
        mine = cases["target"] == target
        scored = mine & score.notna()
        if not scored.any():
            calls[mine] = stated[mine]
            if stated[mine].notna().any():
                notes.append(
                    f"{target}: the table states calls and no scores; how their threshold was chosen is not known."
                )
        elif target in thresholds:
            threshold = thresholds[target]
            calls[scored] = (score[scored] >= threshold).astype(np.float64)
            near = (score - threshold).abs() <= _TOLERANCE
            calls[scored & near & stated.notna()] = stated[scored & near & stated.notna()]
            differing = scored & stated.notna() & (stated != calls)
            if differing.any():
                raise InputError(
                    "The calls of the table are not those of the frozen threshold.",
                    where=f"{table.path}, column of predicted, target {target}",
                    got=f"{int(differing.sum())} of {int((scored & stated.notna()).sum())} calls differ",
                    expected=f"score >= {threshold:g} wherever the call is 1",
                    fix="leave the column of calls out, or freeze the threshold that made them before the test set is "
                    "predicted",
                )
        elif stated[mine].notna().any():
            notes.append(f"{target}: no threshold was frozen, so that the table's calls are not used.")
    if "predicted" in cases or calls.notna().any():
        cases["predicted"] = calls
    return cases


def rows_digest(cases: pd.DataFrame) -> str:
    """Return the SHA-256 (hexadecimal) of cases with truth and score, whatever their order and their file."""
    rows = cases.reindex(columns=["case_id", "target", "truth", "score"]).sort_values(["target", "case_id"])
    return hashlib.sha256(rows.to_csv(index=False, float_format="%.9g").encode()).hexdigest()


def check_thresholds(cases: pd.DataFrame, frozen: FrozenProtocol, table: Table) -> list[str]:
    """Return a sentence for every frozen threshold that is just the best one on this test set.

    Youden's index and the declared sensitivity are tried. A short number, or one among scores of few levels, can be
    the best by chance and is told. A long one among continuous scores was fitted here.

    Raises
    ------
    InputError
        A threshold was fitted on the test set.
    """
    if frozen.tuning_sha256 and frozen.tuning_sha256 == rows_digest(cases):
        raise InputError(
            "The thresholds were fitted on this very table.",
            where=f"protocol, tuning_sha256, and {table.path}",
            got=frozen.tuning_sha256[:12],
            expected="predictions of other people than those that the thresholds were fixed on",
            fix="give the predictions of the test set, or fix the thresholds on the tuning split",
        )
    found = []
    for target, threshold in frozen.thresholds.items():
        rows = cases[(cases["target"] == target) & (cases["status"] == "ok")]
        if not len(rows) or not {"truth", "score"} <= set(rows):
            continue
        rows = rows[rows["truth"].notna() & rows["score"].notna()]
        truth, score = rows["truth"].to_numpy() == 1, rows["score"].to_numpy(np.float64)
        if not truth.any() or truth.all() or threshold not in _best(truth, score, frozen.declared.threshold_target):
            continue
        if _continuous(score) and round_significant(threshold, FITTED_DIGITS - 1) != threshold:
            raise InputError(
                "The frozen threshold was fitted on the test set: to the last digit it is the best one there.",
                where=f"protocol, thresholds.{target}, and {table.path}",
                got=f"{threshold!r}",
                expected="a threshold from the tuning split, or one that was declared without looking at test cases",
                fix="choose it on the tuning split (medimg report protocol tuning=FILE ...) and freeze the protocol "
                "anew",
            )
        found.append(
            f"The frozen threshold of {target}, {threshold:g}, is exactly the best one on this test set; that can be "
            "chance, or the test set was looked at."
        )
    return found


def _continuous(score: Floats) -> bool:
    """Return whether the scores are so fine that two test sets hardly share one: no grid of 8 or 16 bits."""
    levels = np.unique(score)
    fine = len(levels) > len(score) / 2 and float(np.diff(levels).min(initial=1.0)) < _FINE
    return fine and bool(np.any(levels != levels.astype(np.float16)))


def _best(truth: np.ndarray, score: Floats, sensitivity: float | None) -> set[float]:
    """Return the thresholds that a fit on these cases gives: halfway between two scores, or on the upper one."""
    found = set()
    levels = np.unique(score)
    for threshold in (
        choose_threshold(truth, score, "youden"),
        choose_threshold(truth, score, "sensitivity", sensitivity),
    ):
        above = levels[min(int(np.searchsorted(levels, threshold)), len(levels) - 1)]
        found |= {round_significant(float(threshold)), round_significant(float(above))}
    return found
