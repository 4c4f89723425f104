"""From verdicts to the status of a model.

``not_validated``: everyone together does not MEET the floor of a primary endpoint (DOES NOT MEET, INCONCLUSIVE or
INSUFFICIENT DATA), or any group with a patient DOES NOT MEET a floor or a gap margin: the status is the worst over
the groups, and no group is ignored.

``ancestry_not_evaluated``: everyone together meets, but no known ancestry got a verdict on every primary endpoint.

``validated_with_limitations``: some group, of any axis, is INCONCLUSIVE or has INSUFFICIENT DATA (it is listed in
``not_validated_for``); or just one ancestry was tested, so that no gap could be seen; or the ancestries are synthetic.

``validated``: every group MEETS every primary endpoint.

The cells of two crossed axes never decide: there are many of them, each small, and which of them hold enough is chance.
Those that do not meet, adjusted for their number, are named among the limitations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medimg.evaluation.comparison.cells import Cell
from medimg.evaluation.document import STATUSES, Status, TestSet, Verdict
from medimg.evaluation.groups import LAST
from medimg.evaluation.protocol import Protocol

_SEVERITY: tuple[Verdict, ...] = ("MEETS", "INCONCLUSIVE", "INSUFFICIENT DATA", "DOES NOT MEET")


@dataclass
class Outcome:
    """The status, what led to it, and for whom the model is not validated."""

    status: Status = "validated"
    reasons: list[str] = field(default_factory=list)
    limitations: list[str] = field(default_factory=list)
    not_validated_for: list[str] = field(default_factory=list)

    def lower(self, status: Status, reason: str) -> None:
        """Go down to ``status`` unless the outcome is there or below already; keep the reason."""
        self.status = STATUSES[max(STATUSES.index(self.status), STATUSES.index(status))]
        self.reasons.append(reason)


def decide(
    cells: Sequence[Cell], patients: Mapping[tuple[str, str], int], test_set: TestSet, protocol: Protocol
) -> Outcome:
    """Return the outcome of an evaluation.

    Parameters
    ----------
    cells : sequence of Cell
        All groups, adjusted.
    patients : mapping of (axis, value) to int
        Patients in each group, not suppressed.
    test_set : TestSet
    protocol : Protocol
    """
    outcome = Outcome()
    primary = [c for c in cells if c.rule.primary and not c.crossed]
    for cell in primary:
        if cell.axis == "overall" and cell.floor_verdict != "MEETS":
            outcome.lower("not_validated", f"overall, {cell.rule.id}: {cell.floor_verdict}{_because(cell)}")
    for axis, value in dict.fromkeys((c.axis, c.value) for c in primary if c.axis != "overall"):
        members = [c for c in primary if (c.axis, c.value) == (axis, value)]
        _judge_group(outcome, axis, value, members, patients.get((axis, value), 0), protocol)
    _judge_ancestry(outcome, primary, patients, test_set)
    outcome.limitations += _crossed_limits(cells)
    return outcome


def _crossed_limits(cells: Sequence[Cell]) -> list[str]:
    crossed = [c for c in cells if c.crossed and c.rule.primary]
    failing = [f"{c.value} ({c.rule.id})" for c in crossed if worst_verdict(c) == "DOES NOT MEET"]
    if not failing:
        return []
    return [
        f"{len(failing)} of {len(crossed)} results of intersections do not meet a primary endpoint, adjusted for their "
        f"number: {'; '.join(failing)}. Intersections inform; they do not decide the status."
    ]


def worst_verdict(cell: Cell) -> Verdict | None:
    """Return the worse one of floor and gap verdict.

    A reference that is too small does not speak against the group: the groups in it are listed themselves.
    """
    gap = None if cell.reference_short else cell.gap_verdict
    given = [v for v in (cell.floor_verdict, gap) if v is not None]
    return max(given, key=_SEVERITY.index) if given else None


def _because(cell: Cell) -> str:
    reason = cell.lacking or (cell.gap_reason if cell.gap_verdict == "INSUFFICIENT DATA" else None)
    return f" ({reason})" if reason else ""


def _judge_group(
    outcome: Outcome, axis: str, value: str, cells: Sequence[Cell], n_patients: int, protocol: Protocol
) -> None:
    if n_patients == 0:
        if value in protocol.expected_ancestries:
            outcome.lower("validated_with_limitations", f"{axis} {value}: expected, but not tested")
            outcome.not_validated_for.append(f"{axis} {value}: no patient in the test set")
        return
    short = []
    for cell in cells:
        verdict = worst_verdict(cell)
        if verdict is None or verdict == "MEETS":
            continue
        status: Status = "not_validated" if verdict == "DOES NOT MEET" else "validated_with_limitations"
        said = "no verdict shown" if cell.muted and verdict != "DOES NOT MEET" else verdict
        outcome.lower(status, f"{axis} {value}, {cell.rule.id}: {said}{_because(cell)}")
        short.append(f"{cell.rule.id} {said}{_because(cell)}")
    if short:
        outcome.not_validated_for.append(f"{axis} {value}: {'; '.join(short)}")


def _judge_ancestry(
    outcome: Outcome, primary: Sequence[Cell], patients: Mapping[tuple[str, str], int], test_set: TestSet
) -> None:
    known = [value for (axis, value), n in patients.items() if axis == "ancestry" and n > 0 and value not in LAST]
    judged = [
        value
        for value in known
        if all(c.floor_verdict != "INSUFFICIENT DATA" for c in primary if (c.axis, c.value) == ("ancestry", value))
    ]
    if not known:
        outcome.lower("ancestry_not_evaluated", "the ancestry of no patient is known")
    elif not judged:
        outcome.lower("ancestry_not_evaluated", "no known ancestry has enough data for a verdict")
    if len(known) == 1:
        outcome.lower("validated_with_limitations", f"only one known ancestry was tested: {known[0]}")
    if set(test_set.ancestry_sources) & {"synthetic"}:
        outcome.lower("validated_with_limitations", "ancestry groups are synthetic and stand for no people")
