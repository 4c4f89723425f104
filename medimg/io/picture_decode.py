"""Decode PNG, JPEG, TIFF, BMP and GIF to the array as stored; what it means is decided by the callers.

Legend: H rows, W columns, K samples a pixel.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from medimg.errors import InputError, MissingDependency
from medimg.io.memory import check_allocation
from medimg.io.whole_pictures import refuse_cut_pictures

_ORIENTATION_TAG = 274
_BITS_TAG, _SAMPLES_TAG = 258, 277
_DECODE_ERRORS = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, struct.error, TypeError)


@dataclass(frozen=True, eq=False)
class Decoded:
    """One decoded picture.

    Attributes
    ----------
    array : (H, W) or (H, W, K) ndarray
        uint8, uint16 or bool, upright; palette indices are not looked up.
    mode : str
        Pillow's name of the stored form: ``1``, ``L``, ``P``, ``RGB``, ``CMYK``, ``I;16``, …
    palette : (N, 3) ndarray of uint8 or None
        Colours of the indices where ``mode`` is ``P``.
    format : str
        ``PNG``, ``JPEG``, …
    orientation : int
        EXIF orientation that was applied, 1 where there is none.
    n_frames : int
        Pictures in the file; only the first one is decoded.
    icc : bytes
        Embedded colour profile.
    """

    array: NDArray[Any]
    mode: str
    palette: NDArray[np.uint8] | None
    format: str
    orientation: int
    n_frames: int
    icc: bytes


def decode(path: Path, *, max_bytes: int | None = None) -> Decoded:
    """Decode the first picture of a file.

    Parameters
    ----------
    path : Path
    max_bytes : int, optional
        Largest array that may be allocated.

    Raises
    ------
    InputError
        Damaged, cut short, several pages, or a pixel type that is not 1, 8 or 16 bits.
    MissingDependency
        A 16-bit colour TIFF whose compression needs the package imagecodecs.
    """
    refuse_cut_pictures()
    try:
        with warnings.catch_warnings():
            # Whatever Pillow warns of is either refused or harmless; its text may quote the file.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return _decoded(image, path, max_bytes)
    except Image.DecompressionBombError as error:
        raise InputError(
            "The picture is too large for a camera picture; its header may be damaged.", where=path, got=str(error)
        ) from error
    except _DECODE_ERRORS as error:
        raise InputError(
            "The picture is damaged, cut short, or of an unknown kind.",
            where=path,
            got=str(error).replace(str(path), "the file") or type(error).__name__,
            expected="a complete PNG, JPEG, TIFF, BMP or GIF",
            fix="copy it again, or save it anew as PNG",
        ) from error


def _decoded(image: Any, path: Path, max_bytes: int | None) -> Decoded:
    n_frames = int(getattr(image, "n_frames", 1))
    if n_frames > 1 and image.format != "MPO":
        raise InputError(
            "The file holds several pictures.",
            where=path,
            got=f"{n_frames} pages or frames ({image.format})",
            expected="one picture a file",
            fix="save each page as a file of its own",
        )
    width, height = image.size
    check_allocation((height, width, len(image.getbands())), 2, where=path, max_bytes=max_bytes)
    # Asked before anything else: asking a PNG for its EXIF data decodes it, which empties the tile list.
    raw_mode = str(image.tile[0].args) if image.tile else ""
    mode, palette = str(image.mode), None
    if mode == "P":
        palette = np.asarray(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    orientation = _orientation(image)
    array = _pixels(image, raw_mode, path)
    # Pillow turns TIFF (and only TIFF) itself while loading, and then forgets the tag.
    return Decoded(
        array=turn(array, _orientation(image)),
        mode=mode,
        palette=palette,
        format="JPEG" if image.format == "MPO" else str(image.format),
        orientation=orientation,
        n_frames=n_frames,
        icc=image.info.get("icc_profile") or b"",
    )


def _orientation(image: Any) -> int:
    value = image.getexif().get(_ORIENTATION_TAG) or 1
    return int(value) if value in range(1, 9) else 1


def _pixels(image: Any, raw_mode: str, path: Path) -> NDArray[Any]:
    if image.format == "PNG" and raw_mode in ("RGB;16B", "RGBA;16B"):
        return _png_colour_16(image, path)
    if image.format == "PNG" and raw_mode == "LA;16B":
        raise _unsupported(path, "16-bit grey with alpha")
    if image.format == "TIFF" and _tiff_bits(image) == 16 and image.mode not in ("I;16", "I;16B"):
        return _tiff_colour_16(path)
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N"):
        return np.asarray(image).astype(np.uint16, copy=False)
    if image.mode in ("1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "La", "RGBa", "CMYK", "YCbCr"):
        return np.asarray(image)
    raise _unsupported(path, f"mode {image.mode}")


def _png_colour_16(image: Any, path: Path) -> NDArray[np.uint16]:
    # Pillow keeps 8 bits of 16-bit colour: the high byte for the big-endian raw mode, the low byte when the
    # same bytes are declared little-endian. Two passes give both.
    high = np.asarray(image)
    with Image.open(path) as again:
        again.tile = [tile._replace(args=str(tile.args).replace("16B", "16L")) for tile in again.tile]
        low = np.asarray(again)
    return (high.astype(np.uint16) << 8) | low


def _tiff_bits(image: Any) -> int:
    bits = image.tag_v2.get(_BITS_TAG, 1)
    return int(max(bits) if isinstance(bits, tuple) else bits)


def _tiff_colour_16(path: Path) -> NDArray[np.uint16]:
    try:
        array = tifffile.imread(path, key=0)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        raise MissingDependency(
            "This TIFF's compression needs a package that is not installed.",
            where=path,
            expected="imagecodecs",
            fix="pip install imagecodecs, or save the picture uncompressed",
        ) from error
    if array.dtype != np.uint16 or array.ndim != 3 or array.shape[2] not in (3, 4):
        raise _unsupported(path, f"{array.dtype} of shape {array.shape}")
    return np.asarray(array)


def _unsupported(path: Path, got: str) -> InputError:
    return InputError(
        "Pictures with such pixels are not supported.",
        where=path,
        got=got,
        expected="1, 8 or 16 bits a sample; grey, palette, RGB or RGBA",
        fix="save it anew as an 8- or 16-bit PNG",
    )


def turn(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Apply an EXIF orientation (1 to 8) to an array (H, W, ...), as CIPA DC-008 defines it."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)
