import numpy as np
import pytest
import torch
from training_toys import ToyCase, blob_cases

from medimg.data.intensity import normalise as reference
from medimg.data.preparation import Intensity
from medimg.errors import InputError
from medimg.training.batch import collate, drop_empty_boxes, normalise, to_device, unpack_bits
from medimg.training.sampling import read_patch, read_whole

RULES = [
    (Intensity(rule="window", low=-160, high=240, mean=(40.0,), std=(93.0,)), np.int16),
    (Intensity(rule="window", mean=(40.0, 3.0), std=(93.0, 2.0)), np.float32),
    (Intensity(rule="zscore"), np.int16),
    (Intensity(rule="window", low=-500, high=400, mean=(0,), std=(200,), outlines=(1,)), np.int16),
    (Intensity(rule="rgb", mean=(0.485, 0.456), std=(0.229, 0.224)), np.uint8),
    (Intensity(rule="rgb", mean=(0.485,), std=(0.229,)), np.uint16),
]


@pytest.mark.parametrize(("intensity", "dtype"), RULES)
def test_normalisation_equals_that_of_inference(intensity, dtype):
    generator = np.random.default_rng(0)
    high = {np.uint8: 255, np.uint16: 65535}.get(dtype, 1000)
    low = 0 if dtype in (np.uint8, np.uint16) else -1000
    cases = []
    for number in range(3):
        image = generator.integers(low, high, (2, 9, 11)).astype(dtype)
        stats = {"mean": [float(c.mean()) for c in image], "std": [float(c.std()) for c in image]}
        cases.append(ToyCase(str(number), image, stats=stats))
    batch = to_device(collate([read_whole(case, (1, 1)) for case in cases]), torch.device("cpu"), intensity)
    assert batch["image"].dtype == torch.float32
    for case, got in zip(cases, batch["image"], strict=True):
        np.testing.assert_allclose(got.numpy(), reference(case.image, intensity, case.stats), atol=1e-6, rtol=0)


def test_padding_is_zero_after_normalisation():
    intensity = Intensity(rule="window", low=-100, high=100, mean=(50.0,), std=(10.0,))
    cases = [ToyCase("a", np.full((1, 4, 6), 70, np.int16)), ToyCase("b", np.full((1, 7, 5), 70, np.int16))]
    samples = [read_patch(cases[0], (-2, -1), (8, 8)), read_whole(cases[1], (2, 2))]
    image = to_device(collate(samples), torch.device("cpu"), intensity)["image"]
    assert image.shape == (2, 1, 8, 8)
    expected = torch.zeros(2, 1, 8, 8)
    expected[0, 0, 2:6, 1:7] = 2.0
    expected[1, 0, :7, :5] = 2.0
    torch.testing.assert_close(image, expected)


def test_bitmasks():
    label = torch.tensor([[[0, 1], [2, 5]]], dtype=torch.uint8)
    planes = unpack_bits(label, 3)
    assert planes.shape == (1, 3, 2, 2)
    assert planes[0].flatten(1).tolist() == [[0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_wide_labels_survive():
    case = ToyCase("a", np.zeros((1, 2, 2), np.int16), np.full((2, 2), 40000, np.uint16))
    assert collate([read_whole(case, (1, 1))])["label"].tolist() == [[[40000, 40000], [40000, 40000]]]


def test_unlike_cases_are_refused():
    cases = blob_cases(2)
    cases[1].label = None
    with pytest.raises(InputError, match="differ"):
        collate([read_whole(case, (1, 1)) for case in cases])


def test_what_a_rule_needs_is_told():
    with pytest.raises(InputError, match="standard deviation"):
        normalise(torch.zeros(1, 1, 2, 2), Intensity(rule="zscore"), None, None)
    with pytest.raises(InputError, match="8 or 16 bit"):
        normalise(torch.zeros(1, 1, 2, 2), Intensity(rule="rgb"), None, None)


def test_empty_boxes_go_with_their_labels():
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3]], np.float32)
    case = ToyCase("a", np.zeros((1, 4, 4), np.int16), boxes=boxes, box_labels=np.array([4, 7]))
    batch = collate([read_whole(case, (1, 1))])
    batch["boxes"][0][0] = 0
    cleaned = drop_empty_boxes(batch)
    assert cleaned["boxes"][0].tolist() == [[1, 1, 3, 3]]
    assert cleaned["box_labels"][0].tolist() == [7]
