"""How a scan becomes the array that a network sees: the part that training and inference share.

The same specification stands in the plan, in the store's key and in the model package, so that a study is
prepared at inference by the very code that prepared the training data.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from medimg.io.policy import STRICT, ReadPolicy


class Intensity(BaseModel):
    """Rule from stored values to network input.

    ``window`` clips to [low, high] (HU for CT), then standardises with ``mean`` and ``std``.
    ``zscore`` standardises every case by its own mean and standard deviation per channel.
    ``rgb`` divides by 255 (or 65535), then standardises with ``mean`` and ``std`` per channel.
    ``outlines`` are the indices of channels that hold a drawn outline instead of an intensity: they are stored as
    0 (outside) to 255 (inside) and reach the network as -1 to 1, whatever the rule.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Literal["window", "zscore", "rgb"]
    low: float | None = None
    high: float | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    outlines: tuple[int, ...] = ()


class Preparation(BaseModel):
    """Geometry and intensity of prepared arrays.

    Attributes
    ----------
    kind : {'volume', 'picture'}
        (C, Z, Y, X) or (C, Y, X).
    channels : tuple of str
        Names of the input channels, in order.
    spacing_mm : (z, y, x) or None
        Volumes are turned to LPS axis order and resampled to this; None keeps the source spacing.
    size_zyx : (z, y, x) or None
        Volumes: centre crop or pad to this after resampling (classification of volumes of interest).
    size_yx : (y, x) or None
        Pictures: resize to exactly this.
    scale : float
        Pictures: factor on both sides where ``size_yx`` is None (0.5 halves the picture).
    field_of_view : bool
        Pictures: crop to the camera's field of view first.
    intensity : Intensity
        Rule from stored values to network input.
    reading : ReadPolicy
        What is done where the slices of a series are not what a volume needs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["volume", "picture"]
    channels: tuple[str, ...] = Field(min_length=1)
    spacing_mm: tuple[float, float, float] | None = None
    size_zyx: tuple[int, int, int] | None = None
    size_yx: tuple[int, int] | None = None
    scale: float = Field(default=1.0, gt=0)
    field_of_view: bool = False
    intensity: Intensity
    reading: ReadPolicy = STRICT

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the default policy out: packages and stores from before it was stated keep their digests."""
        values: dict[str, Any] = handler(self)
        if self.reading == STRICT:
            values.pop("reading", None)
        return values

    @property
    def outlines(self) -> tuple[str, ...]:
        """Names of the channels that hold a drawn outline."""
        return tuple(self.channels[index] for index in self.intensity.outlines)
