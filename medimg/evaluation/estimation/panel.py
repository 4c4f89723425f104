"""The standard panel: the metrics that a reader expects of each task beside the declared endpoints.

They inform: none has a floor or a margin, none decides, and none changes the adjusted p-values of what was declared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from medimg.evaluation.metrics.intervals import Floats
from medimg.evaluation.protocol import EndpointRule, Family, Protocol
from medimg.evaluation.selection import Rows, Selection

_PARTIAL_AUC_FPR = 0.1
_REFERABLE, _SIGHT_THREATENING = 2, 3


class PanelRule(EndpointRule):
    """A rule that the standard panel added; a protocol never declares one."""

    @property
    def family(self) -> Family:
        """Adjusted apart from everything that was declared."""
        return "panel"


@dataclass(frozen=True)
class Available:
    """What the tables hold of one target.

    Attributes
    ----------
    truth, scores, calls : bool
        Whether any case has a binary truth, a score, a call at a frozen threshold.
    probabilities : bool
        Whether all scores lie in 0 to 1.
    top_grade : int or None
        Greatest grade, where cases are graded.
    nsd, distances, volumes, pixels : bool
        Whether any case has a surface Dice, a surface distance, both volumes, pixel scores.
    marks : bool
        Whether there are marks, for free-response curves.
    sizes_mm, sizes_px : bool
        Whether lesions have sizes.
    """

    truth: bool = False
    scores: bool = False
    calls: bool = False
    probabilities: bool = False
    top_grade: int | None = None
    nsd: bool = False
    distances: bool = False
    volumes: bool = False
    pixels: bool = False
    marks: bool = False
    sizes_mm: bool = False
    sizes_px: bool = False


def available(selection: Selection) -> Available:
    """Return what the tables hold, from all the cases of one target."""
    cases = selection.cases
    scores = _known(cases, "score")
    finite = scores[np.isfinite(scores)]
    grades = np.concatenate([_known(cases, "grade_true"), _known(cases, "grade_pred")])
    lesions = selection.lesions.known("size")
    in_pixels = bool(np.any(lesions["in_pixels"] == 1))
    return Available(
        truth=len(_known(cases, "truth")) > 0,
        scores=len(scores) > 0,
        calls=len(_known(cases, "predicted")) > 0,
        probabilities=bool(len(finite) and finite.min() >= 0 and finite.max() <= 1),
        top_grade=int(grades.max()) if len(grades) else None,
        nsd=len(_known(cases, "nsd")) > 0,
        distances=any(len(_known(cases, column)) for column in ("hd95_mm", "hd95_px")),
        volumes=any(len(_known(cases, column)) for column in ("volume_pred_ml", "area_pred_px")),
        pixels=selection.positive is not None,
        marks=len(selection.marks) > 0,
        sizes_mm=len(lesions) > 0 and not in_pixels,
        sizes_px=in_pixels,
    )


def _known(rows: Rows, column: str) -> Floats:
    if column not in rows.columns:
        return np.empty(0)
    values = np.asarray(rows[column], np.float64)
    return values[~np.isnan(values)]


def standard_panel(
    declared: Protocol, tasks: Mapping[str, str], has: Mapping[str, Available]
) -> tuple[EndpointRule, ...]:
    """Return the rules that the standard panel adds to the declared ones, by target.

    Parameters
    ----------
    declared : Protocol
        ``panel`` 'declared' adds nothing.
    tasks : mapping of str to str
        Task of each target.
    has : mapping of str to Available
        What the tables hold of each target; a metric that cannot exist is not added.

    Returns
    -------
    tuple of EndpointRule
        No id of a declared endpoint is among them, nor is a metric that was declared with the same parameter.
    """
    if declared.panel == "declared":
        return ()
    known = {rule.id for rule in declared.endpoints} | {_what(rule) for rule in declared.endpoints}
    found = []
    for target, task in tasks.items():
        rules = {"classification": _classification, "segmentation": _segmentation, "detection": _detection}[task]
        for settings in rules(declared, target, has.get(target, Available())):
            rule = PanelRule(target=target, **settings)
            if rule.id not in known and _what(rule) not in known:
                found.append(rule)
    return tuple(found)


def _what(rule: EndpointRule) -> tuple[Any, ...]:
    return rule.metric, rule.target, rule.rate, rule.grade, rule.level


_Settings = Iterator[dict[str, Any]]


def _named(*metrics: str) -> _Settings:
    return ({"metric": metric} for metric in metrics)


def _binary(declared: Protocol, target: str, has: Available) -> _Settings:
    if not has.truth:
        return
    if has.scores:
        yield {"metric": "auc"}
        yield {"metric": "partial_auc", "level": _PARTIAL_AUC_FPR}
        yield {"metric": "auprc"}
    if has.calls:
        yield from _named("sensitivity", "specificity", "underdiagnosis", "ppv", "npv")
        if target in declared.prevalence:
            yield from _named("ppv_at_prevalence", "npv_at_prevalence")
    yield {"metric": "prevalence"}
    if has.scores and has.probabilities:
        yield from _named("calibration_intercept", "calibration_slope", "brier")
        yield from _named("brier_reliability", "brier_resolution", "brier_uncertainty", "ece")


def _classification(declared: Protocol, target: str, has: Available) -> _Settings:
    yield from _binary(declared, target, has)
    if has.top_grade is None:
        if has.calls:
            yield {"metric": "accuracy"}
        return
    yield from _named("quadratic_kappa", "accuracy")
    views = [grade for grade in (_REFERABLE, _SIGHT_THREATENING) if grade <= has.top_grade]
    for grade in views or [1]:
        yield {"metric": "grade_sensitivity", "grade": grade}
        yield {"metric": "grade_specificity", "grade": grade}
    for grade in range(has.top_grade + 1):
        yield {"metric": "grade_recall", "grade": grade}


def _segmentation(declared: Protocol, target: str, has: Available) -> _Settings:
    yield from _named("dice_mean", "dice_median")
    floor = next((r.floor for r in declared.endpoints if r.target == target and r.metric in _DICE and r.floor), None)
    if floor is not None:
        yield {"metric": "dice_below", "level": floor}
    if has.nsd:
        yield from _named("nsd_mean", "nsd_median")
    if has.distances:
        yield from _named("hd95_mean", "hd95_median")
    yield {"metric": "missed"}
    if has.volumes:
        yield from _named("volume_bias", "volume_limit_low", "volume_limit_high")
    if has.pixels:
        yield from _named("pixel_auc", "pixel_aupr")


_DICE = ("dice_mean", "dice_median")


def _detection(declared: Protocol, target: str, has: Available) -> _Settings:
    yield from _named("lesion_sensitivity", "false_positives_per_image")
    if has.marks:
        yield from _named("cpm", "average_precision")
        yield from ({"metric": "froc_sensitivity", "rate": rate} for rate in declared.froc_rates)
    # Bands in pixels mean nothing unless somebody declared them for these pictures.
    if has.sizes_mm or (has.sizes_px and declared.lesion_sizes != Protocol.model_fields["lesion_sizes"].default):
        yield from ({"metric": "lesion_sensitivity_of_size", "level": size} for size in declared.lesion_sizes)
    yield from _binary(declared, target, has)
