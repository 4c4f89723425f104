"""Do the package's final answers equal those of the trained network? Labels, boxes and decisions, on held-out scans.

`medimg.packaging.parity` compares probabilities before post-processing. Here both networks go the whole way of a
prediction, so that thresholds, components and box suppression cannot turn a rounding difference into another answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from medimg.data.cases import Case, read_images
from medimg.data.plan import Plan
from medimg.errors import InputError, MedimgError
from medimg.inference.prediction import Prediction
from medimg.inference.predictor import Predictor
from medimg.io.findings import Finding
from medimg.packaging.package import ModelPackage, revise
from medimg.pipelines.fitting import network_for
from medimg.pipelines.study import Study

COMPARED_CASES = 4
LABELS_DIFFERING = 1e-5
"""Largest part of a case's voxels whose label may differ: those whose probability lies on the threshold."""
BOX_VOXELS, BOX_SCORE = 0.01, 1e-4
"""Largest difference of a box's corner, in voxels, and of its score."""


class TorchSession:
    """The trained network behind the interface of inference's engines."""

    name = "torch"

    def __init__(self, network: nn.Module) -> None:
        self.network = network.float().eval()

    def run(self, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Pass (B, C, *S) through the network and return its outputs."""
        with torch.inference_mode():
            answer = self.network(torch.from_numpy(np.ascontiguousarray(image)))
        tensors = answer if isinstance(answer, tuple | list) else (answer,)
        return [tensor.float().numpy() for tensor in tensors]

    def findings(self) -> tuple[Finding, ...]:
        """Return nothing."""
        return ()


def prove_answers(
    candidate: ModelPackage, predictor: Predictor, study: Study, plan: Plan, weights: Path
) -> ModelPackage:
    """Compare both networks on held-out cases, and note the result in the candidate (its digest stays).

    Parameters
    ----------
    candidate : ModelPackage
        With its thresholds.
    predictor : Predictor
        Of that candidate.
    study, plan
        What was trained.
    weights : Path
        safetensors of the trained network.

    Raises
    ------
    InputError
        An answer differs; names the case.
    """
    network = network_for(study.config, plan, study.targets, pretrained=False)
    network.load_state_dict(load_file(str(weights)))
    trained = replace(predictor, session=TorchSession(network))
    worst, compared = 0.0, 0
    for case in _spread(study.part("held_out")):
        try:
            images = read_images(case, predictor.manifest.preparation.reading)
            ours = predictor.predict(images)
        except MedimgError:
            continue  # Listed among the failures of the held-out part.
        worst = max(worst, difference(ours, trained.predict(images), case.case_id))
        compared += 1
    parity = candidate.manifest.parity
    if parity is None or not compared:
        return candidate
    found = parity.model_copy(update={"answers": compared, "labels_differing": worst})
    return revise(candidate, parity=found)


def _spread(cases: Sequence[Case]) -> list[Case]:
    """Return a few cases from all over the list."""
    chosen = np.linspace(0, len(cases) - 1, min(COMPARED_CASES, len(cases))).astype(int)
    return [cases[int(index)] for index in chosen]


def difference(ours: Prediction, theirs: Prediction, case_id: str) -> float:
    """Return the part of voxels whose label differs, after checking everything that must be equal.

    Raises
    ------
    InputError
        Labels, boxes, decisions or grades differ by more than the tolerances above.
    """
    differing = 0.0
    if ours.labels is not None and theirs.labels is not None:
        differing = float((ours.labels != theirs.labels).mean())
        if differing > LABELS_DIFFERING:
            raise _unequal(case_id, f"{differing:.2g} of the labels", f"at most {LABELS_DIFFERING:g}")
    if [(box.label, box.positive) for box in ours.boxes] != [(box.label, box.positive) for box in theirs.boxes]:
        raise _unequal(case_id, f"{len(ours.boxes)} and {len(theirs.boxes)} boxes", "the same boxes in the same order")
    for a, b in zip(ours.boxes, theirs.boxes):
        apart = float(np.abs(np.subtract(a.box, b.box)).max())
        if apart > BOX_VOXELS or abs(a.score - b.score) > BOX_SCORE:
            raise _unequal(case_id, f"a box {apart:.2g} voxels apart", f"at most {BOX_VOXELS:g}")
    if ours.grade != theirs.grade or ours.decisions != theirs.decisions:
        raise _unequal(case_id, "another grade or decision", "the same")
    return differing


def _unequal(case_id: str, got: str, expected: str) -> InputError:
    return InputError(
        "The package does not give the trained network's answers.",
        where=f"case {case_id}",
        got=got,
        expected=expected,
        fix="export again in float32; a network with operations that depend on the batch cannot be shipped",
    )
