"""Slices of one stack, sorted along their normal: DICOM PS3.3 C.7.6.2.1.1; names and numbers decide nothing.

Row and column cosines may miss orthonormality by 1e-3; above 1e-6 they are repaired with a finding.

Legend: Z slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medimg.io.dicom import refusals, tags
from medimg.io.dicom.doubles import without_doubles
from medimg.io.dicom.headers import Header
from medimg.io.dicom.spacing import Floats
from medimg.io.findings import Finding
from medimg.io.policy import ReadPolicy

_COSINES_REFUSED, _COSINES_REPAIRED = 1e-3, 1e-6


@dataclass(frozen=True, eq=False)
class SortedSlices:
    """Slices along their normal, one a position.

    Attributes
    ----------
    headers : tuple of Header
        In order.
    positions, along : (Z, 3) and (Z,) ndarray of float64
        ImagePositionPatient in LPS mm, and its projection on the normal.
    row, column : (3,) ndarray of float64
        Unit vectors from pixel to pixel along a row, and from row to row.
    pixel_mm : (2,) ndarray of float64
        Distance between rows, and between columns.
    findings : tuple of Finding
        What was noticed.
    """

    headers: tuple[Header, ...]
    positions: Floats
    along: Floats
    row: Floats
    column: Floats
    pixel_mm: Floats
    findings: tuple[Finding, ...]

    @property
    def normal(self) -> Floats:
        """(3,) unit vector from slice to slice of an upright stack."""
        return np.cross(self.row, self.column)

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.headers[0].rows, self.headers[0].columns

    def affine(self, step: Floats) -> Floats:
        """Return the (4, 4) affine (zyx to LPS mm) from the first slice on, ``step`` (3,) mm from slice to slice."""
        affine = np.eye(4)
        # PixelSpacing is (between rows, between columns); the column cosine is the way from row to row.
        axes = [step, self.column * self.pixel_mm[0], self.row * self.pixel_mm[1], self.positions[0]]
        affine[:3] = np.column_stack(axes)
        return affine

    def between(self, start: int, stop: int) -> SortedSlices:
        """Return the slices from ``start`` to before ``stop``."""
        return replace(
            self,
            headers=self.headers[start:stop],
            positions=self.positions[start:stop],
            along=self.along[start:stop],
        )


def sort_slices(headers: Sequence[Header], policy: ReadPolicy) -> SortedSlices:
    """Sort slices along their normal; doubled ones are refused or left out, as the policy says.

    Raises
    ------
    InputError
        Unusable cosines or pixel spacing, or doubled slices.
    """
    findings: list[Finding] = []
    row, column = _cosines(headers, findings)
    pixel_mm = np.asarray(headers[0].pixel_spacing, dtype=np.float64)
    if not pixel_mm.min() > 0:
        raise refusals.pixel_spacing(headers, pixel_mm)
    positions = np.asarray([header.position for header in headers], dtype=np.float64)
    along = positions @ np.cross(row, column)
    order = np.argsort(along, kind="stable")
    kept = order[without_doubles([headers[int(n)] for n in order], along[order], policy, findings)]
    ordered = tuple(headers[int(n)] for n in kept)
    return SortedSlices(ordered, positions[kept], along[kept], row, column, pixel_mm, tuple(findings))


def _cosines(headers: Sequence[Header], findings: list[Finding]) -> tuple[Floats, Floats]:
    mean = np.asarray([header.orientation for header in headers], dtype=np.float64).mean(axis=0).reshape(2, 3)
    off = float(np.abs(mean @ mean.T - np.eye(2)).max())
    if not off <= _COSINES_REFUSED:
        raise refusals.cosines(headers, mean, _COSINES_REFUSED)
    if off > _COSINES_REPAIRED:
        text = "The row and column cosines were made orthonormal."
        findings.append(
            Finding("COSINES_REPAIRED", "info", text, tag=tags.show(tags.ORIENTATION), value=f"off by {off:.2g}")
        )
    # Nearest orthonormal pair (polar decomposition).
    u, _, vt = np.linalg.svd(mean, full_matrices=False)
    row, column = u @ vt
    return row, column


def along_normal(headers: Sequence[Header], *, in_order: bool = True) -> Floats:
    """Return the positions (Z,) in mm along the first slice's normal, ascending or in the order of ``headers``."""
    row, column = np.asarray(headers[0].orientation, dtype=np.float64).reshape(2, 3)
    along = np.asarray([header.position for header in headers], dtype=np.float64) @ np.cross(row, column)
    return np.sort(along) if in_order else along
