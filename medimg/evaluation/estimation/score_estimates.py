"""Metrics of case scores and calls, estimated on one group: ranking, calibration, net benefit, predictive values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from medimg.evaluation.estimation.measured import Measured, describe, left_out_words, purpose, share, with_note
from medimg.evaluation.metrics import calibration, calibration_bins, ranking
from medimg.evaluation.metrics.auc import auc_estimate
from medimg.evaluation.metrics.bootstrap import stream
from medimg.evaluation.metrics.intervals import Estimate, unseen_bounds
from medimg.evaluation.metrics.levels import Levels, Linear, influences, linear_estimate, logit_estimate
from medimg.evaluation.metrics.net_benefit import net_benefit_estimate
from medimg.evaluation.metrics.predictive import Which, predictive_value
from medimg.evaluation.protocol import EndpointRule, Protocol
from medimg.evaluation.selection import Rows, Selection

Estimator = Callable[[EndpointRule, Selection, Protocol], Measured]
OfLevels = Callable[[Levels, EndpointRule, Protocol], Estimate]


def auc(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    """Estimate the area under the ROC curve."""
    rows, levels = selection.scored, selection.levels
    placed = None
    if levels.positive.any() and levels.negative.any():
        area = ranking.whole_area(levels)
        placed = area.value, np.where(levels.truth, area.positive[levels.level], area.negative[levels.level])
    estimate = auc_estimate(levels.truth, rows["score"], rows["patient"], protocol.confidence, placed=placed)
    return _described(estimate, selection, levels, rows)


def call_rate(condition: str, value: int, empty: str, *, right: bool = True) -> Estimator:
    """Return the estimator of P(call is right, or wrong | truth or call has ``value``)."""

    def estimator(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
        called = selection.cases.known("predicted", "truth")
        rows = called.where(called[condition] == value)
        uncalled = len(selection.cases) and not len(called)
        missing = "no threshold was frozen for this target" if uncalled else empty
        return share(rows, (rows["truth"] == rows["predicted"]) == right, rows["truth"] == 1, protocol, missing)

    return estimator


def predictive(which: Which) -> Estimator:
    """Return the estimator of a predictive value at the declared prevalence."""

    def estimator(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
        rows = selection.cases.known("predicted", "truth")
        positive = rows["truth"] == 1
        prevalence = protocol.prevalence.get(rule.target)
        if prevalence is None:
            estimate = Estimate.undefined("no prevalence was declared for this target")
        elif not len(rows):
            estimate = Estimate.undefined("no case with a call")
        else:
            called = rows["predicted"] == 1
            estimate = predictive_value(which, prevalence, positive, called, rows["patient"], protocol.confidence)
        return describe(estimate, rows, positive, len(selection.cases) - len(rows))

    return estimator


def of_scores(
    estimate_of: OfLevels, *, failed_count: bool = True, probabilities: bool = False, positives: bool = True
) -> Estimator:
    """Return the estimator of a metric of scores.

    Parameters
    ----------
    estimate_of : callable
        The metric; it is asked for non-empty levels only.
    failed_count : bool
        Failed cases count as the worst outcome; False leaves them out and counts them in the note.
    probabilities : bool
        Undefined where scores lie outside 0 to 1.
    positives : bool
        Undefined without a positive.
    """

    def estimator(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
        levels, rows = selection.levels, selection.scored
        if not failed_count and not np.isfinite(levels.score).all():
            rows = rows.where(np.isfinite(rows["score"]))
            levels = levels.finite()
        wrong = calibration.why_no_probabilities(levels.finite()) if probabilities else None
        if not len(rows):
            estimate = Estimate.undefined("no case with a score")
        elif wrong is not None or (positives and not levels.positive.any()):
            estimate = Estimate.undefined(wrong or "no positive case")
        else:
            estimate = estimate_of(levels, rule, protocol)
        return _described(estimate, selection, levels, rows)

    return estimator


def _described(estimate: Estimate, selection: Selection, levels: Levels, rows: Rows) -> Measured:
    """Return what :func:`describe` would, counting the patients behind the same levels once."""
    left_out = len(selection.cases) - len(rows)
    if "counts" not in levels.memo:
        levels.memo["counts"] = describe(Estimate.undefined("not asked"), rows, levels.truth)
    if left_out:
        estimate = with_note(estimate, left_out_words(left_out))
    counted: Measured = levels.memo["counts"]
    return replace(counted, estimate=estimate)


def _auprc(levels: Levels, rule: EndpointRule, protocol: Protocol) -> Estimate:
    prevalence = float(levels.positive.sum() / levels.total.sum())
    note = f"a score that says nothing reaches {prevalence:.3g}, the share of positives here"
    return logit_estimate(levels, ranking.average_precision(levels), protocol.confidence, note=note)


def _partial_auc(levels: Levels, rule: EndpointRule, protocol: Protocol) -> Estimate:
    if not levels.negative.any():
        return Estimate.undefined("no negative case")
    limit = rule.level or 1.0
    note = f"false positive rates up to {limit:g}; 0.5 is a score that says nothing (McClish)"
    return logit_estimate(levels, ranking.partial_area(levels, limit), protocol.confidence, note=note)


def _recalibration(fit: Callable[[Levels], Linear], *, slope: bool) -> OfLevels:
    def estimate(levels: Levels, rule: EndpointRule, protocol: Protocol) -> Estimate:
        reason = calibration.why_no_recalibration(levels, slope=slope)
        if reason is not None:
            return Estimate.undefined(reason)
        found = linear_estimate(levels, fit(levels), protocol.confidence)
        found = replace(found, method=f"logistic recalibration, sandwich, {found.method}" if found.method else None)
        _, moved = calibration.log_odds(levels)
        return with_note(found, f"{moved} scores of 0 or 1 taken as {calibration.EDGE:g} from it") if moved else found

    return estimate


def _brier(levels: Levels, rule: EndpointRule, protocol: Protocol) -> Estimate:
    score = calibration.brier(levels)
    found = linear_estimate(levels, score, protocol.confidence, low=0.0, high=1.0)
    if not np.isfinite(levels.score).all():
        return found
    bins = calibration_bins.equal_mass(levels)
    parts = calibration_bins.murphy_parts(bins)
    within = score.value - (parts[0] - parts[1] + parts[2])
    words = "reliability {:.4f} - resolution {:.4f} + uncertainty {:.4f}".format(*parts)
    return with_note(found, f"= {words} + {within:.4f} within {len(bins.n)} bins")


def _binned_error(power: int) -> OfLevels:
    """Return the estimator of the expected calibration error (``power`` 1) or of Murphy's reliability (2)."""
    measure = calibration_bins.expected_error if power == 1 else calibration_bins.reliability

    def estimate(levels: Levels, rule: EndpointRule, protocol: Protocol) -> Estimate:
        bins = calibration_bins.equal_mass(levels)
        rng = stream(protocol.seed, purpose(rule, levels.codes))
        draws, confidence = protocol.replicates, protocol.confidence
        found = calibration_bins.invert(measure, levels, bins, rng, draws=draws, confidence=confidence)
        note = (
            f"{len(bins.n)} bins of equal mass; uncorrected {found.raw:.4f}; a perfectly calibrated model with these "
            f"scores would show {found.by_chance:.4f} by chance (95th percentile {found.by_chance_95:.4f})"
        )
        change = influences(levels, calibration_bins.error_influence(bins, levels, power))
        low, high, method = found.low, found.high, "test inversion over calibration bins"
        if high <= 0:
            low, high = unseen_bounds(0.0, levels.n_patients, confidence)
            method = "bounds for values that do not vary"
        method += " (patient clusters)" if levels.clustered else ""
        return Estimate(found.value, low, min(high, 1.0), method, note=note, patients=levels.codes, influence=change)

    return estimate


def _resolution(levels: Levels, rule: EndpointRule, protocol: Protocol) -> Estimate:
    bins = calibration_bins.equal_mass(levels)
    return linear_estimate(levels, calibration_bins.resolution(bins), protocol.confidence, low=0.0, high=1.0)


def _uncertainty(levels: Levels, rule: EndpointRule, protocol: Protocol) -> Estimate:
    return linear_estimate(levels, calibration_bins.uncertainty(levels), protocol.confidence, low=0.0, high=1.0)


def _net_benefit(levels: Levels, rule: EndpointRule, protocol: Protocol) -> Estimate:
    return net_benefit_estimate(levels, rule.level or 0.5, protocol.confidence)


def prevalence(rule: EndpointRule, selection: Selection, protocol: Protocol) -> Measured:
    """Estimate the share of positives of the group: it decides predictive values, precision and Brier score."""
    rows: Rows = selection.cases.known("truth")
    positive = rows["truth"] == 1
    return share(rows, positive, positive, protocol, "no case to count")


SCORE_ESTIMATORS: dict[str, Estimator] = {
    "auc": auc,
    "partial_auc": of_scores(_partial_auc),
    "auprc": of_scores(_auprc),
    "sensitivity": call_rate("truth", 1, "no positive case"),
    "specificity": call_rate("truth", 0, "no negative case"),
    "underdiagnosis": call_rate("truth", 1, "no positive case", right=False),
    "ppv": call_rate("predicted", 1, "no case was called positive"),
    "npv": call_rate("predicted", 0, "no case was called negative"),
    "ppv_at_prevalence": predictive("positive"),
    "npv_at_prevalence": predictive("negative"),
    "prevalence": prevalence,
    "calibration_intercept": of_scores(
        _recalibration(calibration.calibration_intercept, slope=False), failed_count=False, probabilities=True
    ),
    "calibration_slope": of_scores(
        _recalibration(calibration.calibration_slope, slope=True), failed_count=False, probabilities=True
    ),
    "brier": of_scores(_brier, probabilities=True, positives=False),
    "brier_reliability": of_scores(_binned_error(2), failed_count=False, probabilities=True, positives=False),
    "brier_resolution": of_scores(_resolution, failed_count=False, probabilities=True, positives=False),
    "brier_uncertainty": of_scores(_uncertainty, failed_count=False, probabilities=True, positives=False),
    "ece": of_scores(_binned_error(1), failed_count=False, probabilities=True, positives=False),
    "net_benefit": of_scores(_net_benefit, probabilities=True, positives=False),
}
