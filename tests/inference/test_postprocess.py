"""Legend: K outputs, Z Y X axes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, special

from medimg.inference.postprocess import (
    activate,
    average_flips,
    clean,
    grades,
    label_dtype,
    sigmoid,
    softmax,
    to_labels,
    without_dropped,
)
from medimg.packaging.manifest import Label, Postprocessing, TaskSpec


def task(mode, names, kind="segmentation", dims=3, **more):
    first = 1 if mode == "multiclass" and kind == "segmentation" else 0
    labels = tuple(Label(name=name, index=first + i) for i, name in enumerate(names))
    return TaskSpec(kind=kind, mode=mode, spatial_dims=dims, labels=labels, **more)


def test_activations_equal_scipy_and_never_overflow():
    logits = np.random.default_rng(0).normal(0, 30, (4, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(softmax(logits), special.softmax(logits.astype(float), axis=0), atol=1e-6)
    np.testing.assert_allclose(sigmoid(logits), special.expit(logits.astype(float)), atol=1e-6)
    with np.errstate(over="raise"):
        assert sigmoid(np.array([-1e30, 1e30], np.float32)).tolist() == pytest.approx([0, 1])
    assert activate(logits, task("multilabel", "abcd")).sum(axis=0).max() > 1.5


def test_flips_are_undone_before_averaging():
    image = np.random.default_rng(0).normal(size=(1, 1, 4, 5, 6)).astype(np.float32)
    single = task("multilabel", ["a"])
    answer = average_flips(lambda x: [x * 3], image, ((0,), (1, 2)), single)
    np.testing.assert_allclose(answer, sigmoid(image[0] * 3), atol=1e-6)
    slope = np.arange(6, dtype=np.float32)
    answer = average_flips(lambda x: [x + slope], image, ((2,),), single)
    expected = (sigmoid(image[0] + slope) + sigmoid(image[0] + slope[::-1])) / 2
    np.testing.assert_allclose(answer, expected, atol=1e-6)


def test_thresholds_make_bits_and_the_largest_wins_classes():
    probabilities = np.array([[0.2, 0.5, 0.9], [0.6, 0.7, 0.1]], np.float32).reshape(2, 1, 1, 3)
    bits = to_labels(probabilities, task("multilabel", "ab"), Postprocessing(thresholds={"b": 0.65}))
    assert bits.ravel().tolist() == [0, 3, 1]
    assert to_labels(probabilities, task("multiclass", "a"), Postprocessing()).ravel().tolist() == [1, 1, 0]
    assert label_dtype(task("multilabel", "abcdefgh")) is np.uint8
    assert label_dtype(task("multilabel", "abcdefghi")) is np.uint16


@pytest.mark.parametrize("mode", ["multiclass", "multilabel"])
def test_cleaning_equals_scipy(mode):
    rng = np.random.default_rng(1)
    labels = (ndimage.gaussian_filter(rng.normal(size=(12, 20, 20)), 1.2) > 0.12).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.01] = 2
    spec = task(mode, "ab")
    post = Postprocessing(min_component_voxels={"a": 30}, keep_largest=("b",))
    got = clean(labels.copy(), spec, post)
    for index, name in ((1, "a"), (2, "b")):
        before = labels == index if mode == "multiclass" else (labels & index) > 0
        components, _ = ndimage.label(before, np.ones((3, 3, 3)))
        sizes = np.bincount(components.ravel())
        sizes[0] = 0
        keep = sizes >= 30 if name == "a" else np.arange(len(sizes)) == sizes.argmax()
        keep[0] = False
        after = got == index if mode == "multiclass" else (got & index) > 0
        np.testing.assert_array_equal(after, keep[components])


def test_dropped_parts_leave_the_probabilities():
    probabilities = np.full((2, 1, 4), 0.9, np.float32)
    spec = task("multilabel", "ab", dims=2)
    labels = np.array([[3, 2, 3, 1]], np.uint8)
    kept = without_dropped(probabilities, labels, spec, Postprocessing())
    np.testing.assert_array_equal(to_labels(kept, spec, Postprocessing()), labels)
    spec = task("multiclass", "a", dims=2)
    labels = np.array([[0, 0, 1, 1]], np.uint8)
    probabilities = np.stack([np.full((1, 4), 0.1), np.full((1, 4), 0.9)]).astype(np.float32)
    kept = without_dropped(probabilities, labels, spec, Postprocessing())
    np.testing.assert_array_equal(kept.argmax(axis=0), labels)


def test_grades():
    ordinal = task("ordinal", ["0", "1", "2"], "classification", target="dr", positive_from=2)
    scores, grade = grades(np.array([0.9, 0.6], np.float32), ordinal)
    assert grade == 2
    assert scores == pytest.approx({"0": 0.1, "1": 0.3, "2": 0.6, "dr": 0.6})
    # Outputs that contradict each other are averaged: neither is dropped.
    scores, grade = grades(np.array([0.3, 0.8], np.float32), ordinal)
    assert grade == 2
    assert scores == pytest.approx({"0": 0.45, "1": 0.0, "2": 0.55, "dr": 0.55})
    # A grade that belongs to neither side of the question does not weigh on the score.
    aside = task("ordinal", ["0", "1", "2"], "classification", positive_from=2, negative_to=0)
    scores, grade = grades(np.array([0.9, 0.3], np.float32), aside)
    assert scores["positive"] == pytest.approx(0.3 / (0.3 + 0.1))
    assert grade == 1
    multi = task("multiclass", ["0", "1", "2"], "classification", positive_from=1)
    scores, grade = grades(np.array([0.2, 0.5, 0.3], np.float32), multi)
    assert grade == 1
    assert scores["positive"] == pytest.approx(0.8)
    binary = task("binary", ["cancer"], "classification")
    assert grades(np.array([0.7], np.float32), binary) == ({"cancer": pytest.approx(0.7)}, 1)
