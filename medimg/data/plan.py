"""From fingerprint to plan: every number with the fact that made it.

The rules follow nnU-Net's (Isensee et al., Nature Methods 2021: median spacing, patch and pooling from the median
shape) where they fit a CPU as well as a GPU. Legend: Z slices, Y rows, X columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from medimg.data.fingerprint import Fingerprint
from medimg.data.preparation import Intensity, Preparation
from medimg.data.settings import PlanSettings
from medimg.data.targets import Targets
from medimg.errors import InputError

# What the EfficientNet-Lite weights were trained with: [0, 1] to [-1, 1].
RGB_MEAN, RGB_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
PATCH_VOXELS = 112**3
PICTURE_SIDE = 512
# Patches of volumes are whole multiples of the coarsest stride that the default network of a task has.
_VOLUME_MULTIPLE = {"segmentation": 8, "classification": 8, "detection": 16}
NETWORKS = {
    ("segmentation", "volume"): "unet",
    ("segmentation", "picture"): "unet2d",
    ("classification", "volume"): "classifier3d",
    ("classification", "picture"): "classifier2d",
    ("detection", "volume"): "retinanet",
    ("detection", "picture"): "retinanet",
}


class Plan(BaseModel):
    """Preparation, patch, batch and network, with a reason for each.

    ``patch`` None trains on whole prepared cases. ``forecast`` is measured on the device before training.
    """

    model_config = ConfigDict(extra="forbid")

    preparation: Preparation
    patch: tuple[int, ...] | None
    batch_size: int
    network: str
    network_options: dict[str, Any]
    reasons: dict[str, str]
    fingerprint: Fingerprint
    forecast: dict[str, float | str] | None = None

    def save(self, path: Path) -> None:
        """Write the plan as YAML for people to read."""
        part = path.with_name(path.name + ".part")
        part.write_text(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a plan.

        Raises
        ------
        InputError
            The file is missing or no plan.
        """
        try:
            return cls.model_validate(yaml.safe_load(path.read_text()))
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise InputError("the plan cannot be read", where=path, got=str(error)) from error


@dataclass
class _Draft:
    reasons: dict[str, str] = field(default_factory=dict)

    def take(self, key: str, stated: Any, value: Any, reason: str) -> Any:
        """Return the stated value or the derived one, and note why."""
        self.reasons[key] = f"set in the configuration (plan.{key})" if stated is not None else reason
        return value if stated is None else stated


def make_plan(
    facts: Fingerprint,
    targets: Targets,
    settings: PlanSettings,
    *,
    network: str | None = None,
    network_options: dict[str, Any] | None = None,
) -> Plan:
    """Derive a plan from the fingerprint; stated settings win, key by key.

    Parameters
    ----------
    facts : Fingerprint
        Of the training cases.
    targets : Targets
        What is to be found.
    settings : PlanSettings
        Values that the user fixes.
    network : str, optional
        Network by name; None chooses one for the kind of data and task.
    network_options : dict, optional
        Options for it; they win over derived ones.
    """
    draft = _Draft()
    preparation = (
        _volume(facts, targets, settings, draft) if facts.kind == "volume" else _picture(facts, settings, draft)
    )
    shape = prepared_shape(facts, preparation)
    patch = _patch(shape, facts, targets, settings, draft)
    batch = draft.take("batch_size", settings.batch_size, *_batch(patch or shape))
    options = dict(network_options or {})
    name, options = _network(facts, targets, patch or shape, network, options, draft)
    return Plan(
        preparation=preparation,
        patch=patch,
        batch_size=batch,
        network=name,
        network_options=options,
        reasons=draft.reasons,
        fingerprint=facts,
    )


def _volume(facts: Fingerprint, targets: Targets, settings: PlanSettings, draft: _Draft) -> Preparation:
    spacing, reason = _spacing(facts)
    spacing = draft.take("spacing_mm", settings.spacing_mm, spacing, reason)
    size = settings.size_zyx
    if size is None and targets.kind == "classification":
        extent = np.array(facts.median_shape) * np.array(facts.median_spacing_mm) / np.array(spacing)
        size = [int(np.ceil(value / 8) * 8) for value in extent]
    size = draft.take(
        "size_zyx", settings.size_zyx, size, "classification sees the median field of view, cut or padded"
    )
    return Preparation(
        kind="volume",
        channels=facts.channels,
        spacing_mm=tuple(spacing),
        size_zyx=None if size is None else tuple(size),
        intensity=_volume_intensity(facts, settings, draft),
    )


def _spacing(facts: Fingerprint) -> tuple[list[float], str]:
    median = list(facts.median_spacing_mm or ())
    coarsest = int(np.argmax(median))
    if max(median) > 3 * min(median):
        median[coarsest] = (facts.smallest_spacing_mm or ())[coarsest]
        return _rounded(median), "median spacing; 10th percentile on the one axis that is over 3 times coarser"
    return _rounded(median), f"median spacing of {facts.cases} training cases"


def _volume_intensity(facts: Fingerprint, settings: PlanSettings, draft: _Draft) -> Intensity:
    if facts.unit == "HU":
        window = draft.take(
            "window",
            settings.window,
            [facts.intensity_low[0], facts.intensity_high[0]],
            "0.5 and 99.5 percentile of HU in the training foreground",
        )
        low, high = window
        derived = settings.window is None
        mean = facts.intensity_mean[0] if derived else (low + high) / 2
        std = facts.intensity_std[0] if derived else (high - low) / 4
        return Intensity(rule="window", low=low, high=high, mean=(mean,), std=(std,), outlines=facts.outlines)
    draft.reasons["window"] = "values have no unit: each case is standardised by its own mean and deviation"
    return Intensity(rule="zscore", outlines=facts.outlines)


def _picture(facts: Fingerprint, settings: PlanSettings, draft: _Draft) -> Preparation:
    height, width = facts.median_shape
    shrink = min(1.0, PICTURE_SIDE / max(height, width))
    derived = None if settings.scale is not None else [_multiple(height * shrink, 32), _multiple(width * shrink, 32)]
    size = draft.take(
        "size_yx", settings.size_yx, derived, f"median {height} × {width}, long side at most {PICTURE_SIDE}"
    )
    view = draft.take("field_of_view", settings.field_of_view, False, "frames are used whole")
    draft.reasons["window"] = "pictures: 8-bit values brought to -1 to 1, as the pretrained encoder expects"
    return Preparation(
        kind="picture",
        channels=facts.channels,
        size_yx=None if size is None else tuple(size),
        scale=settings.scale or 1.0,
        field_of_view=view,
        intensity=Intensity(rule="rgb", mean=RGB_MEAN, std=RGB_STD),
    )


def prepared_shape(facts: Fingerprint, preparation: Preparation) -> tuple[int, ...]:
    """Return the spatial shape that the median case has after preparation."""
    if preparation.size_zyx or preparation.size_yx:
        return tuple(preparation.size_zyx or preparation.size_yx or ())
    if preparation.kind == "picture":
        return tuple(int(side * preparation.scale) for side in facts.median_shape)
    extent = np.array(facts.median_shape) * np.array(facts.median_spacing_mm)
    return tuple(round(float(value)) for value in extent / np.array(preparation.spacing_mm))


def _patch(
    shape: tuple[int, ...], facts: Fingerprint, targets: Targets, settings: PlanSettings, draft: _Draft
) -> tuple[int, ...] | None:
    one_size = targets.kind == "classification" or settings.size_zyx is not None
    if one_size or (facts.kind == "picture" and max(shape) <= PICTURE_SIDE):
        patch = draft.take("patch", settings.patch, None, "whole cases: they are small enough")
        return None if patch is None else tuple(patch)
    largest = (PICTURE_SIDE,) * 2 if facts.kind == "picture" else _shrunk(shape)
    multiple = 32 if facts.kind == "picture" else _VOLUME_MULTIPLE[targets.kind]
    derived = [_multiple(min(side, limit), multiple) for side, limit in zip(shape, largest)]
    return tuple(draft.take("patch", settings.patch, derived, f"median prepared shape {shape}, within the memory rule"))


def _shrunk(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Halve the longest axes until the patch has at most PATCH_VOXELS voxels."""
    sides = np.array(shape, float)
    while np.prod(sides) > PATCH_VOXELS:
        sides[np.argmax(sides)] *= 0.9
    return tuple(int(side) for side in sides)


def _batch(shape: tuple[int, ...]) -> tuple[int, str]:
    voxels = int(np.prod(shape))
    limit = 2 * 96**3 if len(shape) == 3 else 8 * 512**2
    batch = int(np.clip(limit // voxels, 2, 16))
    return batch, f"{voxels} voxels a patch, at most {limit} a batch, between 2 and 16 patches"


def _network(
    facts: Fingerprint,
    targets: Targets,
    shape: tuple[int, ...],
    stated: str | None,
    options: dict[str, Any],
    draft: _Draft,
) -> tuple[str, dict[str, Any]]:
    default = NETWORKS[targets.kind, facts.kind]
    name = draft.take("network", stated, default, f"the default for {targets.kind} of {facts.kind}s")
    if name != "unet" or options.get("channels"):
        return name, options
    strides = options.get("strides") or _strides(shape, facts)
    draft.reasons["network_options"] = f"halved while every axis of {shape} keeps 4 voxels and spacing stays near even"
    derived = {"channels": [32 * 2**level for level in range(len(strides) + 1)], "strides": strides}
    return name, derived | options


def _strides(shape: tuple[int, ...], facts: Fingerprint, deepest: int = 4) -> list[list[int]]:
    size = np.array(shape, float)
    spacing = np.array(facts.median_spacing_mm if facts.median_spacing_mm else (1.0,) * len(shape))
    strides: list[list[int]] = []
    while len(strides) < deepest:
        halve = (size >= 8) & (spacing <= 2 * spacing.min())
        if not halve.any():
            break
        strides.append([2 if one else 1 for one in halve])
        size, spacing = np.where(halve, size / 2, size), np.where(halve, spacing * 2, spacing)
    return strides


def _multiple(value: float, of: int) -> int:
    return max(of, round(value / of) * of)


def _rounded(values: list[float]) -> list[float]:
    return [round(float(value), 4) for value in values]
