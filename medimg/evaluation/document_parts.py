"""Parts of report.json that stand beside the table of groups: curves, comparisons, and what was suppressed."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Base of every part: unknown keys and NaN are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())


class CalibrationPoint(Part):
    """One bin of equal mass: mean score, share of positives with its interval, and how many cases."""

    score: float
    observed: float
    low: float
    high: float
    n_cases: int


class CalibrationCurve(Part):
    """How well the scores of one target mean what they say in one group."""

    target: str
    axis: str
    value: str
    points: list[CalibrationPoint]
    n_patients: int
    note: str | None = None


class DecisionCurve(Part):
    """Net benefit (Vickers & Elkin 2006) of one target in one group over the declared thresholds.

    ``treat_all`` calls everyone positive; calling nobody positive has net benefit 0.
    """

    target: str
    axis: str
    value: str
    thresholds: list[float]
    net_benefit: list[float]
    low: list[float]
    high: list[float]
    treat_all: list[float]
    n_patients: int


class ThresholdShift(Part):
    """What the one frozen threshold does in a group, and the threshold that the group itself would have needed.

    ``needed`` reaches the sensitivity ``aim`` in this group; ``false_positive_rate`` is at the frozen threshold.
    """

    target: str
    axis: str
    value: str
    threshold: float
    aim: float
    sensitivity: float | None
    false_positive_rate: float | None
    needed: float | None
    needed_low: float | None
    needed_high: float | None
    reason: str | None = None


class IntersectionCount(Part):
    """How many cells of two axes occur, and how many hold enough to be printed."""

    axes: tuple[str, str]
    n_cells: int
    n_shown: int


class CredibleGap(Part):
    """The largest disadvantage on an axis that the intervals vouch for.

    ``at_least`` is the end of the interval of (better minus worse) next to 0, 0 where it includes 0; ``at_most`` is
    the far end. Intervals are simultaneous over the pairs of the axis.
    """

    endpoint: str
    axis: str
    worse: str
    better: str
    estimate: float
    at_least: float
    at_most: float
    n_pairs: int
    method: str


class Standardised(Part):
    """One group at the case mix of everyone (direct standardisation), beside its raw value.

    ``share_supported``: share of everyone's cases (of the worse outcome class for areas) in strata that this group and
    its reference both hold; the other strata are left out of both and counted, never extrapolated; below a half no
    number is given. ``gap`` is the standardised group minus its reference, standardised to the same mix.
    ``n_effective``: (sum of weights)^2 / sum of squared weights.
    """

    endpoint: str
    axis: str
    value: str
    covariates: list[str]
    raw: float | None
    estimate: float | None
    low: float | None
    high: float | None
    gap: float | None
    gap_low: float | None
    gap_high: float | None
    n_effective: float | None
    share_supported: float | None
    n_strata: int
    n_strata_unsupported: int
    method: str
    reason: str | None = None


class WithinSites(Part):
    """The gap of one ancestry to the others within the same sites, pooled over sites (random effects)."""

    endpoint: str
    value: str
    gap: float | None
    low: float | None
    high: float | None
    n_sites: int
    heterogeneity: float | None = None
    method: str
    reason: str | None = None


class Separability(Part):
    """Whether ancestry can be told apart from site in this test set. ``association``: bias-corrected Cramer's V."""

    separable: bool
    n_sites: int
    n_sites_with_two: int
    association: float | None
    text: str


class Suppression(Part):
    """What was held back: cells of 1 to ``below`` - 1 patients, and the cells that would have given them away."""

    applied: bool
    below: int
    n_small: int
    n_complement: int
    rule: str
    audit: Literal["passed", "not needed", "not run"] = "not run"
