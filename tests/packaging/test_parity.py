from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from medimg.errors import InputError
from medimg.packaging.parity import check_parity

IMAGES = [np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)]


def test_other_weights_are_found(network, files):
    other = copy.deepcopy(network)
    with torch.no_grad():
        other[3].bias += 0.01
    with pytest.raises(InputError, match="does not give the trained network's answers"):
        check_parity(other, files / "model.onnx", IMAGES, "sigmoid")
    assert check_parity(other, files / "model.onnx", IMAGES, "sigmoid", tolerance=0.1).max_abs_difference > 1e-4


def test_nan_never_passes(network, files):
    other = copy.deepcopy(network)
    with torch.no_grad():
        other[3].bias += float("nan")
    with pytest.raises(InputError, match="inf"):
        check_parity(other, files / "model.onnx", IMAGES, "none")


def test_nothing_proves_nothing(network, files):
    with pytest.raises(InputError, match="one scan or more"):
        check_parity(network, files / "model.onnx", [], "sigmoid")
