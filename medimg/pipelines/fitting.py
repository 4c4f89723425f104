"""From configuration and plan to network, task, augmentation, and the fitted weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from medimg.data.plan import Plan
from medimg.data.store import PreparedCase
from medimg.data.targets import Targets
from medimg.errors import ConfigError, InputError
from medimg.inference.boxes import Anchors
from medimg.models.registry import build
from medimg.pipelines.config import ExperimentConfig
from medimg.pipelines.steps import write_json
from medimg.training.classification import ClassificationTask
from medimg.training.fit import FitResult, fit
from medimg.training.segmentation import SegmentationTask
from medimg.training.settings import FitSettings
from medimg.training.task import Task
from medimg.transforms.augment import Augment, AugmentSettings


def spatial_dims(plan: Plan) -> int:
    """Return 3 for volumes, 2 for pictures."""
    return 3 if plan.preparation.kind == "volume" else 2


def network_for(config: ExperimentConfig, plan: Plan, targets: Targets, *, pretrained: bool) -> nn.Module:
    """Build the network that the plan names; the weights it starts from depend on ``trainer.seed`` alone.

    Parameters
    ----------
    pretrained : bool
        Load the encoder weights that the configuration names. False where trained weights follow.

    Raises
    ------
    ConfigError
        Pretrained weights are asked for a network without such an encoder.
    """
    torch.manual_seed(config.trainer.seed)
    network = build(
        plan.network,
        in_channels=len(plan.preparation.channels),
        out_channels=targets.output_channels,
        spatial_dims=spatial_dims(plan),
        **plan.network_options,
    )
    if pretrained and config.model.pretrained:
        encoder = getattr(network, "encoder", None)
        if not hasattr(encoder, "load_pretrained"):
            raise ConfigError(
                "this network has no encoder that pretrained weights fit",
                where="model.pretrained",
                got=plan.network,
                fix="model.pretrained=null, or a network on an EfficientNet-Lite encoder",
            )
        stated = config.model.pretrained
        encoder.load_pretrained(None if stated == "installed" else Path(stated))  # type: ignore[union-attr]
    return network


def task_for(config: ExperimentConfig, targets: Targets, anchors: Anchors | None) -> Task:
    """Return the training task of the targets; detection needs its anchors."""
    loss = config.task.loss
    if targets.kind == "segmentation":
        return SegmentationTask(
            labels=targets.names,
            mode=targets.mode,
            dice_weight=loss.dice,
            entropy_weight=loss.cross_entropy,
            label_weights=None if loss.class_weights is None else tuple(loss.class_weights),
        )
    if targets.kind == "classification":
        return ClassificationTask(
            target=targets.names[0],
            classes=targets.classes,
            mode=targets.mode,
            label_smoothing=loss.label_smoothing,
            class_weights=None if loss.class_weights is None else tuple(loss.class_weights),
            metric_name=config.task.metric,
        )
    # Imported here, since its anchors and matcher bring MONAI's detection parts along (seconds).
    from medimg.training.detection import DetectionTask

    if anchors is None:
        raise ConfigError("a detection task needs anchors", where="task")
    return DetectionTask(labels=targets.names, anchors=anchors)


def augment_for(config: ExperimentConfig, plan: Plan) -> Augment | None:
    """Return the augmentation: a preset, with single values on top."""
    values = dict(config.transforms)
    level = str(values.pop("preset", "none"))
    settings = AugmentSettings.preset(level, plan.preparation.kind).updated(values)
    if level == "none" and not values:
        return None
    return Augment(settings, spatial_dims(plan), plan.preparation.spacing_mm, plan.preparation.intensity.outlines)


def settings_for(config: ExperimentConfig, plan: Plan) -> FitSettings:
    """Return the trainer's settings with the plan's patch and batch.

    Raises
    ------
    ConfigError
        Patch or batch were set on the trainer; they belong to the plan.
    """
    default = FitSettings()
    for key in ("patch", "batch_size"):
        if getattr(config.trainer, key) != getattr(default, key):
            raise ConfigError(f"{key} belongs to the plan", where=f"trainer.{key}", fix=f"set plan.{key} instead")
    return replace(config.trainer, patch=plan.patch, batch_size=plan.batch_size)


def fit_plan(
    config: ExperimentConfig,
    plan: Plan,
    targets: Targets,
    train: Sequence[PreparedCase],
    tuning: Sequence[PreparedCase],
    run: Path,
    *,
    resume: bool,
) -> FitResult:
    """Train the planned network and keep its best weights."""
    arguments: dict[str, Any] = {
        "intensity": plan.preparation.intensity,
        "augment": augment_for(config, plan),
        "resume": resume,
    }
    network = network_for(config, plan, targets, pretrained=True)
    anchors = fitted_anchors(network, train, run) if targets.kind == "detection" else None
    task = task_for(config, targets, anchors)
    return fit(settings_for(config, plan), task, network, train, tuning, run, **arguments)


def fitted_anchors(network: nn.Module, train: Sequence[PreparedCase], run: Path) -> Anchors:
    """Fit anchor sizes to the training boxes; they are kept in ``anchors.json`` for the package.

    Raises
    ------
    InputError
        No training case has a box.
    """
    from medimg.training.detection_anchors import fit_anchors

    half = [np.asarray(case.boxes).reshape(len(case.boxes), 2, -1) for case in train if len(case.boxes)]
    if not half:
        raise InputError("no training case has a box", where="task.names", fix="check the masks or boxes of the cohort")
    corners = np.concatenate(half)
    strides: Sequence[Sequence[int]] = getattr(network, "strides", ())
    anchors: Anchors = fit_anchors(corners[:, 1] - corners[:, 0], strides=strides)
    write_json(run / "anchors.json", anchors.model_dump(mode="json"))
    return anchors
