import pytest
import torch
from safetensors.torch import save_file
from training_toys import toy_net, toy_settings

from medimg.errors import InputError
from medimg.training.checkpoint import Progress, load_checkpoint, read_progress, save_checkpoint
from medimg.training.ema import MovingAverage
from medimg.training.optimiser import build_optimiser


def _steps(network, optimiser, count):
    for _ in range(count):
        network(torch.ones(1, 1, 8, 8)).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()


def _trained(steps, name, memory_format=torch.contiguous_format):
    network = toy_net(norm=True).to(memory_format=memory_format)
    optimiser = build_optimiser(network, toy_settings(optimiser=name))
    _steps(network, optimiser, steps)
    return network, optimiser


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_round_trip_goes_on_to_the_same_bits(tmp_path, name, memory_format):
    path = tmp_path / "last.safetensors"
    network, optimiser = _trained(3, name, memory_format)
    average = MovingAverage(network, 0.9)
    save_checkpoint(path, Progress(step=3, best_value=0.5, identity={"a": [1]}), network, optimiser, average.shadow)
    other, second = _trained(1, name, memory_format)
    shadow = MovingAverage(other, 0.9).shadow
    load_checkpoint(path, other, second, shadow)
    assert all(torch.equal(shadow[key], value) for key, value in average.shadow.items())
    _steps(network, optimiser, 2)
    _steps(other, second, 2)
    ours = other.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in network.state_dict().items())
    progress = read_progress(path)
    assert (progress.step, progress.best_value, progress.identity) == (3, 0.5, {"a": [1]})
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]


def test_another_network_is_refused(tmp_path):
    path = tmp_path / "last.safetensors"
    network, optimiser = _trained(1, "adamw")
    save_checkpoint(path, Progress(), network, optimiser, None)
    other = toy_net(out=3, norm=True)
    with pytest.raises(InputError, match="another network") as caught:
        load_checkpoint(path, other, build_optimiser(other, toy_settings()), None)
    assert "head" in caught.value.got


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="cannot be read"):
        read_progress(path)
    save_file({"a": torch.zeros(1)}, str(path))
    with pytest.raises(InputError, match="no checkpoint"):
        read_progress(path)
