from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from medimg.errors import InputError
from medimg.inference.boxes import Anchors, Detections, Tile, anchors_for, decode, merge_tiles, nms, select, suppress

SPECS = {
    2: Anchors(strides=((8, 8), (16, 16)), scales=(1.0, 1.9), shapes=((11.0, 14.3), (20.0, 9.0)), score_threshold=0.5),
    3: Anchors(strides=((2, 4, 4), (4, 8, 8)), scales=(1.0, 2.0), shapes=((5.0, 7.0, 9.0),), score_threshold=0.5),
}
SHAPES = {2: (48, 64), 3: (8, 24, 32)}


def _random_boxes(dims: int, count: int, seed: int = 0, size: float = 50.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    lower = generator.uniform(0, size, (count, dims))
    return np.concatenate((lower, lower + generator.uniform(3, 25, (count, dims))), axis=1).astype(np.float32)


@pytest.mark.parametrize("dims", [2, 3])
def test_anchors_equal_monai(dims: int) -> None:
    torch = pytest.importorskip("torch")
    from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape

    spec, shape = SPECS[dims], SHAPES[dims]
    generator = AnchorGeneratorWithAnchorShape(spec.scales, spec.shapes)
    maps = [torch.zeros(1, 1, *(n // s for n, s in zip(shape, step))) for step in spec.strides]
    expected = generator(torch.zeros(1, 1, *shape), maps)[0].numpy()
    assert np.abs(anchors_for(shape, spec) - expected).max() < 1e-4


@pytest.mark.parametrize("dims", [2, 3])
def test_decode_equals_monai(dims: int) -> None:
    torch = pytest.importorskip("torch")
    from monai.apps.detection.utils.box_coder import BoxCoder

    anchors = _random_boxes(dims, 500)
    deltas = np.random.default_rng(1).normal(0, 1.0, anchors.shape).astype(np.float32)
    deltas[0] = 10.0
    coder = BoxCoder((1.0,) * (2 * dims))
    expected = coder.decode_single(torch.from_numpy(deltas), torch.from_numpy(anchors)).numpy()
    assert np.abs(decode(deltas, anchors) - expected).max() < 1e-3 * 0.5
    truth = _random_boxes(dims, 500, 2)
    back = coder.encode_single(torch.from_numpy(truth), torch.from_numpy(anchors)).numpy()
    assert np.abs(decode(back, anchors) - truth).max() < 1e-4


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("iou", [0.05, 0.2, 0.5])
def test_nms_equals_monai(dims: int, iou: float) -> None:
    torch = pytest.importorskip("torch")
    from monai.data.box_utils import non_max_suppression

    boxes = _random_boxes(dims, 300)
    scores = np.random.default_rng(1).uniform(0, 1, 300).round(2).astype(np.float32)
    expected = non_max_suppression(torch.from_numpy(boxes), torch.from_numpy(scores), iou).numpy()
    kept = nms(boxes, scores, iou)
    assert kept.tolist() == expected.tolist()
    assert 10 < len(kept) < 300


def test_select_finds_the_planted_boxes() -> None:
    spec, shape = SPECS[2], SHAPES[2]
    anchors = anchors_for(shape, spec)
    logits = np.full((len(anchors), 2), -8.0, np.float32)
    logits[10, 0], logits[11, 0], logits[40, 1] = 3.0, 2.0, 1.0
    deltas = np.zeros((len(anchors), 4), np.float32)
    deltas[40, 0] = 0.25
    found = select(logits, deltas, shape, spec)
    assert found.labels.tolist() == [0, 0, 1] or found.labels.tolist() == [0, 1]
    assert found.scores[0] == pytest.approx(1 / (1 + np.exp(-3.0)), abs=1e-6)
    last = found.boxes[found.labels == 1][0]
    moved = anchors[40] + np.array([1, 0, 1, 0]) * 0.25 * (anchors[40, 2] - anchors[40, 0])
    assert np.allclose(last, np.clip(moved, 0, [48, 64, 48, 64]), atol=1e-4)
    nothing = select(np.full((len(anchors), 2), -8.0, np.float32), deltas, shape, spec)
    assert len(nothing) == 0
    assert nothing.boxes.shape == (0, 4)


def test_suppression_is_class_by_class_and_bounded() -> None:
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), (4, 1))
    found = Detections(boxes, np.array([0.9, 0.8, 0.7, 0.95], np.float32), np.array([0, 0, 1, 2]))
    kept = suppress(found, SPECS[2])
    assert kept.labels.tolist() == [2, 0, 1]
    assert len(suppress(found, SPECS[2].model_copy(update={"max_detections": 2}))) == 2


def test_tiles_merge_to_the_boxes_of_the_whole() -> None:
    generator = np.random.default_rng(0)
    lower = generator.uniform(0, 180, (12, 2)) * np.array([0.45, 1.0])
    whole = np.concatenate((lower, lower + generator.uniform(8, 14, (12, 2))), axis=1).astype(np.float32)
    whole = whole[nms(whole, np.linspace(1, 0.6, 12, dtype=np.float32), 0.0)]
    scores = np.linspace(0.99, 0.6, len(whole)).astype(np.float32)
    tiles = []
    for first in (0, 64, 128):
        start, stop = first - 16, first + 80
        inside = (whole[:, 1] < stop) & (whole[:, 3] > start)
        local = whole[inside] - np.array([0, start, 0, start], np.float32)
        local[:, 1::2] = local[:, 1::2].clip(0, 96)
        found = Detections(local, scores[inside], np.zeros(inside.sum(), np.int64))
        tiles.append(Tile(found, (0, start), ((0, 100), (first, min(first + 64, 200)))))
    merged = merge_tiles(tiles, (100, 200), SPECS[2].model_copy(update={"nms_iou": 0.2}))
    assert np.allclose(merged.boxes, np.clip(whole, 0, [100, 200, 100, 200]), atol=1e-4)
    assert np.allclose(merged.scores, scores)
    assert len(merge_tiles([], (100, 200), SPECS[2])) == 0


def test_wrong_specifications_and_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="multiples of"):
        anchors_for((50, 64), SPECS[2])
    with pytest.raises(InputError, match="fit the anchors"):
        select(np.zeros((5, 1), np.float32), np.zeros((5, 4), np.float32), (48, 64), SPECS[2])
    for wrong in (
        {"strides": ((8, 8),), "scales": (1.0, 2.0), "shapes": ((8.0, 8.0),)},
        {"strides": ((8, 8),), "scales": (1.0,), "shapes": ((8.0, 8.0, 8.0),)},
        {"strides": ((8, 8),), "scales": (1.0,), "shapes": ((1.0, 8.0),)},
        {"strides": ((0, 8),), "scales": (1.0,), "shapes": ((8.0, 8.0),)},
    ):
        with pytest.raises(ValidationError):
            Anchors(**wrong)


def test_specification_goes_through_json() -> None:
    assert Anchors.model_validate_json(SPECS[3].model_dump_json()) == SPECS[3]
