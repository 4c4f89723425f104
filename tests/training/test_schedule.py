import math

import pytest

from medimg.training.schedule import factor


@pytest.mark.parametrize("kind", ["cosine", "poly", "constant"])
def test_warmup_then_from_one_down(kind):
    values = [factor(kind, step, 100, 10) for step in range(100)]
    assert values[:11] == pytest.approx([0.1 * (s + 1) for s in range(10)] + [1.0])
    assert values[10:] == sorted(values[10:], reverse=True)
    assert values[-1] == (1.0 if kind == "constant" else pytest.approx(0, abs=0.02))


def test_formulas():
    assert factor("cosine", 25, 100, 0) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert factor("poly", 25, 100, 0) == pytest.approx(0.75**0.9)
    assert factor("cosine", 9, 10, 10) == 1.0
