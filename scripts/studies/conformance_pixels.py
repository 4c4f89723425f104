"""Compare what medimg read from one file with what another library makes of the same bytes.

DICOM against pydicom's decoder, NIfTI against nibabel, pictures against Pillow. medimg's transforms are applied to
the other library's array from the data set alone, never from medimg's own account of what it did: bits above
BitsStored off, MONOCHROME1 inverted (not in Hounsfield units), modality LUT or rescale (per frame where the file says
so), palette, grey copied to RGB over the full range. A plane with a position is looked for where the affine of the
volume puts that position, so that a wrong order or affine shows as different pixels or a different place.

Legend: F frames, Z Y X of a volume, H rows, W columns, K samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.pixels import apply_modality_lut

from medimg import geometry
from medimg.io.image import Picture, Video, Volume

Plane = NDArray[Any]
State = Literal["equal", "differs", ""]

PLACE_MM = 0.06
# Decoders of lossy streams may round differently: this much, in stored units.
LOSSY_STEP = 1.0
LOSSLESS_FAMILIES = ("JPEG Lossless", "JPEG-LS Lossless", "RLE", "Deflated", "Little Endian", "Big Endian", "Lossless")
PER_FRAME, SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"


@dataclass(frozen=True)
class Comparison:
    """Whether two libraries agree about one file; ``state`` is '' where only one of them reads it."""

    state: State
    note: str = ""


def compare(path: Path, images: Sequence[Any]) -> Comparison:
    """Compare the images that medimg read from ``path`` with another library's reading of it."""
    kind = images[0].source.format
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "DICOM":
            return _dicom(path, images)
        return _nifti(path, images[0]) if kind == "NIfTI" else _picture(path, images[0])


def _dicom(path: Path, images: Sequence[Any]) -> Comparison:
    try:
        dataset, frames = decoded(path)
    except Exception as error:  # noqa: BLE001 - whatever keeps pydicom from decoding is a result, not a failure
        return Comparison("", f"pydicom: {type(error).__name__}")
    name = dataset.file_meta.TransferSyntaxUID.name
    step = 0.0 if any(family in name for family in LOSSLESS_FAMILIES) else LOSSY_STEP
    ours = [plane for image in images for plane in _planes(image)]
    if len(ours) != len(frames):
        return Comparison("differs", f"{len(ours)} planes, pydicom {len(frames)}")
    for index, frame in enumerate(frames):
        problem = _find(dataset, index, frame, ours, step)
        if problem:
            return Comparison("differs", f"frame {index}: {problem}")
    return Comparison("equal", f"{len(frames)} frames" if len(frames) > 1 else "")


@dataclass(eq=False)
class _Plane:
    """One plane of ours: pixels, where its first voxel and its axes lie, and whether a frame claimed it."""

    array: Plane
    image: Any
    corners_mm: NDArray[np.float64] | None
    taken: bool = False


def _planes(image: Any) -> Iterator[_Plane]:
    if isinstance(image, Volume):
        stacked = image.array.reshape(-1, *image.array.shape[-3:])
        for channel in stacked:
            for z, plane in enumerate(channel):
                corners = geometry.apply(image.affine, [(z, 0, 0), (z, 0, 1), (z, 1, 0)])
                yield _Plane(plane, image, corners)
    elif isinstance(image, Picture):
        yield _Plane(image.array, image, None)
    elif isinstance(image, Video):
        for frame in image:
            yield _Plane(frame, image, None)


def _find(dataset: Any, index: int, frame: Plane, ours: list[_Plane], step: float) -> str:
    """Claim the plane of ours that shows a frame; return what is wrong, or ''."""
    place = frame_corners_mm(dataset, index)
    free = [plane for plane in ours if not plane.taken]
    if place is not None and free[0].corners_mm is not None:
        free = [p for p in free if p.corners_mm is not None and np.abs(p.corners_mm - place).max() <= PLACE_MM]
        if not free:
            return "no plane at its position"
    elif not ours[index].taken:
        free.sort(key=lambda plane: plane is not ours[index])
    worst = ""
    for plane in free:
        wanted = expected(dataset, index, frame, plane.image)
        if getattr(plane.image, "unit", "") == "SUV" and wanted.any():
            # One factor a file, from times, dose and weight, is the reader's own; all voxels must share it.
            wanted = wanted * (plane.array.astype(np.float64).sum() / wanted.sum())
        worst = difference(plane.array, wanted, step * _slope(dataset, index))
        if not worst:
            plane.taken = True
            return ""
    return worst


def decoded(path: Path) -> tuple[Any, Plane]:
    """Return pydicom's data set and its pixels as (F, H, W) or (F, H, W, K), colours as RGB; raises what it raises."""
    dataset = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        guess = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else guess
    array = np.asarray(dataset.pixel_array)
    if int(dataset.get("NumberOfFrames") or 1) == 1 and array.ndim == (3 if dataset.SamplesPerPixel > 1 else 2):
        array = array[None]
    return dataset, array


def others_read(path: Path) -> str:
    """Return the name of the library that makes an image of a file that medimg refused, or ''."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, function in (("pydicom", decoded), ("nibabel", _nibabel_values)):
            try:
                function(path)
            except Exception:  # noqa: BLE001 - it cannot read it either
                continue
            return name
    return ""


def _nibabel_values(path: Path) -> Plane:
    if not path.name.endswith((".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")):
        raise ValueError("not NIfTI")
    return np.asarray(nib.load(path).dataobj)


def expected(dataset: Any, index: int, frame: Plane, image: Any) -> Plane:
    """Apply medimg's documented transforms to one of pydicom's frames."""
    photometric = str(dataset.get("PhotometricInterpretation", "")).upper()
    if photometric == "PALETTE COLOR":
        return _palette(frame, dataset)
    if frame.ndim == 3 or frame.dtype.kind == "f":
        return frame
    stored = _without_high_bits(frame, dataset)
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    inverted = photometric == "MONOCHROME1" and getattr(image, "unit", "") not in ("HU", "SUV")
    table = dataset.get("ModalityLUTSequence")
    if inverted and not table:
        stored = -1 - stored if dataset.PixelRepresentation else (1 << bits) - 1 - stored
    if isinstance(image, Volume) or table:
        values = _real_values(stored, dataset, index)
        values = (1 << int(values.max()).bit_length()) - 1 - values if inverted and table else values
        return values if isinstance(image, Volume) else np.repeat(values[..., None], 3, axis=2)
    shifted = stored + (1 << (bits - 1)) if dataset.PixelRepresentation else stored
    spread = shifted << (int(dataset.BitsAllocated) - bits)
    return np.repeat(spread[..., None], 3, axis=2)


def _palette(frame: Plane, dataset: Any) -> Plane:
    # pydicom's apply_color_lut takes 16-bit tables for little-endian in big-endian files too.
    order = ">" if dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian else "<"
    samples = []
    for colour in ("Red", "Green", "Blue"):
        entries, first, bits = dataset[f"{colour}PaletteColorLookupTableDescriptor"].value
        data = dataset[f"{colour}PaletteColorLookupTableData"].value
        table = np.frombuffer(data, "u1" if bits == 8 and len(data) < 2 * (entries or 65536) else f"{order}u2")
        samples.append(table[np.clip(frame.astype(np.int64) - first, 0, (entries or 65536) - 1)])
    return np.stack(samples, axis=-1).astype(np.uint8 if bits == 8 else np.uint16)


def _without_high_bits(frame: Plane, dataset: Any) -> NDArray[np.int64]:
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    low = frame.astype(np.int64) & ((1 << bits) - 1)
    if dataset.PixelRepresentation:
        low = np.where(low >> (bits - 1), low - (1 << bits), low)
    return low


def _real_values(stored: Plane, dataset: Any, index: int) -> Plane:
    item = functional_group(dataset, index, "PixelValueTransformationSequence")
    if "DoseGridScaling" in dataset:
        return stored * float(dataset.DoseGridScaling)
    if item is not None:
        return stored * float(item.RescaleSlope) + float(item.RescaleIntercept)
    return np.asarray(apply_modality_lut(stored, dataset))


def _slope(dataset: Any, index: int) -> float:
    item = functional_group(dataset, index, "PixelValueTransformationSequence") or dataset
    return abs(float(item.get("RescaleSlope") or 1.0))


def functional_group(dataset: Any, index: int, name: str) -> Any | None:
    """Return the first item of a functional group macro of one frame: its own, else the shared one."""
    groups = dataset.get(PER_FRAME)
    for group in ([groups[index]] if groups and index < len(groups) else []) + list(dataset.get(SHARED) or []):
        if group.get(name):
            return group[name].value[0]
    return None


def frame_corners_mm(dataset: Any, index: int) -> NDArray[np.float64] | None:
    """Return the LPS places (3, 3) of a frame's voxels (0, 0), (0, 1) and (1, 0), or None where not stated."""
    place = functional_group(dataset, index, "PlanePositionSequence") or dataset
    turn = functional_group(dataset, index, "PlaneOrientationSequence") or dataset
    measure = functional_group(dataset, index, "PixelMeasuresSequence") or dataset
    try:
        position = np.asarray([float(v) for v in place.ImagePositionPatient])
        cosines = np.asarray([float(v) for v in turn.ImageOrientationPatient]).reshape(2, 3)
        rows, columns = (float(v) for v in measure.PixelSpacing)
    except (AttributeError, TypeError, ValueError):
        return None
    offsets = dataset.get("GridFrameOffsetVector")
    if offsets:
        # DICOM PS3.3 C.8.8.3.2: relative to the first frame where the vector begins with 0, else the place along z.
        shift = float(offsets[index]) - (0.0 if float(offsets[0]) == 0 else position[2])
        position = position + shift * np.cross(*cosines)
    return np.stack([position, position + cosines[0] * columns, position + cosines[1] * rows])


def difference(ours: Plane, wanted: Plane, allowed: float) -> str:
    """Return in words how two planes differ by more than ``allowed`` (beyond float32 rounding), or ''."""
    if ours.shape != wanted.shape:
        return f"shape {ours.shape}, expected {wanted.shape}"
    a, b = np.nan_to_num(ours.astype(np.float64)), np.nan_to_num(wanted.astype(np.float64))
    gap = np.abs(a - b)
    limit = allowed + 1e-4 + 1e-6 * np.abs(b) if ours.dtype.kind == "f" or allowed else 0.0
    wrong = gap > limit
    return f"{int(wrong.sum())} of {wrong.size} values differ, by up to {gap.max():g}" if wrong.any() else ""


def _nifti(path: Path, image: Any) -> Comparison:
    try:
        other = nib.load(path)
        values = np.asarray(other.dataobj)
    except Exception as error:  # noqa: BLE001 - whatever keeps nibabel from reading is a result, not a failure
        return Comparison("", f"nibabel: {type(error).__name__}")
    if values.dtype.names:
        values = np.stack([values[name] for name in values.dtype.names], axis=-1)
    turned = values.reshape([side for n, side in enumerate(values.shape) if n < 3 or side > 1]).T
    turned = turned.reshape(turned.shape[: max(0, turned.ndim - 3)] + (1,) * (3 - turned.ndim) + turned.shape[-3:])
    problem = difference(image.array, turned, 0.0)
    if problem:
        return Comparison("differs", problem)
    millimetres = {"meter": 1000.0, "micron": 0.001}.get(other.header.get_xyzt_units()[0], 1.0)
    affine = np.diag([millimetres] * 3 + [1.0]) @ other.affine
    gap = np.abs(geometry.to_ras_ijk(image.affine) - affine).max()
    return Comparison("differs", f"affine by {gap:g}") if gap > 1e-3 else Comparison("equal")


def _picture(path: Path, image: Any) -> Comparison:
    with Image.open(path) as other:
        wanted = np.asarray(other.convert("RGB"))
    problem = difference(image.array, wanted, 0.0)
    return Comparison("differs" if problem else "equal", problem)
