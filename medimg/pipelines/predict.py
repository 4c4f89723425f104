"""``medimg predict``: a package on a new study. No torch is imported."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medimg.inference.output import write_prediction
from medimg.inference.prediction import Prediction
from medimg.inference.predictor import Predictor, load
from medimg.inference.study import Image, Study, read_study
from medimg.pacs.results.kinds import OF_PROBABILITIES, check_kinds
from medimg.pipelines.compose import compose, typed
from medimg.pipelines.config import PredictConfig
from medimg.pipelines.steps import console


def main(overrides: Sequence[str]) -> int:
    """Predict ``input`` and write masks, probabilities, boxes, prediction.json and DICOM objects into ``output``."""
    config: PredictConfig = typed(compose("predict", overrides))
    check_kinds(config.dicom)
    predictor = load(config.package, backend=config.backend, threads=config.threads)
    reading = config.reading.policy(predictor.manifest.preparation.reading)
    study: Study = _study(config.input)
    images: dict[str, Image] = {}
    if config.dicom:
        study = images = read_study(study, _inputs(predictor), series=config.series, reading=reading)
    keep = config.probabilities or bool(OF_PROBABILITIES.intersection(config.dicom))
    found = predictor.predict(study, probabilities=keep, series=config.series, reading=reading)
    shown = found if config.probabilities else replace(found, probabilities=None)
    files = write_prediction(shown, Path(config.output))
    if config.dicom:
        files += _write_dicom(found, images, predictor, config)
    if config.json:
        print(json.dumps({"files": [str(file) for file in files], "scores": found.scores}))
    else:
        for file in files:
            console.print(str(file))
    return 0


def _write_dicom(
    found: Prediction, images: Mapping[str, Image], predictor: Predictor, config: PredictConfig
) -> list[Path]:
    from medimg.pacs.results.write import write_results

    image = images.get(_inputs(predictor)[0], next(iter(images.values())))
    return write_results(found, image, (), predictor.manifest, Path(config.output) / "dicom", config.dicom)


def _inputs(predictor: Predictor) -> tuple[str, ...]:
    preparation = predictor.manifest.preparation
    return preparation.channels if preparation.kind == "volume" else ("image",)


def _study(stated: Any) -> Path | dict[str, Path]:
    if isinstance(stated, Mapping):
        return {str(channel): Path(str(path)) for channel, path in stated.items()}
    return Path(str(stated))
