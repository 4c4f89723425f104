"""The truth of a case on the grid of its image: label maps, bitmasks, boxes.

Legend: Z slices, Y rows, X columns, D spatial dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from medimg.data.cases import Case
from medimg.data.targets import Targets
from medimg.errors import InputError
from medimg.geometry import same_grid
from medimg.io.image import Picture, Volume
from medimg.io.mask import is_dicom_segmentation, read_mask, read_segmentation
from medimg.io.segmentation import Segmentation


def label_image(case: Case, targets: Targets, image: Volume | Picture) -> Volume | Picture:
    """Draw all targets of a case into one integer array on the image's grid.

    Returns
    -------
    Volume or Picture
        (Z, Y, X) or (H, W) uint8 or uint16: label index (multiclass) or bitmask (multilabel, and the masks that
        boxes come from).

    Raises
    ------
    InputError
        A target has no annotation, a mask lies on another grid, or two multiclass labels overlap.
    """
    shape = image.array.shape[-3:] if isinstance(image, Volume) else image.array.shape[:2]
    drawn = np.zeros(shape, np.uint16 if len(targets.mask_names) > 8 else np.uint8)
    refs = {ref.name: ref for ref in case.masks}
    cache: dict[Path, NDArray[Any] | Segmentation] = {}
    for index, name in enumerate(targets.mask_names):
        if name not in refs:
            raise InputError(
                f"target '{name}' is not annotated",
                where=case.case_id,
                expected=f"a mask row in labels (it has: {', '.join(sorted(refs)) or 'none'})",
                fix="annotate it, or state 'looked, none present' with an empty mask",
            )
        ref = refs[name]
        if ref.path is None:
            continue
        if ref.path not in cache:
            values = {other.value for other in case.masks if other.path == ref.path}
            cache[ref.path] = _masks(ref.path, values, image, case.case_id)
        where = _where(cache[ref.path], ref.value)
        _draw(drawn, where, index, targets.exclusive, case.case_id, name)
    if isinstance(image, Volume):
        return Volume(drawn, image.affine, unit="label")
    return Picture(drawn, colour_space="label")


def _masks(path: Path, values: set[int | None], image: Volume | Picture, case_id: str) -> NDArray[Any] | Segmentation:
    """Read a mask file; of a DICOM one the segments (by number) that targets are made of."""
    if not is_dicom_segmentation(path):
        return _on_grid(path, image, case_id)
    wanted = None if None in values else [value for value in values if value is not None]
    return read_segmentation(path, image, segments=wanted)


def _where(found: NDArray[Any] | Segmentation, value: int | None) -> NDArray[np.bool_]:
    if isinstance(found, Segmentation):
        return found.union() if value is None else found.mask(value)
    return np.asarray(found != 0 if value is None else found == value)


def _draw(drawn: NDArray[Any], where: NDArray[np.bool_], index: int, exclusive: bool, case_id: str, name: str) -> None:
    if exclusive:
        if np.any(drawn[where]):
            raise InputError(
                f"target '{name}' overlaps another one",
                where=case_id,
                fix="use task.mode=multilabel for targets that may overlap",
            )
        drawn[where] = index + 1
    else:
        drawn[where] |= np.array(1 << index, dtype=drawn.dtype)


def _on_grid(path: Path, image: Volume | Picture, case_id: str) -> NDArray[Any]:
    mask = read_mask(path)
    if isinstance(image, Volume) and isinstance(mask, Volume):
        if mask.array.shape != image.array.shape[-3:] or not same_grid(
            mask.array.shape, mask.affine, image.shape_zyx, image.affine
        ):
            raise InputError(
                "a mask lies on another grid than its image",
                where=path,
                got=f"shape {mask.array.shape}, spacing {_rounded(mask.spacing_mm)} mm",
                expected=f"shape {image.shape_zyx}, spacing {_rounded(image.spacing_mm)} mm, as {case_id}",
                fix="resample the mask to its image's grid (nearest neighbour), then index again",
            )
        return np.asarray(mask.array)
    if isinstance(image, Picture) and isinstance(mask, Picture):
        if mask.array.shape != image.array.shape[:2]:
            raise InputError(
                "a mask has another size than its picture",
                where=path,
                got=f"{mask.array.shape[0]} × {mask.array.shape[1]} pixels",
                expected=f"{image.array.shape[0]} × {image.array.shape[1]} pixels, as {case_id}",
                fix="scale the mask to its picture's size (nearest neighbour), then index again",
            )
        return np.asarray(mask.array)
    raise InputError("a mask is of another kind than its image", where=path, got=type(mask).__name__)


def _rounded(spacing: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in spacing)


def component_boxes(
    bitmask: NDArray[Any], labels: int, min_component: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return one box for every connected component (26- or 8-connected) of every label.

    Parameters
    ----------
    bitmask : (Z, Y, X) or (Y, X) ndarray of unsigned int
        Bit l is label l.
    labels : int
        Number of labels.
    min_component : int
        Smaller components, in voxels, are left out.

    Returns
    -------
    boxes : (N, 2 D) ndarray of float32
        Half-open, lower corner first, in array order.
    box_labels : (N,) ndarray of int64
        Index of the label.
    """
    boxes, box_labels = [], []
    for label in range(labels):
        components = cc3d.connected_components((bitmask >> label) & 1, connectivity=8 if bitmask.ndim == 2 else 26)
        statistics: Mapping[str, Any] = cc3d.statistics(components)
        for number in range(1, len(statistics["voxel_counts"])):
            if statistics["voxel_counts"][number] >= min_component:
                slices = statistics["bounding_boxes"][number]
                boxes.append([axis.start for axis in slices] + [axis.stop for axis in slices])
                box_labels.append(label)
    array = np.asarray(boxes, np.float32).reshape(-1, 2 * bitmask.ndim)
    return array, np.asarray(box_labels, np.int64)


def stated_boxes(case: Case, targets: Targets) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the annotated boxes of a case in source index coordinates, as :func:`component_boxes` does."""
    kept = [ref for ref in case.boxes if ref.name in targets.names]
    dims = len(kept[0].box) if kept else 2 * (3 if case.modality in {"CT", "MR"} else 2)
    boxes = np.asarray([ref.box for ref in kept], np.float32).reshape(-1, dims)
    return boxes, np.asarray([targets.names.index(ref.name) for ref in kept], np.int64)
