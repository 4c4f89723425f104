"""The report from the evaluation tables: every group, every endpoint, the verdicts and the status."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medimg import __version__
from medimg.errors import InputError
from medimg.evaluation.cells import Cell, adjust, make_cell, publish, shown
from medimg.evaluation.curves import curve_kind, curve_of
from medimg.evaluation.document import (
    Curve,
    Endpoint,
    Failure,
    GroupRow,
    ModelInfo,
    Report,
    TaskInfo,
)
from medimg.evaluation.endpoints import METRICS
from medimg.evaluation.estimates import Measured, measure
from medimg.evaluation.groups import assign_groups, group_values, reference_of
from medimg.evaluation.intervals import Floats, count_patients
from medimg.evaluation.protocol import EndpointRule, FrozenProtocol, Protocol, check_frozen
from medimg.evaluation.selection import Rows, Selection, worst_for_failures
from medimg.evaluation.spread import spreads
from medimg.evaluation.status import decide
from medimg.evaluation.summary import cross_count, describe, list_failures, settings_in_words, worst_cases
from medimg.evaluation.tables import (
    CASE_NUMBERS,
    check_cases,
    check_lesions,
    check_pixel_scores,
    check_subjects,
)
from medimg.evaluation.texts import does_not_show, limitations
from medimg.evaluation.verdicts import is_small

POSITIVE = ["truth", "grade_true", "truth_empty", "n_lesions"]
"""Columns that say whether a case is positive."""

Groups = Mapping[tuple[str, str], NDArray[np.bool_]]


@dataclass(frozen=True)
class Evidence:
    """The checked tables: cases with groups and worst outcomes for failures, marks, and pixel histograms.

    ``targets`` holds the row mask of each target.
    """

    cases: Rows
    targets: Mapping[str, NDArray[np.bool_]]
    marks: Rows
    histograms: Mapping[str, tuple[Floats, Floats]]

    def select(self, target: str, rows: NDArray[np.bool_]) -> Selection:
        """Return the rows of one target in one group; ``rows`` is a mask over the cases."""
        mask = self.targets[target]
        cases = self.cases.where(mask & rows)
        marks = self.marks
        if len(marks):
            marks = marks.where((marks["target"] == target) & np.isin(marks["case"], cases["case"]))
        if target not in self.histograms:
            return Selection(cases, marks)
        positive, negative = self.histograms[target]
        return Selection(cases, marks, positive[rows[mask]], negative[rows[mask]])


def build_report(
    cases: pd.DataFrame,
    subjects: pd.DataFrame,
    *,
    protocol: FrozenProtocol,
    model: ModelInfo,
    task: TaskInfo,
    lesions: pd.DataFrame | None = None,
    pixel_scores: pd.DataFrame | None = None,
    failures: Sequence[Failure] = (),
    overlays: Mapping[tuple[str, str], str] | None = None,
    predicted_at: datetime | None = None,
    created: datetime | None = None,
) -> Report:
    """Evaluate a model package on its held-out test set.

    Parameters
    ----------
    cases, subjects, lesions, pixel_scores : DataFrame
        See :mod:`medimg.evaluation.tables`; rows come from :mod:`medimg.evaluation.rows`.
    protocol : FrozenProtocol
        Frozen before the predictions were made, for this very package.
    model, task : ModelInfo, TaskInfo
    failures : sequence of Failure
        Cases of which not even the truth could be read; they are counted and listed, and enter no estimate.
    overlays : mapping of (case_id, target) to str, optional
        Pictures of the worst cases, relative to the report's folder.
    predicted_at : datetime, optional
        When the first held-out case was predicted; a protocol that is younger is refused.
    created : datetime, optional
        Now by default.

    Returns
    -------
    Report
        The same inputs give the same report, whatever the order of rows.

    Raises
    ------
    InputError
        Where a table cannot be used, ancestry was inferred, or protocol, package and predictions do not belong
        together.
    """
    check_frozen(protocol, predicted_at=predicted_at)
    _check_package(protocol, model)
    declared = protocol.declared
    table = check_cases(cases)
    people = check_subjects(subjects, list(table["subject_id"].unique()))
    table = assign_groups(table, people, declared)
    _check_endpoints(declared, table)
    evidence = _gather(table, lesions, pixel_scores, declared)
    groups = _groups(table, declared)
    cells = adjust(_cells(evidence, table, groups, declared), declared.confidence)
    test_set = describe(table, people, len(failures))
    patients = {key: count_patients(table.loc[rows, "patient"].to_numpy()) for key, rows in groups.items()}
    outcome = decide(cells, patients, test_set, declared)
    cross = cross_count(table, declared)
    return Report(
        model=model,
        task=task,
        created=created or datetime.now(UTC),
        medimg_version=__version__,
        protocol=protocol,
        test_set=test_set,
        endpoints=[_endpoint(rule, table) for rule in declared.endpoints],
        groups=[_group_row(key, rows, table, cells, declared) for key, rows in groups.items()],
        spreads=spreads(cells, declared),
        curves=_curves(evidence, groups, patients, declared),
        ancestry_by_site=cross,
        worst_cases=worst_cases(table, declared, overlays or {}),
        failures=list_failures(table, failures),
        status=outcome.status,
        status_reasons=outcome.reasons,
        limitations=limitations(test_set, declared) + outcome.limitations,
        not_validated_for=outcome.not_validated_for,
        what_this_does_not_show=does_not_show(cross),
        settings=settings_in_words(declared),
    )


def _check_package(protocol: FrozenProtocol, model: ModelInfo) -> None:
    if protocol.package_digest != model.package_digest:
        raise InputError(
            "The protocol was frozen for another model package.",
            where="protocol.package_digest",
            got=protocol.package_digest[:12],
            expected=model.package_digest[:12],
            fix="fix the thresholds on the tuning split with this package, and freeze the protocol anew",
        )


def _check_endpoints(declared: Protocol, cases: pd.DataFrame) -> None:
    pairs = cases.drop_duplicates(["target", "task"])
    tasks = dict(zip(pairs["target"], pairs["task"]))
    for rule in declared.endpoints:
        if rule.target not in tasks:
            raise InputError(
                "A declared endpoint has no case.",
                where=f"evaluation.endpoints, {rule.id}",
                got=f"target {rule.target!r}",
                expected=f"one of {', '.join(sorted(tasks))}",
                fix="name a target of the case table",
            )
        if tasks[rule.target] not in METRICS[rule.metric].tasks:
            raise InputError(
                "A declared endpoint does not suit its task.",
                where=f"evaluation.endpoints, {rule.id}",
                got=f"{rule.metric} of a {tasks[rule.target]} target",
                expected=", ".join(k for k, m in METRICS.items() if tasks[rule.target] in m.tasks),
                fix="choose one of these metrics",
            )


def _gather(
    table: pd.DataFrame, lesions: pd.DataFrame | None, pixel_scores: pd.DataFrame | None, declared: Protocol
) -> Evidence:
    found = check_lesions(lesions)
    codes = table.drop_duplicates("case_id").set_index("case_id")[["patient", "case"]]
    known = found["case_id"].isin(codes.index) if len(found) else pd.Series(dtype=bool)
    if not known.all():
        raise InputError(
            "The lesion table names cases that are not in the case table.",
            where="lesions, column case_id",
            got=f"{int((~known).sum())} rows",
            fix="write both tables from the same run",
        )
    marks = found[found["kind"] == "detection"].join(codes, on="case_id")
    pixels = check_pixel_scores(pixel_scores)
    wanted = {r.target for r in declared.endpoints if r.metric.startswith("pixel_")} & set(pixels["target"])
    histograms = {target: _histograms(table, pixels, target) for target in sorted(wanted)}
    targets = {target: (table["target"] == target).to_numpy() for target in table["target"].unique()}
    rows = Rows.of(worst_for_failures(table), [*CASE_NUMBERS, "patient", "case", "failed"])
    return Evidence(rows, targets, Rows.of(marks, ["target", "patient", "case", "score", "matched"]), histograms)


def _histograms(table: pd.DataFrame, pixels: pd.DataFrame, target: str) -> tuple[Floats, Floats]:
    ids = table.loc[table["target"] == target, "case_id"].to_numpy()
    rows = pixels[(pixels["target"] == target) & pixels["case_id"].isin(ids)]
    place = pd.Index(ids).get_indexer(rows["case_id"])
    found = []
    for column in ("n_positive", "n_negative"):
        dense = np.zeros((len(ids), int(rows["bin"].max()) + 1))
        np.add.at(dense, (place, rows["bin"].to_numpy()), rows[column].to_numpy())
        dense[~np.isin(np.arange(len(ids)), place)] = np.nan
        found.append(dense)
    return found[0], found[1]


def _groups(cases: pd.DataFrame, declared: Protocol) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """Return the mask of the cases of each group, in the order of printing."""
    groups = {("overall", "all"): np.ones(len(cases), bool)}
    for axis in declared.axes:
        for value in group_values(cases, axis, declared):
            groups[(axis, value)] = (cases[f"axis_{axis}"] == value).to_numpy()
    return groups


def _cells(evidence: Evidence, table: pd.DataFrame, groups: Groups, declared: Protocol) -> list[Cell]:
    cells = []
    known: dict[bytes, dict[str, Measured]] = {}
    for (axis, value), rows in groups.items():
        measured = _measure(evidence, rows, declared, known)
        name, others = "", {}
        if axis != "overall" and rows.any():
            name, outside = reference_of(axis, value, table, declared)
            if name != value:
                others = _measure(evidence, outside, declared, known)
        for rule in declared.endpoints:
            other = others.get(rule.id)
            found = measured[rule.id]
            cells.append(make_cell(axis, value, rule, found, declared, reference=name, reference_measured=other))
    return cells


def _measure(
    evidence: Evidence, rows: NDArray[np.bool_], declared: Protocol, known: dict[bytes, dict[str, Measured]]
) -> dict[str, Measured]:
    """Return every endpoint on one group, by endpoint id."""
    # A group of one axis is often the rest of another group: two sexes, two sites.
    key = hashlib.sha256(rows.tobytes()).digest()
    if key not in known:
        selections = {target: evidence.select(target, rows) for target in {rule.target for rule in declared.endpoints}}
        known[key] = {r.id: measure(r, selections[r.target], declared) for r in declared.endpoints}
    return known[key]


def _endpoint(rule: EndpointRule, cases: pd.DataFrame) -> Endpoint:
    metric = METRICS[rule.metric]
    pixels = cases.loc[cases["target"] == rule.target, ["hd95_px", "area_true_px"]].notna().any(axis=None)
    unit = "px" if metric.unit in ("mm", "ml") and pixels else metric.unit
    return Endpoint(
        id=rule.id,
        metric=rule.metric,
        target=rule.target,
        text=metric.text,
        primary=rule.primary,
        floor=rule.floor,
        gap_margin=rule.gap_margin,
        unit=rule.unit or unit,
        better=metric.better,
        parameter=getattr(rule, metric.parameter) if metric.parameter else None,
    )


def _is_positive(cases: pd.DataFrame) -> pd.Series:
    return (
        (cases["truth"] == 1)
        | (cases["truth"].isna() & (cases["grade_true"] > 0))
        | (cases["truth_empty"] == 0)
        | (cases["n_lesions"] > 0)
    )


def _group_row(
    key: tuple[str, str], rows: NDArray[np.bool_], table: pd.DataFrame, cells: Sequence[Cell], declared: Protocol
) -> GroupRow:
    axis, value = key
    mine = table.loc[rows, ["case", "patient", "failed", *POSITIVE]]
    n_patients = count_patients(mine["patient"].to_numpy())
    small = is_small(n_patients, declared)
    positive = _is_positive(mine).groupby(mine["case"]).any()
    n_failed = mine.loc[mine["failed"], "case"].nunique()
    return GroupRow.model_validate(
        {
            "axis": axis,
            "value": value,
            "n_cases": None if small else mine["case"].nunique(),
            "n_patients": None if small else n_patients,
            "n_positives": None if small else shown(int(positive.sum()), declared),
            "n_negatives": None if small else shown(int((~positive).sum()), declared),
            "n_failed": None if small else shown(int(n_failed), declared),
            "suppressed": small,
            "results": [publish(c, declared) for c in cells if (c.axis, c.value) == key],
        }
    )


def _curves(
    evidence: Evidence, groups: Groups, patients: Mapping[tuple[str, str], int], declared: Protocol
) -> list[Curve]:
    wanted = {(kind, rule.target): None for rule in declared.endpoints if (kind := curve_kind(rule))}
    found = []
    for kind, target in wanted:
        for (axis, value), rows in groups.items():
            if axis not in ("overall", "ancestry") or is_small(patients[(axis, value)], declared):
                continue
            found.append(curve_of(kind, target, axis, value, evidence.select(target, rows), declared))
    return [curve for curve in found if curve is not None]
