"""Legend: Z Y X axes."""

from __future__ import annotations

import numpy as np
import pytest

from medimg.errors import InputError
from medimg.inference.tiles import pass_bytes, plan_windows, run_windows
from medimg.packaging.manifest import Tiling


def tiling(**changes):
    settings = {
        "mode": "tiles",
        "tile": (16, 24, 24),
        "halo": (4, 4, 8),
        "divisor": (4, 4, 8),
        "bytes_per_voxel": 100.0,
    }
    return Tiling(**(settings | changes))


@pytest.mark.parametrize("seed", range(12))
def test_cores_partition_any_shape(seed):
    shape = tuple(np.random.default_rng(seed).integers(1, 70, 3).tolist())
    plan = tiling()
    covered = np.zeros(shape, int)
    for window in plan_windows(shape, plan, memory_bytes=1):
        covered[window.core] += 1
        for a, b, core, step, size, halo, tile in zip(
            window.start, window.stop, window.core, plan.divisor, shape, plan.halo, plan.tile
        ):
            padded = -(-size // step) * step
            assert a % step == 0
            assert (b - a) % step == 0
            assert b - a == min(tile, padded)
            assert a == 0 or core.start - a >= halo
            assert b >= size or b - core.stop >= halo
    assert (covered == 1).all()


def test_one_pass_where_it_fits():
    shape = (33, 70, 70)
    (window,) = plan_windows(shape, tiling(), memory_bytes=pass_bytes(shape, tiling()))
    assert window.stop == (36, 72, 72)
    assert window.inner == (slice(0, 33), slice(0, 70), slice(0, 70))
    assert pass_bytes(shape, tiling()) == 36 * 72 * 72 * 100 * 1.5


def test_outside_the_scan_is_zero_as_in_training():
    scan = np.arange(5 * 6 * 7, dtype=np.float32).reshape(1, 5, 6, 7)
    windows = plan_windows((5, 6, 7), tiling(), memory_bytes=1)
    seen = []
    for window, image in run_windows(lambda part: scan[(slice(None), *part)], (5, 6, 7), windows, lambda image: image):
        seen.append(image)
        np.testing.assert_array_equal(image[0][(slice(None), *window.inner)], scan[(slice(None), *window.core)])
    assert seen[0].shape == (1, 1, 8, 8, 8)
    assert not seen[0][0, 0, 5:].any()


def test_a_whole_pass_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="too large for one pass"):
        plan_windows((64, 64, 64), Tiling(divisor=(4, 4, 4)), memory_bytes=1e6)


def test_impossible_tilings_are_refused():
    for wrong in ({"tile": (8, 24, 24)}, {"halo": (3, 4, 8)}, {"tile": None}, {"flips": ((3,),)}, {"halo": (4, 4)}):
        with pytest.raises(ValueError):
            tiling(**wrong)
