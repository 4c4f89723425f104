"""The parts of a report beside its numbers: who was tested, the worst cases, the failures, the rules in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from medimg.evaluation.comparison.simultaneous import WORDS as SIMULTANEOUS
from medimg.evaluation.document import CrossCount, Failure, TestSet, WorstCase
from medimg.evaluation.groups import group_values
from medimg.evaluation.protocol import Protocol
from medimg.evaluation.tables import DECLINED, UNKNOWN


def describe(table: pd.DataFrame, people: pd.DataFrame, n_unreadable: int) -> TestSet:
    """Return who was tested; ``n_unreadable`` cases are in no table."""
    known = ~people["ancestry"].isin([UNKNOWN, DECLINED])
    return TestSet(
        n_cases=table["case_id"].nunique() + n_unreadable,
        n_patients=len(people),
        n_sites=table.loc[table["site_id"] != UNKNOWN, "site_id"].nunique(),
        n_failed=table.loc[table["status"] == "failed", "case_id"].nunique() + n_unreadable,
        ancestry_sources=_counts(people.loc[known, "ancestry_source"]),
        ancestry_schemes=_counts(people.loc[known, "ancestry_scheme"]),
        countries=_counts(people["country"]),
        fraction_unknown=float(1 - known.mean()),
        provenance=_provenance(people[known]),
    )


def _provenance(known: pd.DataFrame) -> dict[str, list[str]]:
    groups = known.groupby("ancestry")["ancestry_source"].unique()
    return {str(ancestry): sorted(sources) for ancestry, sources in groups.items()}


def _counts(values: pd.Series) -> dict[str, int]:
    return {str(name): int(n) for name, n in values.value_counts().sort_index().items()}


def cross_count(table: pd.DataFrame, declared: Protocol) -> CrossCount:
    """Return the patients by ancestry and site, nothing held back; a patient of two sites stands in both."""
    ancestries = group_values(table, "ancestry", declared)
    sites = sorted(table["site_id"].unique())
    pairs = table.drop_duplicates(["patient", "site_id"]).groupby(["axis_ancestry", "site_id"]).size()
    counts = [[pairs.get((ancestry, site), 0) for site in sites] for ancestry in ancestries]
    return CrossCount(ancestries=ancestries, sites=sites, counts=counts)


def worst_cases(table: pd.DataFrame, declared: Protocol, overlays: Mapping[tuple[str, str], str]) -> list[WorstCase]:
    """Return the worst cases of each primary target, the worst first, without those that failed.

    Every ancestry gives its worst in turn, so that the failures of a large group crowd out nobody's.
    """
    found = []
    for target in dict.fromkeys(rule.target for rule in declared.endpoints if rule.primary):
        rows = table[(table["target"] == target) & (table["status"] == "ok")]
        metric, badness, value = _badness(rows)
        order = rows.assign(badness=badness, shown=value)
        order = order[order["badness"] > 0].sort_values(["badness", "case_id"], ascending=[False, True])
        turn = order.groupby("axis_ancestry").cumcount()
        chosen = order.loc[turn.sort_values(kind="stable").index[: declared.worst_cases]]
        for _, row in chosen.sort_values(["badness", "case_id"], ascending=[False, True]).iterrows():
            found.append(
                WorstCase(
                    case_id=row["case_id"],
                    target=target,
                    metric=metric,
                    value=float(row["shown"]),
                    group=str(row["axis_ancestry"]),
                    overlay=overlays.get((row["case_id"], target)),
                )
            )
    return found


def _badness(rows: pd.DataFrame) -> tuple[str, pd.Series, pd.Series]:
    """Return the metric that ranks cases, how bad each is (0: right), and the value to print."""
    task = rows["task"].iloc[0] if len(rows) else "segmentation"
    if task == "segmentation":
        return "dice", 1 - rows["dice"], rows["dice"]
    if task == "detection":
        wrong = rows["n_lesions"] - rows["n_hit"] + rows["n_false_positives"]
        return "missed lesions and false marks", wrong, wrong
    if rows["grade_true"].notna().any():
        off = rows["grade_pred"] - rows["grade_true"]
        return "grades off", off.abs().fillna(0), off.fillna(0)
    return "score", (rows["truth"] - rows["score"]).abs().where(rows["predicted"] != rows["truth"], 0), rows["score"]


def list_failures(table: pd.DataFrame, unreadable: Sequence[Failure]) -> list[Failure]:
    """Return every case without a prediction, by case."""
    failed = table[table["status"] == "failed"].drop_duplicates("case_id")
    listed = [
        Failure(case_id=case_id, reason=reason or "no reason was recorded")
        for case_id, reason in zip(failed["case_id"], failed["reason"])
    ]
    return sorted([*listed, *unreadable], key=lambda failure: failure.case_id)


def settings_in_words(declared: Protocol) -> dict[str, str]:
    """Return in words the rules that a reader must know to read the numbers."""
    return {
        "unit_of_sampling": "patient",
        "failed_cases": "count as the worst outcome where the metric has one; otherwise left out and counted",
        "surface_rule": "voxels with a face neighbour outside the mask, each counted once; distances between centres",
        "hd95_rule": "linear 95th percentile in each direction, the greater one",
        "empty_rule": (
            "both empty: Dice 1, NSD 1, HD95 0; one empty: Dice 0, NSD 0, HD95 "
            + ("the image diagonal" if declared.hd95_empty == "diagonal" else "excluded and counted")
        ),
        "froc_rule": "step convention, marks of one score together, no interpolation",
        "gap_method": "group minus reference; MOVER from the two intervals, shared patients by their correlation",
        "simultaneous_intervals": SIMULTANEOUS,
        "intersections": (
            "declared endpoints of cells with enough patients, compared with everyone outside; p-values adjusted "
            "(Benjamini-Hochberg) over all endpoints of a pair of axes; they inform and never decide"
        ),
        "p_values": (
            "one-sided, of the floor or the margin; DOES NOT MEET needs the whole interval beyond it and the adjusted "
            f"p-value below {(1 - declared.confidence) / 2:.3g} (primary endpoints: Holm over the groups of ancestry, "
            "and over those of all other axes; others: Benjamini-Hochberg within the axis)"
        ),
        "suppression": (
            f"groups of 1 to {declared.suppress_below - 1} patients, and what would give them away"
            if declared.suppress
            else "none"
        ),
        "counting_for_verdicts": "patients, patients with a positive, patients with a negative",
    }
