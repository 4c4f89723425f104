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
from medimg.io.mask import read_mask


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
    cache: dict[Path, NDArray[Any]] = {}
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
            cache[ref.path] = _on_grid(ref.path, image, case.case_id)
        where = cache[ref.path] == ref.value if ref.value is not None else cache[ref.path] != 0
        _draw(drawn, where, index, targets.exclusive, case.case_id, name)
    if isinstance(image, Volume):
        return Volume(drawn, image.affine, unit="label")
    return Picture(drawn, colour_space="label")


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
