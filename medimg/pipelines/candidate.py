"""From fitted weights to a candidate package: ONNX, parity with torch, manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from medimg import __version__
from medimg.data.digest import digest_path, digest_value
from medimg.data.plan import Plan
from medimg.data.prepare import normalise
from medimg.data.store import PreparedCase
from medimg.packaging.export import OPSET, export_onnx, peak_bytes_per_voxel, save_weights
from medimg.packaging.manifest import (
    Label,
    Network,
    PackageManifest,
    Postprocessing,
    Provenance,
    TaskSpec,
    Tiling,
)
from medimg.packaging.package import ModelPackage, create, revise
from medimg.packaging.parity import check_parity
from medimg.pipelines.config import ExperimentConfig
from medimg.pipelines.fitting import network_for, spatial_dims
from medimg.pipelines.study import Study

PARITY_CASES = 4


def export_candidate(
    study: Study, plan: Plan, weights: Path, checked_on: Sequence[PreparedCase], run: Path
) -> ModelPackage:
    """Export the best weights and prove that the exported network gives the same answers.

    Parameters
    ----------
    study, plan
        What was trained.
    weights : Path
        safetensors under the network's own tensor names.
    checked_on : sequence of PreparedCase
        Real scans that parity is measured on.
    run : Path
        Gets ``model.onnx``, ``weights.safetensors`` and ``NAME.candidate.medimg``.

    Raises
    ------
    InputError
        The exported network differs by more than 1e-4 in a probability.
    """
    network = network_for(study.config, plan, study.targets, pretrained=False)
    network.load_state_dict(load_file(str(weights)))
    network = network.float().eval()
    divisor = tuple(getattr(network, "divisor", (1,) * spatial_dims(plan)))
    outputs = ("class_logits", "box_deltas") if study.targets.kind == "detection" else ("logits",)
    onnx = run / "model.onnx"
    shape = (1, len(plan.preparation.channels), *(max(4 * step, 32) // step * step for step in divisor))
    onnx_sha256 = export_onnx(network, shape, onnx, outputs)
    weights_sha256 = save_weights(network, run / "weights.safetensors")
    manifest = PackageManifest(
        name=study.config.name,
        version=study.config.release.version,
        modality=study.config.data.modality,
        intended_use=study.config.release.intended_use,
        task=task_spec(study, plan),
        preparation=plan.preparation,
        tiling=tiling_for(study.config, plan, network, divisor, peak_bytes_per_voxel(onnx, shape)),
        postprocessing=Postprocessing(
            min_component_voxels=dict(study.config.inference.min_component),
            keep_largest=tuple(study.config.inference.keep_largest),
        ),
        anchors=json.loads((run / "anchors.json").read_text()) if study.targets.kind == "detection" else None,
        network=Network(name=plan.network, options=plan.network_options, onnx_opset=OPSET, outputs=outputs),
        provenance=provenance(study, run),
        weights_sha256=weights_sha256,
        onnx_sha256=onnx_sha256,
    )
    candidate = create(
        run,
        manifest,
        onnx=onnx,
        weights=run / "weights.safetensors",
        config=(run / "config.yaml").read_text(),
        overwrite=True,
    )
    activation: Literal["softmax", "sigmoid"] = "softmax" if study.targets.mode == "multiclass" else "sigmoid"
    arrays = _inputs(checked_on[:PARITY_CASES], plan, divisor)
    return revise(candidate, parity=check_parity(network, onnx, arrays, activation))


def with_thresholds(candidate: ModelPackage, thresholds: dict[str, float]) -> ModelPackage:
    """Return the candidate with operating points; its digest changes."""
    post = candidate.manifest.postprocessing
    return revise(candidate, postprocessing=post.model_copy(update={"thresholds": thresholds}))


def task_spec(study: Study, plan: Plan) -> TaskSpec:
    """Describe the task for the manifest; codes come from the cohort's labels."""
    targets = study.targets
    rows = study.cohort.labels[study.cohort.labels["label_code"].notna()]
    codes = dict(zip(rows["name"], rows["label_code"]))
    first = 1 if targets.mode == "multiclass" and targets.kind == "segmentation" else 0
    if targets.kind == "classification" and targets.mode != "binary":
        names = [f"{targets.names[0]}={number}" for number in range(targets.classes)]
    else:
        names = list(targets.names)
    return TaskSpec(
        kind=targets.kind,
        mode=targets.mode,
        spatial_dims=3 if plan.preparation.kind == "volume" else 2,
        labels=tuple(Label(name=name, index=first + i, code=codes.get(name)) for i, name in enumerate(names)),
        target=targets.names[0] if targets.kind == "classification" else None,
        positive_from=min(targets.positive_grades) if targets.mode == "ordinal" else None,
        negative_to=max(targets.negative_grades) if targets.mode == "ordinal" else None,
    )


def tiling_for(
    config: ExperimentConfig, plan: Plan, network: nn.Module, divisor: tuple[int, ...], bytes_per_voxel: float
) -> Tiling:
    """Return how scans pass through the network: whole where memory allows, else in tiles with halos.

    The halo is the receptive field where the network states it, rounded up to the divisor: then tiles equal the whole
    pass. A stated smaller one is a truncation.
    """
    settings = config.inference
    flips = tuple(tuple(flip) for flip in settings.flips)
    if settings.tile is None:
        return Tiling(divisor=divisor, flips=flips, bytes_per_voxel=bytes_per_voxel)
    field = settings.halo or list(getattr(network, "receptive_halo", divisor))
    halo = tuple(-(-int(border) // step) * step for border, step in zip(field, divisor))
    tile = tuple(-(-int(side) // step) * step for side, step in zip(settings.tile, divisor))
    return Tiling(mode="tiles", tile=tile, halo=halo, divisor=divisor, flips=flips, bytes_per_voxel=bytes_per_voxel)


def provenance(study: Study, run: Path) -> Provenance:
    """Return what produced the weights, with training subjects by ancestry group."""
    train = study.split[study.split["split"] == "train"]
    people = study.cohort.subjects[study.cohort.subjects["subject_id"].isin(set(train["subject_id"]))]
    groups = people["ancestry_group"].fillna("unknown").value_counts().sort_index()
    return Provenance(
        medimg_version=__version__,
        torch_version=str(torch.__version__),
        created=datetime.now(UTC),
        experiment=study.config.name,
        config_sha256=digest_path(run / "config.yaml"),
        cohort_sha256=digest_value(sorted(study.cohort.images["sha256"].astype(str))),
        split_sha256=digest_path(run / "split.csv"),
        training_subjects=int(train["subject_id"].nunique()),
        training_groups={str(name): int(count) for name, count in groups.items()},
    )


def _inputs(cases: Sequence[PreparedCase], plan: Plan, divisor: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    """Yield normalised scans (1, C, *S), cut to at most the patch (or 512 along an axis) and to the divisor."""
    limit = plan.patch or (512,) * len(divisor)
    for case in cases:
        image: NDArray[Any] = np.asarray(case.image)
        cut = [
            slice(0, max(step, min(size, top) // step * step))
            for size, top, step in zip(image.shape[1:], limit, divisor)
        ]
        array = normalise(image, plan.preparation.intensity, case.stats)[(slice(None), *cut)]
        short = [(0, 0), *((0, step - size) if size < step else (0, 0) for size, step in zip(array.shape[1:], divisor))]
        yield np.pad(array, short)[None]
