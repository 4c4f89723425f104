"""From a trained network to model.onnx and weights.safetensors.

Legend: B batch, C channels, ``*S`` the spatial axes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.torch import save_file
from torch import nn

from medimg.data.digest import digest_path
from medimg.errors import InputError
from medimg.io.atomic import replacing

OPSET = 18
"""Read by onnxruntime 1.17 and OpenVINO 2024 as well as by those of today."""

INPUT_NAME = "image"


def export_onnx(
    network: nn.Module, example_shape: Sequence[int], path: Path, output_names: Sequence[str] = ("logits",)
) -> str:
    """Write a network as ONNX with a free batch size and free spatial sizes.

    The network is exported in evaluation mode, batch normalisation folded into the convolutions. The graph
    exporter that traces is used: on these networks it gives the same graph as the newer one in a tenth of the time.

    Parameters
    ----------
    network : nn.Module
        float32 (B, C, *S) in, one tensor or a tuple of tensors out.
    example_shape : (B, C, *S)
        A shape that the network accepts; sizes are multiples of its divisor.
    path : Path
        Replaced in one step.
    output_names : sequence of str
        One per output.

    Returns
    -------
    str
        SHA-256 of the file.

    Raises
    ------
    InputError
        The network cannot be written as ONNX, or its graph is bound to the example's size.
    """
    shape = tuple(int(n) for n in example_shape)
    was_training = network.training
    device = next(network.parameters()).device
    network.eval()
    axes = {0: "batch", **{axis: f"size{axis - 2}" for axis in range(2, len(shape))}}
    try:
        with replacing(path) as part, warnings.catch_warnings():
            # Notes to the exporter's own developers; the checks below and the parity report are what counts.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network,
                (torch.zeros(shape, device=device),),
                str(part),
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=list(output_names),
                dynamic_axes={INPUT_NAME: axes, **{name: {0: "batch"} for name in output_names}},
            )
            _check_graph(part, len(shape))
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise InputError(
            "The network cannot be written as ONNX.",
            where=type(network).__name__,
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix="use operations that ONNX knows",
        ) from error
    finally:
        network.train(was_training)
    return digest_path(path)


def _check_graph(path: Path, rank: int) -> None:
    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    free = [bool(size.dim_param) for size in sizes]
    if len(sizes) != rank or free != [axis != 1 for axis in range(rank)]:
        raise InputError("The exported graph is bound to one size.", got=[str(size) for size in sizes])


def save_weights(network: nn.Module, path: Path) -> str:
    """Write all parameters and buffers as safetensors under their own names; return the file's SHA-256."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    with replacing(path) as part:
        save_file(tensors, str(part))
    return digest_path(path)


def peak_bytes_per_voxel(path: Path, shape: Sequence[int]) -> float:
    """Return the peak memory of one pass per input voxel, from the sizes and lifetimes of the graph's tensors.

    Nodes run in the graph's order; a tensor lives from the node that makes it to the last one that reads it.
    A convolution's working memory is not counted.

    Parameters
    ----------
    path : Path
        An ONNX file.
    shape : (B, C, *S)
        Input that is passed through once to learn the sizes; a small one will do.
    """
    model = onnx.load(str(path))
    stated = {value.name for value in model.graph.output}
    made = [name for node in model.graph.node for name in node.output if name and name not in stated]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    image = np.zeros(tuple(shape), dtype=np.float32)
    sizes = {name: value.nbytes for name, value in zip(names, session.run(names, {INPUT_NAME: image}))}
    sizes[INPUT_NAME] = image.nbytes
    last = {name: index for index, node in enumerate(model.graph.node) for name in node.input}
    last |= dict.fromkeys(stated, len(model.graph.node))
    live, peak = {INPUT_NAME}, 0
    for index, node in enumerate(model.graph.node):
        live.update(node.output)
        peak = max(peak, sum(sizes.get(name, 0) for name in live))
        live = {name for name in live if last.get(name, -1) > index}
    return peak / (shape[0] * math.prod(shape[2:]))
