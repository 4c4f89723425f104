"""Resampling of a batch through an affine map with an optional displacement.

Legend: n samples, C channels, D axes, Z Y X (or Y X) spatial axes, u position in voxel edges.

A picture is resampled in one `grid_sample`. A volume is resampled in two: first every slice within its own (y, x)
plane, then along z. Both together are the same affine map (the positions in the first pass are chosen such that the
second completes it; Catmull and Smith, "3-D transformations of images in scanline order", 1980), each axis is
interpolated linearly once, and planar resampling is vectorised where trilinear is not: about five times faster on a
CPU. A pass that changes nothing is left out, and one that moves all slices or all columns alike shares its grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

PADDINGS = ("border", "zeros", "reflection")
_STILL = 1e-9


def warp(
    image: Tensor,
    label: Tensor | None,
    matrix: Tensor,
    offset: Tensor,
    shift: Tensor | None = None,
    padding: str = "border",
) -> tuple[Tensor, Tensor | None]:
    """Resample images linearly and labels by the nearest voxel.

    Parameters
    ----------
    image : Tensor of float, n C *S
    label : Tensor of int, n *S, or None
        Class indices or bit masks below 2**24.
    matrix, offset : Tensor, (n, D, D) and (n, D)
        ``u_source = matrix @ u_result + offset``.
    shift : Tensor, n D *S, optional
        Displacement of the source position in voxels.
    padding : {'border', 'zeros', 'reflection'}
        What lies outside the image, for images and labels alike.

    Returns
    -------
    tuple of Tensor
        Image and label of the shapes and types that came in.
    """
    passes = _passes(image, matrix, offset, shift)
    # Background alone stays background, whatever lies outside.
    if label is not None and bool(label.any()):
        values = label.unsqueeze(1).to(torch.float32)
        label = _resample(values, passes, "nearest", padding).squeeze(1).to(label.dtype)
    return _resample(image, passes, "bilinear", padding), label


class _Passes(NamedTuple):
    """Grids of the passes; None where a pass changes nothing.

    Attributes
    ----------
    plane : Tensor or None
        (n, G, Y, X, 2), where G is Z, or 1 if all slices move alike.
    along_z : Tensor or None
        (n, Y, Z, X, 2), or (n, 1, Z, Z, 2) for the weights of each source slice if all columns move alike.
    """

    plane: Tensor | None
    along_z: Tensor | None


def _passes(image: Tensor, matrix: Tensor, offset: Tensor, shift: Tensor | None) -> _Passes:
    size = tuple(image.shape[2:])
    m, b = matrix.double().cpu(), offset.double().cpu()
    moved = None if shift is None else shift.to(image.device)
    if len(size) == 2:
        rows = torch.cat((m, b[:, :, None]), dim=2)
        return _Passes(_grid(rows, size, size, image, moved).unsqueeze(1), None)
    z_row = torch.cat((m[:, 0], b[:, :1]), dim=1)
    # u_z of the result, written in the coordinates (z of the source, y, x of the result) of the first pass.
    z_of = torch.cat((torch.ones_like(b[:, :1]), -m[:, 0, 1:], -b[:, :1]), dim=1) / m[:, 0, :1]
    keep = torch.cat((torch.zeros_like(m[:, 1:, :1]), m[:, 1:, 1:], b[:, 1:, None]), dim=2)
    rows = keep + m[:, 1:, :1] * z_of[:, None]
    return _Passes(_plane_pass(rows, image, moved), _z_pass(z_row, image, moved))


def _plane_pass(rows: Tensor, image: Tensor, shift: Tensor | None) -> Tensor | None:
    size = tuple(image.shape[2:])
    if shift is not None:
        return _grid(rows, size, size[1:], image, shift[:, 1:])
    still = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    if (rows - still).abs().max() <= _STILL:
        return None
    if rows[:, :, 0].abs().max() <= _STILL:
        return _grid(rows[:, :, 1:], size[1:], size[1:], image, None).unsqueeze(1)
    return _grid(rows, size, size[1:], image, None)


def _z_pass(row: Tensor, image: Tensor, shift: Tensor | None) -> Tensor | None:
    z, y, x = image.shape[2:]
    still = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    if shift is None and (row - still).abs().max() <= _STILL:
        return None
    if shift is None and row[:, 1:3].abs().max() <= _STILL:
        second = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).expand(len(row), 3)
        rows = torch.stack((row[:, [0, 2, 3]], second), dim=1)
        return _grid(rows, (z, z), (z, z), image, None).unsqueeze(1)
    second = torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.float64).expand_as(row)
    rows = torch.stack((row, second), dim=1)
    moved = None if shift is None else shift[:, :1]
    return _grid(rows, (z, y, x), (z, x), image, moved, across_y=True).transpose(1, 2)


def _grid(
    rows: Tensor,
    size: Sequence[int],
    plane: Sequence[int],
    image: Tensor,
    shift: Tensor | None,
    across_y: bool = False,
) -> Tensor:
    """Return normalised positions (n, *size, 2), the last axis first, for two rows of a map over ``size``.

    `rows` (n, 2, D + 1) give the position along the two axes of the plane, whose lengths are ``plane``; `shift`
    (n, 1 or 2, *S) is added to them in order.
    """
    dims = len(size)
    # The planes of the second pass are stacked along y: laid out that way, no copy is needed.
    order = (1, 0, 2) if across_y else tuple(range(dims))
    stored = torch.empty((len(rows), *(size[axis] for axis in order), 2), dtype=image.dtype, device=image.device)
    grid = stored.transpose(1, 2) if across_y else stored
    for index, length in enumerate(plane):
        row = (rows[:, index] * (2.0 / length)).to(dtype=torch.float64)
        lines = []
        for axis, count in enumerate(size):
            positions = torch.arange(count, dtype=torch.float64) + 0.5
            line = row[:, axis, None] * positions
            if axis == 0:
                line = line + row[:, dims, None] - 1.0
            shape = [len(rows), *(count if other == axis else 1 for other in range(dims))]
            lines.append(line.to(grid.dtype).reshape(shape).to(image.device))
        within = lines[-1] + lines[-2] if dims == 3 else lines[-1]
        target = grid[..., 1 - index]
        torch.add(within, lines[0], out=target)
        if shift is not None and index < shift.shape[1]:
            target.add_(shift[:, index], alpha=2.0 / length)
    return grid


def _resample(values: Tensor, passes: _Passes, mode: str, padding: str) -> Tensor:
    """Resample (n, C, *S) within the planes, then along z."""
    if passes.plane is not None:
        values = _sample_planes(values, passes.plane, mode, padding)
    if passes.along_z is not None and passes.along_z.shape[1] == 1:
        values = _weigh_slices(values, passes.along_z[:, 0], mode, padding)
    elif passes.along_z is not None:
        turned = _sample_planes(values.transpose(2, 3), passes.along_z, mode, padding)
        values = turned.transpose(2, 3).contiguous()
    return values


def _sample_planes(values: Tensor, grid: Tensor, mode: str, padding: str) -> Tensor:
    """Resample every plane of the last two axes of (n, C, *S); all slices alike if the grid (n, G, ...) has G = 1."""
    if values.ndim == 4 or grid.shape[1] == 1:
        channels = values.reshape(values.shape[0], -1, *values.shape[-2:])
        return _grid_sample(channels, grid[:, 0], mode, padding).reshape(values.shape)
    stacked = values.transpose(1, 2)
    planes = stacked.reshape(-1, *stacked.shape[2:])
    result = _grid_sample(planes, grid.reshape(-1, *grid.shape[2:]), mode, padding)
    return result.reshape(stacked.shape).transpose(1, 2)


def _weigh_slices(values: Tensor, grid: Tensor, mode: str, padding: str) -> Tensor:
    """Resample (n, C, Z, Y, X) along z by a matrix of weights, which is the resampled identity."""
    count = values.shape[2]
    identity = torch.eye(count, dtype=values.dtype, device=values.device).expand(len(values), 1, count, count)
    weights = _grid_sample(identity, grid, mode, padding)
    # Label numbers would lose digits in the half precision of an enclosing autocast.
    with torch.autocast(values.device.type, enabled=False):
        return torch.matmul(weights, values.flatten(3)).reshape(values.shape)


def _grid_sample(values: Tensor, grid: Tensor, mode: str, padding: str) -> Tensor:
    return functional.grid_sample(values, grid, mode=mode, padding_mode=padding, align_corners=False)
