"""One job from instances to results: read, predict, write, mark. Knows neither the journal nor leases.

What cannot be used (unreadable, another modality, no volume) is answered with a refusal that says why, not with
silence: the reader of the study must not wait for a result that never comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medimg.errors import InputError
from medimg.inference.prediction import Prediction
from medimg.inference.predictor import Predictor
from medimg.io.findings import Finding
from medimg.io.image import Picture, Volume
from medimg.io.listing import Entry, scan
from medimg.io.policy import ReadPolicy
from medimg.io.read import still
from medimg.packaging.manifest import PackageManifest
from medimg.pacs.results.kinds import OF_PROBABILITIES

Results = Callable[[Prediction, Volume | Picture, Sequence[Path], PackageManifest, Path, Sequence[str]], list[Path]]
Refusal = Callable[[str, Sequence[Path], PackageManifest, Path], list[Path]]


@dataclass(frozen=True)
class Writers:
    """Who writes the objects; functions, so that others can take their place."""

    results: Results
    refusal: Refusal


@dataclass(frozen=True)
class Done:
    """Files of a job, whether a decision was positive, and why parts of the input (or all) were refused."""

    files: tuple[Path, ...]
    flagged: bool
    refused: tuple[str, ...]


def run(
    folder: Path,
    output: Path,
    predictor: Predictor,
    writers: Writers,
    *,
    kinds: Sequence[str],
    partial: str | None,
    most_images: int,
    between: Callable[[], None],
) -> Done:
    """Predict every image of a folder and write its results.

    Parameters
    ----------
    folder : Path
        The instances of one series.
    output : Path
        Folder for results; made here.
    predictor : Predictor
    writers : Writers
    kinds : sequence of str
        What is written of each: ``seg``, ``sr``, ``sc``, …
    partial : str or None
        What is missing of the series. It is then read in its even parts, and a finding says so.
    most_images : int
        Images of a series beyond these are left out, with a refusal.
    between : callable
        Called between images; may raise to stop.
    """
    policy = predictor.manifest.preparation.reading
    if partial is not None:
        policy = replace(policy, missing="split")
    found = scan(folder, policy=policy)
    files: list[Path] = []
    refused: list[str] = []
    flagged = False
    choices = _largest(found.choices) if partial is not None else list(found.choices)
    if not choices:
        refused.append("The series holds no image that can be read.")
        files += writers.refusal(refused[0], sorted(folder.iterdir()), predictor.manifest, output / "refusal")
    for index, entry in enumerate(choices):
        between()
        target = output / f"{index:04d}"
        try:
            if index >= most_images:
                raise InputError(
                    "The series holds more images than may be run.", got=len(choices), expected=most_images
                )
            image = still(entry.load())
            prediction = _predict(predictor, image, policy, partial, not OF_PROBABILITIES.isdisjoint(kinds))
        except InputError as error:
            refused.append(_sentence(error))
            files += writers.refusal(refused[-1], entry.paths, predictor.manifest, target)
            if index >= most_images:
                break
            continue
        target.mkdir(parents=True, exist_ok=True)
        files += writers.results(prediction, image, entry.paths, predictor.manifest, target, kinds)
        flagged = flagged or positive(prediction)
    return Done(tuple(files), flagged, tuple(refused))


def positive(prediction: Prediction) -> bool:
    """Whether a threshold of the package is reached: by a score, or by a box."""
    return any(prediction.decisions.values()) or any(box.positive for box in prediction.boxes)


def _predict(
    predictor: Predictor, image: Volume | Picture, policy: ReadPolicy, partial: str | None, probabilities: bool
) -> Prediction:
    found = predictor.predict(image, reading=policy, probabilities=probabilities)
    if partial is None:
        return found
    text = "The series was incomplete when it was run."
    return replace(found, findings=(*found.findings, Finding("PARTIAL_INPUT", "warning", text, value=partial)))


def _largest(entries: Sequence[Entry]) -> list[Entry]:
    """Of the even parts of a series with holes, keep those of several slices, where there are any."""
    several = [entry for entry in entries if len(entry.shape) != 3 or entry.shape[0] > 1]
    return several or list(entries)


def _sentence(error: InputError) -> str:
    # What and what was expected; where names files, got may quote what a file says.
    return error.what if error.expected is None else f"{error.what} Expected: {error.expected}."
