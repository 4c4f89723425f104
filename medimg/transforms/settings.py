"""What an augmentation may do, and how strongly: one dataclass that a configuration fills."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from medimg.errors import ConfigError, nearest
from medimg.transforms.affine import Affine
from medimg.transforms.bias_field import BiasField
from medimg.transforms.blur import Blur
from medimg.transforms.brightness import Brightness
from medimg.transforms.colour import Colour
from medimg.transforms.contrast import Contrast
from medimg.transforms.cutout import Cutout
from medimg.transforms.elastic import Elastic
from medimg.transforms.gamma import Gamma
from medimg.transforms.low_resolution import LowResolution
from medimg.transforms.mirror import Flip, QuarterTurn
from medimg.transforms.noise import Noise
from medimg.transforms.warp import PADDINGS

LEVELS = ("none", "light", "strong")
KINDS = ("volume", "picture")


def _light_affine() -> Affine:
    return Affine(
        rotation_probability=0.3,
        scale_probability=0.3,
        translation_probability=0.2,
        translation=(-0.05, 0.05),
    )


@dataclass
class AugmentSettings:
    """Settings of `Augment`; as constructed they are the light preset, without flips, for any kind of image.

    Flips are off unless asked for, since anatomy has sides. ``padding`` is what lies outside a warped image.
    """

    flip: Flip = field(default_factory=Flip)
    quarter_turn: QuarterTurn = field(default_factory=QuarterTurn)
    affine: Affine = field(default_factory=_light_affine)
    elastic: Elastic = field(default_factory=Elastic)
    brightness: Brightness = field(default_factory=lambda: Brightness(0.2, (-0.2, 0.2)))
    contrast: Contrast = field(default_factory=lambda: Contrast(0.2, (0.8, 1.25)))
    gamma: Gamma = field(default_factory=lambda: Gamma(0.2, (0.8, 1.25), 0.25))
    noise: Noise = field(default_factory=lambda: Noise(0.1, (0.0, 0.1)))
    blur: Blur = field(default_factory=Blur)
    low_resolution: LowResolution = field(default_factory=LowResolution)
    bias_field: BiasField = field(default_factory=BiasField)
    colour: Colour = field(default_factory=Colour)
    cutout: Cutout = field(default_factory=Cutout)
    padding: str = "border"

    def __post_init__(self) -> None:
        if self.padding not in PADDINGS:
            raise ConfigError(
                "unknown padding",
                where="transforms.padding",
                got=self.padding,
                expected=nearest(self.padding, PADDINGS),
            )

    @classmethod
    def preset(cls, level: str, kind: str) -> AugmentSettings:
        """Return the settings of a preset.

        Parameters
        ----------
        level : {'none', 'light', 'strong'}
            ``strong`` turns on every transform that suits the kind; still no bias field (set it for MR).
        kind : {'volume', 'picture'}
            Pictures are flipped in both axes and jittered in colour; volumes are neither.

        Raises
        ------
        ConfigError
            Unknown level or kind.
        """
        for name, value, valid in (("level", level, LEVELS), ("kind", kind, KINDS)):
            if value not in valid:
                raise ConfigError(
                    f"unknown {name} of augmentation",
                    where=f"transforms.{name}",
                    got=value,
                    expected=nearest(value, valid),
                )
        if level == "none":
            return _nothing()
        settings = cls() if level == "light" else _strong()
        if kind == "picture":
            settings.flip = Flip((0.0, 0.5, 0.5))
            settings.colour = Colour(0.5) if level == "strong" else Colour(0.3, (0.9, 1.11), (-4.0, 4.0), 0.03)
        return settings

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> AugmentSettings:
        """Return settings from nested names, such as a configuration holds; what is left out is not applied.

        Raises
        ------
        ConfigError
            A name that does not exist, with the nearest one that does.
        """
        return _nothing().updated(values)

    def updated(self, values: Mapping[str, Any]) -> AugmentSettings:
        """Return a copy in which nested names have other values; errors as in `from_mapping`."""
        settings = copy.deepcopy(self)
        _fill(settings, values, "transforms")
        settings.__post_init__()
        return settings


def _nothing() -> AugmentSettings:
    return AugmentSettings(affine=Affine(), brightness=Brightness(), contrast=Contrast(), gamma=Gamma(), noise=Noise())


def _strong() -> AugmentSettings:
    return AugmentSettings(
        affine=Affine(
            rotation_probability=0.4,
            rotation_z_degrees=(-30.0, 30.0),
            rotation_y_degrees=(-15.0, 15.0),
            rotation_x_degrees=(-15.0, 15.0),
            scale_probability=0.4,
            scale=(0.7, 1.4),
            shear_probability=0.15,
            translation_probability=0.2,
        ),
        elastic=Elastic(0.15),
        brightness=Brightness(0.3),
        contrast=Contrast(0.3),
        gamma=Gamma(0.3),
        noise=Noise(0.2, (0.0, 0.2)),
        blur=Blur(0.2),
        low_resolution=LowResolution(0.2),
    )


def _fill(target: Any, values: Mapping[str, Any], where: str) -> None:
    names = [f.name for f in fields(target)]
    for name, value in values.items():
        if name not in names:
            raise ConfigError(
                "unknown augmentation setting", where=f"{where}.{name}", got=name, expected=nearest(name, names)
            )
        current = getattr(target, name)
        if not is_dataclass(current):
            setattr(target, name, _as_tuples(value))
        elif isinstance(value, Mapping):
            _fill(current, value, f"{where}.{name}")
        else:
            setattr(target, name, value)


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value
