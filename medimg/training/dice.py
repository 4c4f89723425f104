"""Overlap losses. Legend: B batch, K classes, ``*S`` spatial axes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from medimg.training.batch import unpack_bits
from medimg.training.distributed import sum_over_processes

#: Added to both sides of the ratio, in voxels: a class absent from truth and prediction scores 1.
EPSILON = 1e-5


def soft_dice_loss(probabilities: Tensor, truth: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Return 1 - mean over classes of (2 sum(p t) + e) / (sum(p) + sum(t) + e).

    Sums run over the whole batch (and all processes), so that a class that is absent from one patch does not make
    its Dice a matter of a single voxel (the batch Dice of Isensee et al., "nnU-Net", 2021; Milletari et al., "V-Net",
    2016).

    Parameters
    ----------
    probabilities, truth : Tensor, (B, K, *S) float32
        Without the background.
    """
    axes = (0, *range(2, probabilities.ndim))
    overlap = (probabilities * truth).sum(axes)
    sizes = probabilities.sum(axes) + truth.sum(axes)
    overlap, sizes = sum_over_processes(torch.stack([overlap, sizes])).unbind()
    return 1.0 - ((2.0 * overlap + epsilon) / (sizes + epsilon)).mean()


def multiclass_loss(logits: Tensor, label: Tensor, class_weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return soft Dice loss of the foreground and cross-entropy.

    Parameters
    ----------
    logits : Tensor, (B, 1+K, *S)
        Channel 0 is the background.
    label : Tensor, (B, *S) integer
        Class index.
    class_weights : Tensor, (1+K,), or None
        Factors on the cross-entropy of every voxel by its true class; the mean is over voxels.
    """
    index = label.long()
    # Compared, not one_hot: that would be eight bytes a class and voxel.
    classes = torch.arange(1, logits.shape[1], device=label.device, dtype=label.dtype)
    truth = (label.unsqueeze(1) == classes.view(-1, *(1,) * (label.ndim - 1))).to(logits.dtype)
    dice = soft_dice_loss(logits.softmax(dim=1)[:, 1:], truth)
    entropy = functional.cross_entropy(logits, index, reduction="none" if class_weights is not None else "mean")
    if class_weights is not None:
        entropy = (entropy * class_weights.to(logits)[index]).mean()
    return dice, entropy


def multilabel_loss(logits: Tensor, label: Tensor, positive_weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return soft Dice loss and binary cross-entropy.

    Parameters
    ----------
    logits : Tensor, (B, K, *S)
    label : Tensor, (B, *S) integer
        Bitmask.
    positive_weights : Tensor, (K,), or None
        Factors on the cross-entropy of voxels where the label is present.
    """
    truth = unpack_bits(label, logits.shape[1])
    dice = soft_dice_loss(logits.sigmoid(), truth)
    weight = None
    if positive_weights is not None:
        weight = positive_weights.to(logits).view(-1, *(1,) * (logits.ndim - 2))
    return dice, functional.binary_cross_entropy_with_logits(logits, truth, pos_weight=weight)
