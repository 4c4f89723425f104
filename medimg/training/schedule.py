"""Learning-rate schedules: pure functions of the step, so that a resumed run needs no schedule state."""

from __future__ import annotations

import math


def factor(kind: str, step: int, steps: int, warmup_steps: int) -> float:
    """Return the factor on the highest learning rate at a step.

    Parameters
    ----------
    kind : {'cosine', 'poly', 'constant'}
        Cosine to zero (Loshchilov & Hutter, "SGDR", ICLR 2017, without restarts), polynomial of power 0.9
        (Isensee et al., "nnU-Net", Nature Methods 2021), or constant.
    step : int
        Optimiser step from 0.
    steps, warmup_steps : int
        Length of the run; steps of linear warm-up, the last of which is the first at factor 1.

    Examples
    --------
    >>> [factor("cosine", step, 10, 2) for step in (0, 1, 2, 6)]
    [0.5, 1.0, 1.0, 0.5]
    >>> round(factor("poly", 5, 10, 0), 4)
    0.5359
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    if kind == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    if kind == "poly":
        return (1.0 - done) ** 0.9
    return 1.0
