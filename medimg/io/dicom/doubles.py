"""Slices that lie at the same position: refused, or all but the last one left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medimg.io.dicom import refusals, tags
from medimg.io.dicom.headers import Header
from medimg.io.dicom.spacing import SAME_MM, Floats
from medimg.io.findings import Finding
from medimg.io.policy import ReadPolicy

_LISTED = 20


def without_doubles(
    headers: Sequence[Header], along_mm: Floats, policy: ReadPolicy, findings: list[Finding]
) -> NDArray[np.intp]:
    """Return the indices of the slices to keep, one a position, in order.

    Parameters
    ----------
    headers : sequence of Header
        In order of ``along_mm``, their positions (Z,) along the normal.
    policy : ReadPolicy
        ``duplicates='keep_last'`` keeps the slice with the highest instance number; equal ones are told apart
        by acquisition time, content time, and frame number.
    findings : list of Finding
        Gets one that lists what was left out.

    Raises
    ------
    InputError
        Slices are doubled and the policy refuses that; nothing says which one is the last; or so many are doubled
        that they are no repeats but another stack.
    """
    everything = np.arange(len(headers))
    is_double = np.diff(along_mm) <= SAME_MM
    if not is_double.any():
        return everything
    if policy.duplicates != "keep_last":
        first = int(np.flatnonzero(is_double)[0])
        raise refusals.doubled(headers, int(is_double.sum()), first)
    kept: list[int] = []
    dropped: list[str] = []
    for same in np.split(everything, np.flatnonzero(~is_double) + 1):
        ranked = sorted(same.tolist(), key=lambda n: _age(headers[n]))
        if len(ranked) > 1 and _age(headers[ranked[-1]]) == _age(headers[ranked[-2]]):
            raise refusals.no_last(headers[ranked[-2]], headers[ranked[-1]])
        kept.append(ranked[-1])
        dropped += [f"{refusals.name(headers[n])} ({along_mm[n]:.2f} mm)" for n in ranked[:-1]]
    if 2 * len(dropped) > len(kept):
        raise refusals.another_stack(headers, len(dropped), len(kept))
    rest = f" and {len(dropped) - _LISTED} more" if len(dropped) > _LISTED else ""
    text = f"{len(dropped)} slices were left out; another one lies at the same position and was made later."
    findings.append(
        Finding(
            "DUPLICATES_DROPPED",
            "warning",
            text,
            tag=tags.show(tags.POSITION),
            value=", ".join(dropped[:_LISTED]) + rest,
            assumed="the highest instance number of each position",
        )
    )
    return np.asarray(kept, dtype=np.intp)


def _age(header: Header) -> tuple[float, ...]:
    wanted = (tags.INSTANCE_NUMBER, tags.ACQUISITION_TIME, tags.CONTENT_TIME)
    known = [tags.number(header.elements, tag) for tag in wanted]
    return (*(float("-inf") if value is None else value for value in known), float(header.frame))
