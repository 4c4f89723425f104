"""report.json: the one document that every rendering, dossier and gate reads."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from medimg.errors import InputError
from medimg.evaluation.canonical import canonical_json, digest
from medimg.evaluation.document_parts import (
    CalibrationCurve,
    CredibleGap,
    DecisionCurve,
    IntersectionCount,
    Part,
    Separability,
    Standardised,
    Suppression,
    ThresholdShift,
    WithinSites,
)
from medimg.evaluation.endpoints import Better
from medimg.evaluation.protocol import FrozenProtocol

SCHEMA = "medimg.report/2"

Verdict = Literal["MEETS", "DOES NOT MEET", "INCONCLUSIVE", "INSUFFICIENT DATA"]
Source = Literal["package", "predictions", "counts", "histograms"]
Status = Literal["validated", "validated_with_limitations", "ancestry_not_evaluated", "not_validated"]
STATUSES: tuple[Status, ...] = (
    "validated",
    "validated_with_limitations",
    "ancestry_not_evaluated",
    "not_validated",
)
"""From best to worst."""


class ModelInfo(Part):
    """The model that was evaluated: a package by its digests, or another toolkit's by its file of predictions.

    ``package_digest`` and ``weights_sha256`` are empty for a model that came without a package; a report of that
    kind can seal nothing.
    """

    name: str
    version: str = ""
    package_digest: str
    weights_sha256: str
    predictions_sha256: str = ""
    intended_use: str = ""
    modality: str = ""


class TaskInfo(Part):
    """What the model does: ``kind`` segmentation, classification or detection."""

    kind: Literal["segmentation", "classification", "detection"]
    mode: str
    labels: list[str]


class TestSet(Part):
    """Who was tested. Counts are of cases (images) and patients.

    ``ancestry_sources``: patients by provenance of their ancestry. ``fraction_unknown``: share of patients
    whose ancestry is unknown or declined. None is a number that is held back. ``provenance``: of each ancestry, how it
    is known.
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    n_cases: int
    n_patients: int
    n_sites: int
    n_failed: int
    ancestry_sources: dict[str, int | None]
    ancestry_schemes: dict[str, int | None] = Field(default_factory=dict)
    countries: dict[str, int | None] = Field(default_factory=dict)
    fraction_unknown: float | None
    provenance: dict[str, list[str]] = Field(default_factory=dict)

    @property
    def unknown_words(self) -> str:
        """The share of unknown or declined ancestry in words, also where it is held back."""
        return "a share that is held back" if self.fraction_unknown is None else f"{self.fraction_unknown:.0%}"


class Endpoint(Part):
    """One endpoint. ``floor`` is a ceiling where lower is better. ``panel``: added by the panel, it informs."""

    id: str
    metric: str
    target: str
    text: str
    primary: bool
    floor: float | None
    gap_margin: float | None
    unit: str
    better: Better
    parameter: float | None = None
    panel: bool = False


class Gap(Part):
    """Group minus reference, in the endpoint's unit.

    ``p_value`` is one-sided, of the hypothesis that the group is worse than the reference by no more than the
    margin (by nothing, where no margin is declared). ``p_holm`` is adjusted over the primary endpoints and the
    groups of ancestry, or of all other axes; ``p_bh`` over the other endpoints and the groups of the axis. DOES NOT
    MEET needs the whole interval beyond the margin and the adjusted p below (1 - confidence) / 2, its tail.
    """

    reference: str
    estimate: float | None
    low: float | None
    high: float | None
    method: str | None
    verdict: Verdict | None
    p_value: float | None
    p_holm: float | None = None
    p_bh: float | None = None
    reason: str | None = None

    @model_validator(mode="after")
    def _explained(self) -> Gap:
        _explain(self.estimate, self.reason, "gap")
        return self


class Result(Part):
    """One endpoint in one group.

    ``n_cases`` and ``n_patients`` are those that enter the estimate (of a sensitivity: those with a positive).
    ``n_positives`` and ``n_negatives`` are counted in the unit of the metric: cases, lesions or marks.
    ``exact_low`` and ``exact_high`` are Clopper-Pearson's bounds of a proportion (at the effective number where
    patients repeat), ``simultaneous_*`` hold for all groups of the axis together.
    ``reason`` says why a number is null; ``note`` says what else a reader must know.
    """

    endpoint: str
    estimate: float | None
    low: float | None
    high: float | None
    interval_method: str | None
    variation: str = "test-set sampling"
    n_cases: int | None
    n_patients: int | None
    n_positives: int | None
    n_negatives: int | None
    n_failed: int | None = 0
    reason: str | None = None
    note: str | None = None
    floor_verdict: Verdict | None
    floor_p_value: float | None = None
    floor_p_holm: float | None = None
    floor_p_bh: float | None = None
    verdict_reason: str | None = None
    exact_low: float | None = None
    exact_high: float | None = None
    simultaneous_low: float | None = None
    simultaneous_high: float | None = None
    gap: Gap | None = None
    smallest_detectable_gap: float | None = None
    suppressed: bool = False

    @model_validator(mode="after")
    def _explained(self) -> Result:
        _explain(self.estimate, self.reason, self.endpoint)
        if self.estimate is not None and self.low is None and self.reason is None:
            raise ValueError(f"{self.endpoint}: an estimate without an interval needs a reason")
        return self


class GroupRow(Part):
    """All endpoints of one group. ``axis`` 'overall' has the one value 'all' and stands first.

    An intersection has the axis ``ancestry*sex``, a value to print such as ``A, female``, and ``parts`` with the
    value on each of its axes. ``n_positives``: cases with at least one positive target (lesion, structure,
    finding); null if suppressed. ``suppressed_as``: 'small' for a cell below the limit, 'complement' for one that
    would give a small cell away.
    """

    axis: str
    value: str
    parts: dict[str, str] = Field(default_factory=dict)
    n_cases: int | None
    n_patients: int | None
    n_positives: int | None
    n_negatives: int | None
    n_failed: int | None = 0
    suppressed: bool = False
    suppressed_as: Literal["small", "complement"] | None = None
    results: list[Result]


class Curve(Part):
    """A curve of one target in one group; ``operating_point`` is at the frozen threshold.

    ``points`` are (x, y): ROC (1 - specificity, sensitivity), FROC (false marks per image, lesion
    sensitivity), PR (recall, precision). ``step``: y holds from a point's x to the next one's.
    """

    kind: Literal["roc", "froc", "pr"]
    target: str
    axis: str
    value: str
    points: list[tuple[float, float]]
    operating_point: tuple[float, float] | None = None
    step: bool
    n_patients: int


class Spread(Part):
    """How far the groups of an axis lie apart, beside what chance alone would show between equal groups.

    ``worst_shrunken`` is the worst group once what chance explains is taken out of the estimates (empirical Bayes);
    null where chance explains all, and ``max_minus_min_shrunken`` is then 0.
    """

    endpoint: str
    axis: str
    worst: str
    best: str
    max_minus_min: float
    expected_if_equal: float
    upper_95_if_equal: float
    p_value: float
    n_groups: int
    worst_shrunken: str | None = None
    max_minus_min_shrunken: float | None = None


class CrossCount(Part):
    """Patients by ancestry (rows) and site (columns); null is a suppressed cell."""

    ancestries: list[str]
    sites: list[str]
    counts: list[list[int | None]]


class WorstCase(Part):
    """One of the worst cases; ``overlay`` is a path relative to the report's folder."""

    case_id: str
    target: str
    metric: str
    value: float | None
    group: str | None
    overlay: str | None = None
    note: str | None = None


class Failure(Part):
    """A case that gave no prediction."""

    case_id: str
    reason: str


class Report(Part):
    """The evaluation of one model package on one held-out test set under one frozen protocol."""

    schema_: Literal["medimg.report/2"] = Field(default="medimg.report/2", alias="schema")
    source: Source = "package"
    model: ModelInfo
    task: TaskInfo
    created: datetime
    medimg_version: str = ""
    protocol: FrozenProtocol
    test_set: TestSet
    endpoints: list[Endpoint]
    groups: list[GroupRow]
    intersections: list[IntersectionCount] = Field(default_factory=list)
    spreads: list[Spread] = Field(default_factory=list)
    credible_gaps: list[CredibleGap] = Field(default_factory=list)
    standardised: list[Standardised] = Field(default_factory=list)
    within_sites: list[WithinSites] = Field(default_factory=list)
    separability: Separability | None = None
    curves: list[Curve] = Field(default_factory=list)
    calibration: list[CalibrationCurve] = Field(default_factory=list)
    decision_curves: list[DecisionCurve] = Field(default_factory=list)
    threshold_shifts: list[ThresholdShift] = Field(default_factory=list)
    ancestry_by_site: CrossCount
    suppression: Suppression | None = None
    worst_cases: list[WorstCase] = Field(default_factory=list)
    failures: list[Failure] = Field(default_factory=list)
    status: Status
    status_reasons: list[str] = Field(default_factory=list)
    limitations: list[str]
    not_validated_for: list[str]
    what_this_does_not_show: list[str]
    settings: dict[str, Any] = Field(default_factory=dict)

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=(), populate_by_name=True)

    @model_validator(mode="after")
    def _complete(self) -> Report:
        if not self.groups or self.groups[0].axis != "overall":
            raise ValueError("the first group row must be 'overall'")
        ancestries = {row.value for row in self.groups if row.axis == "ancestry"}
        if not {"unknown", "declined"} <= ancestries:
            raise ValueError("the ancestry rows 'unknown' and 'declined' must always be there")
        return self

    def row(self, axis: str, value: str) -> GroupRow | None:
        """Return the row of one group, or None."""
        return next((row for row in self.groups if row.axis == axis and row.value == value), None)


def dump_report(report: Report) -> str:
    """Return the canonical JSON of a report: the same report always gives the same bytes."""
    return canonical_json(report.model_dump(mode="json", by_alias=True))


def report_digest(report: Report) -> str:
    """Return the SHA-256 (hexadecimal) of the canonical JSON of a report."""
    return digest(report.model_dump(mode="json", by_alias=True))


def write_report(report: Report, path: Path) -> Path:
    """Write report.json in one step, so that no half-written report is ever found."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    beside.write_text(dump_report(report), encoding="utf-8")
    os.replace(beside, path)
    return path


def read_report(path: Path) -> Report:
    """Read and check report.json.

    Raises
    ------
    InputError
        Where the file is missing, is no JSON, or does not follow the schema.
    """
    path = Path(path)
    try:
        return Report.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            "The report cannot be read.", where=path, got=error.strerror, fix="run `medimg evaluate` first"
        ) from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(
            "The report does not follow its schema.",
            where=path,
            got=str(error).splitlines()[0],
            expected=SCHEMA,
            fix="write it anew with `medimg evaluate`",
        ) from error


def _explain(estimate: float | None, reason: str | None, what: str) -> None:
    if estimate is None and not reason:
        raise ValueError(f"{what}: a null estimate needs a reason")
