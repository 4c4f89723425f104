import numpy as np
import pytest
import torch
from torch import nn
from training_toys import WINDOW, ToyCase, blob_cases, toy_net

from medimg.errors import ConfigError, InputError
from medimg.training.batch import collate, to_device
from medimg.training.dice import EPSILON, multiclass_loss, multilabel_loss, soft_dice_loss
from medimg.training.sampling import read_whole
from medimg.training.segmentation import SegmentationTask
from medimg.training.task import CaseView

CPU = torch.device("cpu")


class Fixed(nn.Module):
    """Answers with what it was given."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer


def test_soft_dice_by_hand():
    p = torch.tensor([[[0.5, 0.0]], [[1.0, 0.0]]])
    t = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    expected = 1 - (2 * 0.5 + EPSILON) / (1.5 + 1 + EPSILON)
    assert soft_dice_loss(p, t).item() == pytest.approx(expected)
    assert soft_dice_loss(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4)).item() == 0.0


def test_losses_equal_those_of_monai():
    losses = pytest.importorskip("monai.losses")
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 6, 7, 5, generator=generator)
    label = torch.randint(0, 4, (2, 6, 7, 5), generator=generator).to(torch.uint8)
    common = {"batch": True, "smooth_nr": EPSILON, "smooth_dr": EPSILON}
    dice, entropy = multiclass_loss(logits, label, None)
    dice_only = losses.DiceLoss(include_background=False, softmax=True, to_onehot_y=True, **common)
    torch.testing.assert_close(dice, dice_only(logits, label.unsqueeze(1)))
    torch.testing.assert_close(entropy, nn.functional.cross_entropy(logits, label.long()))
    bits = torch.randint(0, 16, (2, 6, 7, 5), generator=generator).to(torch.uint8)
    planes = torch.stack([(bits >> k) & 1 for k in range(4)], dim=1).float()
    dice, entropy = multilabel_loss(logits, bits, None)
    torch.testing.assert_close(dice, losses.DiceLoss(sigmoid=True, **common)(logits, planes))
    torch.testing.assert_close(entropy, nn.functional.binary_cross_entropy_with_logits(logits, planes))


def test_weights_multiply_the_entropy_of_their_class():
    logits, label = torch.zeros(1, 2, 4), torch.tensor([[0, 0, 0, 1]], dtype=torch.uint8)
    plain = multiclass_loss(logits, label, None)[1]
    weighted = multiclass_loss(logits, label, torch.tensor([1.0, 5.0]))[1]
    assert weighted.item() == pytest.approx(plain.item() * 2)
    heavy = multilabel_loss(logits[:, :1], label, torch.tensor([5.0]))[1]
    assert heavy.item() == pytest.approx(plain.item() * 2)


def test_deep_supervision_weights():
    task = SegmentationTask(labels=("blob",))
    (case,) = blob_cases(1, (16, 16))
    batch = to_device(collate([read_whole(case, (1, 1))]), CPU, WINDOW)
    generator = torch.Generator().manual_seed(0)
    outputs = [torch.randn(1, 2, 16 // s, 16 // s, generator=generator) for s in (1, 2, 4)]
    total = task.loss(Fixed(outputs), batch)
    coarse = [batch["label"], batch["label"][:, 1::2, 1::2], batch["label"][:, 2::4, 2::4]]
    parts = [multiclass_loss(output, label, None) for output, label in zip(outputs, coarse, strict=True)]
    for name, index in (("dice", 0), ("entropy", 1)):
        expected = sum(w * part[index] for w, part in zip((4 / 7, 2 / 7, 1 / 7), parts, strict=True))
        torch.testing.assert_close(total[name], expected)


@pytest.mark.parametrize("mode", ["multiclass", "multilabel"])
def test_tiles_with_halo_measure_what_the_whole_measures(mode):
    (case,) = blob_cases(1, (19, 23))
    network = toy_net(out=2 if mode == "multiclass" else 1).eval()
    whole = SegmentationTask(labels=("blob",), mode=mode)
    tiled = SegmentationTask(labels=("blob",), mode=mode, tile=(8, 6), halo=(4, 4), max_voxels=1)
    view = CaseView(case, CPU, WINDOW, (2, 2))
    with torch.no_grad():
        np.testing.assert_array_equal(tiled.measure(network, view), whole.measure(network, view))
        assert whole.measure(network, view)[2] == case.label.sum()


def test_summary_of_empty_truth():
    task = SegmentationTask(labels=("a", "b"))
    rows = np.array([[5, 10, 10, 0, 0, 0], [0, 3, 0, 2, 2, 2], [4, 4, 4, 0, 0, 0]], float)
    figures = task.summarise(rows)
    assert figures["dice_a"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert figures["dice_b"] == 1.0
    assert figures["dice"] == pytest.approx((0.5 + 1.0) / 2)


def test_probabilities_and_strata():
    task = SegmentationTask(labels=("blob",))
    cases = blob_cases(4)
    batch = to_device(collate([read_whole(cases[0], (1, 1))]), CPU, WINDOW)
    torch.testing.assert_close(task.predict(toy_net(), batch).sum(1), torch.ones(1, 32, 32))
    assert [task.stratum(case) for case in cases] == [("blob",), ("blob",), ("blob",), ()]


def test_refusals():
    with pytest.raises(ConfigError, match="unknown mode"):
        SegmentationTask(labels=("a",), mode="multilabels")
    with pytest.raises(ConfigError, match="number of weights"):
        SegmentationTask(labels=("a",), label_weights=(1.0,))
    with pytest.raises(ConfigError, match="at least one label"):
        SegmentationTask(labels=())
    with pytest.raises(InputError, match="no mask"):
        SegmentationTask(labels=("a",)).check([ToyCase("x", np.zeros((1, 2, 2)))])
