"""Losses of an anchor-based detector: matching, classes, boxes.

Legend: B batch, D spatial axes, N anchors of an image, K classes, G true boxes of an image, P matched anchors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.apps.detection.utils.ATSS_matcher import ATSSMatcher
from monai.apps.detection.utils.box_coder import BoxCoder
from monai.data.box_utils import box_iou, box_pair_giou
from monai.losses.focal_loss import sigmoid_focal_loss
from torch import Tensor
from torch.nn import functional

from medimg.training.distributed import sum_over_processes

CLASS_LOSSES = ("focal", "hard_negative")
BOX_LOSSES = ("smooth_l1", "l1", "giou")
_UNMATCHED = -1
_SMOOTH_L1_BETA = 1.0 / 9.0


@dataclass(frozen=True)
class Matched:
    """What each anchor of a batch should answer.

    Attributes
    ----------
    classes : Tensor of float32, B N K
        1 where the anchor holds a lesion of the class.
    places : Tensor of int64, (P, 2)
        Image and anchor of each match.
    boxes : Tensor of float32, (P, 2D)
        The true box of each match.
    """

    classes: Tensor
    places: Tensor
    boxes: Tensor


def match(
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    anchors: Tensor,
    positions_per_level: Sequence[int],
    classes: int,
    candidates: int,
) -> Matched:
    """Match anchors to true boxes by ATSS (Zhang et al., CVPR 2020), with MONAI's matcher.

    Each true box that this leaves without an anchor gets the one that overlaps it most, so that no lesion is lost.

    Parameters
    ----------
    boxes, labels : sequences of Tensor, (G, 2D) and (G,)
        Truth of every image; classes from 0.
    anchors : Tensor, N 2D
    positions_per_level : sequence of int
        Positions, not anchors, of each level.
    classes : int
        K.
    candidates : int
        Nearest positions per level that a box may choose from.
    """
    matcher = ATSSMatcher(num_candidates=candidates, center_in_gt=False)
    per_position = len(anchors) // sum(positions_per_level)
    target = anchors.new_zeros((len(boxes), len(anchors), classes))
    places, matched = [], []
    for image, (truth, label) in enumerate(zip(boxes, labels, strict=True)):
        if len(truth) == 0:
            continue
        truth = truth.to(anchors)
        _, owner = matcher.compute_matches(truth, anchors, positions_per_level, per_position)
        owner = _rescue(owner, truth, anchors)
        chosen = torch.nonzero(owner != _UNMATCHED).flatten()
        target[image, chosen, label.to(owner.device)[owner[chosen]]] = 1.0
        places.append(torch.stack((torch.full_like(chosen, image), chosen), dim=1))
        matched.append(truth[owner[chosen]])
    if not places:
        return Matched(target, anchors.new_zeros((0, 2), dtype=torch.int64), anchors.new_zeros((0, anchors.shape[1])))
    return Matched(target, torch.cat(places), torch.cat(matched))


def _rescue(owner: Tensor, truth: Tensor, anchors: Tensor) -> Tensor:
    lost = torch.tensor([g for g in range(len(truth)) if not bool((owner == g).any())], device=owner.device)
    if len(lost):
        owner = owner.clone()
        overlap = torch.as_tensor(box_iou(truth[lost], anchors))
        owner[overlap.argmax(dim=1)] = lost
    return owner


def class_loss(logits: Tensor, matched: Matched, kind: str, negatives_per_positive: int, min_negatives: int) -> Tensor:
    """Return the loss of the classes over the number of matches of the whole batch.

    Parameters
    ----------
    logits : Tensor of float32, B N K
    matched : Matched
    kind : {'focal', 'hard_negative'}
        Focal loss over all anchors (alpha 0.25, gamma 2), or binary cross-entropy of the matched anchors and of those
        unmatched ones of every image that score highest (Shrivastava et al., "OHEM", CVPR 2016).
    negatives_per_positive, min_negatives : int
        How many unmatched anchors of an image ``hard_negative`` takes.
    """
    if kind == "focal":
        summed = sigmoid_focal_loss(logits, matched.classes, gamma=2.0, alpha=0.25).sum()
        return _over_all(summed, len(matched.places))
    positive = matched.classes.amax(dim=2) > 0
    score = logits.detach().amax(dim=2).masked_fill(positive, -torch.inf)
    chosen = positive.clone()
    for image in range(len(logits)):
        wanted = max(min_negatives, negatives_per_positive * int(positive[image].sum()))
        hardest = score[image].topk(min(wanted, int((~positive[image]).sum()))).indices
        chosen[image, hardest] = True
    losses = functional.binary_cross_entropy_with_logits(logits[chosen], matched.classes[chosen], reduction="sum")
    return _over_all(losses, int(chosen.sum()))


def box_loss(deltas: Tensor, matched: Matched, anchors: Tensor, kind: str) -> Tensor:
    """Return the loss of the matched anchors' boxes, mean over matches.

    Parameters
    ----------
    deltas : Tensor of float32, B N 2D
    matched : Matched
    anchors : Tensor, N 2D
    kind : {'smooth_l1', 'l1', 'giou'}
        On the deltas, summed over them, or the generalised intersection over union of the boxes (Rezatofighi et al.,
        CVPR 2019).
    """
    image, place = matched.places.unbind(1)
    answered, on = deltas[image, place], anchors[place]
    if len(place) == 0:
        return _over_all(deltas.sum() * 0.0, 0)
    coder = BoxCoder((1.0,) * anchors.shape[1])
    if kind == "giou":
        boxes = coder.decode_single(answered, on)
        return _over_all((1.0 - box_pair_giou(matched.boxes, boxes)).sum(), len(place))
    wanted = coder.encode_single(matched.boxes, on)
    beta = _SMOOTH_L1_BETA if kind == "smooth_l1" else 0.0
    return _over_all(functional.smooth_l1_loss(answered, wanted, beta=beta, reduction="sum"), len(place))


def _over_all(summed: Tensor, count: int) -> Tensor:
    """Divide a sum by a count (at least 1), both over all processes."""
    return sum_over_processes(summed) / sum_over_processes(summed.new_tensor(float(count))).clamp(min=1.0)
