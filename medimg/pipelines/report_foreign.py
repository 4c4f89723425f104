"""``medimg report predictions=…`` and ``counts=…``: the report of a model that another toolkit trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from medimg.errors import ConfigError, InputError
from medimg.evaluation.build import assemble, build_report, check_belongs
from medimg.evaluation.canonical import round_significant
from medimg.evaluation.document import ModelInfo, Report, TaskInfo
from medimg.evaluation.foreign.calls import check_thresholds
from medimg.evaluation.foreign.counts import CountEvidence
from medimg.evaluation.foreign.counts_table import read_counts
from medimg.evaluation.foreign.files import Table, read_table
from medimg.evaluation.foreign.predictions import Foreign, people_of, read_foreign
from medimg.evaluation.foreign.times import time_of
from medimg.evaluation.protocol import FrozenProtocol, Protocol, declare
from medimg.evaluation.tables import LESION_NUMBERS
from medimg.pipelines.config import ReportConfig
from medimg.pipelines.report_protocol import frozen_protocol, read_protocol

_UNBOUND = "The model has no package here: this report is about a file of predictions, and can seal nothing."
_EXPLORATORY = "exploratory: the protocol was not frozen before the predictions were made"


def report_on_predictions(config: ReportConfig) -> Report:
    """Return the report on ``predictions`` under ``protocol``.

    Raises
    ------
    ConfigError, InputError
        The protocol is missing, changed or younger than the predictions, a threshold was fitted on them, or a table
        cannot be used.
    """
    checked = checked_predictions(config)
    foreign = checked.foreign
    report = build_report(
        foreign.cases,
        checked.subjects,
        protocol=checked.frozen,
        model=_model(config, foreign.table),
        task=TaskInfo(kind=foreign.kind, mode=foreign.mode, labels=list(foreign.targets)),
        lesions=lesion_table(config.lesions),
        source="predictions",
    )
    notes = [*foreign.notes, *checked.doubts]
    return _told(report, foreign.table, checked.when, checked.known, notes, exploratory=config.exploratory)


@dataclass(frozen=True)
class Checked:
    """Predictions that go with their protocol, who the people are, and when they were made.

    ``known`` says how that time is known, ``doubts`` which thresholds may have known the test set.
    """

    frozen: FrozenProtocol
    foreign: Foreign
    subjects: pd.DataFrame
    when: datetime
    known: str
    doubts: list[str]


def checked_predictions(config: ReportConfig) -> Checked:
    """Return ``predictions`` under ``protocol``; see :func:`report_on_predictions`."""
    frozen = _protocol(config)
    foreign = read_foreign(str(config.predictions), config, frozen.declared, frozen.thresholds)
    subjects = people_of(foreign, config.subjects, config)
    when, known = time_of(foreign.table, foreign.predicted_at, config.predicted_at)
    if not config.exploratory:
        _refuse_younger(frozen, foreign.table, when, known)
    return Checked(frozen, foreign, subjects, when, known, check_thresholds(foreign.cases, frozen, foreign.table))


def report_on_counts(config: ReportConfig) -> Report:
    """Return the report on ``counts`` of true and false calls per group.

    Raises
    ------
    ConfigError, InputError
        See :func:`report_on_predictions`; or the groups of an axis do not add up to everyone.
    """
    frozen = _protocol(config)
    table = read_table(str(config.counts))
    counts = read_counts(table, config, frozen.declared)
    evidence = CountEvidence(counts, frozen.declared)
    when, known = time_of(table, None, config.predicted_at)
    if not config.exploratory:
        _refuse_younger(frozen, table, when, known)
    model = _model(config, table)
    check_belongs(frozen, model)
    targets = list(counts.targets)
    report = assemble(
        evidence,
        protocol=frozen,
        model=model,
        task=TaskInfo(kind="classification", mode="multilabel" if len(targets) > 1 else "binary", labels=targets),
        source="counts",
    )
    return _told(report, table, when, known, (), exploratory=config.exploratory)


def _protocol(config: ReportConfig) -> FrozenProtocol:
    if config.protocol is not None:
        frozen = read_protocol(config.protocol)
        _refuse_other(config, frozen)
        return frozen
    if config.exploratory:
        return frozen_protocol(config)
    raise ConfigError(
        "A report needs a protocol that was frozen before the test set was predicted.",
        where="protocol",
        fix="medimg report protocol output=protocol.json …, then predict, then add protocol=protocol.json; "
        "exploratory=true looks at predictions that are there already, and validates nothing",
    )


def _refuse_younger(frozen: FrozenProtocol, table: Table, when: datetime, known: str) -> None:
    """Refuse a protocol that was frozen after the first prediction."""
    if when < frozen.frozen_at:
        raise InputError(
            "The protocol is younger than the predictions.",
            where=f"protocol.frozen_at, {table.path}",
            got=f"frozen {frozen.frozen_at:%Y-%m-%d %H:%M:%S} UTC, predicted {when:%Y-%m-%d %H:%M:%S} UTC ({known})",
            expected="a protocol that was frozen before the test set was predicted",
            fix="predict the test set again now that the protocol is frozen; exploratory=true without protocol= looks "
            "at these predictions, and validates nothing",
        )


def _refuse_other(config: ReportConfig, frozen: FrozenProtocol) -> None:
    """Refuse a declaration beside a frozen protocol, unless it is the same."""
    stated = {
        "evaluation": not config.evaluation or _same(declare(config.evaluation), frozen.declared),
        "thresholds": all(frozen.thresholds.get(k) == round_significant(v) for k, v in config.thresholds.items()),
    }
    for key, same in stated.items():
        if not same:
            raise ConfigError(
                "What is declared here is not what was frozen.",
                where=f"{key}, {config.protocol}",
                fix=f"leave {key} out; it stands in the protocol. Another one needs a protocol and predictions anew",
            )


def _same(stated: Protocol, frozen: Protocol) -> bool:
    """Return whether what is stated was frozen; what is not stated may have had another default then."""
    return all(getattr(stated, key) == getattr(frozen, key) for key in stated.model_fields_set)


def _model(config: ReportConfig, table: Table) -> ModelInfo:
    return ModelInfo(
        name=config.model.name or table.path.stem,
        version=config.model.version,
        package_digest="",
        weights_sha256="",
        predictions_sha256=table.sha256,
        intended_use=config.model.intended_use,
        modality=config.model.modality,
    )


def lesion_table(path: str | None) -> pd.DataFrame | None:
    """Return a table of lesions and marks under medimg's own column names."""
    if path is None:
        return None
    table = read_table(path)
    return table.frame.assign(**{name: table.numbers(name) for name in LESION_NUMBERS if name in table.frame})


def _told(
    report: Report, table: Table, when: datetime, known: str, notes: Sequence[str], *, exploratory: bool
) -> Report:
    """Return the report with where it comes from; an exploratory one validates nothing."""
    limitations = [*report.limitations, _UNBOUND, *notes]
    settings = {
        **report.settings,
        "predictions": f"{table.path.name}, SHA-256 {table.sha256}; made {when:%Y-%m-%d %H:%M:%S} UTC ({known})",
    }
    changes: dict[str, object] = {"limitations": limitations, "settings": settings}
    if exploratory:
        limitations.append(
            f"{_EXPLORATORY.capitalize()}: thresholds and limits may have been chosen with the test set in view."
        )
        changes |= {"status": "not_validated", "status_reasons": [_EXPLORATORY, *report.status_reasons]}
    return report.model_copy(update=changes)
