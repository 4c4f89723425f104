"""An estimate with what it rests on, and what the estimators of all metrics share."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medimg.evaluation.metrics.bootstrap import Statistic, bootstrap_estimate, stream
from medimg.evaluation.metrics.intervals import (
    Estimate,
    Floats,
    Ints,
    clopper_pearson,
    clustered_rate,
    count_patients,
    index_patients,
)
from medimg.evaluation.protocol import EndpointRule, Protocol
from medimg.evaluation.selection import Rows


@dataclass(frozen=True)
class Measured:
    """An estimate with what it rests on. ``patients_positive`` and ``patients_negative`` decide sufficiency."""

    estimate: Estimate
    n_cases: int
    n_patients: int
    n_positives: int | None
    n_negatives: int | None
    n_failed: int
    patients_positive: int = 0
    patients_negative: int = 0


def patient_sums(values: NDArray[np.float64], patients: Ints) -> tuple[Floats, Floats, Ints]:
    """Return sum and count per patient, and the patient codes."""
    codes, inverse = index_patients(patients)
    counts = np.bincount(inverse).astype(np.float64)
    sums = np.bincount(inverse, values, minlength=len(codes)).astype(np.float64)
    return sums, counts, codes


def with_note(estimate: Estimate, text: str) -> Estimate:
    """Return the estimate with ``text`` added to its note."""
    return replace(estimate, note=text if estimate.note is None else f"{estimate.note}; {text}")


def left_out_words(n: int) -> str:
    """Return the note on cases that a metric cannot count."""
    return f"{n} cases left out: failed, or without the value"


def describe(estimate: Estimate, rows: Rows, positive: NDArray[np.bool_], left_out: int = 0) -> Measured:
    """Count what an estimate rests on: ``rows`` are its cases, ``positive`` marks the positive ones."""
    if left_out:
        estimate = with_note(estimate, left_out_words(left_out))
    patients = rows["patient"]
    return Measured(
        estimate,
        n_cases=len(rows),
        n_patients=count_patients(patients),
        n_positives=int(positive.sum()),
        n_negatives=int((~positive).sum()),
        n_failed=int(rows["failed"].sum()),
        patients_positive=count_patients(patients[positive]),
        patients_negative=count_patients(patients[~positive]),
    )


def share(
    rows: Rows, success: NDArray[np.bool_], positive: NDArray[np.bool_], protocol: Protocol, empty: str
) -> Measured:
    """Return the share of ``rows`` with ``success``; ``empty`` is the reason where there is no row."""
    if not len(rows):
        return describe(Estimate.undefined(empty), rows, positive)
    sums, counts, codes = patient_sums(success.astype(np.float64), rows["patient"])
    return describe(clustered_rate(sums, counts, codes, protocol.confidence), rows, positive)


def purpose(rule: EndpointRule, codes: Ints) -> str:
    """Return the name of the random stream of one endpoint on these patients."""
    # The stream hangs on who the patients are, not on what their group is called.
    return f"{rule.id}|{zlib.crc32(codes.tobytes())}"


def patient_bootstrap(
    statistic: Statistic, codes: Ints, rule: EndpointRule, protocol: Protocol, *, kind: Ints | None = None
) -> Estimate:
    """Return a statistic with its patient bootstrap, in a random stream of its own."""
    return bootstrap_estimate(
        statistic,
        codes,
        replicates=protocol.replicates,
        rng=stream(protocol.seed, purpose(rule, codes)),
        confidence=protocol.confidence,
        kind=kind,
    )


def exact_bounds(estimate: Estimate, confidence: float) -> tuple[float | None, float | None]:
    """Return Clopper & Pearson's bounds of a rate, at its effective number where patients repeat.

    (None, None) for everything that is no rate.
    """
    if estimate.n_effective is None or estimate.value is None:
        return None, None
    return clopper_pearson(estimate.value * estimate.n_effective, estimate.n_effective, confidence)
