from __future__ import annotations

import pytest
import torch

from medimg.errors import ConfigError
from medimg.models.classifier3d import VolumeClassifier


@pytest.mark.parametrize("size", [(16, 16, 16), (9, 17, 12)])
def test_logits_of_any_size(size: tuple[int, int, int]) -> None:
    net = VolumeClassifier(2, 4, channels=(4, 8, 8), pooled_levels=3).eval()
    assert net(torch.randn(3, 2, *size)).shape == (3, 4)


def test_features_have_the_stated_strides() -> None:
    net = VolumeClassifier(1, 2, channels=(4, 8, 8), stem_stride=2).eval()
    assert net.strides_zyx == ((2, 2, 2), (4, 4, 4), (8, 8, 8))
    for f, width, stride in zip(net.features(torch.randn(1, 1, 16, 16, 16)), net.channels, net.strides_zyx):
        assert f.shape == (1, width, *(16 // s for s in stride))


def test_too_many_pooled_levels_are_refused() -> None:
    with pytest.raises(ConfigError, match="pool"):
        VolumeClassifier(1, 2, channels=(4, 8), pooled_levels=3)
