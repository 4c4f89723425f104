"""Trivial baselines from the same splits: what a network must beat, or it has learned nothing.

Each takes the data folder and the run folders of all folds (whose split.csv names train and held-out cases) and returns
the figure that the network is judged by.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import label as components_of
from scipy.ndimage import uniform_filter
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medimg.data.cases import Case, build_cases, read_images
from medimg.data.preparation import Intensity, Preparation
from medimg.data.prepare import prepare
from medimg.data.targets import Targets
from medimg.data.truth import label_image
from medimg.evaluation.metrics.pixel_scores import pooled_average_precision
from medimg.io.mask import read_mask
from medimg.io.read import read
from medimg.models.efficientnet_lite import EfficientNetLite0
from medimg.pipelines.run_folder import read_config
from medimg.pipelines.steps import open_cohort


def parts(run: Path) -> tuple[list[Case], list[Case]]:
    """Return the cases that were trained on (with tuning) and those held out."""
    config = read_config(run)
    cohort, _ = open_cohort(config.data)
    cases, _ = build_cases(cohort, tuple(config.data.channels))
    split = dict(pd.read_csv(run / "split.csv", dtype=str)[["case_id", "split"]].to_numpy())
    train = [case for case in cases if split.get(case.case_id) in ("train", "tuning")]
    return train, [case for case in cases if split.get(case.case_id) == "held_out"]


def overlap(truth: np.ndarray, found: np.ndarray) -> float:
    """Return Dice; 1 where both are empty."""
    total = int(truth.sum()) + int(found.sum())
    return 2 * int((truth & found).sum()) / total if total else 1.0


def drawn(case: Case, names: tuple[str, ...], mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Return image and label arrays of a case."""
    image = next(iter(read_images(case).values()))
    labels = label_image(case, Targets(kind="segmentation", mode=mode, names=names), image)
    return image.array, labels.array


def hippocampus_prior(data: Path, runs: list[Path]) -> float:
    """Dice of the training set's most frequent label at each place of the volume, scaled to its shape."""
    train, held_out = parts(runs[0])
    shape, names = (36, 50, 36), ("anterior", "posterior")
    votes = np.zeros((3, *shape))
    for case in train:
        grid = nearest(drawn(case, names, "multiclass")[1], shape)
        for label in range(3):
            votes[label] += grid == label
    prior = votes.argmax(axis=0)
    scores = []
    for case in held_out:
        truth = drawn(case, names, "multiclass")[1]
        guess = nearest(prior, truth.shape)
        scores.append(np.mean([overlap(truth == label, guess == label) for label in (1, 2)]))
    return float(np.mean(scores))


def nearest(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Scale an array to a shape by its nearest voxels."""
    index = [np.minimum(np.arange(n) * size // n, size - 1) for n, size in zip(shape, array.shape)]
    return array[np.ix_(*index)]


def polyp_prior(data: Path, runs: list[Path]) -> float:
    """Dice of the training masks' mean, cut where training Dice is best."""
    train, held_out = parts(runs[0])
    shape = (176, 176)
    masks = np.array([nearest(drawn(case, ("polyp",), "multilabel")[1] > 0, shape) for case in train])
    mean = masks.mean(axis=0)
    best = max(np.linspace(0.1, 0.6, 11), key=lambda level: np.mean([overlap(mask, mean >= level) for mask in masks]))
    truths = [drawn(case, ("polyp",), "multilabel")[1] > 0 for case in held_out]
    return float(np.mean([overlap(truth, nearest(mean >= best, truth.shape)) for truth in truths]))


def nodule_threshold(data: Path, runs: list[Path]) -> float:
    """Dice of the component nearest the centre above the one HU threshold that is best on the training part."""
    train, held_out = parts(runs[0])
    levels = np.arange(-800, 101, 50)
    pairs = [drawn(case, ("nodule",), "multilabel") for case in train]
    best = max(levels, key=lambda level: np.mean([overlap(mask > 0, central(image >= level)) for image, mask in pairs]))
    tested = [drawn(case, ("nodule",), "multilabel") for case in held_out]
    return float(np.mean([overlap(mask > 0, central(image >= best)) for image, mask in tested]))


def central(found: np.ndarray) -> np.ndarray:
    """Return the connected component that comes nearest the centre of the volume."""
    components, _ = components_of(found)
    places = np.argwhere(found)
    if not len(places):
        return found
    distance = np.linalg.norm(places - (np.array(found.shape) - 1) / 2, axis=1)
    return components == components[tuple(places[distance.argmin()])]


def malignancy_size_density(data: Path, runs: list[Path]) -> float:
    """AUC of logistic regression on log volume and mean HU inside the drawn nodule, same folds, pooled."""
    truths, scores = [], []
    for run in runs:
        train, held_out = parts(run)
        fit, test = (size_and_density(cases) for cases in (train, held_out))
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(*fit)
        truths.append(test[1])
        scores.append(model.decision_function(test[0]))
    return float(roc_auc_score(np.concatenate(truths), np.concatenate(scores)))


def size_and_density(cases: list[Case]) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 2) features and the binary view of the rating; rating 3 is left out."""
    rows, truth = [], []
    for case in cases:
        grade = case.classes["malignancy"]
        if grade == 2:
            continue
        mask = read_mask(case.masks[0].path)
        image = read(next(iter(case.images.values()))).array
        inside = mask.array > 0
        rows.append([np.log(inside.sum() * np.prod(mask.spacing_mm)), image[inside].mean()])
        truth.append(int(grade > 2))
    return np.array(rows), np.array(truth)


def frozen_features(data: Path, runs: list[Path]) -> float:
    """AUC of logistic regression on frozen ImageNet features at 512 px, same folds, pooled."""
    encoder = EfficientNetLite0().eval()
    encoder.load_pretrained(None)
    intensity = Intensity(rule="rgb", mean=(0.5,) * 3, std=(0.5,) * 3)
    how = Preparation(
        kind="picture", channels=("red", "green", "blue"), size_yx=(512, 512), field_of_view=True, intensity=intensity
    )
    known: dict[str, np.ndarray] = {}

    def features(cases: list[Case]) -> tuple[np.ndarray, np.ndarray]:
        for case in cases:
            if case.case_id not in known:
                array = prepare(read_images(case), how).array.astype(np.float32) / 127.5 - 1
                with torch.inference_mode():
                    deepest = encoder.head_features(encoder.features(torch.from_numpy(array)[None])[-1])
                known[case.case_id] = deepest.mean(dim=(2, 3))[0].numpy()
        return np.array([known[case.case_id] for case in cases]), np.array(
            [int(case.classes["dr_grade"] >= 2) for case in cases]
        )

    truths, scores = [], []
    for run in runs:
        train, held_out = parts(run)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)).fit(*features(train))
        test = features(held_out)
        truths.append(test[1])
        scores.append(model.decision_function(test[0]))
    return float(roc_auc_score(np.concatenate(truths), np.concatenate(scores)))


def bright_spots(data: Path, runs: list[Path]) -> float:
    """AUPR of the green channel minus its local mean, all held-out pixels."""
    _, held_out = parts(runs[0])
    bins = 512
    counts = np.zeros((2, 1, bins))
    for case in held_out:
        image, mask = drawn(case, ("EX",), "multilabel")
        green = image[..., 1].astype(np.float32)
        score = np.clip((green - uniform_filter(green, 151)) / 255 + 0.5, 0, 1)
        index = np.minimum((score * bins).astype(int), bins - 1)
        for row, where in enumerate((mask > 0, mask == 0)):
            counts[row, 0] += np.bincount(index[where], minlength=bins)
    return float(pooled_average_precision(counts[0], counts[1])[0])


BASELINES: dict[str, Callable[[Path, list[Path]], float]] = {
    "mri_hippocampus": hippocampus_prior,
    "endoscopy_polyp_segmentation": polyp_prior,
    "ct_nodule_segmentation": nodule_threshold,
    "ct_nodule_malignancy": malignancy_size_density,
    "fundus_dr_grading": frozen_features,
    "fundus_lesion_segmentation": bright_spots,
}
