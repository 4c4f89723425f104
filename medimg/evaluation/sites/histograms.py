"""The evidence of sites' summaries: counts in bins in place of rows.

Counts are dealt out to patients as rows of bin middles (:mod:`medimg.evaluation.sites.dealing`), so that every metric
and interval is worked out by the code that reads rows: the report of summaries is the report of the rows, but for what
falls into one bin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from medimg.evaluation.build import assemble, check_belongs
from medimg.evaluation.document import CrossCount, ModelInfo, Report, TaskInfo, TestSet
from medimg.evaluation.evidence import OVERALL, Evidence, Key, Members, Tally
from medimg.evaluation.groups import order_values, reference_of
from medimg.evaluation.protocol import FrozenProtocol
from medimg.evaluation.selection import Selection
from medimg.evaluation.sites.checks import check_summary
from medimg.evaluation.sites.dealing import Dealt, deal
from medimg.evaluation.sites.summary import SiteSummary, merge
from medimg.evaluation.sites.tables import AxisCounts, grids
from medimg.evaluation.tables import DECLINED, UNKNOWN, WITHHELD


def build_from_summaries(
    summaries: Sequence[SiteSummary],
    *,
    protocol: FrozenProtocol,
    model: ModelInfo,
    task: TaskInfo,
    predicted_at: datetime | None = None,
    created: datetime | None = None,
) -> Report:
    """Make the report from what sites sent instead of rows.

    Parameters
    ----------
    summaries : sequence of SiteSummary
        From :func:`medimg.evaluation.sites.summary.summarise_site`, or already merged.
    protocol, model, task, predicted_at, created
        As of :func:`medimg.evaluation.build.build_report`.

    Raises
    ------
    InputError
        Where a summary does not hold together, or they cannot be added up.
    """
    check_belongs(protocol, model, predicted_at=predicted_at)
    for summary in summaries:
        check_summary(summary, protocol)
    evidence = HistogramEvidence(merge(summaries), protocol)
    return assemble(evidence, protocol=protocol, model=model, task=task, created=created, source="histograms")


class HistogramEvidence(Evidence):
    """Merged summaries as the evidence of a report.

    Members are a mask over the groups of one axis, ``table`` names the axis. The rows of one axis and target are made
    when they are asked for; those of the last few are kept.
    """

    def __init__(self, summary: SiteSummary, protocol: FrozenProtocol) -> None:
        self.declared, self._summary = protocol.declared, summary
        self.tasks = dict(summary.tasks)
        self._grids = {target: grids(target, task, protocol) for target, task in self.tasks.items()}
        self._groups = {(group.axis, tuple(group.value)): group for group in summary.groups}
        self._values: dict[str, list[tuple[str, ...]]] = {}
        for axis, value in self._groups:
            self._values.setdefault(axis, []).append(value)
        named = {axis: [v[0] for v in self._values.get(axis, [])] for axis in self.declared.axes}
        self.keys = [
            OVERALL,
            *((axis, v) for axis, found in named.items() for v in order_values(set(found), axis, self.declared)),
        ]
        self.test_set = self._test_set()
        self._tables = {(table.axis, table.target): table for table in summary.tables}
        self._kept: dict[tuple[str, str], Dealt] = {}

    def members(self, key: Key) -> Members:
        """Return the groups of an axis that are meant, as a mask over its values."""
        axis = key[0]
        wanted = (key[1],) if "*" not in axis else tuple(self.crossed(*axis.split("*"))[key].values())
        return Members(np.array([value == wanted for value in self._values[axis]], bool), axis)

    def reference(self, key: Key) -> tuple[str, Members]:
        """Return the name and the cases of what a group is compared with."""
        axis = key[0]
        name = reference_of(axis, self.declared, [value[0] for value in self._values[axis]])
        if name == "rest":
            return name, Members(~self.members(key).rows, axis)
        return name, self.members((axis, name))

    def select(self, target: str, members: Members) -> Selection:
        """Return the rows of one target in some groups of an axis."""
        axis = members.table
        dealt = self._dealt(axis, target)
        meant = {value for value, there in zip(self._values[axis], members.rows) if there}
        inside = np.array([value in meant for value in dealt.values], bool)
        cases = dealt.rows.where(inside[dealt.value])
        marks, lesions = (
            part.where(inside[dealt.value[part["case"]]]) if len(part) else part
            for part in (dealt.marks, dealt.lesions)
        )
        return Selection(cases, marks, lesions=lesions)

    def tally(self, key: Key) -> Tally:
        """Return how many there are in a group."""
        members = self.members(key)
        found = [self._groups[(key[0], v)] for v, there in zip(self._values[key[0]], members.rows) if there]
        names = ("n_cases", "n_patients", "n_positives", "n_negatives", "n_failed")
        return Tally(**{name: sum(getattr(group, name) for group in found) for name in names})

    def crossed(self, first: str, second: str) -> Mapping[Key, dict[str, str]]:
        """Return the groups of two crossed axes that hold a case and have names, in order."""
        axis = f"{first}*{second}"
        there = {value for value in self._values.get(axis, []) if WITHHELD not in value}
        orders = [order_values({v[i] for v in there}, name, self.declared) for i, name in enumerate((first, second))]
        return {
            (axis, f"{one}, {other}"): {first: one, second: other}
            for one in orders[0]
            for other in orders[1]
            if (one, other) in there
        }

    def cross_count(self) -> CrossCount:
        """Return the patients by ancestry and site; those of withheld groups stand under ``withheld``."""
        axis = "ancestry*site" if "ancestry*site" in self._values else "ancestry"
        ancestries = [value for name, value in self.keys if name == "ancestry"]
        counts = {value if len(value) == 2 else (*value, "all sites"): 0 for value in self._values[axis]}
        for value in self._values[axis]:
            counts[value if len(value) == 2 else (*value, "all sites")] = self._groups[(axis, value)].n_patients
        ancestries += [WITHHELD] if WITHHELD not in ancestries and any(k[0] == WITHHELD for k in counts) else []
        sites = order_values({key[1] for key in counts}, "site", self.declared)
        table = [[counts.get((ancestry, site), 0) for site in sites] for ancestry in ancestries]
        return CrossCount(ancestries=ancestries, sites=sites, counts=[list(row) for row in table])

    def in_pixels(self, target: str) -> bool:
        """Return whether distances and sizes of a target are in pixels."""
        return target in self._summary.in_pixels

    def remarks(self) -> list[str]:
        """Return what counts leave open."""
        found = [
            f"Made from counts that {len(self._summary.senders)} sites sent instead of rows: calls, grades and "
            f"patients are exact; scores and sizes are known to {self.declared.score_bins} bins; a patient's cases are "
            "kept together by strata of their scores. A patient of two sites counts at both."
        ]
        held = self._groups.get(("ancestry", (WITHHELD,)))
        if held:
            found.append(
                f"{held.n_patients} patients belong to ancestries too small at their site to be sent by name; they "
                f"stand in the row '{WITHHELD}', and in everyone and the rest."
            )
        return found

    def _test_set(self) -> TestSet:
        summary, overall = self._summary, self._groups[(OVERALL[0], (OVERALL[1],))]
        unknown = [self._groups.get(("ancestry", (name,))) for name in (UNKNOWN, DECLINED)]
        n_unknown = sum(group.n_patients for group in unknown if group is not None)
        return TestSet(
            n_cases=overall.n_cases + summary.n_unreadable,
            n_patients=overall.n_patients,
            n_sites=summary.n_sites,
            n_failed=overall.n_failed + summary.n_unreadable,
            ancestry_sources=summary.ancestry_sources,
            ancestry_schemes=summary.ancestry_schemes,
            countries=summary.countries,
            provenance=summary.provenance,
            fraction_unknown=1 - (overall.n_patients - n_unknown) / overall.n_patients,
        )

    def _dealt(self, axis: str, target: str) -> Dealt:
        if (axis, target) not in self._kept:
            # One axis is asked for at a time; beyond it only everyone is wanted again.
            self._kept = {key: dealt for key, dealt in self._kept.items() if key[0] in (axis, OVERALL[0])}
            counts = self._tables.get((axis, target)) or AxisCounts.nothing(axis, target)
            self._kept[(axis, target)] = deal(
                counts,
                self.tasks[target],
                self._grids[target],
                self.declared.seed,
                in_pixels=self.in_pixels(target),
            )
        return self._kept[(axis, target)]
