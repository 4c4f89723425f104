"""The report from the evidence: every group, every endpoint, the verdicts and the status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pandas as pd

from medimg import __version__
from medimg.errors import InputError
from medimg.evaluation.comparison.cells import Cell, publish
from medimg.evaluation.comparison.comparisons import compare
from medimg.evaluation.comparison.status import decide
from medimg.evaluation.comparison.verdicts import is_small
from medimg.evaluation.document import Curve, Endpoint, Failure, GroupRow, ModelInfo, Report, Source, TaskInfo
from medimg.evaluation.endpoints import METRICS
from medimg.evaluation.estimation.curves import curve_kind, curve_of
from medimg.evaluation.estimation.measurements import Measurements
from medimg.evaluation.estimation.panel import available, standard_panel
from medimg.evaluation.estimation.score_parts import score_parts
from medimg.evaluation.evidence import OVERALL, Evidence, Key, Tally
from medimg.evaluation.protection.veil import protect, veil_cross, veil_test_set
from medimg.evaluation.protocol import EndpointRule, FrozenProtocol, Protocol, check_frozen
from medimg.evaluation.row_evidence import RowEvidence
from medimg.evaluation.summary import settings_in_words
from medimg.evaluation.texts import does_not_show, limitations


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
    source: Source = "package",
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
    source : str
        What the report is made from: rows of a package's own predictions, of another toolkit's, or counts.

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
    check_belongs(protocol, model, predicted_at=predicted_at)
    evidence = RowEvidence(
        cases, subjects, protocol.declared, lesions=lesions, pixel_scores=pixel_scores, unreadable=failures
    )
    return assemble(
        evidence, protocol=protocol, model=model, task=task, overlays=overlays, created=created, source=source
    )


def assemble(
    evidence: Evidence,
    *,
    protocol: FrozenProtocol,
    model: ModelInfo,
    task: TaskInfo,
    overlays: Mapping[tuple[str, str], str] | None = None,
    created: datetime | None = None,
    source: Source = "package",
) -> Report:
    """Make a report from any evidence; see :func:`build_report`."""
    declared = protocol.declared
    _check_endpoints(declared.endpoints, evidence.tasks)
    rules = (*declared.endpoints, *_panel(evidence))
    measurements = Measurements(evidence, rules)
    keys = evidence.keys
    tallies = {key: evidence.tally(key) for key in keys}
    patients = {key: tally.n_patients for key, tally in tallies.items()}
    cross = evidence.cross_count()
    compared = compare(evidence, measurements.cells(keys), cross)
    cells, test_set = compared.cells, veil_test_set(evidence.test_set, compared.plan)
    parts = score_parts(evidence, protocol, patients)
    outcome = decide(cells, patients, test_set, declared)
    draft = Report(
        source=source,
        model=model,
        task=task,
        created=created or datetime.now(UTC),
        medimg_version=__version__,
        protocol=protocol,
        test_set=test_set,
        endpoints=[_endpoint(rule, evidence) for rule in rules],
        groups=[
            *(_group_row(key, {}, tallies[key], cells, declared) for key in keys),
            *(_group_row(key, named, evidence.tally(key), cells, declared) for key, named in compared.crossed.items()),
        ],
        intersections=compared.intersections,
        spreads=compared.spreads,
        credible_gaps=compared.credible_gaps,
        standardised=compared.standardised,
        within_sites=compared.within_sites,
        separability=compared.separability,
        curves=_curves(evidence, rules, patients),
        calibration=parts.calibration,
        decision_curves=parts.decision_curves,
        threshold_shifts=parts.threshold_shifts,
        ancestry_by_site=veil_cross(cross, compared.plan),
        worst_cases=evidence.worst_cases(overlays or {}),
        failures=evidence.failures(),
        status=outcome.status,
        status_reasons=outcome.reasons,
        limitations=limitations(test_set, compared.separability, declared) + evidence.remarks() + outcome.limitations,
        not_validated_for=outcome.not_validated_for,
        what_this_does_not_show=does_not_show(compared.separability),
        settings=settings_in_words(declared),
    )
    return protect(draft, compared.plan)


def check_belongs(protocol: FrozenProtocol, model: ModelInfo, *, predicted_at: datetime | None = None) -> None:
    """Refuse a protocol that was changed, is younger than the predictions, or belongs to another package."""
    check_frozen(protocol, predicted_at=predicted_at)
    if protocol.package_digest != model.package_digest:
        raise InputError(
            "The protocol was frozen for another model package.",
            where="protocol.package_digest",
            got=protocol.package_digest[:12],
            expected=model.package_digest[:12],
            fix="fix the thresholds on the tuning split with this package, and freeze the protocol anew",
        )


def _check_endpoints(rules: Sequence[EndpointRule], tasks: Mapping[str, str]) -> None:
    for rule in rules:
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


def _panel(evidence: Evidence) -> Sequence[EndpointRule]:
    everyone = evidence.members(OVERALL)
    has = {target: available(evidence.select(target, everyone)) for target in evidence.tasks}
    return standard_panel(evidence.declared, evidence.tasks, has)


def _endpoint(rule: EndpointRule, evidence: Evidence) -> Endpoint:
    metric = METRICS[rule.metric]
    unit = "px" if metric.unit in ("mm", "ml") and evidence.in_pixels(rule.target) else metric.unit
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
        panel=rule.family == "panel",
    )


def _group_row(key: Key, parts: Mapping[str, str], tally: Tally, cells: Sequence[Cell], declared: Protocol) -> GroupRow:
    return GroupRow(
        axis=key[0],
        value=key[1],
        parts=dict(parts),
        n_cases=tally.n_cases,
        n_patients=tally.n_patients,
        n_positives=tally.n_positives,
        n_negatives=tally.n_negatives,
        n_failed=tally.n_failed,
        results=[publish(cell, declared) for cell in cells if (cell.axis, cell.value) == key],
    )


def _curves(evidence: Evidence, rules: Sequence[EndpointRule], patients: Mapping[Key, int]) -> list[Curve]:
    wanted = {(kind, rule.target): None for rule in rules if (kind := curve_kind(rule))}
    found = []
    for kind, target in wanted:
        for key in evidence.keys:
            if key[0] not in ("overall", "ancestry") or is_small(patients[key], evidence.declared):
                continue
            selection = evidence.select(target, evidence.members(key))
            found.append(curve_of(kind, target, *key, selection, evidence.declared))
    return [curve for curve in found if curve is not None]
