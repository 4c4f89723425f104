"""Write pictures, volumes and tables so that the same content always gives the same bytes.

No time stamps, no file names inside gzip headers, fixed encoder settings, numbers rounded.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

JPEG_QUALITY = 92
_SIGNIFICANT_DIGITS = 6


def write_jpeg(rgb: NDArray[np.uint8], path: Path) -> None:
    """Write an (H, W, 3) uint8 picture without chroma subsampling."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    path.write_bytes(buffer.getvalue())


def write_mask_png(mask: NDArray[np.bool_], path: Path) -> None:
    """Write an (H, W) mask as an 8-bit grey PNG, 0 or 255."""
    buffer = io.BytesIO()
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(buffer, format="PNG", compress_level=9)
    path.write_bytes(buffer.getvalue())


def lps_to_ras(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn a (z, y, x) index to LPS mm affine into the (i, j, k) = (x, y, z) to RAS mm affine of NIfTI."""
    swapped = affine[:, [2, 1, 0, 3]].copy()
    swapped[:2] *= -1
    return swapped


def write_nifti(array: NDArray[Any], affine: NDArray[np.float64], path: Path, *, slope: float = 1.0) -> None:
    """Write a (Z, Y, X) array as gzip-compressed NIfTI-1.

    Parameters
    ----------
    array : (Z, Y, X) ndarray of int16 or uint8
    affine : (4, 4) ndarray
        Maps (z, y, x) indices to LPS mm.
    path : Path
        Name ending in ``.nii.gz``.
    slope : float
        Real value of one stored step.
    """
    image = nib.Nifti1Image(np.asarray(array).transpose(2, 1, 0), lps_to_ras(affine))
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_slope_inter(slope, 0.0)
    image.set_sform(image.affine, code=1)
    image.set_qform(image.affine, code=1)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=9, mtime=0))


def write_csv(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Write rows as UTF-8 CSV with the first row's columns; an absent value is an empty cell."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(buffer.getvalue().encode("utf-8"))


def rounded(value: Any) -> Any:
    """Return ``value`` as plain JSON data, floats with six significant digits."""
    if isinstance(value, Mapping):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [rounded(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{float(value):.{_SIGNIFICANT_DIGITS}g}")
    return value


def write_json(data: Mapping[str, Any], path: Path) -> None:
    """Write rounded data as UTF-8 JSON: two levels of nesting laid out, deeper ones on one line."""
    lines = []
    for key, value in rounded(data).items():
        if isinstance(value, dict) and value:
            inner = ",\n".join(f"  {json.dumps(name)}: {json.dumps(item)}" for name, item in value.items())
            lines.append(f"{json.dumps(key)}: {{\n{inner}\n}}")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
    path.write_bytes(("{\n" + ",\n".join(lines) + "\n}\n").encode("utf-8"))
