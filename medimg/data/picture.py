"""Preparation of ordinary pictures: field of view, size, eight bits.

Legend: H, W of the source; C Y X of the prepared picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medimg.data.grid import Grid
from medimg.data.preparation import Preparation
from medimg.errors import InputError
from medimg.io.findings import Finding
from medimg.io.image import Picture

# Of 255, on the brightest channel: above compression noise in black borders, below dim retina and mucosa.
_BRIGHT = 15
_SEARCH_SIDE = 512
_SMALLEST_SHARE = 0.1


def prepare_picture(picture: Picture, preparation: Preparation) -> tuple[NDArray[np.uint8], Grid, tuple[Finding, ...]]:
    """Crop to the field of view, resize with antialiasing, keep eight bits.

    Returns
    -------
    array : (3, Y, X) ndarray of uint8
    grid : Grid
    findings : tuple of Finding
    """
    array = eight_bits(picture.array)
    height, width = array.shape[:2]
    box = (slice(0, height), slice(0, width))
    findings: tuple[Finding, ...] = ()
    if preparation.field_of_view:
        box, findings = _field_of_view(picture, array)
    crop = array[box]
    size = preparation.size_yx or (
        max(1, int(crop.shape[0] * preparation.scale + 0.5)),
        max(1, int(crop.shape[1] * preparation.scale + 0.5)),
    )
    if size != crop.shape[:2]:
        crop = np.asarray(Image.fromarray(crop).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    step = tuple((s.stop - s.start) / n for s, n in zip(box, size))
    grid = Grid(
        kind="picture",
        source_shape=(height, width),
        source_affine=None,
        axes=(0, 1),
        flips=(False, False),
        offset=tuple(s.start + 0.5 * d - 0.5 for s, d in zip(box, step)),
        step=step,
        shape=size,
    )
    return np.ascontiguousarray(crop.transpose(2, 0, 1)), grid, findings


def eight_bits(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return an (H, W, 3) picture as uint8; 16-bit values are divided by 257 and rounded.

    Raises
    ------
    InputError
        The array is no colour picture.
    """
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype not in (np.uint8, np.uint16):
        raise InputError(
            "This is not a colour picture.",
            got=f"shape {array.shape}, {array.dtype}",
            expected="shape (H, W, 3), uint8 or uint16",
        )
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array, dtype=np.uint8)
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _field_of_view(picture: Picture, array: NDArray[np.uint8]) -> tuple[tuple[slice, slice], tuple[Finding, ...]]:
    """Return the bounding box of what the camera saw.

    The reader's mask is used where there is one. Otherwise: the picture is averaged down until its longer side
    is at most 512, pixels whose brightest channel exceeds 15 of 255 count as seen, and the box is that of their
    largest connected component. A box of less than a tenth of the picture is not believed.
    """
    height, width = array.shape[:2]
    if picture.field_of_view is not None:
        seen, factor = picture.field_of_view, 1
    else:
        factor = max(1, -(-max(height, width) // _SEARCH_SIDE))
        small = np.asarray(Image.fromarray(array).reduce(factor))
        seen = _largest(small.max(axis=2) > _BRIGHT)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if len(rows):
        box = (
            slice(int(rows[0]) * factor, min(height, (int(rows[-1]) + 1) * factor)),
            slice(int(columns[0]) * factor, min(width, (int(columns[-1]) + 1) * factor)),
        )
        area = (box[0].stop - box[0].start) * (box[1].stop - box[1].start)
        if area >= _SMALLEST_SHARE * height * width:
            return box, ()
    finding = Finding(
        "FIELD_OF_VIEW_NOT_FOUND",
        "warning",
        "No bright region large enough to be the camera's field of view.",
        assumed="the whole picture",
    )
    return (slice(0, height), slice(0, width)), (finding,)


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    import cc3d

    components = cc3d.connected_components(mask.astype(np.uint8), connectivity=4)
    counts = np.bincount(components.ravel())
    if len(counts) < 2:
        return mask
    largest: NDArray[np.bool_] = components == 1 + int(np.argmax(counts[1:]))
    return largest
