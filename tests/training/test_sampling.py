from collections import Counter

import numpy as np
import pytest
from training_toys import ToyCase, blob_cases, toy_settings

from medimg.errors import ConfigError, InputError
from medimg.training.sampling import Sampler, case_order, read_patch, read_whole


def test_every_pass_takes_every_case_once():
    sampler = Sampler(blob_cases(7), toy_settings(batch_size=2), (2, 2))
    taken = [sampler.case_index(step, slot) for step in range(14) for slot in range(2)]
    passes = [taken[i : i + 7] for i in range(0, 28, 7)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1


def test_a_sample_depends_on_its_place_alone():
    cases = blob_cases(5)
    first, second = Sampler(cases, toy_settings(), (2, 2)), Sampler(cases, toy_settings(), (2, 2))
    for step, slot in ((9, 3), (0, 0)):
        first.sample(0, 1)
        a, b = first.sample(step, slot), second.sample(step, slot)
        assert a["case_id"] == b["case_id"]
        np.testing.assert_array_equal(a["image"], b["image"])
    other = Sampler(cases, toy_settings(seed=1), (2, 2))
    assert any(first.case_index(0, slot) != other.case_index(0, slot) for slot in range(4))


def test_balanced_strata_are_equally_frequent():
    strata = ["rare"] * 10 + ["common"] * 90
    drawn = np.concatenate([case_order(np.random.default_rng(s), strata, 100) for s in range(20)])
    rare = (drawn < 10).reshape(20, 100).sum(axis=1)
    assert abs(rare - 50).max() <= 1
    counts = Counter(drawn[drawn >= 10].tolist())
    assert len(counts) == 90
    assert max(counts.values()) - min(counts.values()) <= 14


def test_foreground_share_of_patches():
    cases = blob_cases(3, (64, 64))
    for probability, low, high in ((1.0, 1.0, 1.0), (0.0, 0.0, 0.5)):
        settings = toy_settings(patch=(8, 8), foreground_probability=probability, seed=3)
        sampler = Sampler(cases, settings, (1, 1))
        hits = np.mean([sampler.sample(step, 0)["label"].any() for step in range(200)])
        assert low <= hits <= high


def test_foreground_labels_are_alike_whatever_their_size():
    image = np.zeros((1, 100, 100), np.uint8)
    points = {"huge": np.tile([[10, 10]], (5000, 1)), "tiny": np.array([[90, 90]])}
    case = ToyCase("x", image, np.zeros((100, 100), np.uint8), foreground=points)
    case.label[90, 90] = 1
    sampler = Sampler([case], toy_settings(patch=(10, 10), foreground_probability=1.0), (1, 1))
    share = np.mean([sampler.sample(step, 0)["label"].any() for step in range(400)])
    assert 0.42 < share < 0.58


def test_small_cases_are_padded_and_say_so():
    case = ToyCase("x", np.ones((2, 5, 30), np.int16), np.ones((5, 30), np.uint8))
    sample = Sampler([case], toy_settings(patch=(8, 8)), (4, 4)).sample(0, 0)
    assert sample["image"].shape == (2, 8, 8)
    assert sample["valid"].tolist() == [[1, 6], [0, 8]]
    assert sample["image"].sum() == 2 * 5 * 8
    whole = read_whole(case, (4, 4))
    assert whole["image"].shape == (2, 8, 32)
    assert whole["valid"].tolist() == [[0, 5], [0, 30]]


def test_boxes_move_with_the_patch_and_are_clipped():
    boxes = np.array([[2, 2, 6, 6], [7, 7, 13, 13], [0, 0, 4, 4]], np.float32)
    case = ToyCase("x", np.zeros((1, 20, 20), np.int16), boxes=boxes, box_labels=np.array([0, 1, 2]))
    patch = read_patch(case, (3, 2), (8, 8))
    # The second box has (11-7)*(10-7) of its 36 voxels inside, the third (4-3)*(4-2) of its 16: both too few.
    assert patch["boxes"].tolist() == [[0, 0, 3, 4]]
    assert patch["box_labels"].tolist() == [0]


def test_patches_of_a_case_without_masks_are_placed_around_boxes():
    case = ToyCase(
        "x", np.zeros((1, 200, 200), np.int16), boxes=np.array([[150, 20, 156, 26]], np.float32), box_labels=[0]
    )
    sampler = Sampler([case], toy_settings(foreground_probability=1.0, patch=(32, 32)), (1, 1))
    assert all(len(sampler.sample(step, 0)["boxes"]) == 1 for step in range(20))


def test_only_the_patch_is_read(tmp_path):
    path = tmp_path / "image.npy"
    np.save(path, np.arange(64**3, dtype=np.int16).reshape(1, 64, 64, 64))
    image = np.load(path, mmap_mode="r")
    sample = read_patch(ToyCase("x", image), (3, 4, 5), (8, 8, 8))
    assert sample["image"].flags.owndata
    assert not isinstance(sample["image"], np.memmap)
    np.testing.assert_array_equal(sample["image"], image[:, 3:11, 4:12, 5:13])


def test_refusals():
    with pytest.raises(InputError, match="no training case"):
        Sampler([], toy_settings(), (1, 1))
    for patch in ((15, 16), (16, 16, 16)):
        with pytest.raises(ConfigError, match="patch does not fit"):
            Sampler(blob_cases(1), toy_settings(patch=patch), (2, 2))
