import pytest
import torch
from run_toy import run
from safetensors.torch import load_file
from training_toys import wait_for_end

# Tiny gradients under AdamW would turn rounding into full steps: plain momentum shows what DDP itself does.
CHANGES = {"steps": 8, "optimiser": "sgd", "learning_rate": 1e-3, "dropout": 0.0, "accumulate": 2}


@pytest.mark.parametrize("strategy", ["ddp_fork", pytest.param("ddp_spawn", marks=pytest.mark.slow)])
def test_two_processes_equal_one(tmp_path, start_run, strategy):
    one = run(tmp_path / "one", CHANGES)
    wait_for_end(start_run(tmp_path / "two", {**CHANGES, "devices": 2, "strategy": strategy, "workers": 1}))
    failure = tmp_path / "two.error"
    assert not failure.is_file(), failure.read_text()
    expected = load_file(str(one.last_checkpoint))
    got = load_file(str(tmp_path / "two" / "checkpoints" / "last.safetensors"))
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=1e-6, msg=name)
    lines = (tmp_path / "two" / "metrics.csv").read_text().splitlines()
    assert len(lines) == 1 + len(one.history)
