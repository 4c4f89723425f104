"""Metrics of cases against reference values and other implementations."""

from __future__ import annotations

import numpy as np
import pytest

from medimg.errors import InputError
from medimg.evaluation.metrics import froc, ranking
from medimg.evaluation.metrics.classification import (
    choose_threshold,
    confusion_counts,
    quadratic_kappa,
    sensitivity_threshold,
    youden_threshold,
)
from medimg.evaluation.metrics.detection import box_iou, lesion_rate_threshold, match_boxes
from medimg.evaluation.metrics.levels import Levels
from medimg.evaluation.metrics.multiplicity import benjamini_hochberg, holm
from medimg.evaluation.metrics.pixel_scores import (
    dice_curve,
    dice_threshold,
    score_histogram,
)
from medimg.evaluation.metrics.segmentation import diagonal, overlap, surface_distances
from medimg.evaluation.protocol import Matching

A = np.array([0, 1, 2, 3, 4, 2, 2, 1, 0, 4])
B = np.array([0, 1, 1, 3, 3, 2, 4, 1, 0, 4])
RATES = froc.CPM_RATES
FROC = {
    "no ties": {
        "false": [0.9, 0.8, 0.4, 0.3],
        "hits": [0.95, 0.6, 0.35],
        "lesions": 4,
        "images": 4,
        "points": [(0, 0.25), (0.25, 0.25), (0.5, 0.25), (0.5, 0.5), (0.75, 0.5), (0.75, 0.75), (1, 0.75)],
        "sensitivity": [0.25, 0.25, 0.5, 0.75, 0.75, 0.75, 0.75],
        "cpm": 0.571429,
    },
    "ties": {
        "false": [0.8, 0.5, 0.3],
        "hits": [0.5, 0.3],
        "lesions": 3,
        "images": 3,
        "points": [(1 / 3, 0), (2 / 3, 1 / 3), (1, 2 / 3)],
        "sensitivity": [0, 0, 0, 2 / 3, 2 / 3, 2 / 3, 2 / 3],
        "cpm": 0.380952,
    },
}


def _marks(case):
    score = np.array(case["false"] + case["hits"])
    hit = np.repeat([False, True], [len(case["false"]), len(case["hits"])])
    patient = np.arange(len(score)) % case["images"]
    lesions = np.zeros(case["images"])
    lesions[0] = case["lesions"]
    return froc.Marks.of(score, hit, patient, lesions, np.ones(case["images"]))


@pytest.mark.parametrize("name", FROC)
def test_free_response_step_convention(name):
    case, marks = FROC[name], _marks(FROC[name])
    np.testing.assert_allclose(froc.froc_points(marks), case["points"], atol=1e-12)
    found = froc.sensitivity_at(marks, np.ones((1, case["images"])), RATES)[0]
    np.testing.assert_allclose(found, case["sensitivity"], atol=1e-12)
    assert found.mean() == pytest.approx(case["cpm"], abs=5e-7)


def test_weighted_free_response_equals_repeated_patients():
    rng = np.random.default_rng(0)
    patient = rng.integers(0, 6, 50)
    score, hit, lesions = rng.random(50).round(1), rng.random(50) < 0.3, np.full(6, 5.0)
    weights = np.array([2.0, 0, 1, 1, 3, 0])
    weighted = froc.Marks.of(score, hit, patient, lesions, np.ones(6))
    copies = [p for p in range(6) for _ in range(int(weights[p]))]
    rows = [(score[i], hit[i], c) for c, p in enumerate(copies) for i in np.flatnonzero(patient == p)]
    columns = [np.array(column) for column in zip(*rows)]
    repeated = froc.Marks.of(*columns, np.full(len(copies), 5.0), np.ones(len(copies)))
    for metric in (lambda m, w: froc.sensitivity_at(m, w, RATES), froc.average_precision):
        np.testing.assert_allclose(metric(weighted, weights[None]), metric(repeated, np.ones((1, len(copies)))))


def test_average_precision_equals_sklearn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    hit, score = rng.random(200) < 0.4, rng.random(200).round(2)
    marks = froc.Marks.of(score, hit, np.zeros(200, int), np.array([hit.sum() / 1.0]), np.ones(1))
    expected = metrics.average_precision_score(hit, score)
    assert froc.average_precision(marks, np.ones((1, 1)))[0] == pytest.approx(expected)
    half = froc.Marks.of(score, hit, np.zeros(200, int), np.array([hit.sum() * 2.0]), np.ones(1))
    assert froc.average_precision(half, np.ones((1, 1)))[0] == pytest.approx(expected / 2)


def test_no_marks_find_nothing():
    none = froc.Marks.of(np.empty(0), np.empty(0, bool), np.empty(0, int), np.array([2.0]), np.ones(1))
    assert froc.sensitivity_at(none, np.ones((1, 1)), RATES).sum() == 0
    assert froc.average_precision(none, np.ones((1, 1)))[0] == 0


def test_quadratic_kappa():
    table = confusion_counts(A, B, np.zeros(10, int), 1, 5)
    assert quadratic_kappa(table)[0] == pytest.approx(0.849246, abs=5e-7)
    metrics = pytest.importorskip("sklearn.metrics")
    assert quadratic_kappa(table)[0] == pytest.approx(metrics.cohen_kappa_score(A, B, weights="quadratic"))
    same = confusion_counts(np.ones(4, int), np.ones(4, int), np.zeros(4, int), 1, 3)
    assert np.isnan(quadratic_kappa(same)[0])


def test_multiplicity():
    p = [0.01, 0.04, 0.03, 0.005]
    np.testing.assert_allclose(holm(p), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(benjamini_hochberg(p), [0.02, 0.04, 0.04, 0.02])
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).random(30) ** 3
    np.testing.assert_allclose(holm(p), multitest.multipletests(p, method="holm")[1])
    np.testing.assert_allclose(benjamini_hochberg(p), multitest.multipletests(p, method="fdr_bh")[1])
    assert len(holm([])) == len(benjamini_hochberg([])) == 0


def test_thresholds_of_the_tuning_split():
    truth = np.array([0, 0, 0, 1, 0, 1, 1, 1], bool)
    score = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    assert youden_threshold(truth, score) == pytest.approx(0.35)
    assert sensitivity_threshold(truth, score, sensitivity=0.75) == pytest.approx(0.55)
    assert choose_threshold(truth, score, "sensitivity", 1.0) == pytest.approx(0.35)
    with pytest.raises(InputError, match="one class only"):
        youden_threshold(np.ones(3, bool), score[:3])


def test_boxes_are_half_open():
    first, second = np.array([[0, 0, 2, 2.0]]), np.array([[1, 1, 3, 3], [2, 2, 4, 4.0], [0, 0, 2, 2]])
    np.testing.assert_allclose(box_iou(first, second), [[1 / 7, 0, 1]])
    cube = np.array([[0, 0, 0, 2, 2, 2.0]])
    np.testing.assert_allclose(box_iou(cube, cube + 1), [[1 / 15]])


def test_a_lesion_is_hit_once():
    truth = np.array([[0, 0, 10, 10], [20, 20, 30, 30.0]])
    marks = np.array([[0, 0, 9, 9], [1, 1, 10, 10], [40, 40, 50, 50], [20, 20, 30, 30.0]])
    match = match_boxes(truth, marks, np.array([0.5, 0.9, 0.8, 0.1]), Matching(min_iou=0.3))
    assert match.lesion_of_mark.tolist() == [-1, 0, -1, 1]
    assert match.duplicate.tolist() == [True, False, False, False]
    assert match.score_of_lesion.tolist() == [0.9, 0.1]
    centre = match_boxes(truth, np.array([[8, 8, 12, 12.0], [8, 8, 11, 11]]), np.ones(2), Matching(rule="centre"))
    assert centre.lesion_of_mark.tolist() == [-1, 0]
    empty = match_boxes(np.empty((0, 4)), marks, np.ones(4), Matching())
    assert empty.lesion_of_mark.tolist() == [-1] * 4


def test_lesion_rate_threshold_keeps_the_rate():
    score, hit = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([True, False, True, False, False])
    assert lesion_rate_threshold(score, hit, 2, false_marks_per_image=1) == pytest.approx(0.55)
    assert lesion_rate_threshold(score, ~hit, 2, false_marks_per_image=0) > 0.9


def test_empty_masks_follow_the_declared_rule():
    empty, full = np.zeros((4, 4, 4), bool), np.ones((4, 4, 4), bool)
    spacing = (3.0, 1.0, 1.0)
    both = overlap(empty, empty, spacing, tolerance=1)
    assert (both.dice, both.nsd, both.hd95) == (1, 1, 0)
    one = overlap(full, empty, spacing, tolerance=1)
    assert (one.dice, one.nsd) == (0, 0)
    assert one.hd95 == diagonal((4, 4, 4), spacing) == pytest.approx(np.sqrt(144 + 16 + 16))
    assert overlap(empty, full, spacing, tolerance=1, hd95_empty="exclude").hd95 is None
    with pytest.raises(InputError, match="same grid"):
        overlap(empty, full[:3], spacing, tolerance=1)


def _blobs(shape, seed):
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 3)
    other = smooth + ndimage.gaussian_filter(rng.normal(size=shape), 3) * 0.4
    return smooth > smooth.std(), other > other.std()


@pytest.mark.parametrize(("shape", "spacing"), [((20, 30, 25), (2.5, 0.8, 0.8)), ((40, 50), (1.0, 1.0))])
def test_surface_metrics_equal_brute_force(shape, spacing):
    from scipy.spatial.distance import cdist

    from medimg.evaluation.metrics.segmentation import surface

    truth, predicted = _blobs(shape, 0)
    found = overlap(truth, predicted, spacing, tolerance=1.7)
    points = [np.argwhere(surface(mask)) * spacing for mask in (truth, predicted)]
    apart = cdist(*points)
    there, back = apart.min(axis=1), apart.min(axis=0)
    ours = surface_distances(truth, predicted, spacing)
    np.testing.assert_allclose(ours[0], there, atol=1e-4)
    near = (there <= 1.7).sum() + (back <= 1.7).sum()
    assert found.nsd == pytest.approx(near / (len(there) + len(back)))
    assert found.hd95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-4)
    assert found.dice == pytest.approx(2 * (truth & predicted).sum() / (truth.sum() + predicted.sum()))


@pytest.mark.slow
def test_surface_metrics_equal_monai():
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    truth, predicted = _blobs((20, 30, 25), 1)
    one_hot = [torch.from_numpy(np.stack([~m, m])[None].astype(np.float32)) for m in (predicted, truth)]
    found = overlap(truth, predicted, (2.0, 1.0, 1.0), tolerance=1.5)
    hd95 = metrics.compute_hausdorff_distance(*one_hot, percentile=95, spacing=(2.0, 1.0, 1.0))
    nsd = metrics.compute_surface_dice(*one_hot, [1.5], spacing=(2.0, 1.0, 1.0))
    assert found.hd95 == pytest.approx(float(hd95), abs=1e-4)
    assert found.nsd == pytest.approx(float(nsd), abs=1e-6)


def _pooled_average_precision(positive, negative):
    """Precision summed over the steps of recall, without interpolation; the pixels of a bin enter together."""
    hits = np.cumsum(positive[::-1])
    marked = hits + np.cumsum(negative[::-1])
    precision = np.divide(hits, marked, out=np.zeros_like(hits), where=marked > 0)
    return np.sum(positive[::-1] * precision) / hits[-1]


def test_pixel_histograms_stand_for_the_scores():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(2)
    truth = rng.random(60_000) < 0.05
    score = 1 / (1 + np.exp(-(rng.normal(size=60_000) + 2 * truth - 2)))
    positive, negative = (part.astype(float) for part in score_histogram(truth, score))
    # Half of the pairs that fall into one bin.
    error = np.sum(positive * negative) / (2 * positive.sum() * negative.sum())
    levels = Levels.of_counts(np.arange(1024.0), positive, negative)
    assert abs(ranking.whole_area(levels).value - metrics.roc_auc_score(truth, score)) <= error < 2e-3
    expected = metrics.average_precision_score(truth, score)
    assert ranking.average_precision(levels).value == pytest.approx(expected, abs=2e-3)
    pooled = _pooled_average_precision(positive, negative)
    assert pooled == pytest.approx(ranking.average_precision(levels).value, abs=1e-12)
    inside = rng.random(60_000) < 0.5
    assert sum(part.sum() for part in score_histogram(truth, score, inside=inside)) == inside.sum()


def test_dice_curve_and_threshold():
    rng = np.random.default_rng(3)
    truth = rng.random(5000) < 0.2
    score = np.clip(0.6 * truth + rng.random(5000) * 0.5, 0, 1)
    curve = dice_curve(*score_histogram(truth, score, bins=100))
    for k in (1, 30, 55, 99):
        called = score >= k / 100
        assert curve[k] == pytest.approx(2 * (called & truth).sum() / (called.sum() + truth.sum()))
    assert 0.5 <= dice_threshold([curve]) <= 0.6
    nothing = dice_curve(*score_histogram(np.zeros(10, bool), np.zeros(10), bins=100))
    assert nothing[1:].tolist() == [1.0] * 99
