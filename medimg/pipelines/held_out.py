"""Run a package over labelled cases: the rows of the evaluation tables, thresholds, overlay pictures.

The package runs through the very inference code that a PACS script uses. A case that fails never stops the others: it
keeps its rows as failed and is listed.

Legend: S source axes, (Z, Y, X) or (H, W).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medimg.data.cases import Case, read_images
from medimg.data.targets import Targets
from medimg.data.truth import component_boxes, label_image, stated_boxes
from medimg.errors import MedimgError
from medimg.evaluation import rows as evaluation_rows
from medimg.evaluation.protocol import Protocol
from medimg.inference.prediction import Prediction
from medimg.inference.predictor import Predictor
from medimg.io.atomic import replacing
from medimg.io.image import Picture, Volume
from medimg.reports.overlay import overlay_png


@dataclass
class Tables:
    """Rows of the evaluation tables, and the cases that gave none."""

    cases: list[dict[str, Any]] = field(default_factory=list)
    lesions: list[dict[str, Any]] = field(default_factory=list)
    pixels: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    def write(self, folder: Path, subjects: pd.DataFrame) -> None:
        """Write Parquet tables, the subjects' beside them."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("cases", "lesions", "pixels"):
            part = folder / f"{name}.parquet.part"
            pd.DataFrame(getattr(self, name)).to_parquet(part, index=False)
            part.replace(folder / f"{name}.parquet")
        subjects.to_parquet(folder / "subjects.parquet", index=False)
        pd.DataFrame(self.failures, columns=["case_id", "reason"]).to_csv(folder / "failures.csv", index=False)


@dataclass(frozen=True)
class Truth:
    """What is known about a case, on the grid of its first image."""

    image: Volume | Picture
    labels: NDArray[Any]
    boxes: NDArray[np.float32]
    box_labels: NDArray[np.int64]
    classes: dict[str, float]

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """Spacing of a volume, None for pictures."""
        return self.image.spacing_mm if isinstance(self.image, Volume) else None


def read_truth(case: Case, targets: Targets, images: dict[str, Volume | Picture]) -> Truth:
    """Read everything that was annotated on the first image of a case.

    Raises
    ------
    InputError
        A mask cannot be used.
    """
    image = next(iter(images.values()))
    labels = np.zeros(0, np.uint8)
    boxes, box_labels = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    if targets.kind == "segmentation" or (targets.kind == "detection" and targets.boxes_from_masks):
        labels = np.asarray(label_image(case, targets, image).array)
    if targets.kind == "detection":
        if targets.boxes_from_masks:
            boxes, box_labels = component_boxes(labels, len(targets.names), targets.min_component)
        else:
            boxes, box_labels = stated_boxes(case, targets)
    return Truth(image, labels, boxes, box_labels, case.classes)


def run_cases(
    predictor: Predictor,
    cases: Sequence[Case],
    targets: Targets,
    protocol: Protocol,
    thresholds: dict[str, float],
    *,
    ages: dict[str, float] | None = None,
    overlays: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tables:
    """Predict every case and compare with its truth.

    Parameters
    ----------
    predictor : Predictor
        A candidate or sealed package.
    cases : sequence of Case
        With truth.
    targets : Targets
        What is compared.
    protocol : Protocol
        Matching rule, tolerances.
    thresholds : dict of str to float
        Operating points; empty on the tuning split.
    ages : dict of str to float, optional
        Age by subject.
    overlays : Path, optional
        Folder that gets one small picture a case (segmentation and detection).
    progress : callable, optional
        Called with (done, total).
    """
    tables = Tables()
    for number, case in enumerate(cases, 1):
        who = evaluation_rows.Case(
            case.case_id, case.subject_id, case.site_id, case.scanner, (ages or {}).get(case.subject_id)
        )
        try:
            images = read_images(case, predictor.manifest.preparation.reading)
            truth = read_truth(case, targets, images)
        except MedimgError as error:
            tables.failures.append({"case_id": case.case_id, "reason": error.what})
            continue
        try:
            found = predictor.predict(images, probabilities=_needs_scores(targets))
            reason = ""
        except MedimgError as error:
            found, reason = None, error.what
            tables.failures.append({"case_id": case.case_id, "reason": reason})
        _add_rows(tables, who, truth, found, targets, protocol, thresholds, reason)
        if overlays is not None and found is not None and targets.kind != "classification":
            _draw(overlays, case.case_id, truth, found, targets)
        if progress:
            progress(number, len(cases))
    return tables


def _needs_scores(targets: Targets) -> bool:
    return targets.kind == "segmentation" and targets.mode == "multilabel"


def _add_rows(
    tables: Tables,
    who: evaluation_rows.Case,
    truth: Truth,
    found: Prediction | None,
    targets: Targets,
    protocol: Protocol,
    thresholds: dict[str, float],
    reason: str,
) -> None:
    if targets.kind == "segmentation":
        _segmentation(tables, who, truth, found, targets, protocol, reason)
    elif targets.kind == "classification":
        _classification(tables, who, truth, found, targets, thresholds, reason)
    else:
        marks = None if found is None else _marks(found, targets)
        cases, lesions = evaluation_rows.detection_rows(
            who,
            truth.boxes,
            truth.box_labels,
            marks,
            labels={name: index for index, name in enumerate(targets.names)},
            thresholds=thresholds,
            protocol=protocol,
            spacing_mm=truth.spacing_mm,
            failed=reason,
        )
        tables.cases += cases
        tables.lesions += lesions


def _segmentation(
    tables: Tables,
    who: evaluation_rows.Case,
    truth: Truth,
    found: Prediction | None,
    targets: Targets,
    protocol: Protocol,
    reason: str,
) -> None:
    first = 1 if targets.mode == "multiclass" else 0
    tables.cases += evaluation_rows.segmentation_rows(
        who,
        truth.labels,
        None if found is None else found.labels,
        labels={name: index + first for index, name in enumerate(targets.names)},
        mode="multiclass" if targets.mode == "multiclass" else "multilabel",
        spacing_mm=truth.spacing_mm,
        protocol=protocol,
        failed=reason,
    )
    if found is not None and found.probabilities is not None:
        for index, name in enumerate(targets.names):
            mask = (truth.labels >> index) & 1 == 1
            tables.pixels += evaluation_rows.pixel_rows(who, name, mask, found.probabilities[index])


def _classification(
    tables: Tables,
    who: evaluation_rows.Case,
    truth: Truth,
    found: Prediction | None,
    targets: Targets,
    thresholds: dict[str, float],
    reason: str,
) -> None:
    name = targets.names[0]
    grade = int(truth.classes[name])
    binary = targets.binary_truth(grade) if targets.mode != "multiclass" else None
    grades = None if targets.mode == "binary" else {name: (grade, None if found is None else found.grade)}
    if targets.mode == "multiclass":
        truths = {f"{name}={k}": float(grade == k) for k in range(targets.classes)}
    else:
        # A grade outside the binary view counts for the grades' agreement alone.
        truths = {name: float("nan") if binary is None else float(binary)}
    tables.cases += evaluation_rows.classification_rows(
        who,
        truths,
        None if found is None else found.scores,
        thresholds=thresholds,
        grades=grades,
        failed=reason,
    )


def _marks(found: Prediction, targets: Targets) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    boxes = np.array([box.box for box in found.boxes], float)
    labels = np.array([targets.names.index(box.label) for box in found.boxes], int)
    scores = np.array([box.score for box in found.boxes], float)
    return boxes, labels, scores


def _draw(folder: Path, case_id: str, truth: Truth, found: Prediction, targets: Targets) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    picture = overlay_png(
        truth.image,
        truth=truth.labels if targets.kind == "segmentation" else None,
        predicted=found.labels,
        boxes_true=truth.boxes if targets.kind == "detection" else None,
        boxes_predicted=_marks(found, targets)[0] if targets.kind == "detection" else None,
    )
    with replacing(folder / overlay_name(case_id)) as part:
        part.write_bytes(picture)


def overlay_name(case_id: str) -> str:
    """Return a file name that any system takes, whatever characters a case id has."""
    return f"{hashlib.sha256(case_id.encode()).hexdigest()[:16]}.png"
