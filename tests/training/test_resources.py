import torch

from medimg.training.resources import Resources, measure, resident_megabytes, suggest_workers, torch_threads


def test_measured_values_are_plausible():
    resources = measure()
    assert resources.cores >= 1
    assert resources.free_ram_bytes > 2**20
    assert "cores" in resources.describe()
    assert 10 < resident_megabytes() < 1e6


def test_workers_are_limited_by_cores_memory_and_shared_memory():
    big, batch = 64 * 2**30, 2**26
    assert suggest_workers(Resources(32, big, big), batch) == 8
    assert suggest_workers(Resources(4, big, big), batch) == 3
    assert suggest_workers(Resources(1, big, big), batch) == 0
    assert suggest_workers(Resources(32, big, 2**30), batch) == 2
    assert suggest_workers(Resources(32, 2**30, None), batch) == 1
    assert suggest_workers(Resources(2, big, big), batch, on_cpu=True) == 0
    assert suggest_workers(Resources(8, big, big), batch, on_cpu=True) == 1


def test_threads_are_restored():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
