"""Resampling of a batch through an affine map with an optional displacement.

Legend: n samples, C channels, D axes, Z Y X (or Y X) spatial axes, u position in voxel edges.

A picture is resampled in one `grid_sample`. A volume is resampled in two: first every slice within its own (y, x)
plane, then along z. Both together are the same affine map (the positions in the first pass are chosen such that the
second completes it; Catmull and Smith, "3-D transformations of images in scanline order", 1980), each axis is
interpolated linearly once, and planar resampling is vectorised where trilinear is not: about five times faster on a
CPU. A pass that changes nothing is left out, so turns about z cost one pass.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    grids = _plane_grids(image, matrix, offset, shift)
    return (
        _resample(image, grids, "bilinear", padding),
        None
        if label is None
        else _resample(label.unsqueeze(1).to(torch.float32), grids, "nearest", padding).squeeze(1).to(label.dtype),
    )


def _plane_grids(
    image: Tensor, matrix: Tensor, offset: Tensor, shift: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Return the grids of the in-plane pass, (n [Z], Y, X, 2), and of the pass along z, (n Y, Z, X, 2), or None."""
    size = tuple(image.shape[2:])
    m, b = matrix.double().cpu(), offset.double().cpu()
    moved = None if shift is None else shift.to(image.device)
    if len(size) == 2:
        rows = torch.cat((m, b[:, :, None]), dim=2)
        return _grid(rows, size, size, image, moved), None
    along_z = torch.cat((m[:, 0], b[:, :1]), dim=1)
    # u_z of the result, written in the coordinates (z of the source, y, x of the result) of the first pass.
    z_of = torch.cat((torch.ones_like(b[:, :1]), -m[:, 0, 1:], -b[:, :1]), dim=1) / m[:, 0, :1]
    keep = torch.cat((torch.zeros_like(m[:, 1:, :1]), m[:, 1:, 1:], b[:, 1:, None]), dim=2)
    in_plane = keep + m[:, 1:, :1] * z_of[:, None]
    still_plane = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    still_z = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    first = second = None
    if moved is not None or (in_plane - still_plane).abs().max() > _STILL:
        first = _grid(in_plane, size, size[1:], image, None if moved is None else moved[:, 1:])
    if moved is not None or (along_z - still_z).abs().max() > _STILL:
        rows = torch.stack((along_z, still_plane[1].expand_as(along_z)), dim=1)
        second = _grid(rows, size, (size[0], size[2]), image, None if moved is None else moved[:, :1], True)
    return first, second


def _grid(
    rows: Tensor,
    size: Sequence[int],
    plane: Sequence[int],
    image: Tensor,
    shift: Tensor | None,
    across_y: bool = False,
) -> Tensor:
    """Return normalised positions (n, *S, 2), the last axis first, for two rows of a map over ``size``.

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


def _resample(values: Tensor, grids: tuple[Tensor | None, Tensor | None], mode: str, padding: str) -> Tensor:
    """Resample (n, C, *S) through the grid of the planes, then through that along z."""
    first, second = grids
    if values.ndim == 4 and first is not None:
        return functional.grid_sample(values, first, mode=mode, padding_mode=padding, align_corners=False)
    if first is not None:
        values = _resample_planes(values, first, 2, mode, padding)
    if second is not None:
        values = _resample_planes(values, second.transpose(1, 2), 3, mode, padding)
    return values


def _resample_planes(values: Tensor, grid: Tensor, axis: int, mode: str, padding: str) -> Tensor:
    """Resample every plane of (n, C, Z, Y, X) that is perpendicular to ``axis`` (2 for z, 3 for y)."""
    stacked = values.movedim(axis, 1)
    planes = stacked.reshape(-1, *stacked.shape[2:])
    result = functional.grid_sample(
        planes, grid.reshape(-1, *grid.shape[2:]), mode=mode, padding_mode=padding, align_corners=False
    )
    return result.reshape(stacked.shape[0], stacked.shape[1], *result.shape[1:]).movedim(1, axis).contiguous()
