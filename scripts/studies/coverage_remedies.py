"""What was tried before the intervals of rates, means and areas became what they are: coverage of each, side by side.

    OMP_NUM_THREADS=1 python scripts/studies/coverage_remedies.py

writes its table into docs/statistics.md. Patients have one to four images; the settings are those where the plain
intervals failed, and some where they did not. The intervals in use come from the package.

Legend: R simulations, M patients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from coverage_people import MOST_IMAGES, SHAPES, first_rows, graded_people, joined
from coverage_tables import put_between
from numpy.typing import NDArray
from scipy import special

from medimg.evaluation.metrics.auc import auc_estimate, auc_variance, placements
from medimg.evaluation.metrics.bootstrap import stream
from medimg.evaluation.metrics.intervals import Estimate, Floats, clustered_mean, clustered_rate, quantile

RUNS = 4000
Bounds = tuple[Floats, Floats]
Method = Callable[[Floats, Floats], Bounds]
"""From sums and counts of patients (R, M) to lower and upper bounds (R,)."""
RATES = [(0.85, 30, 0.6), (0.95, 30, 0.3), (0.95, 50, 0.6), (0.95, 100, 0.6), (0.95, 50, 0.0)]
MEANS = [("narrow", 30, 0.6), ("skewed", 30, 0.6), ("skewed, 5 % zeros", 30, 0.6), ("skewed, 10 % zeros", 50, 0.6)]
AREAS = [(0.95, 30, False), (0.85, 100, False), (0.95, 30, True)]
Z = quantile(0.95)


def score_interval(rate: Floats, n: Floats) -> Bounds:
    """Return Wilson's intervals (R,)."""
    centre = (rate + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(rate * (1 - rate) / n + Z**2 / (4 * n**2))
    return centre - half, centre + half


def rao_scott(hits: Floats, counts: Floats, *, student: bool = False, pseudo: float = 0.0) -> Bounds:
    """Wilson at Rao and Scott's effective number; ``pseudo``: weight of a patient at either end in the variance."""
    m, n = hits.shape[1], counts.sum(axis=1)
    rate = hits.sum(axis=1) / n
    spread = np.sum((hits - rate[:, None] * counts) ** 2, axis=1) * m / (m - 1) * (n - 1) / n
    spread += pseudo * (n / m) ** 2 * rate * (1 - rate)
    with np.errstate(invalid="ignore", divide="ignore"):
        effective = np.minimum(n, rate * (1 - rate) * n**2 / spread)
    effective = np.where((rate == 0) | (rate == 1), m, effective)
    if student:
        effective = effective * (special.stdtrit(n - 1, 0.975) / special.stdtrit(m - 1, 0.975)) ** 2
    return score_interval(rate, effective)


def by_moments(hits: Floats, counts: Floats) -> Bounds:
    """Wilson at the effective number of an intraclass correlation by moments, its bias of -1 / M taken out."""
    m, n = hits.shape[1], counts.sum(axis=1)
    rate = (hits.sum(axis=1) / n)[:, None]
    pairs = (hits - rate * counts) ** 2 - hits * (1 - rate) ** 2 - (counts - hits) * rate**2
    with np.errstate(invalid="ignore", divide="ignore"):
        icc = pairs.sum(axis=1) / np.sum(counts * (counts - 1), axis=1) / (rate * (1 - rate))[:, 0]
    icc = np.clip(np.nan_to_num(icc, nan=1.0) + 1 / m, 0, 1)
    return score_interval(rate[:, 0], n / (1 + icc * (np.sum(counts**2, axis=1) / n - 1)))


def mean_and_error(sums: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Return means and their standard errors (R,)."""
    m, n = sums.shape[1], counts.sum(axis=1)
    mean = sums.sum(axis=1) / n
    return mean, np.sqrt(np.sum((sums - mean[:, None] * counts) ** 2, axis=1) * m / (m - 1)) / n


def plain_t(sums: Floats, counts: Floats) -> Bounds:
    """T over patients."""
    mean, error = mean_and_error(sums, counts)
    half = special.stdtrit(sums.shape[1] - 1, 0.975) * error
    return mean - half, mean + half


def wilson_like(sums: Floats, counts: Floats) -> Bounds:
    """Wilson at the number of cases whose rate would have that standard error, with Student's quantile."""
    mean, error = mean_and_error(sums, counts)
    return score_interval(mean, mean * (1 - mean) / error**2 * (Z / special.stdtrit(sums.shape[1] - 1, 0.975)) ** 2)


def with_pseudo(weight: float) -> Method:
    """T after adding some part of a patient of Dice 0 for the lower bound, of Dice 1 for the upper."""

    def method(sums: Floats, counts: Floats) -> Bounds:
        m, n = sums.shape[1], counts.sum(axis=1)
        t, size, bounds = special.stdtrit(m - 1, 0.975), n / m, []
        for end, sign in ((0.0, -1), (1.0, 1)):
            total = n + weight * size
            mean = (sums.sum(axis=1) + weight * end * size) / total
            spread = np.sum((sums - mean[:, None] * counts) ** 2, axis=1) * m / (m - 1)
            bounds.append(mean + sign * t * np.sqrt(spread + weight * ((end - mean) * size) ** 2) / total)
        return bounds[0], bounds[1]

    return method


def in_use(estimate: Callable[[Floats, Floats, NDArray[np.int64]], Estimate]) -> Method:
    """Return a function of the package as a method."""

    def method(sums: Floats, counts: Floats) -> Bounds:
        codes = np.arange(sums.shape[1])
        found = [estimate(*rows, codes) for rows in zip(sums, counts)]
        return np.array([e.low for e in found]), np.array([e.high for e in found])

    return method


RATE_METHODS: dict[str, Method] = {
    "Rao-Scott": rao_scott,
    "with Student's quantile": lambda x, n: rao_scott(x, n, student=True),
    "correlation by moments": by_moments,
    "pseudo-patient": lambda x, n: rao_scott(x, n, pseudo=0.5),
    "in use": in_use(clustered_rate),
}
MEAN_METHODS: dict[str, Method] = {
    "t": plain_t,
    "Wilson-like": wilson_like,
    "1/4 pseudo-patient": with_pseudo(0.25),
    "1 pseudo-patient": with_pseudo(1.0),
    "in use": in_use(lambda x, n, codes: clustered_mean(x, n, codes, bounded=True)),
}


def draw_hits(rate: float, m: int, icc: float) -> tuple[Floats, Floats]:
    """Return hits and cases of patients (R, M), beta-binomial."""
    rng, weight = stream(0, f"remedies|{rate}|{m}|{icc}"), 1 / max(icc, 1e-6) - 1
    counts = rng.integers(1, MOST_IMAGES + 1, (RUNS, m))
    own = rng.beta(rate * weight, (1 - rate) * weight, (RUNS, m))
    return rng.binomial(counts, own).astype(float), counts.astype(float)


def draw_dice(name: str, m: int, icc: float) -> tuple[Floats, Floats]:
    """Return sums of Dice and cases of patients (R, M)."""
    rng = stream(0, f"remedies|{name}|{m}|{icc}")
    counts = rng.integers(1, MOST_IMAGES + 1, (RUNS, m))
    own, each = rng.normal(size=(RUNS, m, 1)), rng.normal(size=(RUNS, m, MOST_IMAGES))
    dice = SHAPES[name].quantile(special.ndtr(np.sqrt(icc) * own + np.sqrt(1 - icc) * each))
    return np.sum(dice * (np.arange(MOST_IMAGES) < counts[..., None]), axis=2), counts.astype(float)


def areas(area: float, n: int, images: bool) -> tuple[float, float]:
    """Return the coverage with the normal quantile and that in use; ``n`` patients or images, 2 n negative."""
    rng, held = stream(0, f"remedies|{area}|{n}|{images}"), np.zeros(2)
    for _ in range(RUNS // 2):
        table = graded_people(rng, (n, 2 * n), 0.6, area)
        if images:
            parts = ((n, 0), (0, 2 * n))
            table = joined(*(first_rows(graded_people(rng, part, 0.6, area), max(part)) for part in parts))
        truth, score, patient = table["truth"] == 1, table["score"], table["patient"]
        found = auc_estimate(truth, score, patient)
        value, placed = placements(truth, score)
        half = Z * np.sqrt(auc_variance(truth, placed, value, patient)[0]) / max(value * (1 - value), 1e-12)
        normal = special.expit(special.logit(value) + np.array([-half, half])) if value < 1 else (found.low, found.high)
        held += [normal[0] <= area <= normal[1], found.low <= area <= found.high]
    return tuple(held / (RUNS // 2))


def lines() -> Iterator[str]:
    """Return the Markdown of all tables."""
    for title, methods, settings, draw in (
        ("rate", RATE_METHODS, RATES, draw_hits),
        ("Dice", MEAN_METHODS, MEANS, draw_dice),
    ):
        yield f"| {title} | patients | correlation | {' | '.join(methods)} |\n|---|---:|---:|{'---:|' * len(methods)}"
        for truth, m, icc in settings:
            data, value = draw(truth, m, icc), SHAPES[truth].mean if isinstance(truth, str) else truth
            bounds = [method(*data) for method in methods.values()]
            held = [np.mean((low <= value + 1e-12) & (value - 1e-12 <= high)) for low, high in bounds]
            yield f"| {truth} | {m} | {icc} | {' | '.join(f'{100 * h:.1f}' for h in held)} |"
        yield ""
    yield "| AUC | positives | correlation | normal quantile | in use |\n|---|---:|---:|---:|---:|"
    for area, n, images in AREAS:
        held = areas(area, n, images)
        shares = " | ".join(f"{100 * h:.1f}" for h in held)
        yield f"| {area} | {n} {'images' if images else 'patients'} | 0.6 | {shares} |"
    yield ""


if __name__ == "__main__":
    put_between("remedies", lines(), Path(__file__).resolve().parents[2] / "docs" / "statistics.md")
