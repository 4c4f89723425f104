"""Blacken boxes of an image; encoded frames are decoded, blackened and encoded again without loss.

Shapes: N frames, Y rows, X columns, S samples.
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from medimg.errors import InputError
from medimg.pacs.deidentify.burned_in import Box
from medimg.pacs.deidentify.elements import UNREADABLE

_BLACK_FULL_RANGE = (0, 128, 128)


def mask(dataset: Dataset, boxes: list[Box]) -> None:
    """Blacken boxes in every frame, in place. Pixels outside the boxes keep their stored values.

    Raises
    ------
    InputError
        The pixels cannot be decoded, or are of a kind that cannot be written back.
    """
    encoded = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    try:
        if encoded:
            dataset.decompress(as_rgb=True, generate_instance_uid=False)
        frames, planar = _frames(dataset)
    except (*UNREADABLE, RuntimeError) as error:
        raise InputError(
            "The pixels cannot be decoded, so nothing in them can be masked.",
            got=type(error).__name__,
            fix="install the decoder: medimg doctor",
        ) from error
    black = _black(dataset, frames)
    for x0, y0, x1, y1 in boxes:
        frames[:, y0:y1, x0:x1] = black
    stored = frames.transpose(0, 3, 1, 2) if planar else frames
    raw = np.ascontiguousarray(stored).tobytes()
    dataset["PixelData"].value = raw + b"\0" * (len(raw) % 2)
    if encoded and dataset.BitsAllocated in (8, 16):
        dataset.compress(RLELossless, generate_instance_uid=False)


def _frames(dataset: Dataset) -> tuple[np.ndarray, bool]:
    """Return the stored values as a writable (N, Y, X, S) array, and whether the file keeps planes apart."""
    samples = int(dataset.get("SamplesPerPixel", 1))
    if dataset.BitsAllocated not in (8, 16, 32) or dataset.PhotometricInterpretation in ("YBR_FULL_422", "YBR_ICT"):
        raise ValueError("a layout that cannot be masked")
    kind = "i" if dataset.get("PixelRepresentation", 0) else "u"
    order = ">" if dataset.original_encoding[1] is False else "<"
    dtype = np.dtype(f"{order}{kind}{dataset.BitsAllocated // 8}")
    shape = (int(dataset.get("NumberOfFrames", 1) or 1), int(dataset.Rows), int(dataset.Columns), samples)
    values = np.frombuffer(dataset.PixelData, dtype, count=int(np.prod(shape))).copy()
    planar = samples > 1 and bool(dataset.get("PlanarConfiguration", 0))
    if planar:
        frames = values.reshape(shape[0], samples, shape[1], shape[2]).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(frames), True
    return values.reshape(shape), False


def _black(dataset: Dataset, frames: np.ndarray) -> np.ndarray | int:
    if dataset.PhotometricInterpretation == "YBR_FULL":
        return np.array(_BLACK_FULL_RANGE, frames.dtype)
    if frames.shape[3] > 1 or dataset.PhotometricInterpretation == "PALETTE COLOR":
        return 0
    return int(frames.max() if dataset.PhotometricInterpretation == "MONOCHROME1" else frames.min())
