"""Everyone but one group, from what is known of everyone and of the group: no case of the rest is looked at.

The rest of each of a hundred small groups is nearly everyone; measuring it a hundred times over is most of the work of
a large report. Rates, means and areas under the ROC curve of the rest follow exactly. Their variance is that of the
patients' influences on the value of everyone, those of the group taken out (for areas: with placements among everyone
in place of the rest).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import special

from medimg.evaluation.comparison.contributions import SUMS
from medimg.evaluation.estimation.measured import Measured
from medimg.evaluation.metrics.intervals import Estimate, quantile, wilson
from medimg.evaluation.protocol import EndpointRule

SIMPLE = ("ppv", "npv")
"""Shares of cases beside those of :mod:`medimg.evaluation.comparison.contributions`."""


class Everyone:
    """One endpoint as measured on everyone, ready to have groups taken out."""

    def __init__(self, rule: EndpointRule, measured: Measured) -> None:
        self.rule, self.measured = rule, measured
        estimate = measured.estimate
        self._squares = float(np.sum(estimate.influence**2))
        # By patient code: looking a group's patients up must not depend on how many patients there are.
        self._influence = np.zeros(int(estimate.patients[-1]) + 1 if len(estimate.patients) else 0)
        self._influence[estimate.patients] = estimate.influence

    def less(self, group: Measured, confidence: float) -> Measured | None:
        """Return what is measured on everyone outside a group.

        Parameters
        ----------
        group : Measured
            The same endpoint on the group. All cases of each of its patients must belong to it.
        confidence : float

        Returns
        -------
        Measured or None
            None where the metric does not follow, or either lacks an interval: then it must be measured.
        """
        whole, metric = self.measured, self.rule.metric
        if whole.estimate.low is None or group.estimate.value is None or whole.n_cases <= group.n_cases:
            return None
        taken = self._influence[group.estimate.patients]
        if metric == "auc":
            found = self._area(group, float(taken.sum()))
        elif metric in SUMS or metric in SIMPLE:
            found = self._ratio(group)
        else:
            return None
        if found is None:
            return None
        value, scale = found
        n_patients = len(whole.estimate.patients) - len(taken)
        left = self._squares - float(np.sum(taken**2)) - float(taken.sum()) ** 2 / max(1, n_patients)
        n_cases = whole.n_cases - group.n_cases
        estimate = _interval(self.rule, value, max(0.0, left) * scale**2, n_cases, n_patients, confidence)
        return None if estimate is None else _less(whole, group, estimate)

    def _ratio(self, group: Measured) -> tuple[float, float] | None:
        """Return the value of the rest, and by how much its influences exceed those on everyone's value."""
        lesions = self.rule.metric == "lesion_sensitivity"
        n, of_group = (float((m.n_positives if lesions else m.n_cases) or 0) for m in (self.measured, group))
        rest = n - of_group
        if rest <= 0:
            return None
        value = (self.measured.estimate.value or 0.0) * n - (group.estimate.value or 0.0) * of_group
        return value / rest, n / rest

    def _area(self, group: Measured, influence: float) -> tuple[float, float] | None:
        """Return the area of the rest: the pairs of everyone less those that hold a case of the group.

        An influence is (placement - area) / cases of the class: their sum gives the pairs with one case of the group.
        """
        positives, negatives = (float(n or 0) for n in (self.measured.n_positives, self.measured.n_negatives))
        mine = [float(n or 0) for n in (group.n_positives, group.n_negatives)]
        rest = positives - mine[0], negatives - mine[1]
        if min(rest) <= 0:
            return None
        area = self.measured.estimate.value or 0.0
        mixed = positives * negatives * influence + area * (mine[0] * negatives + mine[1] * positives)
        inside = (group.estimate.value or 0.0) * mine[0] * mine[1]
        value = (area * positives * negatives - mixed + inside) / (rest[0] * rest[1])
        return value, max(positives / rest[0], negatives / rest[1])


def _interval(
    rule: EndpointRule, value: float, variance: float, n_cases: int, n_patients: int, confidence: float
) -> Estimate | None:
    rate = rule.metric in SIMPLE or (rule.metric in SUMS and SUMS[rule.metric].rate)
    if n_patients < 2 or variance <= 0 or ((rate or rule.metric == "auc") and not 1e-9 < value < 1 - 1e-9):
        return None
    z, error = quantile(confidence), float(np.sqrt(variance))
    if rate:
        effective = min(float(n_cases), value * (1 - value) / variance)
        low, high = wilson(value * effective, effective, confidence)
        return Estimate(value, low, high, "Wilson, from everyone's", n_effective=effective)
    if rule.metric == "auc":
        half = z * error / (value * (1 - value))
        low, high = (float(special.expit(special.logit(value) + side * half)) for side in (-1, 1))
        return Estimate(value, low, high, "logit, from everyone's")
    half = float(special.stdtrit(n_patients - 1, 0.5 + confidence / 2)) * error
    return Estimate(value, value - half, value + half, "t, from everyone's")


def _less(everyone: Measured, group: Measured, estimate: Estimate) -> Measured:
    def minus(one: int | None, other: int | None) -> int | None:
        return None if one is None or other is None else one - other

    return replace(
        everyone,
        estimate=estimate,
        n_cases=everyone.n_cases - group.n_cases,
        n_patients=everyone.n_patients - group.n_patients,
        n_positives=minus(everyone.n_positives, group.n_positives),
        n_negatives=minus(everyone.n_negatives, group.n_negatives),
        n_failed=everyone.n_failed - group.n_failed,
        patients_positive=everyone.patients_positive - group.patients_positive,
        patients_negative=everyone.patients_negative - group.patients_negative,
    )
