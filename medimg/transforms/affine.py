"""Random affine maps: rotation, scale, shear and translation, aware of the voxels' spacing.

Legend: n samples, D axes, u position in voxel edges (voxel i covers [i, i + 1], its centre is i + 0.5).

A map goes from the result to the source, ``u_source = matrix @ u_result + offset``, which is what resampling needs;
`boxes` uses its inverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medimg.errors import ConfigError
from medimg.transforms.sampling import chance, log_uniform, uniform

MAX_TILT_DEGREES = 60.0
"""Beyond this a volume cannot be resampled plane by plane (see `warp`); quarter turns are exact and separate."""


@dataclass
class Affine:
    """Ranges of the map. Each part has its own probability; angles are in degrees of patient space.

    Pictures turn by ``rotation_z_degrees``. A turn of a volume about y or x mixes slices: keep it 0 for thick ones.
    ``scale`` above 1 enlarges. ``translation`` is a fraction of the side.
    """

    rotation_probability: float = 0.0
    rotation_z_degrees: tuple[float, float] = (-15.0, 15.0)
    rotation_y_degrees: tuple[float, float] = (0.0, 0.0)
    rotation_x_degrees: tuple[float, float] = (0.0, 0.0)
    scale_probability: float = 0.0
    scale: tuple[float, float] = (0.85, 1.18)
    scale_per_axis: bool = False
    shear_probability: float = 0.0
    shear: tuple[float, float] = (-0.08, 0.08)
    translation_probability: float = 0.0
    translation: tuple[float, float] = (-0.1, 0.1)

    def draw(self, batch: int, dims: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``on`` (B,), ``rotation_rad`` (B, R), ``scale`` (B, D), ``shear`` (B, D, D), ``translation`` (B, D).

        R is 1 for pictures and 3 (about z, y, x) for volumes. What was not drawn is the identity.

        Raises
        ------
        ConfigError
            A volume's range about y or x goes beyond `MAX_TILT_DEGREES`.
        """
        self._check_tilt()
        ranges = (self.rotation_z_degrees, self.rotation_y_degrees, self.rotation_x_degrees)[: 1 if dims == 2 else 3]
        turned, scaled, sheared, moved = (
            chance(p, batch, generator)
            for p in (
                self.rotation_probability,
                self.scale_probability,
                self.shear_probability,
                self.translation_probability,
            )
        )
        rotation = torch.deg2rad(torch.stack([uniform(r, (batch,), generator) for r in ranges], dim=1))
        factors = log_uniform(self.scale, (batch, dims if self.scale_per_axis else 1), generator)
        shear = uniform(self.shear, (batch, dims, dims), generator) * (1.0 - torch.eye(dims))
        translation = uniform(self.translation, (batch, dims), generator)
        return {
            "on": turned | scaled | sheared | moved,
            "rotation_rad": rotation * turned[:, None],
            "scale": torch.where(scaled[:, None], factors.expand(batch, dims), torch.ones(())),
            "shear": shear * sheared[:, None, None],
            "translation": translation * moved[:, None],
        }

    def _check_tilt(self) -> None:
        for name in ("rotation_y_degrees", "rotation_x_degrees"):
            if max(abs(angle) for angle in getattr(self, name)) > MAX_TILT_DEGREES:
                raise ConfigError(
                    "a volume is tilted too far",
                    where=f"transforms.affine.{name}",
                    got=getattr(self, name),
                    expected=f"at most {MAX_TILT_DEGREES:g} degrees either way",
                )


def affine_map(parameters: dict[str, Tensor], size: Sequence[int], spacing: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return the map from the result's voxel-edge positions to the source's.

    Parameters
    ----------
    parameters : dict of Tensor
        As `Affine.draw` returns.
    size, spacing : sequence
        Voxels and spacing per axis, in array order. The spacing keeps rotations rigid in patient space.

    Returns
    -------
    matrix : Tensor of float64, (n, D, D)
    offset : Tensor of float64, (n, D)
        The centre of the image is the fixed point of everything but the translation.
    """
    dims = len(size)
    lengths = torch.tensor(list(size), dtype=torch.float64)
    steps = torch.tensor(list(spacing), dtype=torch.float64)
    turn = rotation_matrix(parameters["rotation_rad"].double(), dims)
    shear = torch.eye(dims, dtype=torch.float64) + parameters["shear"].double()
    forward = turn @ shear @ torch.diag_embed(parameters["scale"].double())
    matrix = torch.linalg.inv(forward) * steps / steps[:, None]
    centre = lengths / 2
    moved = centre + parameters["translation"].double() * lengths
    return matrix, centre - torch.einsum("nij,nj->ni", matrix, moved)


def rotation_matrix(rotation_rad: Tensor, dims: int) -> Tensor:
    """Return rotations (n, D, D) in axis order (z, y, x) or (y, x); turns about z, then y, then x."""
    planes = ((0, 1),) if dims == 2 else ((1, 2), (0, 2), (0, 1))
    result = torch.eye(dims, dtype=rotation_rad.dtype).repeat(len(rotation_rad), 1, 1)
    for index, (first, second) in enumerate(planes):
        cosine, sine = torch.cos(rotation_rad[:, index]), torch.sin(rotation_rad[:, index])
        turn = torch.eye(dims, dtype=rotation_rad.dtype).repeat(len(rotation_rad), 1, 1)
        turn[:, first, first], turn[:, second, second] = cosine, cosine
        turn[:, first, second], turn[:, second, first] = -sine, sine
        result = turn @ result
    return result
