import math
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_toys import WINDOW, ToyClassifier, blob_cases, digest, toy_net, toy_settings

from medimg.errors import ConfigError, InputError, MedimgError, MissingDependency
from medimg.training.classification import ClassificationTask
from medimg.training.fit import fit
from medimg.training.segmentation import SegmentationTask

TASK = SegmentationTask(labels=("blob",), mode="multiclass")


def _fit(folder, network=None, train=None, tuning=None, task=TASK, resume=False, augment=None, **changes):
    return fit(
        toy_settings(**changes),
        task,
        network if network is not None else toy_net(dropout=0.2),
        blob_cases(8) if train is None else train,
        blob_cases(3, seed=1) if tuning is None else tuning,
        folder,
        intensity=WINDOW,
        augment=augment,
        resume=resume,
    )


def test_overfits_and_keeps_the_best_weights(tmp_path):
    network = toy_net()
    result = _fit(tmp_path, network, steps=60, learning_rate=1e-2, ema_decay=0.9, validate_every_steps=20)
    assert result.best_value > 0.9
    assert result.history[-1]["loss"] < 0.3 * result.history[0]["loss"]
    assert result.steps == 60
    network.load_state_dict(load_file(str(result.best_weights)))
    figures = [row["tuning_dice"] for row in result.history if "tuning_dice" in row]
    assert result.best_value == max(figures)
    assert {"learning_rate", "gradient_norm", "seconds", "data_wait_share", "memory_mb"} <= set(result.history[0])


def test_multilabel_3d_with_accumulation(tmp_path):
    task = SegmentationTask(labels=("blob",), mode="multilabel", tile=(8, 8, 8), halo=(4, 4, 4), max_voxels=100)
    cases = blob_cases(4, (12, 14, 16))
    network = toy_net(dims=3, out=1)
    result = _fit(
        tmp_path,
        network,
        cases,
        cases,
        task,
        patch=(8, 8, 8),
        batch_size=2,
        steps=30,
        accumulate=2,
        learning_rate=2e-2,
        ema_decay=0.9,
    )
    assert result.best_value > 0.7


def test_whole_images_of_unequal_size(tmp_path):
    cases = blob_cases(2, (13, 17)) + blob_cases(2, (20, 16))
    result = _fit(tmp_path, train=cases, tuning=cases, patch=None, steps=4)
    assert result.steps == 4


def test_workers_change_nothing(tmp_path):
    runs = [_fit(tmp_path / str(n), workers=n, steps=8) for n in (0, 2)]
    assert digest(runs[0].last_checkpoint) == digest(runs[1].last_checkpoint)
    assert [row["loss"] for row in runs[0].history] == [row["loss"] for row in runs[1].history]


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_half_precision_step(tmp_path, precision):
    result = _fit(tmp_path, toy_net(norm=True), precision=precision, channels_last=True, steps=6)
    assert math.isfinite(result.history[-1]["loss"])
    kinds = {value.dtype for value in load_file(str(result.best_weights)).values() if value.is_floating_point()}
    assert kinds == {torch.float32}


def test_not_finite_loss_names_step_and_cases(tmp_path):
    with pytest.raises(MedimgError, match=r"not finite") as caught:
        _fit(tmp_path, learning_rate=1e30, clip_norm=None, optimiser="sgd")
    assert "step" in str(caught.value.where)
    assert "case" in str(caught.value.where)


def test_not_finite_image_names_the_case_alone(tmp_path):
    cases = blob_cases(4)
    cases[2].image = cases[2].image.astype(np.float32)
    cases[2].image[:] = np.nan
    for case in cases:
        case.image = case.image.astype(np.float32)
    with pytest.raises(MedimgError, match="images of some cases") as caught:
        _fit(tmp_path, train=cases)
    assert str(caught.value.where).endswith("cases case02")


class _Broken:
    ndim, shape, dtype = 3, (1, 32, 32), np.dtype(np.int16)

    def __getitem__(self, key):
        raise OSError("the disk is gone")


class _Deadly(_Broken):
    def __getitem__(self, key):
        os.kill(os.getpid(), 9)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_case_is_named(tmp_path, workers):
    cases = blob_cases(4)
    cases[1].image = _Broken()
    with pytest.raises(InputError, match="the disk is gone") as caught:
        _fit(tmp_path, train=cases, workers=workers)
    assert caught.value.where == "case case01"


def test_killed_worker_hints_at_memory(tmp_path):
    cases = blob_cases(4)
    cases[1].image = _Deadly()
    with pytest.raises(MedimgError, match="a loader worker died") as caught:
        _fit(tmp_path, train=cases, workers=2)
    assert "/dev/shm" in caught.value.fix


def test_folder_with_a_run_is_refused_unless_resumed(tmp_path):
    first = _fit(tmp_path, steps=4)
    with pytest.raises(ConfigError, match="holds a run already"):
        _fit(tmp_path, steps=4)
    with pytest.raises(ConfigError, match=r"trainer\.learning_rate"):
        _fit(tmp_path, steps=4, learning_rate=0.5, resume=True)
    with pytest.raises(ConfigError, match="train_cases"):
        _fit(tmp_path, steps=4, train=blob_cases(5), resume=True)
    again = _fit(tmp_path, steps=4, workers=2, resume=True)
    assert again.history == first.history


def test_early_stop(tmp_path):
    result = _fit(
        tmp_path, steps=50, validate_every_steps=2, early_stop_patience=2, learning_rate=1e-12, ema_decay=None
    )
    assert result.steps == 6
    assert (
        _fit(
            tmp_path,
            steps=50,
            validate_every_steps=2,
            early_stop_patience=2,
            learning_rate=1e-12,
            ema_decay=None,
            resume=True,
        ).steps
        == 6
    )


def test_without_tuning_cases_the_last_weights_are_best(tmp_path):
    network = toy_net()
    result = _fit(tmp_path, network, tuning=[], steps=5, ema_decay=None)
    best = load_file(str(result.best_weights))
    assert result.best_value is None
    assert all(torch.equal(value, best[name]) for name, value in network.state_dict().items())


def test_classification_learns(tmp_path):
    task = ClassificationTask(target="lesion")
    torch.manual_seed(0)
    cases = blob_cases(16)
    result = _fit(
        tmp_path, ToyClassifier(), cases, cases, task, patch=None, steps=60, learning_rate=1e-2, balance="class",
        ema_decay=0.9,
    )  # fmt: skip
    assert result.metric == "auc"
    assert result.best_value > 0.95


def test_missing_truth_and_device_are_told(tmp_path):
    cases = blob_cases(2)
    cases[1].label = None
    with pytest.raises(InputError, match="case case01"):
        _fit(tmp_path, train=cases)
    with pytest.raises(MissingDependency, match="no cuda device"):
        _fit(tmp_path, accelerator="cuda")
    with pytest.raises(ConfigError, match="16-mixed needs"):
        _fit(tmp_path, precision="16-mixed")


def test_tensorboard_events(tmp_path):
    result = _fit(tmp_path, steps=2, loggers=("tensorboard",))
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert all(name.encode() in events.read_bytes() for name in result.history[-1] if name != "step")
