"""Run a model package on a study: read, prepare, pass through the network, go back to the source. No torch.

Legend: C channels, K outputs, L labels, ``*S`` the prepared grid, D spatial axes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.data.prepare import (
    Grid,
    Prepared,
    normalise,
    prepare,
    restore_boxes,
    restore_labels,
    restore_probabilities,
)
from medimg.errors import InputError
from medimg.inference.boxes import Anchors, Tile, merge_tiles, select
from medimg.inference.postprocess import (
    DEFAULT_THRESHOLD,
    average_flips,
    clean,
    grades,
    label_dtype,
    to_labels,
    without_dropped,
)
from medimg.inference.prediction import Box, Prediction
from medimg.inference.session import Session, open_session
from medimg.inference.study import Image, Study, read_study
from medimg.inference.tiles import DEFAULT_MEMORY_BYTES, Window, padded_shape, plan_windows, run_windows
from medimg.io.findings import Finding
from medimg.io.image import Volume
from medimg.io.policy import ReadPolicy
from medimg.packaging.manifest import PackageManifest
from medimg.packaging.package import ModelPackage

__all__ = ["Box", "Prediction", "Predictor", "load"]

_RADIOLOGY = {"CT", "MR", "PT", "NM", "CR", "DX", "MG", "XA", "RF", "US"}


def load(
    path: str | Path,
    *,
    backend: str = "auto",
    threads: int | None = None,
    memory_bytes: float = DEFAULT_MEMORY_BYTES,
    public_key: Path | None = None,
) -> Predictor:
    """Check a model package byte by byte and load it.

    Parameters
    ----------
    path : str or Path
        The folder NAME.medimg (or a marked candidate).
    backend : {'auto', 'onnxruntime', 'openvino'}
        See `medimg.inference.session.open_session`.
    threads : int, optional
        Threads of a pass; default one per core.
    memory_bytes : float
        What one pass may take; larger scans are cut into tiles where the package allows it.
    public_key : Path, optional
        PEM file of the key that must have signed the package.

    Raises
    ------
    InputError
        The package was changed, is incomplete, unsigned where a key is given, or cannot be loaded.
    """
    package = ModelPackage.open(path, public_key=public_key)
    session = open_session(package.onnx_bytes(), backend, threads)
    return Predictor(package.manifest, session, memory_bytes)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A loaded model package. Use `load`."""

    manifest: PackageManifest
    session: Session
    memory_bytes: float = DEFAULT_MEMORY_BYTES

    def predict(
        self,
        study: Study,
        *,
        probabilities: bool = False,
        series: str | int | None = None,
        reading: ReadPolicy | None = None,
        centre_mm: tuple[float, float, float] | None = None,
    ) -> Prediction:
        """Answer for one study.

        Parameters
        ----------
        study : path, Volume, Picture, or mapping of channel name to one of these
            See `medimg.inference.study.read_study`.
        probabilities : bool
            Keep segmentation probabilities (float32 on the source grid, one volume per label).
        series : str or int, optional
            Which series of a folder.
        reading : ReadPolicy, optional
            What is done where a series is not what a volume needs; default what the model was trained with.
        centre_mm : (x, y, z), optional
            LPS point that a model of volumes of interest looks at; default the middle of the scan.

        Returns
        -------
        Prediction

        Raises
        ------
        InputError
            The study cannot be read, is of another modality, or lacks a channel.
        """
        usual = self.manifest.preparation.reading
        images = read_study(study, self._inputs, series=series, reading=usual if reading is None else reading)
        self._check_modality(images)
        images, assumed = _in_hu(images, self.manifest)
        assumed += _read_otherwise(usual, reading)
        prepared = prepare(images, self.manifest.preparation, centre_mm=centre_mm)
        first = images.get(self.manifest.preparation.channels[0], next(iter(images.values())))
        answer = self._answer(prepared, probabilities)
        noticed = tuple(finding for image in images.values() for finding in image.findings)
        return replace(
            answer,
            affine=np.array(first.affine) if isinstance(first, Volume) else None,
            findings=noticed + assumed + prepared.findings + self.session.findings() + _limits(self.manifest),
            package=f"{self.manifest.name} {self.manifest.version}",
            package_digest=self.manifest.digest,
            backend=self.session.name,
            source=first.source,
        )

    @property
    def _inputs(self) -> tuple[str, ...]:
        """Names of the images that make a study: one picture, whatever its colour channels are called."""
        preparation = self.manifest.preparation
        return preparation.channels if preparation.kind == "volume" else ("image",)

    def _check_modality(self, images: dict[str, Image]) -> None:
        wanted = self.manifest.modality
        for name, image in images.items():
            found = image.source.modality
            if found and found != wanted and (found in _RADIOLOGY or wanted in _RADIOLOGY):
                raise InputError(
                    "The study is of another modality than the model.",
                    where=name,
                    got=found,
                    expected=wanted,
                    fix="choose the right series, or the right model",
                )

    def _read(self, prepared: Prepared, part: tuple[slice, ...]) -> NDArray[np.float32]:
        return normalise(prepared.array[(slice(None), *part)], self.manifest.preparation.intensity, prepared.stats)

    def _answer(self, prepared: Prepared, keep: bool) -> Prediction:
        if self.manifest.task.kind == "segmentation":
            return self._segment(prepared, keep)
        return self._classify(prepared) if self.manifest.task.kind == "classification" else self._detect(prepared)

    def _segment(self, prepared: Prepared, keep: bool) -> Prediction:
        task, post, grid = self.manifest.task, self.manifest.postprocessing, prepared.grid
        picture = grid.kind == "picture"
        labels = np.zeros(grid.shape, dtype=label_dtype(task))
        # Volumes are written label by label, tile by tile; probabilities only where somebody wants them.
        scores = np.empty((task.outputs, *grid.shape), dtype=np.float32) if keep or picture else None
        windows = plan_windows(grid.shape, self.manifest.tiling, self.memory_bytes)
        for window, answer in run_windows(
            lambda part: self._read(prepared, part),
            grid.shape,
            windows,
            lambda image: average_flips(self.session.run, image, self.manifest.tiling.flips, task),
        ):
            core = answer[(slice(None), *window.inner)]
            labels[window.core] = to_labels(core, task, post)
            if scores is not None:
                scores[(slice(None), *window.core)] = core
        labels = clean(labels, task, post)
        if scores is None:
            bitmask = task.mode == "multilabel"
            return Prediction(task, labels=restore_labels(labels, grid, order=1, bitmask=bitmask))
        restored = _restore(without_dropped(scores, labels, task, post) if picture else scores, grid, task.mode)
        if picture:
            back = to_labels(restored, task, post)
        else:
            back = restore_labels(labels, grid, order=1, bitmask=task.mode == "multilabel")
        shown = restored[1:] if task.mode == "multiclass" else np.maximum(restored, 0, out=restored)
        return Prediction(task, labels=back, probabilities=shown if keep else None)

    def _classify(self, prepared: Prepared) -> Prediction:
        task, shape = self.manifest.task, prepared.grid.shape
        whole = Window((0,) * len(shape), padded_shape(shape, self.manifest.tiling.divisor), ())
        ((_, answer),) = run_windows(
            lambda part: self._read(prepared, part),
            shape,
            [whole],
            lambda image: average_flips(self.session.run, image, self.manifest.tiling.flips, task),
        )
        scores, grade = grades(answer, task)
        return Prediction(task, scores=scores, grade=grade, decisions=self._decide(scores))

    def _detect(self, prepared: Prepared) -> Prediction:
        task, shape = self.manifest.task, prepared.grid.shape
        anchors = Anchors.model_validate(self.manifest.anchors)
        tiles = []
        for window, (logits, deltas) in run_windows(
            lambda part: self._read(prepared, part),
            shape,
            plan_windows(shape, self.manifest.tiling, self.memory_bytes),
            self.session.run,
        ):
            size = [b - a for a, b in zip(window.start, window.stop)]
            core = tuple((part.start, part.stop) for part in window.core)
            tiles.append(Tile(select(logits[0], deltas[0], size, anchors), window.start, core))
        found = merge_tiles(tiles, shape, anchors)
        corners = restore_boxes(found.boxes, prepared.grid)
        boxes = tuple(
            self._box(task.labels[int(index)].name, float(score), corner, prepared.grid)
            for index, score, corner in zip(found.labels, found.scores, corners)
        )
        scores = {label.name: 0.0 for label in task.labels}
        for box in boxes:
            scores[box.label] = max(scores[box.label], box.score)
        return Prediction(task, boxes=boxes, scores=scores, decisions=self._decide(scores))

    def _box(self, label: str, score: float, corner: NDArray[np.float32], grid: Grid) -> Box:
        threshold = self.manifest.postprocessing.thresholds.get(label, DEFAULT_THRESHOLD)
        box_mm = None
        if grid.source_affine is not None:
            affine = np.asarray(grid.source_affine)
            # Edges lie half a voxel before the centres that the affine places.
            ends = corner.reshape(2, 3).astype(np.float64) - 0.5
            box_mm = tuple(float(v) for v in (ends @ affine[:3, :3].T + affine[:3, 3]).ravel())
        return Box(label, score, tuple(float(v) for v in corner), box_mm, score >= threshold)

    def _decide(self, scores: dict[str, float]) -> dict[str, bool]:
        thresholds = self.manifest.postprocessing.thresholds
        return {name: score >= thresholds[name] for name, score in scores.items() if name in thresholds}


def _restore(scores: NDArray[np.float32], grid: Grid, mode: str) -> NDArray[np.float32]:
    """Bring probabilities to the source; what was cropped away is background, whatever the threshold."""
    outside: Any = [1.0, *[0.0] * (len(scores) - 1)] if mode == "multiclass" else -1.0
    return restore_probabilities(scores, grid, outside=outside)


def _in_hu(images: dict[str, Image], manifest: PackageManifest) -> tuple[dict[str, Image], tuple[Finding, ...]]:
    """Take CT values without a unit (NIfTI states none) for HU where the model was trained on HU, and say so."""
    silent = [
        name
        for name, image in images.items()
        if isinstance(image, Volume) and image.unit == "arbitrary" and name not in manifest.preparation.outlines
    ]
    if manifest.modality != "CT" or not silent:
        return images, ()
    text = "The file states no unit of its values."
    finding = Finding("UNIT_ASSUMED", "warning", text, value=", ".join(silent), assumed="HU")
    stated = {
        name: replace(image, unit="HU") if isinstance(image, Volume) and name in silent else image
        for name, image in images.items()
    }
    return stated, (finding,)


def _read_otherwise(usual: ReadPolicy, reading: ReadPolicy | None) -> tuple[Finding, ...]:
    """Say where a scan was not read as those that the model was validated on."""
    if reading is None or reading == usual:
        return ()
    text = "Scans are read by another policy than those that the model was trained and validated on."
    changed = [one.name for one in fields(usual) if getattr(usual, one.name) != getattr(reading, one.name)]
    value = ", ".join(f"{name}={getattr(reading, name)}" for name in changed)
    return (Finding("READING_POLICY", "warning", text, value=value),)


def _limits(manifest: PackageManifest) -> tuple[Finding, ...]:
    found = []
    if manifest.status == "candidate":
        text = "This model is a candidate: it was not validated on held-out scans."
        found.append(Finding("NOT_VALIDATED", "warning", text))
    if manifest.not_validated_for:
        text = f"This model was not validated for: {', '.join(manifest.not_validated_for)}."
        found.append(Finding("NOT_VALIDATED_FOR", "warning", text))
    return tuple(found)
