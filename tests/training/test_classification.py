import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from training_toys import WINDOW, ToyCase

from medimg.errors import ConfigError, InputError
from medimg.training.batch import collate, to_device
from medimg.training.classification import ClassificationTask
from medimg.training.sampling import read_whole
from medimg.training.task import CaseView

CPU = torch.device("cpu")


class Fixed(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = torch.tensor(answer)

    def forward(self, x):
        return self.answer


def _cases(*classes):
    return [ToyCase(f"case{i}", np.zeros((1, 4, 4), np.int16), classes=c) for i, c in enumerate(classes)]


def _loss(task, logits, *classes):
    batch = to_device(collate([read_whole(case, (1, 1)) for case in _cases(*classes)]), CPU, WINDOW)
    return task.loss(Fixed(logits), batch)["entropy"].item()


def test_binary_with_smoothing_and_soft_truth():
    logits, target = torch.tensor([0.3, -1.2]), torch.tensor([0.9, 0.25 * 0.8 + 0.1])
    task = ClassificationTask(target="t", label_smoothing=0.2)
    got = _loss(task, [[0.3], [-1.2]], {"t": 1.0}, {"t": 0.25})
    assert got == pytest.approx(functional.binary_cross_entropy_with_logits(logits, target).item())


def test_multiclass_hard_and_soft():
    logits = [[0.1, 0.2, 0.7], [1.0, 0.0, -1.0]]
    task = ClassificationTask(target="t", classes=3, mode="multiclass", label_smoothing=0.1)
    expected = functional.cross_entropy(torch.tensor(logits), torch.tensor([2, 0]), label_smoothing=0.1)
    assert _loss(task, logits, {"t": 2}, {"t": 0}) == pytest.approx(expected.item())
    soft = ClassificationTask(target="", classes=3, mode="multiclass", soft_targets=("a", "b", "c"))
    truth = torch.tensor([[0.2, 0.3, 0.5], [0.5, 0.5, 0.0]])
    expected = functional.cross_entropy(torch.tensor(logits), truth)
    got = _loss(soft, logits, {"a": 0.2, "b": 0.3, "c": 0.5}, {"a": 1.0, "b": 1.0, "c": 0.0})
    assert got == pytest.approx(expected.item())


def test_ordinal_is_cumulative():
    task = ClassificationTask(target="g", classes=4, mode="ordinal")
    assert task.out_channels == 3
    logits = [[0.5, -0.5, 2.0]]
    expected = functional.binary_cross_entropy_with_logits(torch.tensor(logits), torch.tensor([[1.0, 1.0, 0.0]]))
    assert _loss(task, logits, {"g": 2}) == pytest.approx(expected.item())
    between = functional.binary_cross_entropy_with_logits(torch.tensor(logits), torch.tensor([[1.0, 0.5, 0.0]]))
    assert _loss(task, logits, {"g": 1.5}) == pytest.approx(between.item())


def test_class_weights_act_on_the_sample():
    task = ClassificationTask(target="t", class_weights=(1.0, 3.0))
    plain = ClassificationTask(target="t")
    args = ([[0.0], [0.0]], {"t": 1}, {"t": 0})
    assert _loss(task, *args) == pytest.approx(2 * _loss(plain, *args))


def test_rows_and_figures():
    task = ClassificationTask(target="t")
    view = CaseView(_cases({"t": 1})[0], CPU, WINDOW, (1, 1))
    row = task.measure(Fixed([[1.0]]), view)
    p = 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(row, [-math.log(p), 1.0, p], rtol=1e-6)
    rows = np.array([[0.1, 0, 0.2], [0.1, 1, 0.6], [0.1, 0, 0.3], [0.1, 1, 0.25]])
    figures = task.summarise(rows)
    assert figures["auc"] == 0.75
    assert figures["accuracy"] == 0.75
    assert math.isnan(task.summarise(rows[[0, 2]])["auc"])
    ordinal = ClassificationTask(target="g", classes=3, mode="ordinal")
    rows = np.array([[0.1, g, float(g > 0), float(g > 1)] for g in (0, 1, 2, 2)])
    assert ordinal.summarise(rows)["kappa"] == 1.0
    assert ordinal.metric == "kappa"
    multi = ClassificationTask(target="t", classes=3, mode="multiclass")
    rows = np.array([[0.1, k, *np.eye(3)[k]] for k in (0, 1, 2)])
    assert multi.summarise(rows)["auc"] == 1.0


def test_probabilities():
    batch = collate([read_whole(_cases({"t": 0})[0], (1, 1))])
    assert ClassificationTask(target="t").predict(Fixed([[0.0]]), batch).tolist() == [[0.5]]
    multi = ClassificationTask(target="t", classes=2, mode="multiclass")
    assert multi.predict(Fixed([[0.0, 0.0]]), batch).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("value", [None, math.nan, -1, 4, 1.5])
def test_impossible_truth_is_named(value):
    task = ClassificationTask(target="g", classes=4, mode="multiclass")
    classes = {} if value is None else {"g": value}
    with pytest.raises(InputError) as caught:
        task.check(_cases({"g": 0}, classes))
    assert caught.value.where == "case case1"
    assert task.stratum(_cases({"g": 3})[0]) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "ordinary"},
        {"classes": 3},
        {"classes": 1, "mode": "multiclass"},
        {"label_smoothing": 1.0},
        {"class_weights": (1.0,)},
        {"soft_targets": ("a", "b")},
        {"metric_name": "f1"},
    ],
)
def test_wrong_settings(options):
    with pytest.raises(ConfigError):
        ClassificationTask(target="t", **options)
