"""Write a prediction: masks on the source grid, probabilities, and prediction.json, each complete or not at all.

Legend: L labels, Z Y X of a volume, H W of a picture.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.inference.prediction import Prediction
from medimg.io.atomic import replacing
from medimg.io.write import write_nifti, write_picture

SCHEMA = "medimg.prediction/1"


def write_prediction(prediction: Prediction, folder: str | Path) -> list[Path]:
    """Write a prediction into a folder.

    Segmentation: ``labels.nii.gz`` or ``labels.png`` (class index; a single label is 0 and 1); several labels that may
    overlap: one file per label, named after it. Probabilities, where kept: ``probabilities.nii.gz`` (L, Z, Y, X)
    or ``probabilities.npz`` (array ``probabilities``, (L, H, W)), float32. Always, and last: ``prediction.json``.

    Parameters
    ----------
    prediction : Prediction
    folder : str or Path
        Made where it is missing; files of the same names are replaced.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    InputError
        The folder cannot be written to.
    """
    folder = Path(folder)
    written = _write_masks(prediction, folder)
    if prediction.probabilities is not None:
        written.append(_write_probabilities(prediction, folder))
    path = folder / "prediction.json"
    with replacing(path) as part:
        part.write_text(json.dumps(as_json(prediction, written), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [*written, path]


def as_json(prediction: Prediction, files: list[Path] | None = None) -> dict[str, Any]:
    """Return everything but the arrays as a mapping that JSON can hold. UIDs yes, patient attributes never."""
    source = prediction.source
    return {
        "schema": SCHEMA,
        "package": prediction.package,
        "package_digest": prediction.package_digest,
        "research_use_only": True,
        "backend": prediction.backend,
        "task": prediction.task.model_dump(mode="json"),
        "source": {
            "series_uid": source.series_uid,
            "study_uid": source.study_uid,
            "modality": source.modality,
            "affine_zyx_to_lps_mm": None if prediction.affine is None else prediction.affine.tolist(),
        },
        "scores": prediction.scores,
        "decisions": prediction.decisions,
        "grade": prediction.grade,
        "boxes": [
            {
                "label": box.label,
                "score": box.score,
                "positive": box.positive,
                "box_index": list(box.box),
                "box_lps_mm": None if box.box_mm is None else list(box.box_mm),
            }
            for box in prediction.boxes
        ],
        "voxels": _counts(prediction),
        "findings": [finding.as_dict() for finding in prediction.findings],
        "files": [path.name for path in files or []],
    }


def _counts(prediction: Prediction) -> dict[str, int]:
    if prediction.labels is None:
        return {}
    return {label.name: int(np.count_nonzero(prediction.mask(label.name))) for label in prediction.task.labels}


def _write_masks(prediction: Prediction, folder: Path) -> list[Path]:
    if prediction.labels is None:
        return []
    names = [label.name for label in prediction.task.labels]
    if prediction.task.mode == "multiclass" or len(names) == 1:
        return [_write_mask(prediction.labels, prediction.affine, folder, "labels")]
    stems = _file_stems(names)
    return [
        _write_mask(prediction.mask(name).astype(np.uint8), prediction.affine, folder, stem)
        for name, stem in zip(names, stems)
    ]


def _write_mask(array: NDArray[Any], affine: NDArray[np.float64] | None, folder: Path, stem: str) -> Path:
    if affine is None:
        return write_picture(array, folder / f"{stem}.png")
    return write_nifti(array, folder / f"{stem}.nii.gz", affine=affine)


def _write_probabilities(prediction: Prediction, folder: Path) -> Path:
    array = np.asarray(prediction.probabilities, dtype=np.float32)
    if prediction.affine is not None:
        return write_nifti(array, folder / "probabilities.nii.gz", affine=prediction.affine)
    path = folder / "probabilities.npz"
    with replacing(path) as part, part.open("wb") as stream:
        np.savez_compressed(stream, probabilities=array)
    return path


def _file_stems(names: list[str]) -> list[str]:
    """Return file names made of the labels' names; two that would fall together are numbered."""
    stems: list[str] = []
    for index, name in enumerate(names):
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._") or "label"
        taken = {other.lower() for other in stems} | {"labels", "probabilities", "prediction"}
        stems.append(f"{stem}_{index}" if stem.lower() in taken else stem)
    return stems
