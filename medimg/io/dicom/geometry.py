"""From the positions of single slices to one affine, or a reason why there is none.

Method: slices are sorted by their position projected on the slice normal (DICOM PS3.3 C.7.6.2.1.1); instance
numbers and file names decide nothing. Tolerances, stated here, in `medimg.io.dicom.sorted`
and in `medimg.io.dicom.spacing`:

* a slice may lie 0.1 mm beside the line through the first and the last one;
* the stack may lean by 0.1 degrees; more is a tilted gantry, and more than 45 degrees is no gantry's.

Legend: Z slices that are read, N slices of the finished volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from medimg.io.dicom import refusals, tags
from medimg.io.dicom.headers import Header
from medimg.io.dicom.mending import slots_of, snapped, straightened
from medimg.io.dicom.regular import Regrid
from medimg.io.dicom.sorted import SortedSlices, sort_slices
from medimg.io.dicom.spacing import SAME_MM, Floats, spacing_of
from medimg.io.findings import Finding
from medimg.io.policy import STRICT, ReadPolicy

_LEAN_DEG, _NO_GANTRY_DEG = 0.1, 45.0
_IN_PLANE_MM = 0.1


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Slices in order along the normal, with the affine (zyx to LPS mm) of the volume that they make.

    Attributes
    ----------
    headers : tuple of Header
        Z slices to read, in order.
    affine : (4, 4) ndarray of float64
        Of the finished volume.
    findings : tuple of Finding
        What was noticed, and every policy that was applied.
    regrid : Regrid or None
        How the finished volume comes from the slices; None where it is the slices.
    """

    headers: tuple[Header, ...]
    affine: Floats
    findings: tuple[Finding, ...]
    regrid: Regrid | None = None

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Shape of the finished volume."""
        if self.regrid is None:
            return len(self.headers), self.headers[0].rows, self.headers[0].columns
        return (len(self.regrid.places), *self.regrid.shape_yx)


def arrange(headers: Sequence[Header], policy: ReadPolicy = STRICT) -> Arrangement:
    """Sort the slices of one stack and check that they lie evenly, or make them so as the policy says.

    Parameters
    ----------
    headers : sequence of Header
        All with geometry, one orientation and one size.
    policy : ReadPolicy
        What to do about missing, doubled, unevenly spaced or tilted slices. ``missing='split'`` refuses here;
        `arrange_parts` splits.

    Raises
    ------
    InputError
        Unusable cosines or spacing; slices missing, doubled, unevenly spaced, or a tilted gantry, where the
        policy refuses them. The message names the series, the tag and what to do.
    """
    return _arranged(sort_slices(headers, policy), policy)


def arrange_parts(headers: Sequence[Header], policy: ReadPolicy) -> list[Arrangement]:
    """Arrange a stack like `arrange`; with ``missing='split'`` a stack with holes gives its even parts.

    Raises
    ------
    InputError
        As `arrange`.
    """
    stack = sort_slices(headers, policy)
    spacing = spacing_of(stack.along) if len(stack.headers) > 1 else None
    if policy.missing != "split" or spacing is None or spacing.kind != "missing":
        return [_arranged(stack, policy)]
    borders = [0, *(np.flatnonzero(np.diff(spacing.slots) > 1) + 1).tolist(), len(stack.headers)]
    text = f"{spacing.n_missing} slices are missing; the stack was split there into {len(borders) - 1} parts."
    parts = []
    for start, stop in pairwise(borders):
        first, last = stack.along[start], stack.along[stop - 1]
        value = f"slices {start} to {stop - 1} of {len(stack.headers)}, {first:.2f} to {last:.2f} mm along the normal"
        split = Finding("MISSING_SPLIT", "warning", text, tag=tags.show(tags.POSITION), value=value)
        part = stack.between(start, stop)
        parts.append(_arranged(replace(part, findings=(*part.findings, split)), policy, gap_mm=spacing.gap_mm))
    return parts


def _arranged(stack: SortedSlices, policy: ReadPolicy, gap_mm: float | None = None) -> Arrangement:
    """Arrange sorted slices; ``gap_mm`` is the known gap around a part that may be one slice alone."""
    findings = list(stack.findings)
    count = len(stack.headers)
    if count == 1:
        step = stack.normal * (_single_gap(stack.headers[0], findings) if gap_mm is None else gap_mm)
        return Arrangement(stack.headers, stack.affine(step), tuple(findings))
    slots, slices = slots_of(stack, policy, findings)
    slope = _straight(stack)
    step = (stack.positions[-1] - stack.positions[0]) / (slices - 1)
    places = None
    if not np.array_equal(slots, np.arange(slices)):
        places = snapped(np.interp(np.arange(slices), slots, np.arange(count)))
    lean_deg = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    _compare_tag(stack, float(step @ stack.normal), float(np.linalg.norm(step)), findings)
    leans = lean_deg > _LEAN_DEG
    if leans and (policy.tilt == "error" or lean_deg > _NO_GANTRY_DEG):
        raise refusals.tilted(stack.headers, lean_deg, _LEAN_DEG, _NO_GANTRY_DEG)
    if leans and policy.tilt == "resample":
        affine, straight = straightened(stack, slope, places, slices, lean_deg, findings)
        return Arrangement(stack.headers, affine, tuple(findings), straight)
    if leans:
        text = "The stack leans as a tilted gantry makes it; the slices are as they were and the affine is sheared."
        tag, value = tags.show(tags.POSITION), f"{lean_deg:.2f}°"
        findings.append(Finding("TILT_SHEARED", "warning", text, tag=tag, value=value))
    plan = None if places is None else Regrid(places, None, stack.shape_yx)
    return Arrangement(stack.headers, stack.affine(step), tuple(findings), plan)


def _straight(stack: SortedSlices) -> Floats:
    """Return the way sideways for every millimetre along the normal, after checking that it is one line."""
    run = stack.along - stack.along[0]
    sideways = stack.positions - stack.positions[0] - np.outer(run, stack.normal)
    slope = sideways[-1] / run[-1]
    bent = float(np.linalg.norm(sideways - np.outer(run, slope), axis=1).max())
    if bent > _IN_PLANE_MM:
        raise refusals.bent(stack.headers, bent, _IN_PLANE_MM)
    return np.asarray(slope)


def _single_gap(header: Header, findings: list[Finding]) -> float:
    for tag, name in ((tags.SLICE_THICKNESS, "SliceThickness"), (tags.SPACING_BETWEEN, "SpacingBetweenSlices")):
        value = tags.number(header.elements, tag)
        if value is not None and np.isfinite(value) and value > 0:
            text = f"One slice alone has no gap; {name} was taken as its extent."
            mm = f"{value:g} mm"
            findings.append(Finding("SINGLE_SLICE", "info", text, tag=tags.show(tag), value=mm, assumed=mm))
            return value
    text = "One slice alone, and no SliceThickness: its extent is not known."
    findings.append(Finding("SINGLE_SLICE", "warning", text, tag=tags.show(tags.SLICE_THICKNESS), assumed="1 mm"))
    return 1.0


def _compare_tag(stack: SortedSlices, gap: float, along_stack: float, findings: list[Finding]) -> None:
    """Compare SpacingBetweenSlices with the gap, and with the way along a leaning stack, which some state."""
    stated = tags.number(stack.headers[0].elements, tags.SPACING_BETWEEN)
    if stated is None or not np.isfinite(stated):
        return
    if min(abs(abs(stated) - gap), abs(abs(stated) - along_stack)) <= max(SAME_MM, 0.01 * gap):
        return
    text = "SpacingBetweenSlices differs from the distance of the slice positions."
    findings.append(
        Finding(
            "SPACING_TAG",
            "warning",
            text,
            tag=tags.show(tags.SPACING_BETWEEN),
            value=f"{stated:g} mm",
            assumed=f"{gap:.4g} mm from the positions",
        )
    )
