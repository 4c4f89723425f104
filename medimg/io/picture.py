"""Read an ordinary picture as RGB; what had to be changed for that is a finding.

Legend: H rows, W columns, K samples a pixel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medimg.io.findings import Finding
from medimg.io.image import Picture, Source
from medimg.io.picture_decode import Decoded, decode
from medimg.io.sniff import sniff, wrong_extension


def read_picture(path: Path, *, max_bytes: int | None = None) -> Picture:
    """Read a PNG, JPEG, TIFF, BMP or GIF picture.

    Parameters
    ----------
    path : Path
    max_bytes : int, optional
        Largest array that may be allocated; what memory is free where it is not given.

    Returns
    -------
    Picture
        ``array`` (H, W, 3) of uint8 or uint16, upright, sRGB (or as the embedded profile says: a finding).

    Raises
    ------
    InputError
        Damaged, cut short, several pages, or pixels that are neither 8 nor 16 bits.
    MissingDependency
        The compression needs a package that is not installed.
    """
    decoded = decode(path, max_bytes=max_bytes)
    file = str(path)
    findings = common_findings(path, decoded)
    array = _rgb(decoded, file, findings)
    if decoded.icc and b"sRGB" not in decoded.icc:
        text = "The picture carries a colour profile other than sRGB; its numbers were kept as they are."
        findings.append(Finding("COLOUR_PROFILE", "info", text, file=file, assumed="sRGB"))
    return Picture(
        array=np.ascontiguousarray(array),
        source=Source(paths=(path,), format=decoded.format),
        findings=tuple(findings),
    )


def common_findings(path: Path, decoded: Decoded) -> list[Finding]:
    """Return what pictures and label pictures have in common: extension, orientation, several frames."""
    file, findings = str(path), []
    if wrong_extension(path, sniff(path).name):
        text = f"The extension does not fit the content, which is {decoded.format}."
        findings.append(Finding("WRONG_EXTENSION", "warning", text, file=file, assumed="the content"))
    if decoded.orientation != 1:
        text = "The picture was turned upright as its EXIF orientation says."
        value = str(decoded.orientation)
        findings.append(Finding("ORIENTATION_APPLIED", "info", text, file=file, tag="Orientation", value=value))
    if decoded.n_frames > 1:
        text = "The camera stored more than one picture; the first one was read."
        findings.append(
            Finding("EXTRA_FRAMES", "warning", text, file=file, value=str(decoded.n_frames), assumed="first")
        )
    return findings


def _rgb(decoded: Decoded, file: str, findings: list[Finding]) -> NDArray[Any]:
    array, mode = decoded.array, decoded.mode
    if mode in ("P", "PA"):
        findings.append(Finding("PALETTE_EXPANDED", "info", "Palette colours were looked up.", file=file))
        return _lookup(array if mode == "P" else array[..., 0], decoded.palette)
    if mode in ("CMYK", "YCbCr"):
        text = f"The picture was converted from {mode} to RGB without a colour profile."
        findings.append(Finding("COLOUR_CONVERTED", "warning", text, file=file, value=mode, assumed="RGB"))
        size = (array.shape[1], array.shape[0])
        return np.asarray(Image.frombytes(mode, size, np.ascontiguousarray(array)).convert("RGB"))
    if array.ndim == 2:
        if array.dtype == np.bool_:
            array = array.astype(np.uint8) * np.uint8(255)
        findings.append(replicated(file))
        return np.repeat(array[..., None], 3, axis=2)
    if array.shape[2] in (2, 4):
        text = "The transparency channel was dropped."
        findings.append(Finding("ALPHA_DROPPED", "info", text, file=file, value=mode))
    if array.shape[2] == 2:
        findings.append(replicated(file))
        return np.repeat(array[..., :1], 3, axis=2)
    return array[..., :3]


def replicated(file: str) -> Finding:
    """Return the finding that a grey picture was given three equal channels."""
    return Finding("GREY_REPLICATED", "info", "The picture is grey; its value was copied to R, G and B.", file=file)


def _lookup(indices: NDArray[Any], palette: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    table = np.zeros((256, 3), np.uint8)
    if palette is not None:
        table[: len(palette)] = palette[:256]
    return table[indices]
