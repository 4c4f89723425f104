"""From the positions of single slices to one affine, or a reason why there is none.

Method: slices are sorted by their position projected on the slice normal (DICOM PS3.3 C.7.6.2.1.1); instance
numbers and file names decide nothing. Tolerances, all stated here:

* row and column cosines may miss orthonormality by 1e-3; above 1e-6 they are repaired with a finding;
* two slices nearer than 0.01 mm are at the same position;
* a slice may be off its even position by max(0.01 mm, 1 % of the gap); up to 0.055 mm (positions rounded to
  one decimal), but at most 10 % of the gap, is accepted with a finding;
* the stack may lean by 0.1 degrees; more is a tilted gantry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.io import dicom_tags as tags
from medimg.io.dicom_headers import Header
from medimg.io.findings import Finding

_COSINES_REFUSED, _COSINES_REPAIRED = 1e-3, 1e-6
_SAME_MM = 0.01
_EVEN_PART, _ROUNDED_MM, _ROUNDED_PART = 0.01, 0.055, 0.10
_LEAN_DEG = 0.1
_IN_PLANE_MM = 0.1


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Slices in order along the normal, with the affine (zyx to LPS mm) of their stack."""

    headers: tuple[Header, ...]
    affine: NDArray[np.float64]
    findings: tuple[Finding, ...]


def arrange(headers: Sequence[Header]) -> Arrangement:
    """Sort the slices of one stack and check that they lie evenly.

    Parameters
    ----------
    headers : sequence of Header
        All with geometry, one orientation and one size.

    Raises
    ------
    InputError
        Unusable cosines or spacing, slices missing, doubled, unevenly spaced, or a tilted gantry. The message
        names the series, the tag and what to do.
    """
    findings: list[Finding] = []
    where = _where(headers)
    row, column = _cosines(headers, where, findings)
    normal = np.cross(row, column)
    spacing = np.asarray(headers[0].pixel_spacing, dtype=np.float64)
    if spacing.min() <= 0:
        raise InputError("PixelSpacing (0028,0030) is not positive.", where=where, got=spacing.tolist())
    positions = np.asarray([header.position for header in headers], dtype=np.float64)
    order = np.argsort(positions @ normal, kind="stable")
    ordered, positions = tuple(headers[int(n)] for n in order), positions[order]
    if len(ordered) == 1:
        step = normal * _single_gap(ordered[0], findings)
    else:
        step = _step(ordered, positions, normal, where, findings)
    affine = np.eye(4)
    # PixelSpacing is (between rows, between columns); the column cosine is the way from row to row.
    affine[:3] = np.column_stack([step, column * spacing[0], row * spacing[1], positions[0]])
    return Arrangement(ordered, affine, tuple(findings))


def _where(headers: Sequence[Header]) -> str:
    return f"series {headers[0].series_uid or '(no UID)'} in {headers[0].path.parent}"


def _cosines(
    headers: Sequence[Header], where: str, findings: list[Finding]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean = np.mean([header.orientation or () for header in headers], axis=0).reshape(2, 3)
    off = float(np.abs(mean @ mean.T - np.eye(2)).max())
    if not off <= _COSINES_REFUSED:
        raise InputError(
            "The row and column cosines are not at right angles or not of length 1.",
            where=where,
            got=f"ImageOrientationPatient (0020,0037) = {[round(float(v), 6) for v in mean.ravel()]}",
            expected=f"orthonormal within {_COSINES_REFUSED:g}",
            fix="export the series again from the scanner or PACS",
        )
    if off > _COSINES_REPAIRED:
        text = "The row and column cosines were made orthonormal."
        findings.append(
            Finding("COSINES_REPAIRED", "info", text, tag=tags.show(tags.ORIENTATION), value=f"off by {off:.2g}")
        )
    # Nearest orthonormal pair (polar decomposition).
    u, _, vt = np.linalg.svd(mean, full_matrices=False)
    row, column = u @ vt
    return row, column


def _single_gap(header: Header, findings: list[Finding]) -> float:
    for tag, name in ((tags.SLICE_THICKNESS, "SliceThickness"), (tags.SPACING_BETWEEN, "SpacingBetweenSlices")):
        value = tags.number(header.elements, tag)
        if value is not None and np.isfinite(value) and value > 0:
            text = f"One slice alone has no gap; {name} was taken as its extent."
            findings.append(
                Finding(
                    "SINGLE_SLICE", "info", text, tag=tags.show(tag), value=f"{value:g} mm", assumed=f"{value:g} mm"
                )
            )
            return value
    text = "One slice alone, and no SliceThickness: its extent is not known."
    findings.append(Finding("SINGLE_SLICE", "warning", text, tag=tags.show(tags.SLICE_THICKNESS), assumed="1 mm"))
    return 1.0


def _step(
    headers: tuple[Header, ...],
    positions: NDArray[np.float64],
    normal: NDArray[np.float64],
    where: str,
    findings: list[Finding],
) -> NDArray[np.float64]:
    """Return the vector from slice to slice after all checks."""
    along = positions @ normal
    gaps = np.diff(along)
    _check_duplicates(headers, gaps, where)
    gap = float(np.median(gaps))
    _check_missing(headers, gaps, gap, where)
    index = np.arange(len(along))
    uneven = float(np.ptp(along - np.polyval(np.polyfit(index, along, 1), index)) / 2)
    limit = max(_SAME_MM, _EVEN_PART * gap)
    rounded = max(limit, min(_ROUNDED_MM, _ROUNDED_PART * gap))
    if uneven > rounded:
        raise _uneven(gaps, uneven, rounded, where)
    if uneven > limit:
        text = "Slice positions are slightly uneven, as rounding to one decimal makes them."
        findings.append(
            Finding(
                "UNEVEN_GAPS", "warning", text, tag=tags.show(tags.POSITION), value=f"{uneven:.3f} mm", assumed="even"
            )
        )
    _check_lean(positions, along, normal, where)
    _compare_tag(headers[0], gap, findings)
    return (positions[-1] - positions[0]) / (len(positions) - 1)


def _check_duplicates(headers: tuple[Header, ...], gaps: NDArray[np.float64], where: str) -> None:
    doubled = np.flatnonzero(gaps <= _SAME_MM)
    if not len(doubled):
        return
    first = int(doubled[0])
    same = headers[first].instance_uid == headers[first + 1].instance_uid
    names = f"{headers[first].path.name} and {headers[first + 1].path.name}"
    raise InputError(
        "Slices lie at the same position.",
        where=where,
        got=f"{len(doubled)} doubled ImagePositionPatient (0020,0032), such as {names}",
        expected="one slice a position",
        fix="remove the copy; both have the same SOPInstanceUID (0008,0018)"
        if same
        else "put echoes, phases or repeated scans into folders of their own",
    )


def _check_missing(headers: tuple[Header, ...], gaps: NDArray[np.float64], gap: float, where: str) -> None:
    times = np.rint(gaps / gap)
    off = np.abs(gaps - times * gap)
    even = off <= np.maximum(_ROUNDED_MM, 2 * _EVEN_PART * gap)
    holes = np.flatnonzero(times >= 2)
    if not len(holes) or not even.all():
        return
    first = int(holes[0])
    raise InputError(
        "Slices are missing.",
        where=where,
        got=f"{int((times[holes] - 1).sum())} missing; the first gap of {gaps[first]:.3f} mm is between "
        f"{headers[first].path.name} and {headers[first + 1].path.name} (ImagePositionPatient (0020,0032))",
        expected=f"a gap of {gap:.3f} mm everywhere",
        fix="fetch the whole series again from the PACS",
    )


def _uneven(gaps: NDArray[np.float64], uneven_mm: float, limit_mm: float, where: str) -> InputError:
    return InputError(
        "The slices are unevenly spaced.",
        where=where,
        got=f"gaps from {gaps.min():.3f} to {gaps.max():.3f} mm (ImagePositionPatient (0020,0032)); "
        f"a slice is {uneven_mm:.3f} mm off",
        expected=f"even positions within {limit_mm:.3f} mm",
        fix="use a reconstruction with even gaps, or split the series where its gap changes",
    )


def _check_lean(
    positions: NDArray[np.float64], along: NDArray[np.float64], normal: NDArray[np.float64], where: str
) -> None:
    """Compare the stack with a straight one along its normal."""
    run = along - along[0]
    sideways = positions - positions[0] - np.outer(run, normal)
    slope = sideways[-1] / run[-1]
    bent = float(np.linalg.norm(sideways - np.outer(run, slope), axis=1).max())
    lean_deg = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    if bent > _IN_PLANE_MM:
        raise InputError(
            "The slices are not stacked along one line.",
            where=where,
            got=f"a slice lies {bent:.2f} mm beside it (ImagePositionPatient (0020,0032))",
            expected=f"at most {_IN_PLANE_MM:g} mm",
            fix="split the series where the patient or the table was moved",
        )
    if lean_deg > _LEAN_DEG:
        raise InputError(
            "The stack is sheared: a tilted gantry that was not corrected.",
            where=where,
            got=f"{lean_deg:.2f} degrees between the slice normal (0020,0037) and the positions (0020,0032)",
            expected=f"at most {_LEAN_DEG:g} degrees",
            fix="reconstruct without tilt, or resample the series to a straight grid first",
        )


def _compare_tag(header: Header, gap: float, findings: list[Finding]) -> None:
    stated = tags.number(header.elements, tags.SPACING_BETWEEN)
    if stated is None or not np.isfinite(stated) or abs(abs(stated) - gap) <= max(_SAME_MM, 0.01 * gap):
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
