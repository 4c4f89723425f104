"""From logits to answers: probabilities, thresholds, connected components, grades.

Legend: K outputs, L labels, ``*S`` the spatial axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from medimg.packaging.manifest import Postprocessing, TaskSpec

Outputs = list[NDArray[np.float32]]
DEFAULT_THRESHOLD = 0.5


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 / (1 + exp(-x)) without overflow."""
    out = np.negative(np.clip(logits, -80, 80))
    np.exp(out, out=out)
    out += 1
    return np.divide(1, out, out=out).astype(np.float32, copy=False)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax over axis 0."""
    out = logits - logits.max(axis=0)
    np.exp(out, out=out)
    out /= out.sum(axis=0)
    return out.astype(np.float32, copy=False)


def activate(logits: NDArray[np.float32], task: TaskSpec) -> NDArray[np.float32]:
    """Turn logits (K, ...) into probabilities: a softmax for ``multiclass``, else a sigmoid each."""
    return softmax(logits) if task.mode == "multiclass" else sigmoid(logits)


def average_flips(
    run: Callable[[NDArray[np.float32]], Outputs],
    image: NDArray[np.float32],
    flips: Sequence[tuple[int, ...]],
    task: TaskSpec,
) -> NDArray[np.float32]:
    """Return probabilities, averaged over the plain pass and test-time flips.

    Parameters
    ----------
    run : callable
        (1, C, *S) to outputs.
    image : (1, C, *S) ndarray of float32
    flips : sequence of tuple of int
        Spatial axes of every further pass.
    task : TaskSpec

    Returns
    -------
    (K, *S) ndarray of float32, or (K,) of a classification
    """
    total = activate(run(image)[0][0], task)
    for flip in flips:
        axes = tuple(axis + 2 for axis in flip)
        answer = activate(run(np.ascontiguousarray(np.flip(image, axes)))[0][0], task)
        total += np.flip(answer, tuple(axis + 1 for axis in flip)) if answer.ndim > 1 else answer
    return total / np.float32(1 + len(flips))


def label_dtype(task: TaskSpec) -> type[np.unsignedinteger[Any]]:
    """Return the smallest type that holds the labels: indices, or one bit each."""
    largest = len(task.labels) if task.mode == "multiclass" else 2 ** len(task.labels) - 1
    return np.uint8 if largest < 256 else np.uint16


def to_labels(probabilities: NDArray[np.float32], task: TaskSpec, post: Postprocessing) -> NDArray[Any]:
    """Turn probabilities (K, *S) into class indices (the largest wins) or bit masks (at or above the threshold)."""
    kind = label_dtype(task)
    if task.mode == "multiclass":
        return probabilities.argmax(axis=0).astype(kind)
    out = np.zeros(probabilities.shape[1:], dtype=kind)
    for label, probability in zip(task.labels, probabilities):
        threshold = np.float32(post.thresholds.get(label.name, DEFAULT_THRESHOLD))
        out |= (probability >= threshold).astype(kind) << kind(label.index)
    return out


def clean(labels: NDArray[Any], task: TaskSpec, post: Postprocessing) -> NDArray[Any]:
    """Drop small components and keep the largest ones, as the package says.

    Components are connected over faces, edges and corners. Of equally large ones the first in scan order stays.

    Parameters
    ----------
    labels : (*S) ndarray
        Class indices or bit masks; changed in place.

    Returns
    -------
    (*S) ndarray
    """
    for label in task.labels:
        smallest = post.min_component_voxels.get(label.name, 0)
        if smallest <= 1 and label.name not in post.keep_largest:
            continue
        mask = membership(labels, task, label.index)
        unwanted = mask & ~_wanted(mask, smallest, label.name in post.keep_largest)
        if task.mode == "multiclass":
            labels[unwanted] = 0
        else:
            labels[unwanted] &= ~labels.dtype.type(1 << label.index)
    return labels


def membership(labels: NDArray[Any], task: TaskSpec, index: int) -> NDArray[np.bool_]:
    """Return where a label is present."""
    if task.mode == "multiclass":
        return np.asarray(labels == index)
    return (labels >> labels.dtype.type(index)) & labels.dtype.type(1) == 1


def _wanted(mask: NDArray[np.bool_], smallest: int, only_largest: bool) -> NDArray[np.bool_]:
    if not mask.any():
        return mask
    import cc3d

    components = cc3d.connected_components(mask.astype(np.uint8), connectivity=26 if mask.ndim == 3 else 8)
    sizes = np.bincount(components.ravel())
    keep = sizes >= smallest
    if only_largest:
        keep &= np.arange(len(sizes)) == 1 + int(np.argmax(sizes[1:]))
    keep[0] = False
    return np.asarray(keep[components])


def without_dropped(
    probabilities: NDArray[np.float32], labels: NDArray[Any], task: TaskSpec, post: Postprocessing
) -> NDArray[np.float32]:
    """Return probabilities that no longer claim what `clean` dropped: background there."""
    out = probabilities.copy()
    raw = to_labels(probabilities, task, post)
    if task.mode == "multiclass":
        gone = raw != labels
        out[:, gone] = 0
        out[0, gone] = 1
        return out
    for index, label in enumerate(task.labels):
        out[index, membership(raw, task, label.index) & ~membership(labels, task, label.index)] = 0
    return out


def grades(probabilities: NDArray[np.float32], task: TaskSpec) -> tuple[dict[str, float], int]:
    """Turn the probabilities of a classification into scores by name and a grade or class.

    Binary: the one score; grade 1 means at or above one half. Multiclass: a score per class, the largest wins.
    Ordinal: output ``k`` is P(grade > k), made non-increasing by isotonic regression (neighbours that disagree are
    averaged). The grade is the number of outputs above one half, every grade gets its probability, and the score is
    that of the grades from ``positive_from`` on, among them and those up to ``negative_to``: grades in between belong
    to neither side of the question.
    """
    values = probabilities.astype(np.float64)
    if task.mode == "binary":
        return {task.score_name: float(values[0])}, int(values[0] >= DEFAULT_THRESHOLD)
    if task.mode == "multiclass":
        scores = {label.name: float(value) for label, value in zip(task.labels, values)}
        if task.positive_from is not None:
            scores[task.score_name] = float(values[task.positive_from :].sum())
        return scores, int(np.argmax(values))
    above = np.clip(isotonic_regression(values, increasing=False).x, 0.0, 1.0)
    share = -np.diff(np.concatenate(([1.0], above, [0.0])))
    scores = {label.name: float(value) for label, value in zip(task.labels, share)}
    if task.positive_from is not None:
        positive = above[task.positive_from - 1]
        negative = 1.0 - above[task.positive_from - 1 if task.negative_to is None else task.negative_to]
        scores[task.score_name] = float(positive / max(positive + negative, np.finfo(np.float64).tiny))
    return scores, int((above > DEFAULT_THRESHOLD).sum())
