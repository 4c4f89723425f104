"""What is wrong, odd or missing in a cohort, before anybody trains on it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from medimg.data.cases import Case
from medimg.data.cohort import Cohort
from medimg.data.targets import Targets
from medimg.data.truth import label_image
from medimg.errors import MedimgError
from medimg.io.findings import Finding
from medimg.io.image import Picture, Volume
from medimg.io.mask import is_dicom_segmentation, read_mask
from medimg.io.policy import STRICT, ReadPolicy
from medimg.io.read import read_still

DEMOGRAPHICS = ("ancestry_group", "sex_at_birth", "age", "country")


@dataclass
class CheckReport:
    """Counts of a cohort and everything that was noticed."""

    counts: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> list[Finding]:
        """Findings that make the cohort unfit for training."""
        return [finding for finding in self.findings if finding.severity == "error"]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "counts": self.counts,
            "missing_demographics": self.missing,
            "findings": [finding.as_dict() for finding in self.findings],
        }


def check(
    cohort: Cohort,
    cases: Sequence[Case],
    targets: Targets | None,
    split: pd.DataFrame | None = None,
    *,
    reading: ReadPolicy = STRICT,
) -> CheckReport:
    """Look for leakage, duplicates, masks that do not fit, unknown labels and missing demographics.

    Parameters
    ----------
    cohort : Cohort
        Tables.
    cases : sequence of Case
        The cohort's cases; each image and mask is opened once.
    targets : Targets, optional
        The task's targets; None checks only what does not depend on a task.
    split : DataFrame, optional
        Columns case_id, subject_id, split; checked for people and pixels in two parts.
    reading : ReadPolicy
        What the training will do where a series is not what a volume needs.

    Notes
    -----
    A failing case never stops the check: it is listed. Missing demographics are counted, never filled.
    """
    report = CheckReport(counts=_counts(cohort), missing=_missing(cohort.subjects))
    pixels: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        try:
            pixels[_open(case, targets, report, reading)].append(case)
        except MedimgError as error:
            finding = Finding("UNUSABLE_CASE", "error", error.describe(), file=case.case_id)
            report.findings.append(finding)
    report.findings += _duplicates(pixels, split)
    report.findings += _leakage(cohort, split)
    report.findings += _demographics(report.missing, len(cohort.subjects))
    return report


def _counts(cohort: Cohort) -> dict[str, Any]:
    images = cohort.images
    return {
        "images": len(images),
        "subjects": len(cohort.subjects),
        "sites": int(images["site_id"].nunique()),
        "labels": cohort.labels.groupby(["kind", "name"]).size().rename("n").reset_index().to_dict("records"),
        "modalities": images["modality"].value_counts().to_dict(),
        "ancestry": cohort.subjects["ancestry_group"].fillna("unknown").value_counts().sort_index().to_dict(),
    }


def _missing(subjects: pd.DataFrame) -> dict[str, int]:
    return {name: int(subjects[name].isna().sum()) for name in DEMOGRAPHICS}


def _open(case: Case, targets: Targets | None, report: CheckReport, reading: ReadPolicy) -> str:
    """Return a digest of the pixels of all channels; note findings of the reader and of the masks."""
    digest = hashlib.sha256()
    first: Volume | Picture | None = None
    for name in sorted(case.images):
        image = read_still(case.images[name], policy=reading)
        first = image if first is None else first
        digest.update(np.ascontiguousarray(image.array).tobytes())
        report.findings += [finding for finding in image.findings if finding.severity != "info"]
    if targets is not None and first is not None and targets.mask_names and case.masks:
        label_image(case, targets, first)
        report.findings += _unknown_values(case)
    if targets is not None and targets.kind == "classification":
        report.findings += _class_range(case, targets)
    return digest.hexdigest()


def _unknown_values(case: Case) -> list[Finding]:
    """Return a finding for every mask file with values that no target claims."""
    claimed: dict[Any, set[int]] = defaultdict(set)
    for ref in case.masks:
        # A DICOM segmentation names its segments itself, and may well have others.
        if ref.path is not None and ref.value is not None and not is_dicom_segmentation(ref.path):
            claimed[ref.path].add(ref.value)
    findings = []
    for path, values in claimed.items():
        strangers = sorted({int(value) for value in np.unique(read_mask(path).array)} - values - {0})
        if strangers:
            findings.append(
                Finding(
                    "LABEL_OUT_OF_RANGE",
                    "error",
                    f"the mask of case {case.case_id} has values that no target claims",
                    file=path.name,
                    value=", ".join(map(str, strangers[:10])),
                )
            )
    return findings


def _class_range(case: Case, targets: Targets) -> list[Finding]:
    value = case.classes.get(targets.names[0])
    if value is None:
        return [
            Finding("NO_CLASS", "warning", f"no '{targets.names[0]}' is stated; the case is left out", case.case_id)
        ]
    if value != int(value) or not 0 <= value < targets.classes:
        return [
            Finding(
                "CLASS_OUT_OF_RANGE",
                "error",
                f"'{targets.names[0]}' is outside 0 to {targets.classes - 1}",
                case.case_id,
                value=str(value),
            )
        ]
    return []


def _duplicates(pixels: dict[str, list[Case]], split: pd.DataFrame | None) -> list[Finding]:
    parts = {} if split is None else dict(zip(split["case_id"], split["split"]))
    findings = []
    for same in pixels.values():
        if len(same) < 2:
            continue
        across = len({case.subject_id for case in same}) > 1 or len({parts.get(case.case_id) for case in same}) > 1
        findings.append(
            Finding(
                "DUPLICATE_PIXELS",
                "error" if across else "warning",
                "identical pixels in " + ("different people or splits" if across else "several cases of one person"),
                file=", ".join(case.case_id for case in same[:5]),
            )
        )
    return findings


def _leakage(cohort: Cohort, split: pd.DataFrame | None) -> list[Finding]:
    table = split if split is not None else cohort.images[cohort.images["split"].notna()]
    parts = table.groupby("subject_id")["split"].nunique()
    twice = parts[parts > 1]
    if twice.empty:
        return []
    return [
        Finding(
            "PATIENT_LEAKAGE",
            "error",
            f"{len(twice)} people stand in more than one part of the split",
            file=", ".join(map(str, twice.index[:5])),
            tag="split",
        )
    ]


def _demographics(missing: dict[str, int], people: int) -> list[Finding]:
    return [
        Finding(
            "DEMOGRAPHY_MISSING",
            "warning" if name == "ancestry_group" else "info",
            f"{name} is not stated for {count} of {people} people; it is reported as unknown, never filled",
            tag=name,
            value=str(count),
        )
        for name, count in missing.items()
        if count
    ]
