"""Does the exported graph give the trained network's answers? Proved on real inputs, or the package is not made.

Legend: B batch, C channels, K outputs, ``*S`` the spatial axes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from medimg.errors import InputError
from medimg.packaging.manifest import Parity

TOLERANCE = 1e-4
"""Largest difference of a probability that is taken for rounding."""

Activation = Literal["sigmoid", "softmax", "none"]


def check_parity(
    network: nn.Module,
    onnx_path: Path,
    inputs: Iterable[NDArray[np.float32]],
    activation: Activation,
    tolerance: float = TOLERANCE,
) -> Parity:
    """Compare torch and onnxruntime on given inputs.

    Parameters
    ----------
    network : nn.Module
        The network that was exported.
    onnx_path : Path
        Its graph.
    inputs : iterable of (B, C, *S) ndarray of float32
        Normalised scans, best real ones.
    activation : {'sigmoid', 'softmax', 'none'}
        From logits to the probabilities that are compared. Of several outputs the first is activated.
    tolerance : float
        Largest difference that passes.

    Returns
    -------
    Parity
        For the package's manifest.

    Raises
    ------
    InputError
        A difference above the tolerance, an answer that is not finite, or no input at all.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    worst, cases = 0.0, 0
    try:
        for image in inputs:
            with torch.inference_mode():
                answer = network(torch.from_numpy(np.ascontiguousarray(image)).to(device))
            tensors = answer if isinstance(answer, tuple | list) else (answer,)
            theirs = [tensor.float().cpu().numpy() for tensor in tensors]
            ours = session.run(None, {name: image})
            worst = max(worst, _difference(theirs, ours, activation))
            cases += 1
    finally:
        network.train(was_training)
    if cases == 0:
        raise InputError("Parity needs one scan or more.", where=onnx_path)
    if not worst <= tolerance:
        raise InputError(
            "The exported graph does not give the trained network's answers.",
            where=onnx_path,
            got=f"a largest difference of {worst:.3g}",
            expected=f"at most {tolerance:g}",
            fix="export again in float32; a network with operations that depend on the batch cannot be shipped",
        )
    return Parity(max_abs_difference=worst, cases=cases)


def _difference(theirs: list[NDArray[Any]], ours: list[NDArray[Any]], activation: Activation) -> float:
    if [each.shape for each in theirs] != [each.shape for each in ours]:
        return float("inf")
    worst = 0.0
    for index, (a, b) in enumerate(zip(theirs, ours)):
        if index == 0:
            a, b = _activate(a, activation), _activate(b, activation)
        gap = np.abs(a.astype(np.float64) - b)
        worst = max(worst, float(gap.max(initial=0.0)) if np.isfinite(gap).all() else float("inf"))
    return worst


def _activate(logits: NDArray[Any], activation: Activation) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    if activation == "sigmoid":
        return 1.0 / (1.0 + np.exp(-np.clip(wide, -60, 60)))
    if activation == "softmax":
        powers = np.exp(wide - wide.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
    return wide
