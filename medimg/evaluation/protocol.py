"""The evaluation protocol: declared before the held-out scans are opened, then frozen and hashed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from medimg.errors import ConfigError, InputError, nearest
from medimg.evaluation.canonical import digest, round_significant
from medimg.evaluation.endpoints import METRICS, Better
from medimg.evaluation.metrics.froc import CPM_RATES

Axis = Literal["ancestry", "sex", "age_band", "site", "scanner"]
AXES: tuple[Axis, ...] = ("ancestry", "sex", "age_band", "site", "scanner")
Family = Literal["primary", "secondary", "panel"]
ThresholdSource = Literal["tuning", "declared"]


class Declared(BaseModel):
    """Base of everything that is declared: unknown keys, NaN and later changes are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EndpointRule(Declared):
    """One endpoint: a metric on a target, with what it has to reach.

    Attributes
    ----------
    metric : str
        A name of ``medimg.evaluation.endpoints.METRICS``.
    target : str
        Label, lesion class or finding that the case table names.
    primary : bool
        Primary endpoints decide the status; the others inform.
    floor : float or None
        Value that the metric must reach (a ceiling where lower is better).
    gap_margin : float or None
        By how much a group may be worse than its reference.
    rate, grade, level : float, int, float
        Parameter of ``froc_sensitivity`` (false marks per image); of ``grade_recall``, ``grade_sensitivity`` and
        ``grade_specificity``; of ``dice_below``, ``partial_auc`` (greatest false positive rate), ``net_benefit``
        (threshold probability) and ``lesion_sensitivity_of_size`` (lower end of a band of ``lesion_sizes``).
    """

    metric: str
    target: str
    id: str = ""
    primary: bool = False
    floor: float | None = None
    gap_margin: float | None = Field(default=None, ge=0)
    rate: float | None = Field(default=None, gt=0)
    grade: int | None = Field(default=None, ge=0)
    level: float | None = None
    unit: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _name(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("id"):
            return values
        parameter = next((values[k] for k in ("rate", "grade", "level") if values.get(k) is not None), None)
        suffix = "" if parameter is None else f"@{parameter:g}"
        return {**values, "id": f"{values.get('metric')}{suffix}:{values.get('target')}"}

    @model_validator(mode="after")
    def _sound(self) -> EndpointRule:
        if self.metric not in METRICS:
            raise ValueError(f"unknown metric {self.metric!r}: {nearest(self.metric, METRICS)}")
        metric = METRICS[self.metric]
        if metric.parameter and getattr(self, metric.parameter) is None:
            raise ValueError(f"metric {self.metric!r} needs the key {metric.parameter!r}")
        if self.metric in ("partial_auc", "net_benefit") and not 0 < (self.level or 0.0) < 1:
            raise ValueError(f"metric {self.metric!r} needs a level between 0 and 1")
        if self.primary and self.floor is None:
            raise ValueError(f"primary endpoint {self.id!r} needs a floor: without one nothing can be validated")
        if metric.better == "none" and (self.primary or self.floor is not None or self.gap_margin is not None):
            raise ValueError(f"metric {self.metric!r} only describes: it takes no floor, margin or primary mark")
        return self

    @property
    def better(self) -> Better:
        """Direction of the metric."""
        return METRICS[self.metric].better

    @property
    def family(self) -> Family:
        """Which rules share an adjustment of p-values: what was added later costs the declared ones nothing."""
        return "primary" if self.primary else "secondary"


class Matching(Declared):
    """When a detection counts as a hit of a lesion.

    ``iou``: overlap of the boxes at least ``min_iou``. ``centre``: the detection's centre lies in the lesion's
    box. A lesion is hit once; further marks on it are ignored or count as false marks.
    """

    rule: Literal["iou", "centre"] = "iou"
    min_iou: float = Field(default=0.1, gt=0, le=1)
    duplicates: Literal["ignore", "false_positive"] = "ignore"


class Protocol(Declared):
    """Everything about the evaluation that must be fixed before the held-out scans are opened.

    Attributes
    ----------
    endpoints : tuple of EndpointRule
        At least one of them primary.
    axes : tuple of str
        Ancestry is always reported, whether listed or not.
    expected_ancestries : tuple of str
        Groups of the intended population: those without a patient in the test set still get a row.
    min_patients, min_positives, min_negatives : int
        A group below these gets INSUFFICIENT DATA. Positives and negatives are counted in patients,
        so that many lesions of few patients do not pass for many.
    min_positives_auc : int
        The same for verdicts on an area under the ROC curve.
    reference : str
        ``rest`` (everyone outside the group), or ``axis=value``: that axis is compared with this group.
    confidence : float
        Level of the two-sided intervals. Adjusted one-sided p-values are compared with half the remainder.
    replicates, seed : int
        Of the patient bootstrap.
    hd95_empty : {'diagonal', 'exclude'}
        HD95 where just one of truth and prediction is empty: the image diagonal, or excluded and counted.
    nsd_tolerance : float
        In mm for volumes, in pixels for pictures.
    threshold_rule : {'youden', 'sensitivity', 'dice', 'lesion_rate', 'declared'}
        How thresholds are fixed on the tuning split.
    threshold_target : float or None
        Sensitivity or false-mark rate that the rule aims for.
    age_bands : tuple of int
        Lower ends of the bands, in years.
    suppress : bool
        Publish no number of a cell with 1 to ``suppress_below`` - 1 patients, nor of cells that would give it away.
    panel : {'standard', 'declared'}
        ``standard`` adds to the declared endpoints the metrics that its task is expected to report; they inform.
    prevalence : dict
        Target to the share of positives where the model is to be used, for predictive values.
    benefit_thresholds : tuple of float
        Threshold probabilities of the decision curves.
    lesion_sizes : tuple of float
        Lower ends of the size bands of lesions (longest side), in mm, in pixels for pictures.
    crossed : tuple of pairs of axes
        Two-way intersections that are reported where they hold enough.
    standardise_by : tuple of str
        Axes whose mix is made the same before groups are compared once more.
    score_bins : int
        Bins of the score histograms that sites send instead of rows.
    """

    endpoints: tuple[EndpointRule, ...] = Field(min_length=1)
    axes: tuple[Axis, ...] = AXES
    expected_ancestries: tuple[str, ...] = ()
    min_patients: int = Field(default=30, ge=2)
    min_positives: int = Field(default=30, ge=1)
    min_negatives: int = Field(default=30, ge=1)
    min_positives_auc: int = Field(default=50, ge=1)
    reference: str = "rest"
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    power: float = Field(default=0.8, gt=0.5, lt=1)
    replicates: int = Field(default=2000, ge=200)
    seed: int = 0
    hd95_empty: Literal["diagonal", "exclude"] = "diagonal"
    nsd_tolerance: float = Field(default=2.0, ge=0)
    matching: Matching = Matching()
    froc_rates: tuple[float, ...] = CPM_RATES
    threshold_rule: Literal["youden", "sensitivity", "dice", "lesion_rate", "declared"] = "youden"
    threshold_target: float | None = None
    age_bands: tuple[int, ...] = (0, 18, 40, 65, 80)
    suppress: bool = True
    suppress_below: int = Field(default=11, ge=2)
    worst_cases: int = Field(default=12, ge=0)
    panel: Literal["standard", "declared"] = "standard"
    prevalence: dict[str, float] = Field(default_factory=dict)
    benefit_thresholds: tuple[float, ...] = tuple(round(0.05 * k, 2) for k in range(1, 11))
    lesion_sizes: tuple[float, ...] = (0.0, 6.0, 10.0, 20.0)
    crossed: tuple[tuple[Axis, Axis], ...] = (
        ("ancestry", "sex"),
        ("ancestry", "age_band"),
        ("ancestry", "site"),
        ("ancestry", "scanner"),
        ("sex", "age_band"),
    )
    standardise_by: tuple[Axis, ...] = ("sex", "age_band", "scanner")
    score_bins: int = Field(default=65536, ge=64, le=65536)

    @field_validator("axes")
    @classmethod
    def _ancestry_first(cls, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(axis for axis in AXES if axis == "ancestry" or axis in axes)

    @model_validator(mode="after")
    def _sound(self) -> Protocol:
        ids = [rule.id for rule in self.endpoints]
        if len(set(ids)) < len(ids):
            raise ValueError(f"endpoint ids must differ: {sorted(ids)}")
        if not any(rule.primary for rule in self.endpoints):
            raise ValueError("declare at least one primary endpoint")
        if self.reference != "rest" and self.reference.partition("=")[0] not in AXES:
            raise ValueError("reference is 'rest' or 'axis=value', such as 'ancestry=EUR'")
        if list(self.age_bands) != sorted(set(self.age_bands)):
            raise ValueError("age_bands are lower ends in years, in rising order")
        if list(self.lesion_sizes) != sorted(set(self.lesion_sizes)):
            raise ValueError("lesion_sizes are lower ends, in rising order")
        if not self.froc_rates or min(self.froc_rates) <= 0:
            raise ValueError("froc_rates are positive false marks per image")
        if not all(0 < value < 1 for value in (*self.prevalence.values(), *self.benefit_thresholds)):
            raise ValueError("prevalence and benefit_thresholds lie between 0 and 1")
        if any(first == second for first, second in self.crossed):
            raise ValueError("crossed names pairs of different axes")
        return self


class FrozenProtocol(Declared):
    """A protocol with the thresholds that the tuning split gave, bound together by a digest.

    Attributes
    ----------
    thresholds : dict
        Operating point of each target; a score at or above it is positive.
    thresholds_from : {'tuning', 'declared'}
        Never the held-out split.
    package_digest : str
        The model package that the thresholds belong to; empty for predictions without one.
    tuning_sha256 : str
        Of the foreign table that the thresholds were fixed on, where there was one.
    frozen_at : datetime
        UTC; not part of the digest.
    sha256 : str
        Of the canonical JSON of everything else.
    """

    declared: Protocol
    thresholds: dict[str, float]
    thresholds_from: ThresholdSource
    package_digest: str
    tuning_sha256: str = ""
    frozen_at: datetime
    sha256: str


def declare(settings: Mapping[str, Any]) -> Protocol:
    """Return the protocol that ``settings`` (a plain mapping, such as a configuration group) declares.

    Raises
    ------
    ConfigError
        With every key that is wrong.
    """
    try:
        return Protocol.model_validate(dict(settings))
    except ValidationError as error:
        places = [f"{'.'.join(map(str, e['loc'])) or 'evaluation'}: {e['msg']}" for e in error.errors()]
        raise ConfigError(
            "The evaluation protocol is not sound.",
            where="evaluation",
            got="; ".join(places),
            fix="correct the keys named above; see the docstring of medimg.evaluation.protocol.Protocol",
        ) from error


def freeze(
    protocol: Protocol,
    thresholds: Mapping[str, float],
    *,
    package_digest: str,
    thresholds_from: str = "tuning",
    tuning_sha256: str = "",
    at: datetime | None = None,
) -> FrozenProtocol:
    """Bind a protocol, its thresholds and the model package together, before the held-out scans are opened.

    Parameters
    ----------
    protocol : Protocol
        As declared.
    thresholds : mapping of str to float
        Target to operating point. Rounded to nine significant digits: use the returned ones from here on.
    package_digest : str
        Digest of the candidate package.
    thresholds_from : {'tuning', 'declared'}
        The split that the thresholds were chosen on.
    tuning_sha256 : str
        Digest of the foreign table of that split, where there was one.
    at : datetime, optional
        With time zone; now by default.

    Raises
    ------
    ConfigError
        Where the thresholds come from any other split.
    """
    if thresholds_from not in ("tuning", "declared"):
        raise ConfigError(
            "Thresholds may not be chosen on the scans that they are judged on.",
            where="evaluation.thresholds_from",
            got=thresholds_from,
            expected="tuning or declared",
            fix="choose the thresholds on the tuning split",
        )
    frozen = FrozenProtocol(
        declared=protocol,
        thresholds={name: round_significant(float(value)) for name, value in thresholds.items()},
        thresholds_from="tuning" if thresholds_from == "tuning" else "declared",
        package_digest=package_digest,
        tuning_sha256=tuning_sha256,
        frozen_at=at or datetime.now(UTC),
        sha256="",
    )
    return frozen.model_copy(update={"sha256": protocol_digest(frozen)})


def protocol_digest(frozen: FrozenProtocol) -> str:
    """Return the SHA-256 of the canonical JSON of a frozen protocol, without its time and digest."""
    return digest(frozen.model_dump(mode="json", exclude={"frozen_at", "sha256"}))


def check_frozen(frozen: FrozenProtocol, *, predicted_at: datetime | None = None) -> None:
    """Refuse a protocol that was changed after freezing, or that was frozen after the predictions were made.

    Raises
    ------
    InputError
        Where the digest does not match, or ``predicted_at`` lies before ``frozen_at``.
    """
    expected = protocol_digest(frozen)
    if frozen.sha256 != expected:
        raise InputError(
            "The frozen protocol was changed after it was frozen.",
            where="protocol",
            got=frozen.sha256[:12],
            expected=expected[:12],
            fix="evaluate with the protocol as it was frozen, or freeze anew and predict anew",
        )
    if predicted_at is not None and predicted_at < frozen.frozen_at:
        raise InputError(
            "The held-out predictions are older than the protocol.",
            where="protocol.frozen_at",
            got=f"predicted {predicted_at.isoformat()}, frozen {frozen.frozen_at.isoformat()}",
            expected="a protocol that is frozen before the held-out scans are opened",
            fix="predict the held-out scans again after the protocol is frozen",
        )
