"""What a policy does to slices that are no volume as they are: fill holes, even out gaps, straighten a tilt.

Legend: Z slices that are read, N slices of the finished volume.
"""

from __future__ import annotations

import numpy as np

from medimg.io.dicom import refusals, tags
from medimg.io.dicom.regular import Regrid
from medimg.io.dicom.sorted import SortedSlices
from medimg.io.dicom.spacing import Floats, Spacing, even_slots, spacing_of
from medimg.io.findings import Finding
from medimg.io.policy import ReadPolicy

_LISTED = 20


def slots_of(stack: SortedSlices, policy: ReadPolicy, findings: list[Finding]) -> tuple[Floats, int]:
    """Return every slice's place (Z,) on the grid of the finished volume, and that grid's number of slices N.

    Raises
    ------
    InputError
        Slices are missing or unevenly spaced, and the policy refuses that.
    """
    spacing = spacing_of(stack.along)
    if spacing.kind == "missing":
        if policy.missing != "interpolate":
            raise refusals.missing(stack.headers, spacing)
        findings.append(_filled(stack, spacing))
    elif spacing.kind == "irregular":
        return _evened(stack, spacing, policy, findings)
    if spacing.off_mm > spacing.limit_mm:
        text = "Slice positions are slightly uneven, as rounding to one decimal makes them."
        tag, value = tags.show(tags.POSITION), f"{spacing.off_mm:.3f} mm"
        findings.append(Finding("UNEVEN_GAPS", "warning", text, tag=tag, value=value, assumed="even"))
    return spacing.slots, int(spacing.slots[-1]) + 1


def _filled(stack: SortedSlices, spacing: Spacing) -> Finding:
    missing = spacing.missing
    places = [f"{n} ({stack.along[0] + n * spacing.gap_mm:.2f} mm)" for n in missing[:_LISTED]]
    rest = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
    text = f"{len(missing)} missing slices were filled linearly from their neighbours."
    return Finding(
        "MISSING_INTERPOLATED",
        "warning",
        text,
        tag=tags.show(tags.POSITION),
        value=f"widest gap {np.diff(stack.along).max():.3f} mm, {spacing.gap_mm:.3f} mm elsewhere",
        assumed=f"slices {', '.join(places)}{rest} along the normal",
    )


def _evened(stack: SortedSlices, spacing: Spacing, policy: ReadPolicy, findings: list[Finding]) -> tuple[Floats, int]:
    gaps = np.diff(stack.along)
    slots, count = even_slots(stack.along, spacing.gap_mm)
    if policy.irregular != "resample" or count > 2 * len(stack.headers):
        raise refusals.uneven(stack.headers, gaps, spacing)
    gap = float(stack.along[-1] - stack.along[0]) / (count - 1)
    text = f"{len(stack.headers)} unevenly spaced slices were resampled linearly to {count} even ones."
    findings.append(
        Finding(
            "IRREGULAR_RESAMPLED",
            "warning",
            text,
            tag=tags.show(tags.POSITION),
            value=f"gaps from {gaps.min():.3f} to {gaps.max():.3f} mm",
            assumed=f"{gap:.4f} mm",
        )
    )
    return slots, count


def straightened(
    stack: SortedSlices, slope: Floats, places: Floats | None, slices: int, lean_deg: float, findings: list[Finding]
) -> tuple[Floats, Regrid]:
    """Plan to move every slice within its plane onto a straight grid that is wide enough for all of them.

    Parameters
    ----------
    stack : SortedSlices
        Leaning by ``lean_deg``: ``slope`` (3,) mm sideways for every millimetre along the normal.
    places : (N,) ndarray of float64 or None
        Where the slices of the result lie between those that are read, if not on them.
    slices : int
        N.
    findings : list of Finding
        Gets one.

    Returns
    -------
    affine : (4, 4) ndarray of float64
        Of the straight grid; pixels of the first slice keep their values.
    plan : Regrid
    """
    run = stack.along - stack.along[0]
    shift_mm = np.outer(run, [slope @ stack.column, slope @ stack.row])
    shift = snapped(shift_mm / stack.pixel_mm)
    # Whole pixels, so that the first slice is not interpolated.
    before = np.ceil(np.maximum(-shift.min(axis=0), 0))
    shift += before
    grown = np.ceil(shift.max(axis=0))
    text = "The stack leaned as a tilted gantry makes it; its slices were moved onto a straight grid."
    moved = f"{np.linalg.norm(shift_mm[-1]):.2f} mm from the first to the last slice"
    tag, value = tags.show(tags.POSITION), f"{lean_deg:.2f}°"
    findings.append(Finding("TILT_RESAMPLED", "warning", text, tag=tag, value=value, assumed=moved))
    affine = stack.affine(stack.normal * (run[-1] / (slices - 1)))
    affine[:3, 3] -= affine[:3, 1] * before[0] + affine[:3, 2] * before[1]
    rows, columns = stack.shape_yx
    places = np.arange(len(stack.headers), dtype=np.float64) if places is None else places
    return affine, Regrid(places, shift, (rows + int(grown[0]), columns + int(grown[1])))


def snapped(values: Floats) -> Floats:
    """Make what is whole but for noise whole, so that it needs no interpolation."""
    near = np.rint(values)
    return np.where(np.abs(values - near) < 1e-6, near, values)
