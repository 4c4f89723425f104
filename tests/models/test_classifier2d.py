from __future__ import annotations

import pytest
import torch

from medimg.errors import ConfigError
from medimg.models.classifier2d import Classifier2d, Pool, Pooling


@pytest.mark.parametrize("pooling", ["average", "max", "average_max", "gem"])
def test_logits_and_gradients(pooling: Pooling) -> None:
    torch.manual_seed(0)
    net = Classifier2d(out_channels=4, in_channels=1, pooling=pooling, levels=(8, 16))
    logits = net(torch.randn(2, 1, 64, 64))
    assert logits.shape == (2, 4)
    logits.square().mean().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_standardised_features_do_not_depend_on_their_scale() -> None:
    torch.manual_seed(0)
    net = Classifier2d(out_channels=1)
    features = torch.randn(64, 1280)
    torch.testing.assert_close(net.standardise(features), net.standardise(100.0 * features), atol=1e-3, rtol=1e-3)


def test_gem_lies_between_average_and_maximum() -> None:
    x = torch.rand(2, 3, 5, 5)
    gem = Pool("gem")(x)
    assert bool((gem >= x.mean(dim=(2, 3)) - 1e-6).all())
    assert bool((gem <= x.amax(dim=(2, 3)) + 1e-6).all())


def test_average_max_joins_both() -> None:
    x = torch.rand(2, 3, 5, 5)
    torch.testing.assert_close(Pool("average_max")(x), torch.cat((x.mean(dim=(2, 3)), x.amax(dim=(2, 3))), dim=1))


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(ConfigError, match="pooling"):
        Pool("maximum")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="level"):
        Classifier2d(out_channels=1, levels=(3,))


def test_one_severity_with_a_threshold_each_never_contradicts_itself() -> None:
    net = Classifier2d(out_channels=3, severity=True).eval()
    torch.nn.init.normal_(net.output.weight)
    with torch.no_grad():
        net.output.thresholds.copy_(torch.tensor([0.1, 0.0, -0.2]))
        logits = net(torch.randn(4, 3, 64, 64))
    torch.testing.assert_close(logits[:, 0] - logits[:, 1], torch.full((4,), 3.0))
    torch.testing.assert_close(logits[:, 1] - logits[:, 2], torch.full((4,), 6.0))
