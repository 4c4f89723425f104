"""Groups at the case mix of everyone, beside their raw values.

A group may do worse because its cases are harder: older people, another scanner. Each case of the group is weighted so
that its strata get the shares that they have among everyone's cases (of the same outcome class). Strata that the group
or its reference lacks are left out of both and counted: nothing is extrapolated. The raw value is never replaced by the
standardised one, since the raw one is what patients experience.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medimg.evaluation.comparison.case_mix import (
    MIN_PATIENTS,
    Mask,
    MixedCases,
    everyone,
    mixed_area,
    mixed_sum,
    patients_held,
    shares,
    weighted,
)
from medimg.evaluation.comparison.cells import Cell
from medimg.evaluation.comparison.contributions import SUMS
from medimg.evaluation.document_parts import Standardised
from medimg.evaluation.evidence import OVERALL, Evidence
from medimg.evaluation.groups import LAST
from medimg.evaluation.metrics.intervals import Ints, difference
from medimg.evaluation.protocol import EndpointRule

MIN_SUPPORT = 0.5
"""Share of everyone's cases that must lie in supported strata: below it the mix would no longer be everyone's."""
AXES_FOR_PRIMARY = ("sex", "site")
"""Axes beside ancestry, on which the primary endpoints are standardised too."""

_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("estimate", "low", "high", "gap", "gap_low", "gap_high", "n_effective", "share_supported")),
    "n_strata": 0,
    "n_strata_unsupported": 0,
    "method": "direct standardisation",
}


def standardised(evidence: Evidence, cells: Sequence[Cell]) -> list[Standardised]:
    """Return the standardised value of every known ancestry for the declared endpoints, of sexes and sites for primary.

    Parameters
    ----------
    evidence : Evidence
        Counts without rows cannot be standardised: they give none.
    cells : sequence of Cell
        Of the report: they give the raw values, and what is compared with what. Those held back get none.
    """
    table = evidence.table
    if table is None or not evidence.declared.standardise_by:
        return []
    families: dict[tuple[str, str], dict[int, Cell]] = {}
    for place, cell in enumerate(cells):
        if _wanted(cell):
            families.setdefault((cell.axis, cell.rule.id), {})[place] = cell
    codes = {name: pd.factorize(table[f"axis_{name}"], sort=True) for name in evidence.declared.standardise_by}
    found = {}
    for (axis, _), members in families.items():
        covariates = [str(name) for name in codes if name != axis]
        stratum, n_strata = _strata(len(table), [codes[name] for name in codes if name != axis])
        cases = _prepare(next(iter(members.values())).rule, evidence, stratum, n_strata)
        for place, cell in members.items():
            found[place] = _standardise(cell, cases, evidence, covariates)
    return [found[place] for place in sorted(found)]


def _wanted(cell: Cell) -> bool:
    if cell.value in LAST or cell.rule.better == "none" or cell.held_back or not cell.measured.n_cases:
        return False
    if cell.rule.family == "panel":
        return False
    return cell.axis == "ancestry" or (cell.axis in AXES_FOR_PRIMARY and cell.rule.primary)


def _strata(n_rows: int, codes: Sequence[tuple[NDArray[np.intp], Any]]) -> tuple[Ints, int]:
    """Return the stratum of each row of the table, and how many strata there are.

    Parameters
    ----------
    n_rows : int
    codes : sequence of (codes, names)
        Of each covariate.
    """
    stratum, n_strata = np.zeros(n_rows, np.int64), 1
    for values, names in codes:
        stratum = stratum * len(names) + values
        n_strata *= len(names)
    return stratum, n_strata


def _prepare(rule: EndpointRule, evidence: Evidence, stratum: Ints, n_strata: int) -> MixedCases | None:
    cases = evidence.select(rule.target, evidence.members(OVERALL)).cases
    if rule.metric == "auc":
        return mixed_area(cases, stratum, n_strata)
    return mixed_sum(rule, cases, stratum, n_strata) if rule.metric in SUMS else None


def _standardise(cell: Cell, cases: MixedCases | None, evidence: Evidence, covariates: list[str]) -> Standardised:
    found: dict[str, Any] = {}
    if cell.measured.estimate.value is None:
        found["reason"] = cell.measured.estimate.reason
    elif cases is None:
        found["reason"] = "no sum over cases: it has no standardised form here"
    elif not cell.compared:
        found["reason"] = "the reference of its axis: see the gaps of the other groups"
    else:
        key = (cell.axis, cell.value)
        inside, outside = evidence.members(key).rows, evidence.reference(key)[1].rows
        found = _compare(cases, inside[cases.row], outside[cases.row], evidence.declared.confidence)
    return Standardised(
        endpoint=cell.rule.id,
        axis=cell.axis,
        value=cell.value,
        covariates=covariates,
        raw=cell.measured.estimate.value,
        **{**_NOTHING, **found},
    )


def _compare(cases: MixedCases, inside: Mask, outside: Mask, confidence: float) -> dict[str, Any]:
    """Return the fields of group (``inside``) and reference (``outside``) at the mix that both support."""
    total = everyone(cases)
    held, held_outside = patients_held(cases, inside), patients_held(cases, outside)
    kept = np.where((held >= MIN_PATIENTS) & (held_outside >= MIN_PATIENTS), total, 0.0)
    share, covered = shares(cases, kept)
    found: dict[str, Any] = {
        "share_supported": covered,
        "n_strata": int(np.count_nonzero(total)),
        "n_strata_unsupported": int(np.count_nonzero(total) - np.count_nonzero(kept)),
    }
    if covered < MIN_SUPPORT:
        found["reason"] = f"only {covered:.0%} of everyone's cases lie in strata that group and reference both hold"
        return found
    mine, n_effective = weighted(cases, inside, share, held, confidence)
    theirs, _ = weighted(cases, outside, share, held_outside, confidence)
    found |= {"estimate": mine.value, "low": mine.low, "high": mine.high, "n_effective": n_effective}
    found["reason"] = mine.reason or theirs.reason
    if mine.method:
        found["method"] = f"direct standardisation; {mine.method}"
    if mine.low is not None and theirs.low is not None:
        found["gap"], found["gap_low"], found["gap_high"] = difference(mine, theirs)
    return found
