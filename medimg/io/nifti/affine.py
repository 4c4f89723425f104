"""Which of a NIfTI header's three statements about geometry to believe.

Policy: the sform where its code is positive and it can be inverted, else the qform where its code is positive,
else the voxel sizes alone with a finding; or the qform first, or neither where they disagree, as asked. All
matrices here are ijk to RAS, in millimetres.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medimg import geometry
from medimg.errors import InputError
from medimg.io.findings import Finding

# Corners of the volume may differ by this much before sform and qform are said to disagree.
_AGREE_MM = 0.1
_SHEAR_DEG = 0.1
# xyzt_units, spatial part: code to millimetres.
_UNIT_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


Prefer = Literal["sform", "qform", "error"]


def read_affine(header: Any, path: Path, findings: list[Finding], *, prefer: Prefer = "sform") -> NDArray[np.float64]:
    """Return the (4, 4) ijk-to-RAS affine in millimetres, and add what was noticed to ``findings``.

    Parameters
    ----------
    header : nibabel header
    path : Path
    findings : list of Finding
    prefer : {'sform', 'qform', 'error'}
        Which one to take where both are set; 'error' refuses them where they differ by more than 0.1 mm.

    Raises
    ------
    InputError
        The chosen matrix is not finite or not invertible, the voxel sizes are unusable, or the two disagree and
        ``prefer`` is 'error'.
    """
    if prefer not in ("sform", "qform", "error"):
        raise InputError("No such way to choose the geometry.", got=prefer, expected="'sform', 'qform' or 'error'")
    file = str(path)
    sform = np.asarray(header.get_sform(), dtype=np.float64) if int(header["sform_code"]) > 0 else None
    qform = _qform(header, path, findings, required=sform is None)
    if sform is not None and qform is not None and not _usable(sform) and _usable(qform):
        text = "The sform cannot be inverted."
        findings.append(Finding("BAD_SFORM", "warning", text, file=file, tag="sform", assumed="the qform"))
        sform = None
    if sform is not None and qform is not None:
        findings += _disagreement(header, sform, qform, path, prefer)
    if sform is not None and (qform is None or prefer != "qform"):
        affine, tag = sform, "sform"
    elif qform is not None:
        affine, tag = qform, "qform"
    else:
        affine, tag = _voxel_sizes_only(header, path), "pixdim"
        text = "Neither sform nor qform is set: left and right cannot be known from this file."
        findings.append(
            Finding("NO_ORIENTATION", "warning", text, file=file, tag="sform_code", value="0", assumed="x to the left")
        )
    affine = _in_millimetres(affine, header, file, findings)
    geometry.check_affine(affine, where=f"{path} ({tag})")
    skew = geometry.shear_deg(affine)
    if skew > _SHEAR_DEG:
        text = "The voxel axes are not at right angles (a registration or an uncorrected gantry tilt)."
        findings.append(Finding("SHEARED", "warning", text, file=file, tag=tag, value=f"{skew:.2f} degrees"))
    return affine


def _usable(affine: NDArray[np.float64]) -> bool:
    try:
        geometry.check_affine(affine)
    except InputError:
        return False
    return True


def _qform(header: Any, path: Path, findings: list[Finding], *, required: bool) -> NDArray[np.float64] | None:
    if int(header["qform_code"]) <= 0:
        return None
    try:
        affine = np.asarray(header.get_qform(), dtype=np.float64)
        if np.isfinite(affine).all():
            return affine
        problem = "not finite"
    except (HeaderDataError, ValueError) as error:
        problem = str(error)
    if required:
        raise InputError("The qform cannot be used, and there is no sform.", where=path, got=problem)
    text = "The qform cannot be used."
    findings.append(
        Finding("BAD_QFORM", "warning", text, file=str(path), tag="quatern_b", value=problem, assumed="the sform")
    )
    return None


def _voxel_sizes_only(header: Any, path: Path) -> NDArray[np.float64]:
    sizes = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if not np.isfinite(sizes).all() or (sizes == 0).any():
        raise InputError("The voxel sizes are unusable, and there is no other geometry.", where=path, got=sizes)
    return np.asarray(header.get_base_affine(), dtype=np.float64)


def _disagreement(
    header: Any, sform: NDArray[np.float64], qform: NDArray[np.float64], path: Path, prefer: Prefer
) -> list[Finding]:
    shape = tuple(max(1, int(side)) for side in header["dim"][1:4])
    gap = float(np.linalg.norm(geometry.corners_mm(shape, sform) - geometry.corners_mm(shape, qform), axis=1).max())
    if gap <= _AGREE_MM:
        return []
    text = "sform and qform place the volume differently."
    if prefer == "error":
        raise InputError(
            text,
            where=path,
            got=f"corners up to {gap:.3g} mm apart (sform_code {int(header['sform_code'])}, "
            f"qform_code {int(header['qform_code'])})",
            expected=f"at most {_AGREE_MM:g} mm",
            fix="choose one: prefer='sform' or prefer='qform'",
        )
    return [Finding("SFORM_QFORM", "warning", text, file=str(path), tag="sform", value=f"{gap:.3g} mm", assumed=prefer)]


def _in_millimetres(
    affine: NDArray[np.float64], header: Any, file: str, findings: list[Finding]
) -> NDArray[np.float64]:
    code = int(header["xyzt_units"]) & 0x07
    scale = _UNIT_MM.get(code)
    if scale is None or code == 0:
        text = "The unit of length is not stated."
        findings.append(
            Finding("NO_UNIT", "info", text, file=file, tag="xyzt_units", value=str(code), assumed="millimetre")
        )
    elif scale != 1.0:
        text = "Lengths were converted to millimetres."
        findings.append(Finding("UNIT_CONVERTED", "info", text, file=file, tag="xyzt_units", value=str(code)))
        affine = np.diag([scale, scale, scale, 1.0]) @ affine
    return affine
