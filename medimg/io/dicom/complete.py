"""Slices missing at an end of a stack leave no gap: instance numbers and stated counts may still tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from medimg.io.dicom import tags
from medimg.io.dicom.aside import aside_of
from medimg.io.dicom.headers import Header
from medimg.io.findings import Finding

_LISTED = 10


def completeness(headers: Iterable[Header]) -> dict[str, list[Finding]]:
    """Return what scans of several single-frame images lack by their own count, by series UID.

    Two signs: InstanceNumber runs evenly but for gaps, or starts above 1; and fewer images are there than
    ImagesInAcquisition states. Both are findings, not errors: instance numbers are the sender's to choose.
    """
    series: dict[str, list[Header]] = {}
    beside: dict[str, list[Header]] = {}
    for header in headers:
        if header.frames <= 1:
            is_scan = header.has_geometry and not aside_of(header)
            (series if is_scan else beside).setdefault(header.series_uid, []).append(header)
    return {
        uid: [*_numbers(found, beside.get(uid, [])), *_counts(found)] for uid, found in series.items() if len(found) > 1
    }


def _numbers(headers: list[Header], beside: list[Header]) -> list[Finding]:
    """Look at the numbers of a series' scans; localizers and the like may lie between and before them."""
    known = [tags.number(header.elements, tags.INSTANCE_NUMBER) for header in headers]
    values = np.asarray([value for value in known if value is not None], dtype=np.float64)
    if len(values) < len(headers) or len(np.unique(values)) < len(values) or (values != np.rint(values)).any():
        return []
    others = [tags.number(header.elements, tags.INSTANCE_NUMBER) for header in beside]
    last = values.max()
    values = np.unique([*values, *(value for value in others if value is not None and value < last)])
    tag, steps = tags.show(tags.INSTANCE_NUMBER), np.diff(values)
    step = float(np.median(steps))
    found = []
    if (gaps := np.flatnonzero(steps > step)).size:
        text = "InstanceNumber has gaps: images of this series may not have arrived."
        listed = ", ".join(f"{values[n]:.0f} to {values[n + 1]:.0f}" for n in gaps[:_LISTED])
        found.append(Finding("INCOMPLETE", "warning", text, tag=tag, value=f"gaps from {listed}"))
    if values[0] > max(1.0, step):
        text = "InstanceNumber starts late: the first images of this series may not have arrived."
        found.append(Finding("INCOMPLETE", "info", text, tag=tag, value=f"starts at {values[0]:.0f}"))
    return found


def _counts(headers: list[Header]) -> list[Finding]:
    stated: dict[str, float] = {}
    for header in headers:
        count = tags.number(header.elements, tags.IMAGES_IN_ACQUISITION)
        if count is not None and np.isfinite(count):
            acquisition = tags.text(header.elements, tags.ACQUISITION_NUMBER)
            stated[acquisition] = max(count, stated.get(acquisition, 0.0))
    if not stated:
        return []
    there = Counter(tags.text(header.elements, tags.ACQUISITION_NUMBER) for header in headers)
    lacking = [f"{there[name]} of {count:.0f}" for name, count in stated.items() if there[name] < count]
    if not lacking:
        return []
    text = "Fewer images are there than the acquisition is stated to have."
    tag = tags.show(tags.IMAGES_IN_ACQUISITION)
    return [Finding("INCOMPLETE", "warning", text, tag=tag, value=", ".join(lacking[:_LISTED]))]
