"""The patient bootstrap: whole patients are drawn with all that they carry; bias-corrected, accelerated intervals.

Legend: R replicates, M patients, U kinds of patients (patients whose counts are the same are one kind).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import numpy as np
from scipy import stats

from medimg.evaluation.metrics.intervals import Estimate, Floats, Found, Ints, unseen_bounds

Statistic = Callable[[Floats], Floats]
"""From weights of the kinds of patients (R, U) to one value a replicate (R,); NaN where undefined."""

_CHUNK_ELEMENTS = 4_000_000
_JACKKNIFE_GROUPS = 2000
_MAX_UNDEFINED = 0.05


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random generator of one named purpose.

    Every purpose gets a stream of its own: data and bootstrap that share a stream correlate.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(name.encode())]))


def collapse(matrix: Floats) -> tuple[Floats, Ints]:
    """Return the distinct rows (U, K) of a (M, K) matrix of counts and each patient's kind (M,).

    Drawing kinds by their share is drawing patients; with few kinds a million patients cost nothing.
    """
    # Rows are told apart by a 64-bit hash: sorting a million rows by all their columns takes minutes.
    salt = np.random.default_rng(0).integers(1, 2**63, size=matrix.shape[1], dtype=np.uint64)
    _, first, kind = np.unique(matrix.astype(np.uint64) @ salt, return_index=True, return_inverse=True)
    rows = matrix[first]
    order = np.lexsort(rows.T[::-1])
    return rows[order], np.argsort(order)[kind.reshape(-1)].astype(np.int64)


def bootstrap_estimate(
    statistic: Statistic,
    patients: Ints,
    *,
    replicates: int,
    rng: np.random.Generator,
    confidence: float = 0.95,
    kind: Ints | None = None,
) -> Estimate:
    """Return a statistic with range [0, 1] or [-1, 1] and its BCa interval (Efron 1987, JASA 82:171).

    Parameters
    ----------
    statistic : callable
        From weights (R, U) to values (R,). Weight k means that k patients of that kind were drawn.
    patients : (M,) int64
        Codes, rising.
    replicates : int
    rng : numpy.random.Generator
        From :func:`stream`.
    confidence : float
    kind : (M,) int64, optional
        Kind of each patient, from :func:`collapse`; every patient is a kind of their own by default.

    Returns
    -------
    Estimate
        Without an interval where more than 5 % of the replicates are undefined; fewer are counted in the note.
    """
    m = len(patients)
    kind = np.arange(m) if kind is None else kind
    count = np.bincount(kind).astype(np.float64) if m else np.empty(0)
    value = float(statistic(count[None])[0]) if m else float("nan")
    if not np.isfinite(value):
        return Estimate.undefined("undefined on these cases")
    change, weight, per_kind = _jackknife(statistic, value, count)
    found: Found = {"patients": patients, "influence": per_kind[kind]}
    if m < 2:
        return Estimate(value, None, None, None, "a single patient gives no interval", **found)
    draws = np.concatenate([statistic(w) for w in _weights(count, replicates, rng)])
    good = draws[np.isfinite(draws)]
    undefined = len(draws) - len(good)
    if undefined > _MAX_UNDEFINED * replicates:
        return Estimate(value, None, None, None, f"undefined in {undefined} of {replicates} resamples", **found)
    note = f"undefined in {undefined} of {replicates} resamples" if undefined else None
    if np.ptp(good) <= 1e-12:
        if not 0 <= value <= 1:
            return Estimate(value, None, None, None, "the value does not vary between resamples", **found)
        low, high = unseen_bounds(value, m, confidence)
        method = "bounds for values that do not vary"
        return Estimate(value, low, high, method, note="all patients agree", **found)
    scale = float(np.sum(weight * change**2))
    skew = 0.0 if scale == 0 else float(np.sum(weight * change**3)) / (6 * scale**1.5)
    low, high = _bca(value, good, skew, confidence)
    return Estimate(value, low, high, f"patient bootstrap, BCa, {replicates} resamples", note=note, **found)


def _bca(value: float, draws: Floats, skew: float, confidence: float) -> tuple[float, float]:
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    below = np.mean(draws < value) + np.mean(draws == value) / 2
    # Half a replicate keeps the bias correction finite at the edge of the range.
    bias = stats.norm.ppf(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    shifted = bias + stats.norm.ppf(tails)
    levels = stats.norm.cdf(bias + shifted / (1 - skew * shifted))
    low, high = np.quantile(draws, levels)
    # A strongly biased statistic may fall outside its own interval; a difference needs it inside.
    return float(min(low, value)), float(max(high, value))


def _weights(count: Floats, replicates: int, rng: np.random.Generator) -> Iterator[Floats]:
    u, m = len(count), round(count.sum())
    rows = max(1, _CHUNK_ELEMENTS // max(u, 1))
    for start in range(0, replicates, rows):
        size = min(rows, replicates - start)
        if u < m:
            yield rng.multinomial(m, count / m, size=size).astype(np.float64)
        else:
            drawn = rng.integers(0, m, size=(size, m)) + np.arange(size)[:, None] * m
            yield np.bincount(drawn.ravel(), minlength=size * m).reshape(size, m).astype(np.float64)


def _jackknife(statistic: Statistic, value: float, count: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the change from leaving out one patient of each kind, the kinds' weights, and influence per kind.

    Beyond 2000 kinds, groups of kinds are left out together.
    """
    u = len(count)
    n_groups = min(u, _JACKKNIFE_GROUPS)
    group = np.arange(u) % n_groups
    grouped = n_groups < u
    left_out = np.empty(n_groups)
    rows = max(1, _CHUNK_ELEMENTS // u)
    for start in range(0, n_groups, rows):
        which = np.arange(start, min(start + rows, n_groups))
        members = group[None, :] == which[:, None]
        left_out[which] = statistic(count - members * (count if grouped else 1.0))
    weight = np.ones(n_groups) if grouped else count
    change = np.nan_to_num(value - left_out, nan=0.0, posinf=0.0, neginf=0.0)
    change = change - np.average(change, weights=weight)
    sizes = np.bincount(group, count) if grouped else np.ones(n_groups)
    return change, weight, (change / sizes)[group]
