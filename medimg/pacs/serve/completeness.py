"""Whether a series is whole: by its geometry, its numbers, the peer's count, and how its senders ended.

A quiet period alone decides nothing: a sender that was cut off is quiet too. What is wanted is a reason to believe
that everything came, and none against it:

==========================  ========================================================================================
for                         the peer's count (QIDO or C-FIND: NumberOfSeriesRelatedInstances) is reached; or every
                            association that brought a part was released, or went on to other series
against                     holes in the geometry; gaps of InstanceNumber; fewer images than ImagesInAcquisition
                            (0020,1002); the peer's count not reached; an association that was aborted or lost, or
                            in which an instance was refused, and that no later released one has made good
unusual                     InstanceNumber starts late; an association went on to other series and is still open
==========================  ========================================================================================

Slices that are missing at an end leave no hole; there the associations and the peer's count are the only witnesses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medimg.errors import InputError
from medimg.io.dicom.complete import completeness
from medimg.io.dicom.frames import frames_of
from medimg.io.dicom.headers import Header, read_header
from medimg.io.dicom.series import stacks
from medimg.io.dicom.sorted import sort_slices
from medimg.io.dicom.spacing import spacing_of
from medimg.io.policy import ReadPolicy
from medimg.pacs.serve.journal import Journal
from medimg.pacs.serve.settings import CompletenessSettings

State = Literal["complete", "wait", "held", "overdue"]
Count = Callable[[str, str], int | None]

_LENIENT = ReadPolicy(duplicates="keep_last")


@dataclass(frozen=True)
class Verdict:
    """``complete``; ``wait`` (too early to say); ``held`` (something is missing); ``overdue`` (held long enough)."""

    state: State
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What is known of a series. ``lacking`` and ``unusual`` are sentences; ``expected`` is the peer's count."""

    count: int
    quiet_s: float
    lacking: tuple[str, ...] = ()
    unusual: tuple[str, ...] = ()
    expected: int | None = None


def judge(evidence: Evidence, settings: CompletenessSettings) -> Verdict:
    """Weigh the evidence."""
    if evidence.quiet_s < settings.quiet_s:
        return Verdict("wait")
    lacking, unusual = evidence.lacking, evidence.unusual
    if evidence.expected is not None and evidence.count < evidence.expected:
        lacking = (*lacking, f"{evidence.count} of {evidence.expected} instances are here")
    if lacking:
        return Verdict("overdue" if evidence.quiet_s >= settings.deadline_s else "held", lacking)
    if unusual and evidence.expected is None and evidence.quiet_s < settings.doubt_s:
        return Verdict("held", unusual)
    return Verdict("complete", unusual)


def gather(
    journal: Journal, root: Path, series_uid: str, now_s: float, settings: CompletenessSettings, count: Count | None
) -> Evidence | None:
    """Collect what is known of a series; None where it has no instance.

    Files and peers are looked at only once the series has been quiet for long enough.
    """
    row = journal.one("SELECT n, last_s, study_uid FROM series WHERE series_uid = ?", (series_uid,))
    if row is None or not row["n"]:
        return None
    number, quiet_s = int(row["n"]), now_s - float(row["last_s"])
    if quiet_s < settings.quiet_s:
        return Evidence(number, quiet_s)
    files = [root / str(found["file"]) for found in journal.rows(_FILES, (series_uid,))]
    headers = _headers(files)
    lacking, unusual = _numbers(headers)
    lacking += _holes(headers)
    expected = None if count is None else count(str(row["study_uid"]), series_uid)
    broken, open_still = associations(journal, series_uid)
    if expected is None or number < expected:
        lacking += broken
        unusual += open_still
    return Evidence(number, quiet_s, tuple(lacking), tuple(unusual), expected)


def associations(journal: Journal, series_uid: str) -> tuple[list[str], list[str]]:
    """Return what the associations of a series say against it, and what is unusual about them."""
    rows = journal.rows(_TOUCHES, (series_uid,))
    good = [row for row in rows if row["outcome"] == "released" and not row["refused"]]
    lacking: list[str] = []
    unusual: list[str] = []
    for row in rows:
        if row in good:
            continue
        healed = row["closed_s"] is not None and any(other["opened_s"] >= row["closed_s"] for other in good)
        if healed:
            continue
        went_on = float(row["latest_s"]) > float(row["last_s"])
        if row["refused"]:
            lacking.append("an association had instances refused")
        elif went_on:
            unusual.append("an association went on to other series and was not released")
        elif row["outcome"] == "open":
            lacking.append("an association is still open")
        else:
            lacking.append(f"an association was {row['outcome']}")
    return _once(lacking), _once(unusual)


def _headers(files: Sequence[Path]) -> list[Header]:
    headers: list[Header] = []
    for file in files:
        try:
            found = read_header(file)
            headers += frames_of(found) if found.is_image else []
        except InputError:
            # It was readable when it was taken in; what makes it unreadable now, reading will say.
            continue
    return headers


def _numbers(headers: Sequence[Header]) -> tuple[list[str], list[str]]:
    lacking: list[str] = []
    unusual: list[str] = []
    for findings in completeness(headers).values():
        for finding in findings:
            (unusual if finding.severity == "info" else lacking).append(f"{finding.message} ({finding.value})")
    return lacking, unusual


def _holes(headers: Sequence[Header]) -> list[str]:
    """Return where slices are missing from stacks that are even otherwise."""
    found = []
    for stack in stacks(headers):
        if stack.problem is None or stack.aside or not stack.headers[0].has_geometry:
            continue
        try:
            along_mm = sort_slices(stack.headers, _LENIENT).along
        except InputError:
            continue
        spacing = spacing_of(along_mm) if len(along_mm) > 1 else None
        if spacing is not None and spacing.kind == "missing":
            found.append(f"slices are missing: {spacing.n_missing} beside the {len(along_mm)} that are here")
        elif spacing is not None and spacing.kind == "irregular":
            found.append(f"the {len(along_mm)} slices lie unevenly")
    return found


def _once(sentences: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(sentences))


_FILES = "SELECT file FROM instances WHERE series_uid = ? ORDER BY id"
_TOUCHES = """
SELECT a.outcome, a.opened_s, a.closed_s, a.refused, t.last_s,
       (SELECT MAX(o.last_s) FROM touches o WHERE o.association_id = a.id) AS latest_s
FROM touches t JOIN associations a ON a.id = t.association_id WHERE t.series_uid = ? ORDER BY a.id
"""
