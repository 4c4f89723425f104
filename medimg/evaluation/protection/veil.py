"""Holding back: what a plan of suppression takes out of cells, of the description of the test set, and of a report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from medimg.evaluation.comparison.cells import CROSS, Cell, family_of
from medimg.evaluation.document import CrossCount, GroupRow, Report, TestSet, WorstCase
from medimg.evaluation.document_parts import IntersectionCount, Separability, Suppression
from medimg.evaluation.estimation.estimates import Measured
from medimg.evaluation.groups import LAST
from medimg.evaluation.metrics.intervals import Estimate
from medimg.evaluation.protection.census import ANY, Place
from medimg.evaluation.protection.outline import NOBODY, ROW, Plan
from medimg.evaluation.protection.suppression import is_panel_grade
from medimg.evaluation.protocol import EndpointRule, Protocol
from medimg.evaluation.tables import DECLINED, UNKNOWN

WITHOUT_TRUTH = frozenset(
    {
        "accuracy",
        "dice_mean",
        "dice_median",
        "dice_below",
        "nsd_mean",
        "nsd_median",
        "hd95_mean",
        "hd95_median",
        "volume_bias",
        "volume_limit_low",
        "volume_limit_high",
        "false_positives_per_image",
    }
)
"""Metrics that tell nothing of how many cases are positive."""

RULE = (
    "Suppressed are groups and crossed groups of 1 to {most} patients, and everything that depends on truth where 1 to "
    "{most} patients have the finding, do not have it, or have a grade that is reported; then as many of the next "
    "smallest beside them as it takes. Checked by linear programming over the table of ancestry, sex, age, site, "
    "scanner and truth behind everything published, provenance among it: for each suppressed count of 1 to {most}, the "
    "values that agree with all of it reach {most} or more and span at least {span}, unless everything beside it is "
    "suppressed too. What the model did (right and wrong calls, failures) is no attribute of people and not protected."
)


def level_of(rule: EndpointRule) -> str:
    """Return the partition that an endpoint's numbers tell of; the row's own level for those that tell of none."""
    if rule.metric in WITHOUT_TRUTH:
        return ROW
    return rule.target if rule.grade is None else f"{rule.target}, grades"


def place_of(axis: str, value: str, parts: Mapping[str, str] | None = None) -> Place:
    """Return the place of a row: ``()`` for everyone."""
    if axis == "overall":
        return ()
    return tuple(parts.items()) if parts else ((axis, value),)


def veil(cells: Sequence[Cell], places: Mapping[tuple[str, str], Place], plan: Plan, protocol: Protocol) -> list[Cell]:
    """Return the cells without the numbers that are held back. Verdicts stay: nobody is to be misled by a small group.

    Parameters
    ----------
    cells : sequence of Cell
        Adjusted over their families.
    places : mapping of (axis, value) to Place
        Of every cell.
    plan : Plan
    protocol : Protocol
    """
    if not protocol.suppress:
        return list(cells)
    ungraded = _ungraded(cells, places, plan)
    thin = _thin([c for c in cells if not is_panel_grade(c.rule)], places, plan, protocol)
    kept = []
    for cell in cells:
        place = places[cell.axis, cell.value]
        reason = _reason(cell, place, plan, thin)
        if reason is None and is_panel_grade(cell.rule) and (cell.axis, cell.rule.target) in ungraded:
            reason = f"suppressed: some group of this axis has fewer than {plan.below} patients of a grade"
        if reason is None:
            kept.append(_without_hints(cell, place, places, plan, thin))
        else:
            kept.append(_bare(cell, reason, muted=plan.muted(place, level_of(cell.rule))))
    return _without_foreign_p(cells, kept)


def _ungraded(cells: Sequence[Cell], places: Mapping[tuple[str, str], Place], plan: Plan) -> frozenset[tuple[str, str]]:
    """Return the axes and targets whose grades the panel cannot report: a group has few of one, or hides its truth."""
    return frozenset(
        (cell.axis, cell.rule.target)
        for cell in cells
        if is_panel_grade(cell.rule)
        and (
            0 < cell.measured.patients_positive < plan.below
            or plan.holds_back(places[cell.axis, cell.value], cell.rule.target)
        )
    )


def _reason(cell: Cell, place: Place, plan: Plan, thin: Mapping[str, frozenset[Place]]) -> str | None:
    if plan.drops(place):
        return "suppressed: groups of these two axes together would give smaller ones away"
    if plan.holds_back(place):
        if plan.muted(place):
            return "suppressed: some group of this axis is too small to be shown"
        if plan.label(place) == "small":
            return f"suppressed: fewer than {plan.below} patients"
        return "suppressed: would give a smaller group away"
    if plan.holds_back(place, level_of(cell.rule)):
        return f"suppressed: fewer than {plan.below} patients with or without it, here or in a group beside it"
    if place in thin.get(cell.rule.id, ()):
        return f"suppressed: rests on fewer than {plan.below} patients, here or in a group beside it"
    return None


def _thin(
    cells: Sequence[Cell], places: Mapping[tuple[str, str], Place], plan: Plan, protocol: Protocol
) -> dict[str, frozenset[Place]]:
    """Return where an endpoint rests on few patients although its group holds more, and complements of those.

    On the line of an axis the sum of what is held back is known: it must reach k - 1, in more than one group.
    """
    found: dict[str, set[Place]] = {}
    counts = {(c.rule.id, places[c.axis, c.value]): c.measured.n_patients for c in cells}
    for cell in cells:
        place = places[cell.axis, cell.value]
        if 0 < cell.measured.n_patients < protocol.suppress_below and not plan.holds_back(place, level_of(cell.rule)):
            found.setdefault(cell.rule.id, set()).add(place)
    levels = {c.rule.id: level_of(c.rule) for c in cells}
    for endpoint, hidden in found.items():
        others = [place for rule_id, place in counts if rule_id == endpoint]
        if () in hidden:
            hidden |= set(others)
        for axis in {axis for place in hidden for axis, _ in place if len(place) == 1}:
            line = sorted((p for p in others if len(p) == 1 and p[0][0] == axis), key=lambda p: counts[endpoint, p])
            held = [p for p in line if p in hidden or plan.holds_back(p, levels[endpoint])]
            for place in [p for p in line if p not in held and counts[endpoint, p] > 0]:
                if len(held) > 1 and sum(counts[endpoint, p] for p in held) >= protocol.suppress_below - 1:
                    break
                held.append(place)
            hidden |= set(held)
        pairs = {tuple(axis for axis, _ in place) for place in hidden if len(place) == 2}
        hidden |= {p for p in others if tuple(axis for axis, _ in p) in pairs or any((part,) in hidden for part in p)}
    return {endpoint: frozenset(hidden) for endpoint, hidden in found.items()}


def _bare(cell: Cell, reason: str, *, muted: bool) -> Cell:
    """Return a cell with nothing but its verdicts; without those that are good or open where it is muted."""
    empty = Measured(Estimate.undefined(reason), 0, 0, None, None, 0)
    return replace(
        cell,
        measured=empty,
        lacking=reason,
        held_back=reason,
        muted=muted,
        floor_p=None,
        floor_adjusted=None,
        gap=None,
        gap_reason=reason if cell.compared else None,
        gap_p=None,
        gap_adjusted=None,
        detectable=None,
        simultaneous=None,
        bounds_note=None,
    )


def _without_hints(
    cell: Cell,
    place: Place,
    places: Mapping[tuple[str, str], Place],
    plan: Plan,
    thin: Mapping[str, frozenset[Place]],
) -> Cell:
    """Return a published cell without what it tells of others that are held back."""
    level = level_of(cell.rule)

    def held(other: Place) -> bool:
        return plan.holds_back(other, level) or other in thin.get(cell.rule.id, ())

    if any(held((("ancestry", value),)) for value in LAST):
        cell = replace(cell, bounds_note=None)
    reference = places.get((cell.axis, cell.reference))
    if cell.compared and reference is not None and held(reference):
        cell = replace(
            cell, gap=None, gap_reason="suppressed: its reference is", gap_p=None, gap_adjusted=None, detectable=None
        )
    # Positives and negatives of a metric that rests on neither tell of other splits than the one that is audited.
    if level == ROW or cell.rule.metric in ("ppv", "npv", "quadratic_kappa"):
        cell = replace(cell, measured=replace(cell.measured, n_positives=None, n_negatives=None))
    return cell


def _without_foreign_p(true: Sequence[Cell], kept: Sequence[Cell]) -> list[Cell]:
    """Drop adjusted p-values of families in which a cell that is held back took part: they can be its own."""
    held = [cell for cell, veiled in zip(true, kept) if veiled.held_back]
    floors = {family_of(c) for c in held if c.floor_p is not None}
    gaps = {family_of(c) for c in held if c.gap_p is not None}
    return [
        replace(
            c,
            floor_adjusted=None if family_of(c) in floors else c.floor_adjusted,
            gap_adjusted=None if family_of(c) in gaps else c.gap_adjusted,
        )
        for c in kept
    ]


def veil_test_set(test_set: TestSet, plan: Plan) -> TestSet:
    """Return the description of the test set without counts that are held back."""

    def listed(name: str) -> dict[str, int | None]:
        found: dict[str, int | None] = getattr(test_set, name)
        return {value: None if plan.holds_back(((name, value),)) else n for value, n in found.items()}

    nobody = [((name, NOBODY),) for name in ("ancestry_sources", "ancestry_schemes")]
    unknown = any(plan.holds_back(place) for place in [*nobody, *((("ancestry", v),) for v in (UNKNOWN, DECLINED))])
    return test_set.model_copy(
        update={
            **{name: listed(name) for name in ("ancestry_sources", "ancestry_schemes", "countries")},
            "fraction_unknown": None if unknown else test_set.fraction_unknown,
            "provenance": {
                name: sources
                for name, sources in test_set.provenance.items()
                if not plan.holds_back((("ancestry", name),))
            },
        }
    )


def veil_cross(cross: CrossCount, plan: Plan) -> CrossCount:
    """Return the patients by ancestry and site without cells that are held back."""
    counts = [
        [None if plan.holds_back((("ancestry", ancestry), ("site", site))) else n for site, n in zip(cross.sites, row)]
        for ancestry, row in zip(cross.ancestries, cross.counts)
    ]
    return cross.model_copy(update={"counts": counts})


def protect(report: Report, plan: Plan) -> Report:
    """Return a report without anything that its plan holds back.

    Its results must come from veiled cells, its test set and cross table from :func:`veil_test_set` and
    :func:`veil_cross`; this takes out the rest: counts of rows, crossed rows, curves and comparisons of groups.
    """
    declared = report.protocol.declared
    if not declared.suppress:
        return report.model_copy(update={"suppression": _told(plan, report, applied=False)})
    levels = {endpoint.id: _level_by_id(report, endpoint.id) for endpoint in report.endpoints}

    def open_target(part: object) -> bool:
        return not plan.holds_back(place_of(part.axis, part.value), part.target)  # type: ignore[attr-defined]

    def open_endpoint(axis: str, value: str, endpoint: str) -> bool:
        return not plan.holds_back(place_of(axis, value), levels[endpoint])

    rows = [_row(row, plan) for row in report.groups]
    groups = [row for row in rows if not (row.suppressed and CROSS in row.axis)]
    return report.model_copy(
        update={
            "groups": groups,
            "intersections": [_possible(part, groups) for part in report.intersections],
            "spreads": [
                s for s in report.spreads if all(open_endpoint(s.axis, v, s.endpoint) for v in (s.worst, s.best))
            ],
            "credible_gaps": [
                g
                for g in report.credible_gaps
                if all(open_endpoint(g.axis, v, g.endpoint) for v in (g.worse, g.better))
            ],
            "standardised": [s for s in report.standardised if open_endpoint(s.axis, s.value, s.endpoint)],
            "within_sites": [
                w
                for w in report.within_sites
                if open_endpoint("ancestry", w.value, w.endpoint) and (w.n_sites != 1 or _row_is_full(report, w.value))
            ],
            "separability": _coarser(report.separability, report.ancestry_by_site),
            "curves": list(filter(open_target, report.curves)),
            "calibration": list(filter(open_target, report.calibration)),
            "decision_curves": list(filter(open_target, report.decision_curves)),
            "threshold_shifts": list(filter(open_target, report.threshold_shifts)),
            "worst_cases": [case for case in report.worst_cases if _may_be_shown(case, plan)],
            "suppression": _told(plan, report, applied=True),
        }
    )


def _level_by_id(report: Report, endpoint: str) -> str:
    found = next(e for e in report.endpoints if e.id == endpoint)
    if found.metric in WITHOUT_TRUTH:
        return ROW
    return f"{found.target}, grades" if found.metric.startswith("grade_") else found.target


def _row(row: GroupRow, plan: Plan) -> GroupRow:
    place = place_of(row.axis, row.value, row.parts)
    if plan.holds_back(place) or plan.drops(place):
        nothing = dict.fromkeys(("n_cases", "n_patients", "n_positives", "n_negatives", "n_failed"))
        return row.model_copy(update={**nothing, "suppressed": True, "suppressed_as": plan.label(place)})
    if plan.holds_back(place, ANY):
        return row.model_copy(update={"n_positives": None, "n_negatives": None})
    return row


def _possible(part: IntersectionCount, groups: Iterable[GroupRow]) -> IntersectionCount:
    """Count the crossed groups that could occur, not those that do: which are empty is not told."""
    rows = list(groups)
    sizes = [sum(row.axis == axis and row.value not in LAST and row.n_cases != 0 for row in rows) for axis in part.axes]
    shown = sum(row.axis == CROSS.join(part.axes) for row in rows)
    return part.model_copy(update={"n_cells": sizes[0] * sizes[1], "n_shown": shown})


def _row_is_full(report: Report, ancestry: str) -> bool:
    cross = report.ancestry_by_site
    return None not in cross.counts[cross.ancestries.index(ancestry)]


def _coarser(part: Separability | None, cross: CrossCount) -> Separability | None:
    """Return the association to one digit where cells of its table are held back."""
    if part is None or part.association is None or not any(None in row for row in cross.counts):
        return part
    digit = round(part.association, 1)
    text = re.sub(r"(Cramer's V) [\d.]+\d", rf"\1 about {digit}", part.text)
    return part.model_copy(update={"association": digit, "text": text})


def _may_be_shown(case: WorstCase, plan: Plan) -> bool:
    return case.group is None or not plan.holds_back((("ancestry", case.group),), case.target)


def _told(plan: Plan, report: Report, *, applied: bool) -> Suppression:
    cross = report.ancestry_by_site
    printed = {place_of(row.axis, row.value, row.parts) for row in report.groups}
    printed |= {(("ancestry", a), ("site", s)) for a in cross.ancestries for s in cross.sites}
    held = {place for level in plan.hidden.values() for place in level} & printed
    return Suppression(
        applied=applied,
        below=plan.below,
        n_small=len(held & plan.small),
        n_complement=len(held - plan.small),
        rule=RULE.format(most=plan.below - 1, span=plan.below - 1) if applied else "none: suppression was not declared",
        audit=plan.audit,
    )
