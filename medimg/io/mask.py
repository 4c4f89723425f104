"""Read label images: whole numbers, 0 the background; and the segments of DICOM objects on their image's grid.

Legend: Z Y X of a label volume, H W of a label picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import InputError
from medimg.io.dicom.derived import LABELMAP_SEG, RTSTRUCT, SEG, open_object
from medimg.io.dicom.rtstruct import read_rtstruct
from medimg.io.dicom.seg import OffGrid, read_seg
from medimg.io.findings import Finding
from medimg.io.image import Picture, Source, Volume
from medimg.io.nifti.read import read_nifti
from medimg.io.picture import common_findings
from medimg.io.picture_decode import Decoded, decode
from medimg.io.segmentation import Segmentation
from medimg.io.sniff import sniff

# A lossy mask is accepted where at most this part of its pixels is neither nearly black nor nearly white.
_BLURRED_PART = 0.02
_NEARLY = 32


def read_mask(path: str | Path, like: Volume | Picture | None = None) -> Volume | Picture:
    """Read a segmentation as one array of labels.

    Parameters
    ----------
    path : str or Path
        NIfTI; a PNG, TIFF, BMP, GIF or (binary only) JPEG picture; a DICOM SEG or RTSTRUCT.
    like : Volume or Picture, optional
        The image that the segmentation belongs to. A DICOM SEG or RTSTRUCT is put onto its grid (an RTSTRUCT
        needs it, a SEG without it stays on its own grid); for other files it is not looked at.

    Returns
    -------
    Volume or Picture
        Volume with ``unit`` 'label' and (Z, Y, X) uint8 or uint16; or Picture with ``colour_space`` 'label'
        and (H, W) uint8 or uint16. A picture that holds 0 and 255 alone is read as 0 and 1, with a finding. Of a
        DICOM object the values are its segment or ROI numbers.

    Raises
    ------
    InputError
        Not a label image: fractions, negative or non-finite values, several channels, mixed colours. Of a DICOM
        object also: overlapping segments (`read_segmentation` reads them one by one), and all that
        `read_segmentation` refuses.
    MissingDependency
        A decoder is missing.
    """
    path = Path(path)
    content = sniff(path)
    if content.kind in ("nifti", "nifti-data"):
        return _volume(path)
    if content.kind == "picture":
        return _picture(path)
    if content.kind == "dicom" and not content.compressed:
        return read_segmentation(path, like).label_map()
    raise InputError(
        "Not a label image that can be read.",
        where=path,
        got=content.name,
        expected="NIfTI, PNG, TIFF, BMP, GIF, a binary JPEG, DICOM SEG or RTSTRUCT",
        fix="convert the segmentation to NIfTI or PNG",
    )


def is_dicom_segmentation(path: str | Path) -> bool:
    """Tell whether a file is a DICOM object, which `read_segmentation` reads and which needs its image.

    Raises
    ------
    InputError
        The file cannot be opened.
    """
    content = sniff(Path(path))
    return content.kind == "dicom" and not content.compressed


def read_segmentation(
    path: str | Path,
    like: Volume | Picture | None = None,
    *,
    segments: str | int | Collection[str | int] | None = None,
    off_grid: OffGrid = "error",
    check_references: bool = True,
) -> Segmentation:
    """Read a DICOM SEG or RTSTRUCT onto the grid of its image.

    Parameters
    ----------
    path : str or Path
        SEG (binary, fractional, label map), or RTSTRUCT.
    like : Volume or Picture, optional
        The image it belongs to. A SEG without it is read on its own grid.
    segments : int, str or collection of them, optional
        Numbers or labels of the wanted segments; all where it is None. Those left out are not looked at, so a
        broken contour of another region is no obstacle.
    off_grid : {'error', 'nearest'}
        What happens to frames or contours that do not lie on the image's voxels: an error that says how they miss
        it, or nearest neighbour (RTSTRUCT: nearest slice) with a finding.
    check_references : bool
        Whether it must refer to the image's own SOP instances and frame of reference. False goes by geometry alone,
        with a finding: for data whose UIDs were replaced without replacing them inside the segmentation.

    Returns
    -------
    Segmentation
        ``mask(number or label)`` (Z, Y, X) bool, ``fraction``, ``masks``, ``label_map``, ``segments`` with codes.

    Raises
    ------
    InputError
        Neither of the two, damaged, made on other images, off the grid, or (RTSTRUCT) without its image.
    MissingDependency
        A decoder is missing.

    Examples
    --------
    >>> volume = medimg.read("ct/")                                    # doctest: +SKIP
    >>> liver = read_segmentation("seg.dcm", volume).mask("Liver")     # doctest: +SKIP
    """
    path = Path(path)
    if off_grid not in ("error", "nearest"):
        raise InputError("No such way to treat what is off the grid.", got=off_grid, expected="'error' or 'nearest'")
    if isinstance(segments, str | int):
        segments = [segments]
    dataset, header = open_object(path)
    reader = {SEG: read_seg, LABELMAP_SEG: read_seg, RTSTRUCT: read_rtstruct}.get(header.sop_class)
    if reader is None:
        raise InputError(
            "Not a segmentation.",
            where=path,
            got="a DICOM object of another class",
            expected="a DICOM SEG or RTSTRUCT",
            fix="images are read by medimg.read",
        )
    return reader(dataset, header, like, segments=segments, off_grid=off_grid, check_references=check_references)


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
        _check_whole(array, path)
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 65535:
        raise InputError(
            "The label values are out of range.", where=path, got=f"{low:g} … {high:g}", expected="0 … 65535"
        )
    return array.astype(np.uint8 if high < 256 else np.uint16, copy=False)


def _check_whole(array: NDArray[Any], path: Path) -> None:
    # Plane by plane: no second volume is made.
    count, example = 0, 0.0
    for plane in array.reshape(-1, *array.shape[-2:]):
        bad = ~(np.isfinite(plane) & (plane == np.rint(plane)))
        if bad.any():
            example = example if count else float(plane[bad][0])
            count += int(bad.sum())
    if count:
        raise InputError(
            "A label image must hold whole numbers.",
            where=path,
            got=f"{count} other values, such as {example:.6g}",
            expected="0 for background, 1, 2, … for labels",
            fix="resample labels with nearest-neighbour interpolation, or threshold the probability map",
        )


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
