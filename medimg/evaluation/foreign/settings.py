"""Which column of another toolkit's tables holds what. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from medimg.errors import ConfigError, nearest

TASKS = ("classification", "segmentation", "detection")
OWN_NAMES = {"case": "case_id", "subject": "subject_id", "site": "site_id"}
"""Roles whose column has another name in medimg's own tables; every other role is its own name."""
KEY_ROLES = ("case", "subject", "site", "scanner", "target", "status", "reason", "predicted_at")
COUNT_ROLES = ("axis", "value", "tp", "fp", "fn", "tn", "n_patients")


def _text_keys(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a mapping with texts for keys: codes such as 1 are read as numbers, and cells are texts."""
    return {str(key): value for key, value in values.items()}


@dataclass
class Columns:
    """Column of each role in the table of predictions or counts.

    None takes the column of medimg's own name (``case_id``, ``truth``, ``score``, ``dice``, ...) where there is one.
    A column that is named must be there. Roles of numbers take one name, or a mapping from target to name where every
    target has a column of its own. ``truth`` may be one column of class names beside a mapping of scores.
    """

    case: str | None = None
    subject: str | None = None
    site: str | None = None
    scanner: str | None = None
    target: str | None = None
    status: str | None = None
    reason: str | None = None
    predicted_at: str | None = None
    age: str | None = None
    truth: Any = None
    score: Any = None
    predicted: Any = None
    grade_true: Any = None
    grade_pred: Any = None
    dice: Any = None
    nsd: Any = None
    hd95_mm: Any = None
    hd95_px: Any = None
    volume_true_ml: Any = None
    volume_pred_ml: Any = None
    area_true_px: Any = None
    area_pred_px: Any = None
    truth_empty: Any = None
    pred_empty: Any = None
    n_lesions: Any = None
    n_hit: Any = None
    n_false_positives: Any = None
    axis: str | None = None
    value: str | None = None
    tp: str | None = None
    fp: str | None = None
    fn: str | None = None
    tn: str | None = None
    n_patients: str | None = None

    def __post_init__(self) -> None:
        for role in self.numbers():
            stated = getattr(self, role)
            if isinstance(stated, Mapping):
                setattr(self, role, {str(target): str(name) for target, name in stated.items()})
            elif stated is not None:
                setattr(self, role, str(stated))

    @staticmethod
    def numbers() -> tuple[str, ...]:
        """Return the roles that hold numbers of a case."""
        other = (*KEY_ROLES, *COUNT_ROLES, "age")
        return tuple(item.name for item in fields(Columns) if item.name not in other)

    def per_target(self) -> tuple[str, ...]:
        """Return the targets that have columns of their own, in the order in which they are named."""
        named: dict[str, None] = {}
        for role in self.numbers():
            if isinstance(stated := getattr(self, role), dict):
                named |= dict.fromkeys(stated)
        return tuple(named)


@dataclass
class AncestrySettings:
    """How ancestry was stated.

    ``scheme`` and ``provenance`` hold for every row, ``scheme_column`` and ``provenance_column`` row by row. Where
    ``values`` maps cells to groups, every cell must be listed.
    """

    column: str | None = None
    scheme: str | None = None
    scheme_column: str | None = None
    provenance: str | None = None
    provenance_column: str | None = None
    values: dict[Any, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values = _text_keys(self.values)


@dataclass
class PeopleSettings:
    """Columns of the table of subjects (of the predictions where there is none): None takes medimg's own names.

    ``sex_values`` maps cells to F, M or X.
    """

    subject: str | None = None
    sex: str | None = None
    sex_values: dict[Any, str] = field(default_factory=dict)
    age: str | None = None
    country: str | None = None

    def __post_init__(self) -> None:
        self.sex_values = _text_keys(self.sex_values)


@dataclass
class ForeignSettings:
    """Everything that says how foreign tables are to be read.

    Attributes
    ----------
    columns, people, ancestry
        Columns and declared values.
    task : str or None
        ``classification``, ``segmentation`` or ``detection``; None reads it off the columns.
    target : str or None
        Name of the one target where no column names it.
    labels : dict
        New names of targets, such as ``{"1": liver}`` for nnU-Net's summary.json.
    truth_values : dict
        Number of each text of the column of truth, such as ``{benign: 0, malignant: 1}``.
    """

    columns: Columns = field(default_factory=Columns)
    people: PeopleSettings = field(default_factory=PeopleSettings)
    ancestry: AncestrySettings = field(default_factory=AncestrySettings)
    task: str | None = None
    target: str | None = None
    labels: dict[Any, str] = field(default_factory=dict)
    truth_values: dict[Any, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.labels, self.truth_values = _text_keys(self.labels), _text_keys(self.truth_values)
        if self.task is not None and self.task not in TASKS:
            raise ConfigError("there is no such task", where="task", got=self.task, expected=nearest(self.task, TASKS))
