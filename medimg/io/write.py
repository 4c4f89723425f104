"""Write volumes as NIfTI and pictures as PNG or TIFF, complete or not at all.

Legend: C channels, Z Y X of a volume; H rows, W columns of a picture.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
import tifffile
from isal import igzip
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from medimg import geometry
from medimg.errors import InputError
from medimg.io.atomic import replacing
from medimg.io.image import Volume

_SCANNER = 1
_NIFTI1_MAX_SIDE = 32767
_CHUNK_BYTES = 1 << 22
# Types that NIfTI lacks or that other programs cannot read, and what they are written as.
_WRITTEN_AS = {"bool": np.uint8, "float16": np.float32}


def write_nifti(image: Volume | NDArray[Any], path: str | Path, *, affine: ArrayLike | None = None) -> Path:
    """Write a volume as NIfTI-1 (NIfTI-2 where a side is longer than 32767).

    Parameters
    ----------
    image : Volume or (Z, Y, X) or (C, Z, Y, X) ndarray
        The dtype is kept; bool is written as uint8, float16 as float32.
    path : str or Path
        ``.nii`` or ``.nii.gz``. An existing file is replaced.
    affine : (4, 4) array_like, optional
        zyx to LPS mm; needed for an array, refused beside a Volume. Turned to RAS here, and nowhere else.

    Returns
    -------
    Path
        The file that was written: sform set, qform set where it can express the affine (no shear), unit mm.

    Raises
    ------
    InputError
        Wrong extension, dimensions, dtype or affine, or a folder that cannot be written to.
    """
    path = Path(path)
    array, matrix = _array_and_affine(image, affine, path)
    header = _header(array, matrix)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    with replacing(path) as part, ExitStack() as stack:
        file: BinaryIO = stack.enter_context(part.open("wb"))
        if path.name.lower().endswith(".gz"):
            packed = igzip.IGzipFile(filename="", fileobj=file, mode="wb", mtime=0)
            file = cast(BinaryIO, stack.enter_context(packed))
        file.write(header.binaryblock + bytes(4))
        # The bytes of a C-ordered (C, Z, Y, X) array are those of NIfTI's (x, y, z, channel).
        flat = np.ascontiguousarray(little).reshape(-1).view(np.uint8).data
        for start in range(0, len(flat), _CHUNK_BYTES):
            file.write(flat[start : start + _CHUNK_BYTES])
    return path


def _array_and_affine(
    image: Volume | NDArray[Any], affine: ArrayLike | None, path: Path
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise InputError("Not a NIfTI file name.", where=path, expected="NAME.nii or NAME.nii.gz")
    if isinstance(image, Volume) == (affine is not None):
        fix = "pass a Volume alone, or an array with affine="
        raise InputError("An array never travels without its affine.", where=path, fix=fix)
    array = image.array if isinstance(image, Volume) else np.asarray(image)
    matrix = image.affine if isinstance(image, Volume) else affine
    if array.ndim not in (3, 4) or array.size == 0:
        raise InputError(
            "Not a volume.", where=path, got=tuple(array.shape), expected="(Z, Y, X) or (C, Z, Y, X), not empty"
        )
    array = array.astype(_WRITTEN_AS.get(array.dtype.name, array.dtype), copy=False)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise InputError("NIfTI has no such number type.", where=path, got=array.dtype.name)
    return array, geometry.check_affine(matrix if matrix is not None else np.eye(4), where=str(path))


def _header(array: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    shape = array.shape[::-1]
    header = (nib.Nifti2Header if max(shape) > _NIFTI1_MAX_SIDE else nib.Nifti1Header)(endianness="<")
    header.set_data_shape(shape)
    header.set_data_dtype(array.dtype.newbyteorder("="))
    ras = geometry.to_ras_ijk(affine)
    header.set_sform(ras, code=_SCANNER)
    sheared = geometry.shear_deg(affine) > 1e-3
    header.set_qform(ras, code=0 if sheared else _SCANNER, strip_shears=True)
    header.set_xyzt_units(xyz="mm")
    header.set_slope_inter(1.0, 0.0)
    header["vox_offset"] = int(header["sizeof_hdr"]) + 4
    header["magic"] = header.single_magic
    return header


def write_picture(array: NDArray[Any], path: str | Path) -> Path:
    """Write a picture or label picture without loss.

    Parameters
    ----------
    array : (H, W) or (H, W, 3) ndarray of uint8, uint16 or bool
        bool is written as 0 and 255. 16-bit colour needs TIFF.
    path : str or Path
        ``.png``, ``.tif`` or ``.tiff``. An existing file is replaced.

    Raises
    ------
    InputError
        Wrong extension, shape or dtype, or a folder that cannot be written to.
    """
    path, array = Path(path), np.asarray(array)
    suffix = path.suffix.lower()
    if suffix not in (".png", ".tif", ".tiff"):
        raise InputError("Not a lossless picture name.", where=path, expected="NAME.png or NAME.tif")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    grey, colour = array.ndim == 2, array.ndim == 3 and array.shape[2:] == (3,)
    if not (grey or colour) or array.dtype not in (np.uint8, np.uint16) or array.size == 0:
        raise InputError(
            "Not a picture.",
            where=path,
            got=f"{array.dtype} {tuple(array.shape)}",
            expected="(H, W) or (H, W, 3) of uint8, uint16 or bool",
        )
    if suffix == ".png" and colour and array.dtype == np.uint16:
        raise InputError("16-bit colour cannot be written as PNG.", where=path, fix="use the extension .tif")
    with replacing(path) as part:
        if suffix == ".png":
            Image.fromarray(np.ascontiguousarray(array)).save(part, format="PNG")
        else:
            kind = "rgb" if colour else "minisblack"
            tifffile.imwrite(part, array, photometric=kind, compression="zlib", metadata=None)
    return path
