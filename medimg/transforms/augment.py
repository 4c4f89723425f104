"""Augmentation of whole batches on the device they are on.

Legend: B batch, C channels, D axes, ``*S`` spatial axes (Z, Y, X) or (Y, X), N boxes.

All random numbers are drawn first, on the CPU, into a `Draw`; applying it is a pure function. A sample for which
nothing is drawn costs nothing but its copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medimg.errors import ConfigError
from medimg.transforms.affine import affine_map
from medimg.transforms.bias_field import bias_field
from medimg.transforms.blur import blur
from medimg.transforms.boxes import clip_boxes, map_boxes, mirror_boxes, quarter_turn_boxes
from medimg.transforms.brightness import brightness
from medimg.transforms.colour import colour
from medimg.transforms.contrast import contrast
from medimg.transforms.cutout import cutout
from medimg.transforms.elastic import displacement
from medimg.transforms.gamma import gamma
from medimg.transforms.low_resolution import low_resolution
from medimg.transforms.mirror import mirror, quarter_turn
from medimg.transforms.noise import noise
from medimg.transforms.settings import AugmentSettings
from medimg.transforms.warp import warp

__all__ = ["Augment", "AugmentSettings", "Draw"]


@dataclass(frozen=True)
class Draw:
    """Every random number of one augmented batch: transform name -> parameter name -> Tensor (B, ...).

    `Augment.apply` with the same draw gives the same result, and `sample` cuts out one sample's part, so that each
    augmented sample can be made again from its original.
    """

    parameters: dict[str, dict[str, Tensor]]

    def sample(self, index: int) -> Draw:
        """Return the draw of one sample, for a batch of one."""
        chosen = slice(index, index + 1)
        return Draw({n: {k: v[chosen] for k, v in p.items()} for n, p in self.parameters.items()})

    def record(self, index: int) -> dict[str, dict[str, object]]:
        """Return, in plain numbers, what was applied to one sample; transforms that were not are left out."""
        return {
            name: {key: value[index].tolist() for key, value in values.items() if key != "on"}
            for name, values in self.parameters.items()
            if bool(values["on"][index])
        }


class Augment:
    """Random flips, quarter turns, one warp and intensity changes, drawn for each sample by itself.

    Parameters
    ----------
    settings : AugmentSettings
        Probabilities and ranges.
    spatial_dims : {2, 3}
        Pictures (B, C, Y, X) or volumes (B, C, Z, Y, X).
    spacing : sequence of float, optional
        Spacing per axis in array order; only ratios matter. Default: isotropic.
    outlines : sequence of int
        Channels that hold a drawn outline: they move with the image, their values are left alone.

    Raises
    ------
    ConfigError
        `spatial_dims` and `spacing` do not fit.
    """

    def __init__(
        self,
        settings: AugmentSettings,
        spatial_dims: int,
        spacing: Sequence[float] | None = None,
        outlines: Sequence[int] = (),
    ) -> None:
        steps = tuple(spacing) if spacing is not None else (1.0,) * spatial_dims
        if spatial_dims not in (2, 3) or len(steps) != spatial_dims or min(steps) <= 0:
            raise ConfigError(
                "augmentation needs two or three axes, each with its spacing",
                where="transforms",
                got={"spatial_dims": spatial_dims, "spacing": steps},
            )
        self.settings = settings
        self.spatial_dims = spatial_dims
        self.outlines = list(outlines)
        self.relative_spacing = tuple(float(s) / min(steps) for s in steps)

    def __call__(
        self,
        image: Tensor,
        label: Tensor | None = None,
        boxes: Sequence[Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor | None, list[Tensor] | None]:
        """Draw from a CPU generator and apply; see `apply` for the other arguments and errors.

        Raises
        ------
        ConfigError
            No generator: randomness never comes from torch's global one.
        """
        if generator is None:
            raise ConfigError("augmentation needs a generator", where="Augment(..., generator)")
        return self.apply(self.draw(len(image), image.shape[2:], generator), image, label, boxes)

    def draw(self, batch: int, size: Sequence[int], generator: torch.Generator) -> Draw:
        """Draw all parameters of a batch from a CPU generator.

        Parameters
        ----------
        batch : int
        size : sequence of int
            Spatial size of the images.
        generator : torch.Generator
            On the CPU. The same state gives the same draw on every device.
        """
        s, dims = self.settings, self.spatial_dims
        return Draw(
            {
                "flip": s.flip.draw(batch, dims, generator),
                "quarter_turn": s.quarter_turn.draw(batch, size[-1] == size[-2], generator),
                "affine": s.affine.draw(batch, dims, generator),
                "elastic": s.elastic.draw(batch, generator),
                "bias_field": s.bias_field.draw(batch, generator),
                "blur": s.blur.draw(batch, generator),
                "low_resolution": s.low_resolution.draw(batch, generator),
                "brightness": s.brightness.draw(batch, generator),
                "contrast": s.contrast.draw(batch, generator),
                "gamma": s.gamma.draw(batch, generator),
                "colour": s.colour.draw(batch, generator),
                "noise": s.noise.draw(batch, generator),
                "cutout": s.cutout.draw(batch, dims, generator),
            }
        )

    def apply(
        self,
        draw: Draw,
        image: Tensor,
        label: Tensor | None = None,
        boxes: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None, list[Tensor] | None]:
        """Apply a draw.

        Parameters
        ----------
        draw : Draw
        image : Tensor of float32, B C *S
            Normalised images. Not changed.
        label : Tensor of int, B *S, optional
            Class indices or bit masks; moved with the image by the nearest voxel.
        boxes : sequence of Tensor (N, 2D + E), optional
            (lower..., upper...) in voxel edges, further columns are carried along. Boxes are cut at the borders; one
            whose centre leaves the image comes back empty (all zero), so that the number stays.

        Raises
        ------
        ConfigError
            Boxes together with an elastic deformation, which has no exact effect on them; colour jitter of images
            without three channels.
        """
        if self.settings.elastic.probability > 0 and any(len(each) for each in boxes or ()):
            raise ConfigError(
                "boxes cannot follow an elastic deformation",
                where="transforms.elastic.probability",
                got=self.settings.elastic.probability,
                fix="set transforms.elastic.probability=0 for detection",
            )
        moved = None if boxes is None else list(boxes)
        image, label, moved = self._turn(draw, image.clone(), None if label is None else label.clone(), moved)
        image, label, moved = self._warp(draw, image, label, moved)
        if moved is not None:
            moved = [clip_boxes(each, image.shape[2:]) for each in moved]
        return self._intensity(draw, image), label, moved

    def _turn(
        self, draw: Draw, image: Tensor, label: Tensor | None, boxes: list[Tensor] | None
    ) -> tuple[Tensor, Tensor | None, list[Tensor] | None]:
        size = tuple(image.shape[2:])
        flips, turns = draw.parameters["flip"], draw.parameters["quarter_turn"]
        for on, function, values in (
            (flips["on"], mirror, flips["axes"]),
            (turns["on"], quarter_turn, turns["turns"]),
        ):
            _apply_where(image, on, function, values)
            if label is not None:
                _apply_where(label.unsqueeze(1), on, function, values)
        if boxes is not None:
            boxes = [
                quarter_turn_boxes(mirror_boxes(each, axes, size), count, size)
                for each, axes, count in zip(boxes, flips["axes"].tolist(), turns["turns"].tolist(), strict=True)
            ]
        return image, label, boxes

    def _warp(
        self, draw: Draw, image: Tensor, label: Tensor | None, boxes: list[Tensor] | None
    ) -> tuple[Tensor, Tensor | None, list[Tensor] | None]:
        affine, elastic = draw.parameters["affine"], draw.parameters["elastic"]
        size = tuple(image.shape[2:])
        for group, places in _groups(affine["on"] | elastic["on"], image.device):
            matrix, offset = affine_map({k: v[group] for k, v in affine.items()}, size, self.relative_spacing)
            shift = None
            if elastic["on"][group].any():
                control_points = self.settings.elastic.control_points
                shift = displacement({k: v[group] for k, v in elastic.items()}, size, control_points)
            labels = None if label is None else label[places]
            image[places], warped = warp(image[places], labels, matrix, offset, shift, self.settings.padding)
            if label is not None and warped is not None:
                label[places] = warped
            if boxes is not None:
                for place, one_matrix, one_offset in zip(group.tolist(), matrix, offset, strict=True):
                    boxes[place] = map_boxes(boxes[place], one_matrix, one_offset)
        return image, label, boxes

    def _intensity(self, draw: Draw, image: Tensor) -> Tensor:
        order = self.settings.bias_field.order
        spacing = self.relative_spacing
        steps: tuple[tuple[str, Callable[..., Tensor], tuple[str, ...]], ...] = (
            ("bias_field", lambda x, a, b: bias_field(x, a, b, order), ("strength", "seed")),
            ("blur", lambda x, a: blur(x, a, spacing), ("sigma",)),
            ("low_resolution", low_resolution, ("zoom",)),
            ("brightness", brightness, ("shift",)),
            ("contrast", contrast, ("factor",)),
            ("gamma", gamma, ("exponent", "invert")),
            ("colour", colour, ("matrix",)),
            ("noise", noise, ("std", "seed")),
            ("cutout", cutout, ("side", "place")),
        )
        drawn = image[:, self.outlines].clone()
        for name, function, keys in steps:
            values = draw.parameters[name]
            _apply_where(image, values["on"], function, *(values[key] for key in keys))
        image[:, self.outlines] = drawn
        return image


def _apply_where(image: Tensor, on: Tensor, function: Callable[..., Tensor], *values: Tensor) -> None:
    """Overwrite the samples of ``image`` that are ``on`` (B,) with the function of them and of their values."""
    for group, places in _groups(on, image.device):
        image[places] = function(image[places], *(value[group] for value in values))


def _groups(on: Tensor, device: torch.device) -> Iterator[tuple[Tensor, slice | Tensor]]:
    """Yield which samples to work on together: their numbers, on the CPU, and an index into tensors on the device.

    A CPU gains from single samples (no copies, passes that a sample does not need are left out), a GPU from one batch.
    """
    chosen = torch.nonzero(on).flatten()
    if device.type != "cpu":
        if len(chosen):
            yield chosen, chosen.to(device)
        return
    for number in chosen.tolist():
        yield torch.tensor([number]), slice(number, number + 1)
