"""Networks by name.

A network maps float32 (B, C, *S) to logits and has ``divisor``, what the input's size must be a multiple of per axis.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from medimg.errors import ConfigError, nearest
from medimg.models.monai_networks import BUILDERS as MONAI_BUILDERS

TIMM_PREFIX = "timm:"
_FIXED = ("in_channels", "out_channels", "spatial_dims")


def _unet(in_channels: int, out_channels: int, spatial_dims: int, **options: Any) -> nn.Module:
    from medimg.models.unet import ResidualUNet

    return _call(ResidualUNet, options, in_channels=in_channels, out_channels=out_channels, spatial_dims=spatial_dims)


def _unet2d(in_channels: int, out_channels: int, spatial_dims: int, **options: Any) -> nn.Module:
    from medimg.models.unet2d import UNet2d

    _require_dims("unet2d", spatial_dims, 2)
    network = _call(UNet2d, options, in_channels=in_channels, out_channels=out_channels)
    return _divided(network, (32, 32))


def _classifier2d(in_channels: int, out_channels: int, spatial_dims: int, **options: Any) -> nn.Module:
    from medimg.models.classifier2d import Classifier2d

    _require_dims("classifier2d", spatial_dims, 2)
    network = _call(Classifier2d, options, in_channels=in_channels, out_channels=out_channels)
    return _divided(network, (32, 32))


def _classifier3d(in_channels: int, out_channels: int, spatial_dims: int, **options: Any) -> nn.Module:
    from medimg.models.classifier3d import VolumeClassifier

    _require_dims("classifier3d", spatial_dims, 3)
    return _call(VolumeClassifier, options, in_channels=in_channels, out_channels=out_channels)


def _classifier_planes(in_channels: int, out_channels: int, spatial_dims: int, **options: Any) -> nn.Module:
    from medimg.models.classifier_planes import PlaneClassifier

    _require_dims("classifier_planes", spatial_dims, 3)
    return _call(PlaneClassifier, options, in_channels=in_channels, out_channels=out_channels)


def _retinanet(in_channels: int, out_channels: int, spatial_dims: int, **options: Any) -> nn.Module:
    from medimg.models.retinanet import RetinaNet

    return _call(RetinaNet, options, in_channels=in_channels, out_channels=out_channels, spatial_dims=spatial_dims)


_OWN: dict[str, Callable[..., nn.Module]] = {
    "unet": _unet,
    "unet2d": _unet2d,
    "classifier2d": _classifier2d,
    "classifier3d": _classifier3d,
    "classifier_planes": _classifier_planes,
    "retinanet": _retinanet,
}


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of networks that match a shell pattern, sorted; any ``timm:<name>`` comes on top.

    >>> list_models("classifier*")
    ['classifier2d', 'classifier3d', 'classifier_planes']
    """
    return sorted(name for name in (*_OWN, *MONAI_BUILDERS) if fnmatchcase(name, pattern))


def build(name: str, *, in_channels: int, out_channels: int, spatial_dims: int, **options: Any) -> nn.Module:
    """Build a network.

    Parameters
    ----------
    name : str
        One of `list_models`, or ``timm:<name>`` for a picture classifier of timm.
    in_channels, out_channels : int
        Channels of the image; logits (classes of a detector).
    spatial_dims : {2, 3}
        Pictures or volumes.
    **options
        The network's own settings.

    Returns
    -------
    nn.Module
        Untrained, on the CPU, with the attribute ``divisor``.

    Raises
    ------
    ConfigError
        Unknown name or option, or a value that the network refuses.
    MissingDependency
        A timm network without timm.
    """
    if spatial_dims not in (2, 3):
        raise ConfigError("a network has two or three dimensions", where="model.spatial_dims", got=spatial_dims)
    channels = {"in_channels": in_channels, "out_channels": out_channels, "spatial_dims": spatial_dims}
    if name.startswith(TIMM_PREFIX):
        return _timm(name.removeprefix(TIMM_PREFIX), **channels, **options)
    if name in _OWN:
        return _OWN[name](**channels, **options)
    if name in MONAI_BUILDERS:
        return _call(MONAI_BUILDERS[name], options, **channels)
    raise ConfigError(
        "unknown network", where="model.name", got=name, expected=nearest(name, (*list_models(), "timm:<name>"))
    )


def _timm(name: str, in_channels: int, out_channels: int, spatial_dims: int, **options: Any) -> nn.Module:
    from medimg.models.encoders import import_timm

    timm = import_timm()
    _require_dims(TIMM_PREFIX + name, spatial_dims, 2)
    if not timm.is_model(name):
        raise ConfigError(
            "timm has no such network",
            where="model.name",
            got=name,
            expected=nearest(name, timm.list_models(f"{name[:4]}*")),
        )
    _check_options(("drop_rate", "drop_path_rate"), options)
    network = timm.create_model(name, pretrained=False, in_chans=in_channels, num_classes=out_channels, **options)
    return _divided(network, (32, 32))


def _call(builder: Callable[..., nn.Module], options: dict[str, Any], **fixed: Any) -> nn.Module:
    """Call a network's constructor; turn its complaints into errors that name the option."""
    _check_options([p for p in inspect.signature(builder).parameters if p not in _FIXED], options)
    try:
        return builder(**fixed, **options)
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError) as error:
        raise ConfigError(
            "the network refuses its settings",
            where="model",
            got={**fixed, **options},
            expected=str(error).splitlines()[0] if str(error) else type(error).__name__,
        ) from error


def _check_options(valid: Any, options: dict[str, Any]) -> None:
    for option in options:
        if option not in valid:
            raise ConfigError(
                f"the network has no option '{option}'",
                where=f"model.{option}",
                got=option,
                expected=nearest(option, valid),
            )


def _require_dims(name: str, got: int, expected: int) -> None:
    if got != expected:
        raise ConfigError(
            f"network '{name}' is for {'pictures' if expected == 2 else 'volumes'}",
            where="model.spatial_dims",
            got=got,
            expected=expected,
        )


def _divided(network: nn.Module, divisor: tuple[int, ...]) -> nn.Module:
    network.divisor = divisor  # type: ignore[assignment]
    return network
