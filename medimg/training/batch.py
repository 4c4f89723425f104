"""From samples to a batch on the device: joined, moved, turned to float32 and normalised there.

Legend: B batch, C channels, K labels, ``*S`` spatial axes, D their number, N boxes of a case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medimg.data.intensity import OUTLINE_INSIDE
from medimg.data.preparation import Intensity
from medimg.errors import InputError
from medimg.training.sampling import Sample


class Batch(TypedDict):
    """What a task's loss gets."""

    case_ids: list[str]
    image: Tensor
    """(B, C, *S): stored values from `collate`, float32 network input after `to_device`."""
    label: Tensor | None
    """(B, *S) uint8 or int32: class index, or bitmask with bit l set where label l is present."""
    boxes: list[Tensor] | None
    """B tensors (N, 2*D) float32, lower corner then upper, half-open, in index coordinates of ``image``."""
    box_labels: list[Tensor] | None
    """B tensors (N,) int64."""
    classes: list[Mapping[str, float]]
    """Class or grade by target name, one mapping a sample."""
    mean: Tensor | None
    """(B, C) float64, on the CPU, for the z-score."""
    std: Tensor | None
    valid: Tensor
    """(B, D, 2) int64: first and past-the-last index per axis that the case covers."""


def collate(samples: Sequence[Sample]) -> Batch:
    """Join samples; whole images of unequal size are padded at the far end to the largest.

    Raises
    ------
    InputError
        Cases with unlike channels, or labels in some cases only.
    """
    if len({(s["image"].shape[0], s["label"] is None, s["boxes"] is None) for s in samples}) > 1:
        raise InputError(
            "cases of one batch differ in their channels, or only some of them have labels",
            where=", ".join(s["case_id"] for s in samples),
            fix="prepare the cohort again with one list of channels and labels",
        )
    labels = [s["label"] for s in samples]
    boxes = [s["boxes"] for s in samples]
    box_labels = [s["box_labels"] for s in samples]
    return Batch(
        case_ids=[s["case_id"] for s in samples],
        image=torch.from_numpy(_stack([s["image"] for s in samples])),
        label=None if labels[0] is None else _label_tensor([a for a in labels if a is not None]),
        boxes=None if boxes[0] is None else [torch.from_numpy(b) for b in boxes if b is not None],
        box_labels=None if boxes[0] is None else [torch.from_numpy(b) for b in box_labels if b is not None],
        classes=[s["classes"] for s in samples],
        mean=_stats([s["stats"] for s in samples], "mean"),
        std=_stats([s["stats"] for s in samples], "std"),
        valid=torch.from_numpy(np.stack([s["valid"] for s in samples])),
    )


def to_device(batch: Batch, device: torch.device, intensity: Intensity) -> Batch:
    """Move a batch to the device and turn its stored values into network input.

    Returns
    -------
    Batch
        ``image`` float32, normalised; exactly zero where a case does not reach, which is also what convolutions
        pad with.
    """
    moved = batch.copy()
    image = batch["image"].to(device, non_blocking=True)
    moved["image"] = normalise(image, intensity, batch["mean"], batch["std"])
    _clear_outside(moved["image"], batch["valid"])
    if batch["label"] is not None:
        moved["label"] = batch["label"].to(device, non_blocking=True)
    if batch["boxes"] is not None and batch["box_labels"] is not None:
        moved["boxes"] = [boxes.to(device) for boxes in batch["boxes"]]
        moved["box_labels"] = [labels.to(device) for labels in batch["box_labels"]]
    return moved


def normalise(image: Tensor, intensity: Intensity, mean: Tensor | None, std: Tensor | None) -> Tensor:
    """Turn stored values (B, C, *S) into float32 network input, as `medimg.data.intensity.normalise` does.

    Parameters
    ----------
    image : Tensor, (B, C, *S)
        int16, uint8, uint16 or float32, on any device.
    intensity : Intensity
        Rule.
    mean, std : Tensor, (B, C) float64 on the CPU, or None
        Statistics of every case; only the rule ``zscore`` uses them.

    Raises
    ------
    InputError
        ``zscore`` without statistics, ``rgb`` with values that are not 8 or 16 bit.
    """
    unit = 1.0
    if intensity.rule == "zscore":
        if mean is None or std is None:
            raise InputError("a case has no mean and standard deviation", fix="prepare the data again")
    else:
        mean = torch.tensor(intensity.mean, dtype=torch.float64).expand(1, image.shape[1])
        std = torch.tensor(intensity.std, dtype=torch.float64).expand(1, image.shape[1])
    if intensity.rule == "rgb":
        if image.dtype not in (torch.uint8, torch.uint16):
            raise InputError("pictures are stored in 8 or 16 bits", got=image.dtype, expected="uint8, uint16")
        unit = 255.0 if image.dtype == torch.uint8 else 65535.0
    # Folded into one factor and one shift in double precision, then two passes over the voxels.
    shape = (-1, image.shape[1], *(1,) * (image.ndim - 2))
    scale = 1.0 / std.clamp_min(1e-8)
    shift = (-mean * scale).view(shape).float().to(image.device)
    factor = (scale / unit).view(shape).float().to(image.device)
    values = image.to(torch.float32, copy=True)
    if intensity.rule == "window" and (intensity.low is not None or intensity.high is not None):
        values.clamp_(intensity.low, intensity.high)
    values.mul_(factor).add_(shift)
    for index in intensity.outlines:
        values[:, index] = image[:, index] / (OUTLINE_INSIDE / 2) - 1.0
    return values


def unpack_bits(label: Tensor, count: int) -> Tensor:
    """Turn bitmasks (B, *S) into float32 planes (B, K, *S), K = ``count``."""
    bits = torch.arange(count, device=label.device).view(1, -1, *(1,) * (label.ndim - 1))
    return ((label.to(torch.int32).unsqueeze(1) >> bits) & 1).float()


def channels_last_format(dims: int) -> torch.memory_format:
    """Return torch's memory format with channels innermost for 2 or 3 spatial axes."""
    return torch.channels_last if dims == 2 else torch.channels_last_3d


def weights_channels_last(network: nn.Module) -> None:
    """Store the channels of every convolution's weights innermost; a network of volumes may hold 2-D ones too."""
    for parameter in network.parameters():
        if parameter.ndim in (4, 5):
            parameter.data = parameter.data.contiguous(memory_format=channels_last_format(parameter.ndim - 2))


def channels_last(batch: Batch) -> Batch:
    """Return the batch with the channels of its images innermost in memory."""
    moved = batch.copy()
    moved["image"] = batch["image"].contiguous(memory_format=channels_last_format(batch["image"].ndim - 2))
    return moved


def drop_empty_boxes(batch: Batch) -> Batch:
    """Leave out boxes that an augmentation pushed out of the image or shrank to nothing."""
    if batch["boxes"] is None or batch["box_labels"] is None:
        return batch
    cleaned = batch.copy()
    dims = batch["image"].ndim - 2
    keep = [(boxes[:, dims:] > boxes[:, :dims]).all(dim=1) for boxes in batch["boxes"]]
    cleaned["boxes"] = [boxes[k] for boxes, k in zip(batch["boxes"], keep, strict=True)]
    cleaned["box_labels"] = [labels[k] for labels, k in zip(batch["box_labels"], keep, strict=True)]
    return cleaned


def _clear_outside(image: Tensor, valid: Tensor) -> None:
    """Set to zero, in place, what lies outside each case."""
    size = image.shape[2:]
    for sample, bounds in zip(image, valid.tolist(), strict=True):
        for axis, (first, stop) in enumerate(bounds):
            sample.narrow(axis + 1, 0, first).zero_()
            sample.narrow(axis + 1, stop, size[axis] - stop).zero_()


def _stack(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    size = np.max([array.shape for array in arrays], axis=0)
    stacked = np.zeros((len(arrays), *size), arrays[0].dtype)
    for target, array in zip(stacked, arrays, strict=True):
        target[tuple(slice(0, n) for n in array.shape)] = array
    return stacked


def _label_tensor(labels: Sequence[NDArray[Any]]) -> Tensor:
    stacked = _stack(labels)
    # torch indexes and interpolates few unsigned types.
    return torch.from_numpy(stacked if stacked.dtype == np.uint8 else stacked.astype(np.int32))


def _stats(stats: Sequence[Mapping[str, Any]], name: str) -> Tensor | None:
    if any(name not in s for s in stats):
        return None
    return torch.from_numpy(np.stack([np.asarray(s[name], np.float64).reshape(-1) for s in stats]))
