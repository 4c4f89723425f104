"""Read label images: whole numbers, 0 the background.

Legend: Z Y X of a label volume, H W of a label picture.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.io.findings import Finding
from medimg.io.image import Picture, Source, Volume
from medimg.io.nifti import read_nifti
from medimg.io.picture import common_findings
from medimg.io.picture_decode import Decoded, decode
from medimg.io.sniff import sniff

# A lossy mask is accepted where at most this part of its pixels is neither nearly black nor nearly white.
_BLURRED_PART = 0.02
_NEARLY = 32


def read_mask(path: str | Path) -> Volume | Picture:
    """Read a segmentation.

    Parameters
    ----------
    path : str or Path
        NIfTI, or a PNG, TIFF, BMP, GIF or (binary only) JPEG picture.

    Returns
    -------
    Volume or Picture
        Volume with ``unit`` 'label' and (Z, Y, X) uint8 or uint16; or Picture with ``colour_space`` 'label'
        and (H, W) uint8 or uint16. A picture that holds 0 and 255 alone is read as 0 and 1, with a finding.

    Raises
    ------
    InputError
        Not a label image: fractions, negative or non-finite values, several channels, mixed colours.
    """
    path = Path(path)
    content = sniff(path)
    if content.kind in ("nifti", "nifti-data"):
        return _volume(path)
    if content.kind == "picture":
        return _picture(path)
    raise InputError(
        "Not a label image that can be read.",
        where=path,
        got=content.name,
        expected="NIfTI, PNG, TIFF, BMP, GIF, or a binary JPEG",
        fix="convert the segmentation to NIfTI or PNG",
    )


def _volume(path: Path) -> Volume:
    volume = read_nifti(path)
    if volume.array.ndim != 3:
        raise InputError(
            "A label volume must have three dimensions.",
            where=path,
            got=tuple(volume.array.shape),
            expected="(Z, Y, X) with one number a voxel",
            fix="save one label volume, or one file a label",
        )
    return dataclasses.replace(volume, array=as_labels(volume.array, path), unit="label")


def as_labels(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return whole-numbered labels as uint8 or uint16.

    Raises
    ------
    InputError
        Fractions, negative or non-finite values, or labels above 65535.
    """
    if array.dtype.kind == "f":
        finite = np.isfinite(array)
        bad = ~finite | (np.where(finite, array, 0.0) % 1.0 != 0)
        if bad.any():
            raise InputError(
                "A label image must hold whole numbers.",
                where=path,
                got=f"{int(bad.sum())} other values, such as {float(array[bad][0]):.6g}",
                expected="0 for background, 1, 2, … for labels",
                fix="resample labels with nearest-neighbour interpolation, or threshold the probability map",
            )
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 65535:
        raise InputError(
            "The label values are out of range.", where=path, got=f"{low:g} … {high:g}", expected="0 … 65535"
        )
    return array.astype(np.uint8 if high < 256 else np.uint16, copy=False)


def _picture(path: Path) -> Picture:
    decoded = decode(path)
    findings = common_findings(path, decoded)
    array = _single_channel(decoded, path, findings)
    if decoded.format == "JPEG":
        array = _unblurred(array, path, findings)
    array = _binary(array, path, findings)
    return Picture(
        array=np.ascontiguousarray(array),
        colour_space="label",
        source=Source(paths=(path,), format=decoded.format),
        findings=tuple(findings),
    )


def _single_channel(decoded: Decoded, path: Path, findings: list[Finding]) -> NDArray[Any]:
    array = decoded.array
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if decoded.mode == "P":
        text = "Palette indices were taken as labels."
        findings.append(Finding("PALETTE_LABELS", "info", text, file=str(path), assumed="index = label"))
        return array
    if array.ndim == 2:
        return array
    if decoded.mode in ("LA", "PA"):
        return array[..., 0]
    colours = array[..., :3]
    lossy = decoded.format == "JPEG"
    spread = np.ptp(colours.astype(np.int32), axis=2).max()
    if decoded.mode not in ("RGB", "RGBA") or spread > (_NEARLY if lossy else 0):
        raise InputError(
            "The label picture is coloured; which colour means which label is not known.",
            where=path,
            got=f"mode {decoded.mode} with unequal channels",
            expected="one grey value or palette index a label",
            fix="save label numbers as an 8-bit grey PNG",
        )
    text = "Three equal channels were read as one."
    findings.append(Finding("GREY_FROM_RGB", "info", text, file=str(path)))
    return colours[..., 0]


def _unblurred(array: NDArray[Any], path: Path, findings: list[Finding]) -> NDArray[np.uint8]:
    blurred = float(((array > _NEARLY) & (array < 255 - _NEARLY)).mean())
    if blurred > _BLURRED_PART:
        raise InputError(
            "The label picture is a lossy JPEG whose values are not near 0 or 255.",
            where=path,
            got=f"{100 * blurred:.1f} % of the pixels in between",
            expected=f"at most {100 * _BLURRED_PART:g} %",
            fix="save the mask as PNG from its source",
        )
    text = "The mask is a lossy JPEG; it was thresholded at half."
    findings.append(Finding("LOSSY_MASK", "warning", text, file=str(path), assumed="value >= 128 is 1"))
    return (array >= 128).astype(np.uint8)


def _binary(array: NDArray[Any], path: Path, findings: list[Finding]) -> NDArray[Any]:
    if int(array.max()) != 255 or not np.isin(array, (0, 255)).all():
        return array
    findings.append(Finding("MASK_255", "info", "255 was read as label 1.", file=str(path), value="255", assumed="1"))
    return (array == 255).astype(np.uint8)
