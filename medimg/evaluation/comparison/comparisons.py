"""All comparisons of a report: of groups with the rest, of crossed groups, of pairs, at one case mix, within sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medimg.evaluation.comparison.cells import Cell, adjust
from medimg.evaluation.comparison.credible import credible_gaps
from medimg.evaluation.comparison.intersections import crossed_cells, crossings
from medimg.evaluation.comparison.missing_ancestry import with_bounds
from medimg.evaluation.comparison.separability import separability
from medimg.evaluation.comparison.simultaneous import simultaneous
from medimg.evaluation.comparison.spread import spreads
from medimg.evaluation.comparison.standardise import standardised
from medimg.evaluation.comparison.within_sites import within_sites
from medimg.evaluation.document import CrossCount, Spread
from medimg.evaluation.document_parts import CredibleGap, IntersectionCount, Separability, Standardised, WithinSites
from medimg.evaluation.evidence import Evidence, Key
from medimg.evaluation.protection.outline import Plan
from medimg.evaluation.protection.suppression import plan_for
from medimg.evaluation.protection.veil import place_of, veil


@dataclass(frozen=True)
class Comparisons:
    """What comparing came to.

    Attributes
    ----------
    cells : list of Cell
        Of every group, adjusted; those of crossed axes last.
    crossed : mapping of Key to dict
        The groups of crossed axes that are reported, with their value on either axis.
    plan : Plan
        What is held back: nothing else here tells of it.
    others
        As in :class:`medimg.evaluation.document.Report`.
    """

    cells: list[Cell]
    crossed: Mapping[Key, dict[str, str]]
    plan: Plan
    intersections: list[IntersectionCount]
    spreads: list[Spread]
    credible_gaps: list[CredibleGap]
    standardised: list[Standardised]
    within_sites: list[WithinSites]
    separability: Separability


def compare(evidence: Evidence, measured: Sequence[Cell], cross: CrossCount) -> Comparisons:
    """Compare the groups of a report.

    Parameters
    ----------
    evidence : Evidence
    measured : sequence of Cell
        Of the groups of every single axis, not adjusted.
    cross : CrossCount
        Patients by ancestry and site, nothing held back.
    """
    declared = evidence.declared
    intersections = crossings(evidence)
    cells = adjust([*measured, *crossed_cells(evidence, intersections)], declared.confidence)
    cells = with_bounds(simultaneous(cells, declared), declared)
    places = {key: place_of(*key, intersections.parts.get(key)) for key in (*evidence.keys, *intersections.parts)}
    plan = plan_for(evidence, places.values(), list({cell.rule.id: cell.rule for cell in cells}.values()))
    cells = veil(cells, places, plan, declared)
    return Comparisons(
        cells=cells,
        crossed=intersections.parts,
        plan=plan,
        intersections=intersections.counts,
        spreads=spreads(cells, declared),
        credible_gaps=credible_gaps(cells, declared),
        standardised=standardised(evidence, cells),
        within_sites=within_sites(evidence, declared.endpoints),
        separability=separability(cross, declared),
    )
