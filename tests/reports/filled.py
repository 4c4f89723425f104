"""Parts of a report filled in by hand, so that the page is tested with every part whatever a test set holds."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from medimg.evaluation.document import Report
from medimg.evaluation.document_parts import (
    CalibrationCurve,
    CalibrationPoint,
    CredibleGap,
    DecisionCurve,
    IntersectionCount,
    Separability,
    Standardised,
    Suppression,
    ThresholdShift,
    WithinSites,
)


def filled(report: Report) -> Report:
    """Return the report with every part that the page can show."""
    rng = np.random.default_rng(11)
    target = report.endpoints[0].target
    rows = [row for row in report.groups if row.axis in ("overall", "ancestry") and (row.n_patients or 0) > 20]
    keys = [(row.axis, row.value, row.n_patients or 0) for row in rows]
    first, last = report.endpoints[0].id, report.endpoints[-1].id
    named = [value for axis, value, _ in keys if axis == "ancestry" and value not in ("unknown", "declined")]
    parts: dict[str, Any] = {
        "credible_gaps": [_gap(e, named, least) for e, least in ((first, 0.031), (last, 0.0)) if len(named) > 1],
        "standardised": [_standardised(first, value, rng) for value in named],
        "within_sites": [_within(first, value) for value in named],
        "separability": Separability(
            separable=True, n_sites=2, n_sites_with_two=2, association=0.12, text="Two sites have several ancestries."
        ),
        "intersections": [IntersectionCount(axes=("ancestry", "sex"), n_cells=12, n_shown=8)],
        "suppression": Suppression(
            applied=True, below=11, n_small=2, n_complement=1, rule="cells of 1 to 10 patients", audit="passed"
        ),
    }
    if report.task.kind == "classification":
        parts |= {
            "calibration": [_calibration(target, *key, rng) for key in keys],
            "decision_curves": [_decision(target, *key, rng) for key in keys],
            "threshold_shifts": [_shift(target, *key) for key in keys],
        }
    crossed = [] if any("*" in row.axis for row in report.groups) else _crossed(report)
    return report.model_copy(update={**parts, "groups": [*report.groups, *crossed]})


def _gap(endpoint: str, named: list[str], least: float) -> CredibleGap:
    return CredibleGap(
        endpoint=endpoint,
        axis="ancestry",
        worse=named[0],
        better=named[-1],
        estimate=0.0912,
        at_least=least,
        at_most=0.1604,
        n_pairs=len(named) * (len(named) - 1) // 2,
        method="simultaneous over pairs",
    )


def _standardised(endpoint: str, value: str, rng: np.random.Generator) -> Standardised:
    middle = float(rng.uniform(0.7, 0.9))
    return Standardised(
        endpoint=endpoint,
        axis="ancestry",
        value=value,
        covariates=["sex", "age_band"],
        raw=middle - 0.01,
        estimate=middle,
        low=middle - 0.05,
        high=middle + 0.05,
        gap=-0.021,
        gap_low=-0.084,
        gap_high=0.042,
        n_effective=81.4,
        share_supported=0.93,
        n_strata=8,
        n_strata_unsupported=1,
        method="patient bootstrap",
    )


def _within(endpoint: str, value: str) -> WithinSites:
    return WithinSites(
        endpoint=endpoint,
        value=value,
        gap=-0.018 if value != "SAS" else None,
        low=-0.09 if value != "SAS" else None,
        high=0.054 if value != "SAS" else None,
        n_sites=2,
        heterogeneity=0.012,
        method="random effects",
        reason=None if value != "SAS" else "one site alone",
    )


def _calibration(target: str, axis: str, value: str, n: int, rng: np.random.Generator) -> CalibrationCurve:
    points = []
    for score in np.linspace(0.05, 0.95, 8):
        observed = float(np.clip(score + rng.normal(0, 0.05), 0, 1))
        points.append(
            CalibrationPoint(
                score=float(score),
                observed=observed,
                low=max(0.0, observed - 0.08),
                high=min(1.0, observed + 0.08),
                n_cases=25,
            )
        )
    return CalibrationCurve(target=target, axis=axis, value=value, points=points, n_patients=n)


def _decision(target: str, axis: str, value: str, n: int, rng: np.random.Generator) -> DecisionCurve:
    cuts = [0.05 * k for k in range(1, 11)]
    benefit = [0.38 - 0.25 * cut + float(rng.normal(0, 0.01)) for cut in cuts]
    return DecisionCurve(
        target=target,
        axis=axis,
        value=value,
        thresholds=cuts,
        net_benefit=benefit,
        low=[b - 0.03 for b in benefit],
        high=[b + 0.03 for b in benefit],
        treat_all=[0.4 - 0.6 * cut / (1 - cut) for cut in cuts],
        n_patients=n,
    )


def _shift(target: str, axis: str, value: str, n: int) -> ThresholdShift:
    known = value != "declined"
    return ThresholdShift(
        target=target,
        axis=axis,
        value=value,
        threshold=0.5,
        aim=0.9,
        sensitivity=0.88 if known else None,
        false_positive_rate=0.11 if known else None,
        needed=0.4321 if known else None,
        needed_low=0.38 if known else None,
        needed_high=0.51 if known else None,
        reason=None if known else "too few positives",
    )


def _crossed(report: Report) -> list[Any]:
    """Return groups of ancestry and sex made of the rows of ancestry."""
    found = []
    for row in report.groups:
        if row.axis == "ancestry" and row.n_cases:
            for sex in ("F", "M"):
                parts = {"ancestry": row.value, "sex": sex}
                update = {"axis": "ancestry*sex", "value": f"{row.value}, {sex}", "parts": parts}
                found.append(row.model_copy(update=update, deep=True))
    return found


def declared_only(report: Report) -> Report:
    """Return the report without the endpoints of the panel, for tests that look at every cell of every table."""
    kept = {endpoint.id for endpoint in report.endpoints if not endpoint.panel}
    record = report.model_dump(mode="json", by_alias=True)
    record["endpoints"] = [endpoint for endpoint in record["endpoints"] if endpoint["id"] in kept]
    for name in ("spreads", "credible_gaps", "standardised", "within_sites"):
        record[name] = [part for part in record[name] if part["endpoint"] in kept]
    for row in record["groups"]:
        row["results"] = [result for result in row["results"] if result["endpoint"] in kept]
    return Report.model_validate(record)


def crowded(report: Report, count: int = 15) -> Report:
    """Return the report with many ancestries, sites and reasons: as much as page one may ever have to hold."""
    model = next(row for row in report.groups if row.axis == "ancestry" and row.value == "EUR")
    there = sum(row.axis == "ancestry" for row in report.groups)
    names = [f"G{place:02d}" for place in range(count - there)]
    more = [model.model_copy(update={"value": name}, deep=True) for name in names]
    cross = report.ancestry_by_site
    counts = [
        [(row[0] or 0) + 100 * site for site in range(6)] for row in [*cross.counts, *[cross.counts[0]] * len(more)]
    ]
    table = cross.model_copy(
        update={
            "ancestries": [*cross.ancestries, *names],
            "sites": [f"site {place}" for place in range(6)],
            "counts": counts,
        }
    )
    reasons = [f"{reason} {'with a long word more ' * 4}" for reason in report.status_reasons]
    update = {"groups": [*report.groups, *more], "ancestry_by_site": table, "status_reasons": reasons}
    return report.model_copy(update=update)


def picture() -> bytes:
    """Return a small PNG."""
    stream = io.BytesIO()
    grey = (np.hypot(*np.mgrid[-1:1:60j, -1:1:80j]) * 160).clip(0, 255).astype(np.uint8)
    Image.fromarray(grey).save(stream, format="PNG")
    return stream.getvalue()
