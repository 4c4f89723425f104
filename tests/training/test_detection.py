from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medimg.data.preparation import Intensity
from medimg.errors import ConfigError, InputError
from medimg.evaluation.protocol import Matching
from medimg.inference.boxes import Anchors, anchors_for
from medimg.models.registry import build
from medimg.training.batch import collate, to_device
from medimg.training.detection import DetectionTask
from medimg.training.detection_anchors import fit_anchors
from medimg.training.detection_loss import box_loss, class_loss, match
from medimg.training.detection_metrics import average_precision, froc
from medimg.training.sampling import read_whole
from medimg.training.task import CaseView

INTENSITY = Intensity(rule="window", low=-1000, high=1000, mean=(0.0,), std=(500.0,))


@dataclass
class Case:
    case_id: str
    image: np.ndarray
    boxes: np.ndarray | None
    box_labels: np.ndarray | None
    label: None = None
    classes: Mapping[str, float] = field(default_factory=dict)
    foreground: Mapping[str, Any] = field(default_factory=dict)
    stats: Mapping[str, Any] = field(default_factory=dict)


def _case(seed: int, size: tuple[int, ...], lesions: int = 2) -> Case:
    """Bright (class 0) and dark (class 1) blocks in noise."""
    generator = np.random.default_rng(seed)
    image = generator.normal(0, 100, (1, *size)).astype(np.float32)
    boxes, labels = [], []
    for _ in range(lesions):
        lower = np.array([generator.integers(1, n - 12) for n in size])
        upper = lower + generator.integers(5, 11, len(size))
        label = int(generator.integers(2))
        image[(0, *(slice(a, b) for a, b in zip(lower, upper)))] += 800 * (1 - 2 * label)
        boxes.append(np.concatenate((lower, upper)))
        labels.append(label)
    rows = np.asarray(boxes, np.float32).reshape(-1, 2 * len(size))
    return Case(f"c{seed}", image.astype(np.int16), rows, np.asarray(labels, np.int64))


def _network(dims: int) -> nn.Module:
    torch.manual_seed(0)
    return build(
        "retinanet", in_channels=1, out_channels=2, spatial_dims=dims, encoder_channels=(8, 16, 16),
        strides=(4, 8), fpn_channels=16, depth=1,
    )  # fmt: skip


def _task(dims: int, **more: Any) -> DetectionTask:
    spec = Anchors(strides=((4,) * dims, (8,) * dims), scales=(1.0, 1.6), shapes=((7.0,) * dims,), nms_iou=0.2)
    return DetectionTask(labels=("bright", "dark"), anchors=spec, **more)


def _batch(cases: list[Case]) -> Any:
    return to_device(collate([read_whole(case, (8,) * (case.image.ndim - 1)) for case in cases]), CPU, INTENSITY)


CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("dims", "losses"),
    [
        (2, {"box_loss": "giou"}),
        (2, {"class_loss": "hard_negative", "box_loss": "l1"}),
        (3, {}),
    ],
)
def test_it_learns_to_find_blocks(dims: int, losses: dict[str, Any]) -> None:
    size = (40, 40) if dims == 2 else (16, 24, 24)
    task, network = _task(dims, **losses), _network(dims)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    for step in range(40):
        batch = _batch([_case(100 * step + i, size) for i in range(4)])
        optimiser.zero_grad()
        sum(task.loss(network, batch).values()).backward()
        optimiser.step()
    network.eval()
    tuning = [_case(seed, size, seed % 3) for seed in range(9000, 9012)]
    task.check(tuning)
    with torch.no_grad():
        rows = np.stack([task.measure(network, CaseView(c, CPU, INTENSITY, (8,) * dims)) for c in tuning])
    figures = task.summarise(rows)
    assert figures["sensitivity_at_1"] > 0.6, figures
    assert set(figures) == {"froc", "sensitivity_at_1", "ap", "ap_bright", "ap_dark"}


class Brightness(nn.Module):
    """Answers each anchor with the mean intensity of its cell: no window border can change it."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pooled = [nn.functional.avg_pool2d(x, stride).flatten(1) for stride in (4, 8)]
        answers = torch.cat(pooled, dim=1)[..., None].repeat(1, 1, 2)
        return 3 * answers * torch.tensor([1.0, -1.0]) - 2, torch.zeros(len(x), answers.shape[1], 4)


def test_tiles_find_what_the_whole_finds() -> None:
    case = _case(1, (64, 96), 5)
    view = CaseView(case, CPU, INTENSITY, (8, 8))
    tiled = _task(2, tile=(32, 32), halo=(16, 16), max_voxels=100)
    whole, parts = (task.measure(Brightness(), view) for task in (_task(2), tiled))
    assert np.array_equal(whole, parts, equal_nan=True)
    assert np.isfinite(whole).sum() > 6


def test_every_lesion_gets_an_anchor_and_the_right_class() -> None:
    spec = _task(2).anchors
    anchors = torch.tensor(anchors_for((64, 64), spec))
    boxes = torch.tensor([[3.0, 3.0, 6.0, 6.0], [20.0, 20.0, 60.0, 60.0], [20.0, 8.0, 27.0, 15.0]])
    matched = match([boxes, boxes[:0]], [torch.tensor([0, 1, 0]), torch.zeros(0, dtype=torch.int64)], anchors,
                    [256, 64], 2, 4)  # fmt: skip
    assert matched.classes[1].sum() == 0
    assert {tuple(row) for row in matched.boxes.tolist()} == {tuple(row) for row in boxes.tolist()}
    image, place = matched.places.unbind(1)
    assert (image == 0).all()
    expected = torch.tensor([1 if box[0] == 20 and box[1] == 20 else 0 for box in matched.boxes.tolist()])
    assert torch.equal(matched.classes[image, place].argmax(dim=1), expected)
    assert matched.classes.sum() == len(place)


@pytest.mark.parametrize("kind", ["smooth_l1", "l1", "giou"])
def test_perfect_boxes_cost_nothing_and_gradients_flow(kind: str) -> None:
    from monai.apps.detection.utils.box_coder import BoxCoder

    anchors = torch.tensor(anchors_for((64, 64), _task(2).anchors))
    truth = torch.tensor([[10.0, 12.0, 20.0, 18.0], [40.0, 40.0, 47.0, 47.0]])
    matched = match([truth], [torch.tensor([0, 1])], anchors, [256, 64], 2, 9)
    deltas = torch.zeros(1, len(anchors), 4)
    place = matched.places[:, 1]
    deltas[0, place] = BoxCoder((1.0,) * 4).encode_single(matched.boxes, anchors[place])
    assert box_loss(deltas, matched, anchors, kind) < 1e-4
    worse = torch.zeros_like(deltas).requires_grad_()
    loss = box_loss(worse, matched, anchors, kind)
    loss.backward()
    assert loss > 0.01
    assert worse.grad is not None
    assert worse.grad[0, place].abs().sum() > 0


def test_losses_of_images_without_lesions_are_finite() -> None:
    anchors = torch.tensor(anchors_for((32, 32), _task(2).anchors))
    nothing = match([torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.int64)], anchors, [64, 16], 2, 9)
    logits = torch.zeros(1, len(anchors), 2, requires_grad=True)
    for kind in ("focal", "hard_negative"):
        assert torch.isfinite(class_loss(logits, nothing, kind, 3, 16))
    assert box_loss(torch.zeros(1, len(anchors), 4), nothing, anchors, "giou") == 0


def test_froc_and_average_precision_of_a_known_ranking() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    hits = np.array([True, False, True, False])
    curve = froc(scores, hits, 4, 2)
    assert curve.at_one == pytest.approx(0.5)
    assert curve.mean == pytest.approx((0.25 + 0.25 + 0.5 * 5) / 7)
    assert average_precision(scores, hits, 4) == pytest.approx((1.0 + 2 / 3) / 4)
    tied = froc(np.full(4, 0.5), hits, 4, 2)
    assert tied.at_one == 0.5
    assert froc(np.full(4, 0.5), hits, 4, 1).at_one == 0
    assert np.isnan(froc(scores, hits, 0, 2).mean)
    assert froc(np.zeros(0), np.zeros(0, bool), 3, 2).mean == 0
    assert average_precision(np.zeros(0), np.zeros(0, bool), 3) == 0


def test_anchors_fit_the_sizes_of_the_lesions() -> None:
    generator = np.random.default_rng(0)
    extents = np.exp(generator.uniform(np.log(6), np.log(40), (500, 1))) * np.array([[0.5, 1.0, 1.0]])
    spec = fit_anchors(extents, ((2, 4, 4), (4, 8, 8)), 2)
    sizes = [np.prod(np.array(shape) * scale) ** (1 / 3) for scale in spec.scales for shape in spec.shapes]
    assert sorted(sizes) == sizes
    assert 4 < sizes[0] < 10
    assert 18 < sizes[-1] < 32
    assert spec.shapes[0][0] / spec.shapes[0][1] == pytest.approx(0.5, abs=0.05)
    with pytest.raises(InputError, match="at least one"):
        fit_anchors(np.zeros((0, 3)), ((4, 4, 4),))


def test_wrong_cases_and_settings_are_refused() -> None:
    task = _task(2)
    case = _case(0, (48, 64))
    with pytest.raises(InputError, match="no list of boxes"):
        task.check([Case("x", case.image, None, None)])
    with pytest.raises(InputError, match="unknown class"):
        task.check([Case("x", case.image, case.boxes, np.array([0, 5]))])
    with pytest.raises(ConfigError, match="'giou'"):
        _task(2, box_loss="gious")
    with pytest.raises(ConfigError, match="'froc'"):
        _task(2, metric_name="frocs")
    wrong = DetectionTask(labels=("bright",), anchors=task.anchors, matching=Matching(rule="centre"))
    with pytest.raises(ConfigError, match="does not fit"):
        wrong.loss(_network(2), _batch([case]))


def test_strata_are_the_classes_present() -> None:
    assert _task(2).stratum(Case("x", np.zeros((1, 8, 8)), np.zeros((2, 4)), np.array([1, 1]))) == (1,)
    assert _task(2).stratum(Case("x", np.zeros((1, 8, 8)), np.zeros((0, 4)), np.zeros(0, int))) == ()
