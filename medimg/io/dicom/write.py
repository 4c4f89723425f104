"""Write a volume as a classic CT or MR image series: one file a slice, nobody behind it unless said so.

Legend: Z slices, Y rows, X columns. Lengths in LPS mm. Files are sorted along the slice normal (row × column), as
readers sort them: a left-handed volume comes back with its slices in the other order, at the same places.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medimg import geometry
from medimg.errors import InputError
from medimg.io.dicom.image_elements import SOP_CLASS, add_attributes, new_uid, shared_elements, slice_dataset
from medimg.io.dicom.stored_values import quantised
from medimg.io.image import Volume

# A normal may lean by this much before slices count as tilted; rows and columns may miss a right angle by this.
_LEAN_DEG, _SQUARE = 0.1, 1e-4


@dataclass(frozen=True)
class WrittenSeries:
    """What was written.

    Attributes
    ----------
    folder : Path
    paths : tuple of Path
        One file a slice, along the normal.
    series_uid, study_uid, frame_of_reference_uid : str
    slope, intercept : float
        ``value = slope · stored + intercept``.
    max_error : float
        Bound of the difference between a voxel and what a reader gets back; 0 where nothing was rounded.
    """

    folder: Path
    paths: tuple[Path, ...]
    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    slope: float
    intercept: float
    max_error: float


def write_dicom_series(
    volume: Volume,
    folder: str | Path,
    *,
    modality: Literal["CT", "MR"],
    description: str = "",
    series_number: int = 1,
    uid_seed: str | None = None,
    study_uid: str | None = None,
    frame_of_reference_uid: str | None = None,
    attributes: Mapping[str, object] | None = None,
    tilt: Literal["error", "write"] = "error",
    max_error: float | None = None,
) -> WrittenSeries:
    """Write a volume as a DICOM series that other programs read back to the same geometry.

    Parameters
    ----------
    volume : Volume
        (Z, Y, X), or (1, Z, Y, X), of any integer or float type. Its affine may be oblique, flipped or left-handed.
    folder : str or Path
        Must not exist yet, or be empty. It appears under its name when it is complete.
    modality : {'CT', 'MR'}
        CT Image or MR Image Storage.
    description : str
        SeriesDescription.
    series_number : int
    uid_seed : str, optional
        Makes every UID from a hash of it (``2.25.…``), so that writing again gives the same bytes; random without.
    study_uid, frame_of_reference_uid : str, optional
        Those of an existing study, to put the series beside it (``volume.frame_of_reference_uid`` keeps it
        registered with its source); new ones by default, since UIDs lead back to a patient.
    attributes : mapping, optional
        Further DICOM keywords with values, the same in every file. Patient attributes are written only when they
        stand here; where nothing is given the files say that they are de-identified.
    tilt : {'error', 'write'}
        What happens to slices that are not stacked along their normal (a tilted gantry): refuse them, or write them
        as they are, which many programs misread.
    max_error : float, optional
        Refuse to write where rounding to 16 bits could change a voxel by more than this.

    Returns
    -------
    WrittenSeries
        Paths, UIDs, rescale and the bound of the rounding error: integers that fit 16 bits are written exactly,
        others with the finest slope that holds their range, and an error of at most half of it.

    Raises
    ------
    InputError
        Not one finite scan, sheared within the plane or tilted, too coarse for ``max_error``, a reserved attribute,
        or a folder that is not empty or cannot be written to.
    """
    folder = Path(folder)
    array = _checked(volume, folder, modality)
    stored = quantised(array, where=folder)
    if max_error is not None and stored.max_error > max_error:
        raise InputError(
            "16 bits cannot hold these values as exactly as asked.",
            where=folder,
            got=f"an error of up to {stored.max_error:.3g} over a range of {np.ptp(array):.6g}",
            expected=f"at most {max_error:g}",
            fix="clip outliers first, or write NIfTI, which keeps floats",
        )
    planes, affine = _along_normal(stored.array, volume.affine)
    _check_geometry(affine, tilt, folder)
    shared = shared_elements(planes, affine, stored, volume.unit, modality)
    shared.SeriesDescription, shared.SeriesNumber = description, series_number
    shared.StudyInstanceUID = study_uid or new_uid(uid_seed, "study")
    shared.SeriesInstanceUID = new_uid(uid_seed, "series", series_number)
    shared.FrameOfReferenceUID = frame_of_reference_uid or new_uid(uid_seed, "frame of reference")
    add_attributes(shared, attributes or {}, folder)
    names = _write(planes, affine, shared, folder, uid_seed)
    return WrittenSeries(
        folder=folder,
        paths=tuple(folder / name for name in names),
        series_uid=str(shared.SeriesInstanceUID),
        study_uid=str(shared.StudyInstanceUID),
        frame_of_reference_uid=str(shared.FrameOfReferenceUID),
        slope=stored.slope,
        intercept=stored.intercept,
        max_error=stored.max_error,
    )


def _checked(volume: Volume, folder: Path, modality: str) -> NDArray[Any]:
    array = volume.array
    if modality not in SOP_CLASS:
        raise InputError("No such kind of series can be written.", where=folder, got=modality, expected="CT or MR")
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or array.size == 0:
        raise InputError(
            "Not one scan.",
            where=folder,
            got=tuple(array.shape),
            expected="(Z, Y, X), not empty",
            fix="write one series a channel",
        )
    if volume.unit == "label":
        raise InputError(
            "Labels are not a scan.", where=folder, got="unit 'label'", fix="write them as NIfTI or as DICOM SEG"
        )
    if max(array.shape[1:]) > 65535:
        raise InputError("The slices are too large for DICOM.", where=folder, got=array.shape, expected="≤ 65535")
    geometry.check_affine(volume.affine, where=str(folder))
    return array


def _along_normal(planes: NDArray[Any], affine: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Turn the slice order around where it runs against row × column."""
    normal = np.cross(affine[:3, 2], affine[:3, 1])
    if affine[:3, 0] @ normal > 0:
        return planes, affine
    turned = affine.copy()
    turned[:3, 3] += (len(planes) - 1) * affine[:3, 0]
    turned[:3, 0] = -affine[:3, 0]
    return planes[::-1], turned


def _check_geometry(affine: NDArray[np.float64], tilt: str, folder: Path) -> None:
    unit = geometry.directions(affine)
    skew = abs(float(unit[:, 1] @ unit[:, 2]))
    if skew > _SQUARE:
        raise InputError(
            "Rows and columns are not at right angles; DICOM cannot say so.",
            where=folder,
            got=f"{np.degrees(np.arcsin(skew)):.2f} degrees off",
            fix="resample the volume to a straight grid first",
        )
    normal = np.cross(unit[:, 2], unit[:, 1])
    lean = float(np.degrees(np.arccos(np.clip(unit[:, 0] @ normal / np.linalg.norm(normal), -1.0, 1.0))))
    if lean > _LEAN_DEG and tilt != "write":
        raise InputError(
            "The slices are not stacked along their normal, as with a tilted gantry.",
            where=folder,
            got=f"{lean:.2f} degrees off",
            expected=f"at most {_LEAN_DEG:g} degrees",
            fix="resample to a straight grid first, or pass tilt='write'",
        )


def _write(
    planes: NDArray[Any], affine: NDArray[np.float64], shared: Dataset, folder: Path, uid_seed: str | None
) -> list[str]:
    """Write all files into a folder beside the final one, then rename it."""
    names = [f"{index + 1:0{max(4, len(str(len(planes))))}d}.dcm" for index in range(len(planes))]
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            "There is something under this name already.",
            where=folder,
            expected="a folder that does not exist yet, or is empty",
            fix="choose another folder, or remove this one",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part-"))
    except OSError as error:
        fix = "choose a folder that can be written to"
        raise InputError("Cannot write here.", where=folder, got=error.strerror, fix=fix) from error
    try:
        for index, name in enumerate(names):
            slice_dataset(planes[index], affine, index, shared, uid_seed).save_as(part / name, enforce_file_format=True)
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o777 & ~mask)
        os.replace(part, folder)
    except OSError as error:
        fix = "choose a folder that can be written to, with room enough"
        raise InputError("Cannot write here.", where=folder, got=error.strerror, fix=fix) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return names
