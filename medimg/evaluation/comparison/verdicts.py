"""Verdicts: whether a group reaches the floor, and whether it keeps up with the others.

Floor: the whole interval on the good side MEETS; the whole interval on the bad side DOES NOT MEET; else
INCONCLUSIVE. Gap: the same, of group minus reference against minus the margin. A difference that is not
significant is never read as no difference. Too few patients, positives or negatives: INSUFFICIENT DATA.

A DOES NOT MEET of a group must also survive the adjustment over its family (Holm for primary endpoints,
Benjamini-Hochberg for the others), at the one-sided level of the interval: 0.025 at a confidence of 95 %. Floors and
gaps are adjusted apart, so that equal ancestries are called unequal in at most 5 % of test sets. MEETS needs no
adjustment, since every group has to meet.
"""

from __future__ import annotations

import numpy as np

from medimg.evaluation.document import Verdict
from medimg.evaluation.endpoints import LOWEST, METRICS
from medimg.evaluation.estimation.estimates import Measured
from medimg.evaluation.metrics.intervals import Estimate, one_sided_p, quantile
from medimg.evaluation.protocol import EndpointRule, Protocol


def shortfall(rule: EndpointRule, measured: Measured, protocol: Protocol) -> str | None:
    """Return what a group lacks for a verdict, or None. Positives and negatives are counted in patients."""
    estimate = measured.estimate
    if estimate.value is None or estimate.low is None:
        return estimate.reason
    needs = METRICS[rule.metric].needs
    positives = max(protocol.min_positives, protocol.min_positives_auc if rule.metric == "auc" else 0)
    checks = [("patients", measured.n_patients, protocol.min_patients)]
    if needs in ("positives", "both"):
        checks.append(("patients with a positive", measured.patients_positive, positives))
    if needs in ("negatives", "both"):
        checks.append(("patients with a negative", measured.patients_negative, protocol.min_negatives))
    # A verdict on fewer than may be published would tell that there are so few, or more.
    least = protocol.suppress_below if protocol.suppress else 0
    checks = [(what, have, max(need, least)) for what, have, need in checks]
    lacking = [f"{published(have, protocol)} of the {need} {what} needed" for what, have, need in checks if have < need]
    return "; ".join(lacking) or None


def is_small(count: int, protocol: Protocol) -> bool:
    """Return whether a count may not be published."""
    return protocol.suppress and 0 < count < protocol.suppress_below


def published(count: int, protocol: Protocol) -> str:
    """Return a count in words that give no small cell away."""
    return f"fewer than {protocol.suppress_below}" if is_small(count, protocol) else str(count)


def judge(low: float, high: float, limit: float) -> Verdict:
    """Return the verdict of an interval against a limit, higher being better.

    >>> judge(0.82, 0.9, 0.8), judge(0.7, 0.79, 0.8), judge(0.75, 0.85, 0.8)
    ('MEETS', 'DOES NOT MEET', 'INCONCLUSIVE')
    """
    if low >= limit:
        return "MEETS"
    return "DOES NOT MEET" if high < limit else "INCONCLUSIVE"


def judge_against(
    value: float, low: float, high: float, limit: float, rule: EndpointRule, confidence: float
) -> tuple[Verdict, float]:
    """Return the verdict and the one-sided p-value of 'truly on the good side of ``limit``'."""
    if rule.better == "lower":
        value, low, high, limit = -value, -high, -low, -limit
    return judge(low, high, limit), one_sided_p(value, high, limit, confidence)


def after_adjustment(verdict: Verdict | None, p_adjusted: float, confidence: float) -> Verdict | None:
    """Return the verdict once the family of claims is taken into account; ``p_adjusted`` is one-sided."""
    if verdict == "DOES NOT MEET" and p_adjusted >= (1 - confidence) / 2:
        return "INCONCLUSIVE"
    return verdict


def smallest_detectable_gap(
    rule: EndpointRule, group: Estimate, reference: Estimate, protocol: Protocol
) -> float | None:
    """Return the smallest true disadvantage of the group that this test set would find with the declared power.

    Rates: arcsine (Cohen 1988, effect size h) at the effective numbers; elsewhere from the two standard errors.
    None where no disadvantage would be found, or an interval is missing.
    """
    if group.low is None or group.high is None or reference.low is None or reference.high is None:
        return None
    z = quantile(protocol.confidence)
    total = z + quantile(2 * protocol.power - 1)
    if group.n_effective and reference.n_effective and reference.value is not None:
        return detectable_rate_gap(
            reference.value, group.n_effective, reference.n_effective, total, lower=rule.better == "lower"
        )
    widths = np.array([group.high - group.low, reference.high - reference.low])
    gap = float(total * np.linalg.norm(widths / (2 * z)))
    room = _room(rule, reference.value)
    return gap if room is None or gap <= room else None


def _room(rule: EndpointRule, reference: float | None) -> float | None:
    """Return how far below (fractions where lower is better: above) the reference a group can be; None: no limit."""
    metric = METRICS[rule.metric]
    if metric.unit != "fraction" or reference is None:
        return None
    worst = 1.0 if rule.better == "lower" else LOWEST.get(rule.metric, 0.0)
    return abs(reference - worst)


def detectable_rate_gap(rate: float, n_group: float, n_reference: float, total: float, *, lower: bool) -> float | None:
    """Return the smallest detectable fall (``lower``: rise) from a reference rate; None beyond the range.

    ``total`` is the sum of the normal quantiles of significance and power.

    >>> round(detectable_rate_gap(0.85, 100, 500, 1.96 + 0.8416, lower=False), 2)
    0.12
    """
    angle = 2 * np.arcsin(np.sqrt(rate))
    shift = total * np.sqrt(1 / n_group + 1 / n_reference)
    other = angle + shift if lower else angle - shift
    if not 0 <= other <= np.pi:
        return None
    return float(abs(np.sin(other / 2) ** 2 - rate))
