"""Draw a key image: a slice in its window, regions and lines on it, words in bands above and below it.

Legend: H W of the picture drawn on.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

RGB = tuple[int, int, int]
_SMALLEST_SIDE, _LARGEST_SIDE, _FILL, _FONT_PX, _PAD_PX = 512, 2048, 0.3, 15, 4
_WHITE, _RED = (255, 255, 255), (255, 120, 120)


@dataclass(frozen=True, eq=False)
class Region:
    """A mask (H, W) in a colour."""

    mask: NDArray[np.bool_]
    colour: RGB


@dataclass(frozen=True, eq=False)
class Line:
    """A polyline of (row, column) points, pixel centres at whole numbers."""

    points: NDArray[np.float64]
    colour: RGB


def grey(plane: NDArray[Any], window: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Return a slice as (H, W, 3), in a window (centre, width) or, without one, between its 1st and 99th percentile."""
    values = np.nan_to_num(plane.astype(np.float32))
    if window is not None and window[1] > 0:
        low, high = window[0] - window[1] / 2, window[0] + window[1] / 2
    else:
        low, high = (float(v) for v in np.percentile(values, (1, 99)))
    scaled = (values - low) * (255.0 / max(high - low, 1e-6))
    return np.repeat(np.clip(np.rint(scaled), 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def eight_bits(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a colour picture (H, W, 3) of 8 or 16 bits as 8 bits."""
    return picture if picture.dtype == np.uint8 else (picture >> 8).astype(np.uint8)


def scale_of(shape: tuple[int, int]) -> float:
    """Return by how much slices are enlarged, so that words have room, or large pictures made smaller."""
    longest = max(shape)
    return 1.0 / -(-longest // _LARGEST_SIDE) if longest > _LARGEST_SIDE else float(-(-_SMALLEST_SIDE // longest))


def _scaled(array: NDArray[Any], scale: float) -> NDArray[Any]:
    """Repeat pixels, or take every n-th one of a mask and means of a picture."""
    if scale >= 1:
        return np.repeat(np.repeat(array, int(scale), axis=0), int(scale), axis=1)
    step = round(1 / scale)
    if array.dtype == np.bool_:
        return array[::step, ::step]
    size = (-(-array.shape[1] // step), -(-array.shape[0] // step))
    return np.array(Image.fromarray(array).resize(size, Image.Resampling.BOX))


def draw(
    base: NDArray[np.uint8],
    regions: Sequence[Region],
    lines: Sequence[Line],
    *,
    above: Sequence[str],
    below: Sequence[str],
    warning: str | None = None,
) -> NDArray[np.uint8]:
    """Draw a key image.

    Parameters
    ----------
    base : (H, W, 3) ndarray of uint8
    regions, lines
        What is drawn on it.
    above, below : sequence of str
        Lines of text outside the image.
    warning : str, optional
        A further line above it, in red.

    Returns
    -------
    (H', W', 3) ndarray of uint8
        Scaled by `scale_of`, with bands of text.
    """
    scale = scale_of((base.shape[0], base.shape[1]))
    canvas = _scaled(base, scale)
    for region in regions:
        mask = _scaled(region.mask, scale)
        rim = mask & ~binary_erosion(mask, iterations=2)
        colour = np.asarray(region.colour, dtype=np.float32)
        canvas[mask] = np.rint(canvas[mask] * (1 - _FILL) + colour * _FILL).astype(np.uint8)
        canvas[rim] = region.colour
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    for line in lines:
        points = [((x + 0.5) * scale, (y + 0.5) * scale) for y, x in line.points]
        pen.line(points, fill=line.colour, width=2)
    width = picture.width
    head = _band([warning] if warning else [], width, _RED, [*above])
    foot = _band([], width, _RED, [*below])
    return np.concatenate([head, np.asarray(picture), foot])


def _band(warnings: Sequence[str], width: int, colour: RGB, texts: Sequence[str]) -> NDArray[np.uint8]:
    lines = [(text, colour) for one in warnings for text in _wrapped(one, width)]
    lines += [(text, _WHITE) for one in texts for text in _wrapped(one, width)]
    height = len(lines) * (_FONT_PX + _PAD_PX) + 2 * _PAD_PX
    band = Image.new("RGB", (width, height))
    pen = ImageDraw.Draw(band)
    for n, (text, fill) in enumerate(lines):
        pen.text((_PAD_PX, _PAD_PX + n * (_FONT_PX + _PAD_PX)), text, fill=fill, font=_font())
    return np.asarray(band)


def _wrapped(text: str, width: int) -> list[str]:
    lines, line = [], ""
    for word in re.findall(r"\S+", text):
        longer = f"{line} {word}".strip()
        if line and _font().getlength(longer) > width - 2 * _PAD_PX:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line else lines


@cache
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    # The font that matplotlib brings along: the same everywhere, with Greek, Cyrillic and signs.
    found = importlib.util.find_spec("matplotlib")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        file = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if file.is_file():
            return ImageFont.truetype(file, _FONT_PX)
    return ImageFont.load_default(_FONT_PX)
