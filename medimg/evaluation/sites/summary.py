"""What a site sends in place of its rows: whole numbers that add up over sites, bound to the protocol by its digest.

``summarise_site`` makes a summary, ``merge`` adds summaries up, ``check_summary`` looks through one that arrived.
:mod:`medimg.evaluation.sites.histograms` makes the report from them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field, ValidationError

from medimg.errors import InputError
from medimg.evaluation.document_parts import Part
from medimg.evaluation.evidence import OVERALL, Members
from medimg.evaluation.metrics.intervals import Ints, count_patients
from medimg.evaluation.protocol import FrozenProtocol, Protocol, check_frozen
from medimg.evaluation.row_evidence import RowEvidence
from medimg.evaluation.sites.tables import AxisCounts, Count, count_cases, grids, join
from medimg.evaluation.sites.withholding import lines_of, withhold
from medimg.evaluation.tables import WITHHELD


class GroupCount(Part):
    """How many a group holds over all targets; a case is positive where any of its targets is."""

    axis: str
    value: list[str]
    n_cases: Count
    n_patients: Count
    n_positives: Count
    n_negatives: Count
    n_failed: Count


class SiteSummary(Part):
    """The counts of one site, or of several added up.

    Attributes
    ----------
    senders : list of str
        Who sent it: one name, or those that were added up.
    protocol_sha256 : str
        The frozen protocol that threshold, groups and bins belong to.
    protected : bool
        Groups below the protocol's limit were withheld. False only where nobody reads a single site's summary:
        under encryption or secure aggregation.
    n_sites, n_unreadable : int
        Sites among the cases; cases of which not even the truth could be read.
    ancestry_sources, ancestry_schemes, countries : dict of str to int
        Patients; those below the limit stand under ``withheld``.
    provenance : dict of str to list of str
        How each ancestry that is sent by name is known.
    tasks : dict of str to str
        Of each target.
    in_pixels : list of str
        Targets whose distances and sizes are in pixels.
    groups : list of GroupCount
    tables : list of AxisCounts
        For every target: overall, each axis, each pair of crossed axes.
    """

    schema_: Literal["medimg.site_summary/1"] = Field(default="medimg.site_summary/1", alias="schema")
    senders: list[str]
    protocol_sha256: str
    protected: bool
    n_sites: Count
    n_unreadable: Count
    ancestry_sources: dict[str, Count]
    ancestry_schemes: dict[str, Count]
    countries: dict[str, Count]
    provenance: dict[str, list[str]]
    tasks: dict[str, Literal["classification", "segmentation", "detection"]]
    in_pixels: list[str]
    groups: list[GroupCount]
    tables: list[AxisCounts]

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    def table(self, axis: str, target: str) -> AxisCounts | None:
        """Return the counts of one target along one axis, or None."""
        return next((t for t in self.tables if (t.axis, t.target) == (axis, target)), None)


def axes_of(declared: Protocol) -> list[tuple[str, ...]]:
    """Return what every summary is counted by: nothing, each axis, each pair of crossed axes."""
    pairs = [pair for pair in declared.crossed if set(pair) <= set(declared.axes)]
    crossed = dict.fromkeys([*pairs, ("ancestry", "site")] if "site" in declared.axes else pairs)
    return [(), *((axis,) for axis in declared.axes), *crossed]


def axis_name(axes: Sequence[str]) -> str:
    """Return the name of no axis, one, or two crossed ones."""
    return "*".join(axes) or OVERALL[0]


def summarise_site(
    cases: pd.DataFrame,
    subjects: pd.DataFrame,
    protocol: FrozenProtocol,
    *,
    sender: str,
    lesions: pd.DataFrame | None = None,
    n_unreadable: int = 0,
    protected: bool = True,
) -> SiteSummary:
    """Count a site's cases, so that the counts can leave the site in place of the rows.

    Parameters
    ----------
    cases, subjects, lesions : DataFrame
        See :mod:`medimg.evaluation.tables`.
    protocol : FrozenProtocol
        The same at every site.
    sender : str
        Name of the site.
    n_unreadable : int
        Cases of which not even the truth could be read.
    protected : bool
        Withhold groups with fewer than ``suppress_below`` patients. Set it to False only where the summary is
        encrypted or securely aggregated, so that nobody reads it by itself.

    Raises
    ------
    InputError
        Where a table cannot be used, scores are no probabilities, or a protected site is small altogether.
    """
    check_frozen(protocol)
    declared = protocol.declared
    evidence = RowEvidence(cases, subjects, declared, lesions=lesions)
    if protected:
        _check_size(evidence, declared)
    fine = {target: grids(target, task, protocol) for target, task in evidence.tasks.items()}
    groups: list[GroupCount] = []
    tables: list[AxisCounts] = []
    held: dict[str, set[str]] = {}
    everyone = evidence.members(OVERALL)
    for axes in axes_of(declared):
        labels, value = _labelled(evidence, axes, held) if protected else _labels(*evidence.coded(axes), axes, set())
        groups += _group_counts(evidence, axis_name(axes), labels, value)
        for target, task in evidence.tasks.items():
            chosen, inside = evidence.select(target, everyone), evidence.target == list(evidence.tasks).index(target)
            counted = count_cases(axis_name(axes), target, task, chosen, labels, value[inside], fine[target])
            tables.append(join([counted]))
    counts = evidence.test_set
    sources = _folded(counts.ancestry_sources, declared, protected)
    return SiteSummary(
        senders=[sender],
        protocol_sha256=protocol.sha256,
        protected=protected,
        n_sites=counts.n_sites,
        n_unreadable=n_unreadable,
        ancestry_sources=sources,
        ancestry_schemes=_folded(counts.ancestry_schemes, declared, protected),
        countries=_folded(counts.countries, declared, protected),
        provenance={
            ancestry: [source for source in known if source in sources]
            for ancestry, known in counts.provenance.items()
            if ancestry not in held.get("ancestry", ())
        },
        tasks=dict(evidence.tasks),
        in_pixels=[target for target in evidence.tasks if evidence.in_pixels(target)],
        groups=groups,
        tables=tables,
    )


def _check_size(evidence: RowEvidence, declared: Protocol) -> None:
    for target in evidence.tasks:
        n = count_patients(evidence.select(target, evidence.members(OVERALL)).cases["patient"])
        if n < declared.suppress_below:
            raise InputError(
                "The site is too small to send counts that can be read.",
                where=f"target {target}",
                got=f"fewer than {declared.suppress_below} patients",
                expected=f"at least {declared.suppress_below}",
                fix="send under encryption or secure aggregation (protected=False), or leave the target out",
            )


def _labelled(evidence: RowEvidence, axes: Sequence[str], held: dict[str, set[str]]) -> tuple[list[list[str]], Ints]:
    """Return the groups of an axis with the small ones as one, and remember which those are."""
    names, value = evidence.coded(axes)
    small: set[int] = set()
    if axes:
        forced = [code for code, parts in enumerate(names) if any(parts[axis] in held.get(axis, ()) for axis in axes)]
        below = evidence.declared.suppress_below
        small = withhold(value, evidence.patient, evidence.target, lines_of(names), forced, below)
    if len(axes) == 1:
        held[axes[0]] = {names[code][axes[0]] for code in small}
    return _labels(names, value, axes, small)


def _labels(
    names: Sequence[Mapping[str, str]], value: Ints, axes: Sequence[str], small: set[int]
) -> tuple[list[list[str]], Ints]:
    """Return the groups that hold a case, those in ``small`` as one without a name, and the group of each row."""
    nameless = [WITHHELD] * len(axes)
    labels = [
        nameless if code in small else ([parts[axis] for axis in axes] or [OVERALL[1]])
        for code, parts in enumerate(names)
    ]
    present = [labels[code] for code in np.unique(value)]
    kept = [list(label) for label in dict.fromkeys(map(tuple, present))]
    place = np.array([kept.index(label) if label in kept else -1 for label in labels], np.int64)
    return kept, place[value]


def _group_counts(evidence: RowEvidence, axis: str, labels: Sequence[Sequence[str]], value: Ints) -> list[GroupCount]:
    found = []
    for code, label in enumerate(labels):
        tally = evidence.count(Members(value == code))
        found.append(GroupCount(axis=axis, value=list(label), **asdict(tally)))
    return found


def _folded(told: Mapping[str, int | None], declared: Protocol, protected: bool) -> dict[str, int]:
    """Return counts with the small ones added up; all of them where even their sum is small."""
    counts = {name: n for name, n in told.items() if n is not None}
    if not protected:
        return counts
    order = sorted(counts, key=lambda name: counts[name])
    folded = {name for name in order if counts[name] < declared.suppress_below}
    for name in order:
        if folded and sum(counts[k] for k in folded) < declared.suppress_below:
            folded.add(name)
    kept = {name: n for name, n in counts.items() if name not in folded}
    return kept | ({WITHHELD: sum(counts[k] for k in folded)} if folded else {})


def merge(summaries: Sequence[SiteSummary]) -> SiteSummary:
    """Add up summaries; the result depends neither on their order nor on how they were grouped.

    A patient who was seen at two of the sites counts at both.

    Raises
    ------
    InputError
        Where there is none, a site stands in two of them, or they follow different protocols or tasks.
    """
    _check_together(summaries)
    groups: dict[tuple[str, tuple[str, ...]], GroupCount] = {}
    for group in (group for summary in summaries for group in summary.groups):
        key = (group.axis, tuple(group.value))
        groups[key] = _added(groups[key], group) if key in groups else group
    keys = {(t.axis, t.target): None for summary in summaries for t in summary.tables}
    tables = [[t for s in summaries if (t := s.table(*key)) is not None] for key in sorted(keys)]
    return SiteSummary(
        senders=sorted(sender for summary in summaries for sender in summary.senders),
        protocol_sha256=summaries[0].protocol_sha256,
        protected=all(summary.protected for summary in summaries),
        n_sites=sum(summary.n_sites for summary in summaries),
        n_unreadable=sum(summary.n_unreadable for summary in summaries),
        ancestry_sources=_total([summary.ancestry_sources for summary in summaries]),
        ancestry_schemes=_total([summary.ancestry_schemes for summary in summaries]),
        countries=_total([summary.countries for summary in summaries]),
        provenance={
            ancestry: sorted({source for s in summaries for source in s.provenance.get(ancestry, [])})
            for ancestry in sorted({ancestry for summary in summaries for ancestry in summary.provenance})
        },
        tasks={target: task for summary in summaries for target, task in sorted(summary.tasks.items())},
        in_pixels=sorted({target for summary in summaries for target in summary.in_pixels}),
        groups=[groups[key] for key in sorted(groups)],
        tables=[join(parts) for parts in tables],
    )


def _added(first: GroupCount, second: GroupCount) -> GroupCount:
    counts = ("n_cases", "n_patients", "n_positives", "n_negatives", "n_failed")
    return first.model_copy(update={name: getattr(first, name) + getattr(second, name) for name in counts})


def _total(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    names = sorted({name for part in parts for name in part})
    return {name: sum(part.get(name, 0) for part in parts) for name in names}


def _check_together(summaries: Sequence[SiteSummary]) -> None:
    senders = [sender for summary in summaries for sender in summary.senders]
    digests = {summary.protocol_sha256 for summary in summaries}
    tasks = {(target, task) for summary in summaries for target, task in summary.tasks.items()}
    units = [
        {target: target in summary.in_pixels for target, task in summary.tasks.items() if task == "segmentation"}
        for summary in summaries
    ]
    known = {target for unit in units for target in unit}
    mixed = sorted(target for target in known if len({unit[target] for unit in units if target in unit}) > 1)
    problem = None
    if not summaries:
        problem = ("no summary", "at least one")
    elif len(set(senders)) < len(senders):
        problem = ("a site stands in two of them", "every site once")
    elif len(digests) > 1:
        problem = (f"protocols {', '.join(sorted(d[:12] for d in digests))}", "one frozen protocol at all sites")
    elif len({target for target, _ in tasks}) < len(tasks):
        problem = ("targets with two tasks", "one task per target at all sites")
    elif mixed:
        problem = (f"pixels at one site and millimetres at another: {', '.join(mixed)}", "one unit per target")
    if problem:
        raise InputError(
            "The summaries of the sites cannot be added up.",
            where="summaries",
            got=problem[0],
            expected=problem[1],
            fix="have every site count once, with the same frozen protocol",
        )


def write_summary(summary: SiteSummary, path: Path) -> Path:
    """Write a summary as JSON in one step."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    content = summary.model_dump(mode="json", by_alias=True)
    beside.write_text(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False), encoding="utf-8")
    os.replace(beside, path)
    return path


def read_summary(path: Path) -> SiteSummary:
    """Read a summary's JSON; what it says is looked through by ``check_summary``.

    Raises
    ------
    InputError
        Where the file is missing, is no JSON, or holds anything but whole numbers of the expected form.
    """
    path = Path(path)
    try:
        return SiteSummary.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("The summary cannot be read.", where=path, got=error.strerror, fix="ask the site") from error
    except (ValidationError, UnicodeDecodeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        raise InputError(
            "The summary does not follow its schema.",
            where=path,
            got=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            expected="medimg.site_summary/1, whole numbers alone",
            fix="have the site write it anew",
        ) from error
