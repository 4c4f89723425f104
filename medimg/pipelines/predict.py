"""``medimg predict``: a package on a new study. No torch is imported."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medimg.inference.output import write_prediction
from medimg.inference.predictor import load
from medimg.pipelines.compose import compose, typed
from medimg.pipelines.config import PredictConfig
from medimg.pipelines.steps import console


def main(overrides: Sequence[str]) -> int:
    """Predict ``input`` and write masks, probabilities, boxes and prediction.json into ``output``."""
    config: PredictConfig = typed(compose("predict", overrides))
    predictor = load(config.package, backend=config.backend, threads=config.threads)
    reading = config.reading.policy(predictor.manifest.preparation.reading)
    kinds = _kinds(config.dicom)
    keep = config.probabilities or bool(_OF_PROBABILITIES.intersection(kinds))
    study: Study = _study(config.input)
    if kinds:
        study = read_study(study, predictor.inputs, series=config.series, reading=reading)
    found = predictor.predict(study, probabilities=keep, series=config.series, reading=reading)
    files = write_prediction(
        found if config.probabilities else replace(found, probabilities=None), Path(config.output)
    )
    if kinds:
        image = study.get(predictor.inputs[0]) or next(iter(study.values()))
        files += write_results(found, image, (), predictor.manifest, Path(config.output) / "dicom", kinds)
    if config.json:
        print(json.dumps({"files": [str(file) for file in files], "scores": found.scores}))
    else:
        for file in files:
            console.print(str(file))
    return 0


def _study(stated: Any) -> Path | dict[str, Path]:
    if isinstance(stated, Mapping):
        return {str(channel): Path(str(path)) for channel, path in stated.items()}
    return Path(str(stated))
