"""The gap of one ancestry to the others within the same sites, pooled over sites.

Ancestry and site often go together; within a site they do not. The gaps of the sites are pooled with random effects
(:mod:`medimg.evaluation.metrics.pooling`). Two sites cannot show how sites vary (that interval would have one degree of
freedom), so of two a common gap is estimated, which speaks for these two alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medimg.evaluation.comparison.verdicts import shortfall
from medimg.evaluation.document_parts import WithinSites
from medimg.evaluation.estimation.estimates import Measured, measure
from medimg.evaluation.evidence import Evidence, Key, Members
from medimg.evaluation.groups import LAST
from medimg.evaluation.metrics.intervals import difference, quantile
from medimg.evaluation.metrics.pooling import pool
from medimg.evaluation.protocol import EndpointRule, Protocol

NO_SITE = "no site holds enough patients of this ancestry and of the ones it is compared with"
METHOD = "group minus other known ancestries of the same site"


def within_sites(evidence: Evidence, rules: Sequence[EndpointRule]) -> list[WithinSites]:
    """Return the pooled gap of each known ancestry for each primary endpoint.

    A site counts for an ancestry where both it and the other known ancestries (or the declared reference group) hold
    ``suppress_below`` patients, and as many with a positive or a negative where the metric rests on them.
    """
    declared = evidence.declared
    if not {"ancestry", "site"} <= set(declared.axes):
        return []
    groups: dict[str, dict[str, Members]] = {}
    for key, parts in evidence.crossed("ancestry", "site").items():
        if parts["ancestry"] not in LAST:
            groups.setdefault(parts["site"], {})[parts["ancestry"]] = evidence.members(key)
    present = {ancestry for site in groups.values() for ancestry in site}
    ancestries = [value for axis, value in evidence.keys if axis == "ancestry" and value in present]
    enough = declared.model_copy(
        update=dict.fromkeys(
            ("min_patients", "min_positives", "min_negatives", "min_positives_auc"), declared.suppress_below
        )
    )
    found = []
    for rule in (rule for rule in rules if rule.primary):
        for value in ancestries:
            reference = _reference(evidence, ("ancestry", value))
            if reference != value:
                gaps = _gaps(evidence, rule, value, reference, groups, enough)
                found.append(_pooled(rule, value, gaps, declared))
    return found


def _reference(evidence: Evidence, key: Key) -> str:
    return evidence.reference(key)[0]


def _gaps(
    evidence: Evidence,
    rule: EndpointRule,
    value: str,
    reference: str,
    groups: dict[str, dict[str, Members]],
    enough: Protocol,
) -> list[tuple[float, float, float]]:
    """Return the gap with its interval at every site that holds enough of both."""
    found = []
    for site in groups.values():
        names = [name for name in site if name != value and reference in ("rest", name)]
        if value not in site or not names or len({site[name].table for name in (value, *names)}) > 1:
            continue
        rows = np.logical_or.reduce([site[name].rows for name in names])
        outside = Members(rows, site[value].table)
        mine, theirs = (_measured(evidence, rule, members, enough) for members in (site[value], outside))
        if mine is not None and theirs is not None:
            found.append(difference(mine.estimate, theirs.estimate))
    return found


def _measured(evidence: Evidence, rule: EndpointRule, members: Members, enough: Protocol) -> Measured | None:
    measured = measure(rule, evidence.select(rule.target, members), enough)
    return None if shortfall(rule, measured, enough) is not None else measured


def _pooled(
    rule: EndpointRule, value: str, gaps: Sequence[tuple[float, float, float]], declared: Protocol
) -> WithinSites:
    z = quantile(declared.confidence)
    usable = np.array([(gap, (high - low) / (2 * z)) for gap, low, high in gaps if high > low]).reshape(-1, 2)
    pooled = pool(usable[:, 0], usable[:, 1], declared.confidence) if len(usable) else None
    return WithinSites(
        endpoint=rule.id,
        value=value,
        gap=None if pooled is None else pooled.gap,
        low=None if pooled is None else pooled.low,
        high=None if pooled is None else pooled.high,
        n_sites=len(usable),
        heterogeneity=None if pooled is None else pooled.heterogeneity,
        method=METHOD if pooled is None else f"{METHOD}; {pooled.method}",
        reason=NO_SITE if pooled is None else None,
    )
