"""How long to wait before the next try: doubled each time, spread a little, so that peers are not asked all at once."""

from __future__ import annotations

import numpy as np

_SPREAD = 0.2


def pause_s(tries: int, first_s: float, longest_s: float, rng: np.random.Generator) -> float:
    """Return the pause after a try that failed.

    Parameters
    ----------
    tries : int
        Tries so far, from 1.
    first_s, longest_s : float
        Pause after the first one, and the longest.
    rng : numpy.random.Generator
        Spreads it by up to 20 %.
    """
    doubled = first_s * 2.0 ** min(max(tries - 1, 0), 30)
    return float(min(doubled, longest_s) * (1.0 + _SPREAD * rng.uniform(-1.0, 1.0)))
