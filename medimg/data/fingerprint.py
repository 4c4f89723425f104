"""The data's fingerprint: the facts about a training set that a plan is made from.

Legend: Z slices, Y rows, X columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from medimg.data.cases import Case, read_images
from medimg.data.targets import Targets
from medimg.data.truth import component_boxes, label_image, stated_boxes
from medimg.errors import InputError, MedimgError
from medimg.geometry import to_lps
from medimg.io.findings import Finding
from medimg.io.image import Picture, Volume
from medimg.io.policy import STRICT, ReadPolicy

SAMPLED_VOXELS = 20_000


class Fingerprint(BaseModel):
    """Facts about the training cases, in LPS axis order (z, y, x), spacing in mm.

    ``intensity_*`` are over the foreground where there is a mask, else over all voxels, per channel.
    ``lesion_px`` is the median side of a target's bounding box, in source voxels. ``outlines`` are the indices of
    channels that hold a drawn outline.
    """

    model_config = ConfigDict(extra="forbid")

    kind: str
    cases: int
    channels: tuple[str, ...]
    unit: str
    median_shape: tuple[int, ...]
    largest_shape: tuple[int, ...]
    median_spacing_mm: tuple[float, ...] | None
    smallest_spacing_mm: tuple[float, ...] | None
    intensity_mean: tuple[float, ...]
    intensity_std: tuple[float, ...]
    intensity_low: tuple[float, ...]
    intensity_high: tuple[float, ...]
    foreground_fraction: float | None
    lesion_px: float | None
    outlines: tuple[int, ...] = ()


def fingerprint(
    cases: Sequence[Case],
    targets: Targets,
    channels: tuple[str, ...],
    *,
    limit: int = 48,
    reading: ReadPolicy = STRICT,
) -> tuple[Fingerprint, list[Finding]]:
    """Measure up to ``limit`` evenly chosen training cases.

    Returns
    -------
    Fingerprint
        Medians and percentiles over the measured cases.
    list of Finding
        Cases that could not be read.

    Raises
    ------
    InputError
        No case could be measured, or volumes and pictures are mixed.
    """
    chosen = [cases[int(index)] for index in np.linspace(0, len(cases) - 1, min(limit, len(cases)))]
    facts, findings = [], []
    for case in chosen:
        try:
            facts.append(_facts(case, targets, channels, reading))
        except MedimgError as error:
            findings.append(Finding("CASE_NOT_MEASURED", "error", error.what, file=case.case_id))
    if not facts:
        raise InputError("no training case could be measured", got=findings[0].message if findings else "no cases")
    if len({fact["kind"] for fact in facts}) > 1:
        raise InputError("volumes and pictures are mixed in one cohort", fix="index them as two cohorts")
    return _summarise(facts, channels, len(cases)), findings


def _facts(case: Case, targets: Targets, channels: tuple[str, ...], reading: ReadPolicy) -> dict[str, Any]:
    images = read_images(case, reading)
    first = images[channels[0]]
    mask = _mask(case, targets, first)
    picture = isinstance(first, Picture)
    values = [_sampled(image, mask) for image in images.values()]
    if isinstance(first, Picture):
        values = list(values[0].reshape(-1, 3).T)
    shape, spacing = _grid(first)
    lesions, _ = _boxes(case, targets, mask, picture)
    half = lesions.shape[1] // 2
    return {
        "kind": "picture" if picture else "volume",
        "unit": "srgb" if picture else first.unit,  # type: ignore[union-attr]
        "shape": shape,
        "spacing": spacing,
        "values": values,
        "foreground": None if mask is None else float((mask != 0).mean()),
        "outlines": tuple(
            index
            for index, name in enumerate(channels)
            if isinstance(image := images.get(name), Volume) and image.unit == "label"
        ),
        "lesion": None if not len(lesions) else float(np.median(lesions[:, half:] - lesions[:, :half])),
    }


def _mask(case: Case, targets: Targets, image: Volume | Picture) -> NDArray[Any] | None:
    if not targets.mask_names:
        return None
    return np.asarray(label_image(case, targets, image).array)


def _boxes(
    case: Case, targets: Targets, mask: NDArray[Any] | None, picture: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if mask is None:
        return stated_boxes(case, targets)
    drawn = (mask != 0).astype(np.uint8)
    return component_boxes(drawn, 1, targets.min_component)


def _grid(image: Volume | Picture) -> tuple[tuple[int, ...], tuple[float, ...] | None]:
    if isinstance(image, Picture):
        return image.array.shape[:2], None
    array, affine, _ = to_lps(image.array, image.affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return array.shape[-3:], tuple(float(value) for value in spacing)


def _sampled(image: Volume | Picture, mask: NDArray[Any] | None) -> NDArray[Any]:
    """Return up to 20,000 values, from the foreground where there is one; (n,) or (n, 3) for pictures."""
    flat = image.array.reshape(-1, 3) if isinstance(image, Picture) else image.array.reshape(-1)
    if isinstance(image, Volume) and mask is not None and mask.any():
        flat = flat[mask.reshape(-1) != 0]
    return flat[:: max(1, len(flat) // SAMPLED_VOXELS)]


def _summarise(facts: list[dict[str, Any]], channels: tuple[str, ...], cases: int) -> Fingerprint:
    shapes = np.array([fact["shape"] for fact in facts])
    spacings = None if facts[0]["spacing"] is None else np.array([fact["spacing"] for fact in facts])
    pooled = [np.concatenate([fact["values"][index] for fact in facts]) for index in range(len(facts[0]["values"]))]
    lesions = [fact["lesion"] for fact in facts if fact["lesion"] is not None]
    fractions = [fact["foreground"] for fact in facts if fact["foreground"] is not None]
    return Fingerprint(
        kind=facts[0]["kind"],
        cases=cases,
        channels=("red", "green", "blue") if facts[0]["kind"] == "picture" else channels,
        unit=facts[0]["unit"],
        median_shape=tuple(int(value) for value in np.median(shapes, axis=0)),
        largest_shape=tuple(int(value) for value in shapes.max(axis=0)),
        median_spacing_mm=None if spacings is None else _floats(np.median(spacings, axis=0)),
        smallest_spacing_mm=None if spacings is None else _floats(np.percentile(spacings, 10, axis=0)),
        intensity_mean=_floats(np.array([values.mean() for values in pooled])),
        intensity_std=_floats(np.array([max(values.std(), 1e-6) for values in pooled])),
        intensity_low=_floats(np.array([np.percentile(values, 0.5) for values in pooled])),
        intensity_high=_floats(np.array([np.percentile(values, 99.5) for values in pooled])),
        foreground_fraction=float(np.mean(fractions)) if fractions else None,
        lesion_px=float(np.median(lesions)) if lesions else None,
        outlines=facts[0]["outlines"],
    )


def _floats(values: NDArray[Any]) -> tuple[float, ...]:
    return tuple(round(float(value), 5) for value in values)
