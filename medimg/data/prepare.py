"""From scans to the array that a network sees, and back: shared by training and inference. No torch.

Volumes are turned to LPS axis order, further channels are brought onto the first channel's grid, everything is
resampled to the wanted spacing and cropped or padded around a centre (volumes.py); pictures are cropped to the
field of view and resized (picture.py). Intensities are stored, not yet normalised (intensity.py).

Legend: C channels, Z Y X (volumes) or Y X (pictures).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.data.grid import Grid, prepare_boxes, restore_boxes, restore_labels, restore_probabilities
from medimg.data.intensity import normalise, statistics
from medimg.data.picture import prepare_picture
from medimg.data.preparation import Preparation
from medimg.data.resample import resample_nearest, resample_to_grid
from medimg.data.volumes import prepare_volumes, same_place, turned
from medimg.errors import InputError
from medimg.geometry import inverse
from medimg.io.findings import Finding
from medimg.io.image import Picture, Volume

__all__ = [
    "Grid",
    "Prepared",
    "normalise",
    "prepare",
    "prepare_boxes",
    "prepare_mask",
    "restore_boxes",
    "restore_labels",
    "restore_probabilities",
]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A prepared study.

    Attributes
    ----------
    array : (C, Z, Y, X) or (C, Y, X) ndarray of int16, uint8 or float32
        Stored values; `normalise` makes the network's input of them.
    grid : Grid
        How to go back.
    stats : dict
        ``mean`` and ``std`` per channel over the covered voxels of ``array`` where the rule is ``zscore``;
        otherwise empty.
    findings : tuple of Finding
        What was repaired or assumed.
    """

    array: NDArray[Any]
    grid: Grid
    stats: dict[str, list[float]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def prepare(
    images: Mapping[str, Volume | Picture],
    preparation: Preparation,
    *,
    centre_mm: Sequence[float] | None = None,
) -> Prepared:
    """Prepare one study.

    Parameters
    ----------
    images : mapping of channel name to Volume or Picture
        Volumes: one per name in ``preparation.channels``; the first name's grid is the study's grid.
        Pictures: exactly one. A single image may have any name. A (C, Z, Y, X) volume may hold all channels.
    preparation : Preparation
    centre_mm : (x, y, z), optional
        LPS point that ``size_zyx`` is centred on; default the middle of the scan.

    Returns
    -------
    Prepared

    Raises
    ------
    InputError
        A channel is missing, of the wrong kind, or cannot be brought onto the first one's grid.
    """
    chosen = _choose(images, preparation)
    if preparation.kind == "picture":
        (picture,) = chosen
        if not isinstance(picture, Picture):
            raise _wrong_kind("picture", picture)
        array, grid, findings = prepare_picture(picture, preparation)
        return Prepared(array, grid, statistics(array, preparation.intensity), findings)
    volumes = [image for image in chosen if isinstance(image, Volume)]
    if len(volumes) < len(chosen):
        raise _wrong_kind("volume", next(image for image in chosen if not isinstance(image, Volume)))
    return Prepared(*prepare_volumes(volumes, preparation, centre_mm))


def _choose(images: Mapping[str, Volume | Picture], preparation: Preparation) -> list[Volume | Picture]:
    """Return the images in the order of the channels."""
    wanted = preparation.channels
    if len(images) == 1:
        (only,) = images.values()
        if isinstance(only, Volume) and only.array.ndim == 4 and len(only.array) == len(wanted):
            return [_channel(only, index) for index in range(len(wanted))]
        if len(wanted) == 1 or preparation.kind == "picture":
            return [only]
    missing = [name for name in wanted if name not in images]
    if missing:
        raise InputError(
            "The study lacks an input channel.",
            where="channels",
            got=", ".join(sorted(images)) or "none",
            expected=", ".join(wanted),
            fix=f"give an image for: {', '.join(missing)}",
        )
    return [images[name] for name in wanted]


def _channel(volume: Volume, index: int) -> Volume:
    return Volume(volume.array[index], volume.affine, volume.unit, volume.frame_of_reference_uid)


def _wrong_kind(expected: str, got: object) -> InputError:
    return InputError(
        f"The model reads a {expected}.", got=type(got).__name__.lower(), expected=expected,
        fix="check that the study and the model are of the same modality",
    )  # fmt: skip


def prepare_mask(mask: Volume | Picture, grid: Grid, preparation: Preparation) -> NDArray[Any]:
    """Bring a label image onto a prepared grid by its nearest voxels.

    Parameters
    ----------
    mask : Volume (unit 'label') or Picture (colour space 'label', (H, W))
    grid : Grid
        Of the prepared study.
    preparation : Preparation

    Returns
    -------
    (*grid.shape) ndarray of the mask's type; 0 where the mask does not reach.

    Raises
    ------
    InputError
        The mask is of another kind, of another size (pictures), or lies elsewhere.
    """
    if isinstance(mask, Picture) != (preparation.kind == "picture"):
        raise _wrong_kind(preparation.kind, mask)
    if isinstance(mask, Picture):
        if mask.array.shape != grid.source_shape:
            raise InputError(
                "The mask and its picture differ in size.",
                where=_place(mask),
                got=mask.array.shape,
                expected=grid.source_shape,
            )
        return resample_nearest(mask.array, grid.offset, grid.step, grid.shape)
    if grid.affine is None:
        raise InputError("The grid of a picture holds no volume.", where=_place(mask))
    source = np.asarray(grid.source_affine)
    if mask.array.shape == grid.source_shape and same_place(mask.affine, source, mask.array.shape):
        return resample_nearest(grid.turn(mask.array), grid.offset, grid.step, grid.shape)
    array, affine, _ = turned(mask)
    matrix = inverse(affine) @ grid.affine
    labels, missing = resample_to_grid(array, matrix, grid.shape, nearest=True)
    if missing > 0.999:
        raise InputError(
            "The mask lies elsewhere in space than its scan.",
            where=_place(mask),
            fix="check the two headers' orientation and origin",
        )
    return labels


def _place(mask: Volume | Picture) -> str | None:
    return str(mask.source.paths[0]) if mask.source.paths else None
