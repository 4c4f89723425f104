import torch
from torch import nn

from medimg.training.ema import MovingAverage


def test_formula_and_swap():
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2))
    average = MovingAverage(network, decay=0.5)
    expected = network[0].weight.detach().clone()
    for step in range(12):
        with torch.no_grad():
            network[0].weight.add_(1.0)
            network[1].running_mean.add_(1.0)
            network[1].num_batches_tracked.add_(1)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network[0].weight.detach()
        average.update(network, step)
    torch.testing.assert_close(average.shadow["0.weight"], expected)
    assert average.shadow["1.num_batches_tracked"] == 12
    assert 0 < average.shadow["1.running_mean"][0] < 12
    own = {name: value.clone() for name, value in network.state_dict().items()}
    with average.applied(network):
        assert torch.equal(network[0].weight, average.shadow["0.weight"])
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())


def test_half_precision_weights_are_averaged_in_float32():
    network = nn.Linear(2, 2).to(torch.bfloat16)
    average = MovingAverage(network, decay=0.999)
    assert {value.dtype for value in average.shadow.values()} == {torch.float32}
    assert MovingAverage(nn.Linear(1, 1).double(), 0.9).shadow["weight"].dtype == torch.float64
