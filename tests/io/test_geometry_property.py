"""A marked place in the patient survives DICOM, volume, resampling and back, NIfTI and DICOM again, within 0.1 mm.

Every voxel carries its place: the columns form three blocks, and the values of block b rise by SCALE a millimetre
along its own direction w_b; the three directions are orthonormal and random. Linear interpolation keeps such a ramp
exactly, so at each stage the value of a voxel says where it came from and the affine says where it is. What differs
is a misplacement in millimetres, seen in three directions: a flip, a transposition or half a voxel cannot hide.

Cases: any rotation, anisotropic spacing, files and instance numbers in any order, gantry tilt with both policies,
axes flipped and permuted before NIfTI. Ten thousand cases: ``pytest --hypothesis-profile thorough``.

Legend: Z slices, Y rows, X columns.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medimg import geometry
from medimg.data.preparation import Intensity, Preparation
from medimg.data.prepare import prepare, restore_probabilities
from medimg.io.dicom.write import write_dicom_series
from medimg.io.image import Volume
from medimg.io.policy import ReadPolicy
from medimg.io.read import read
from medimg.io.write import write_nifti

CASES = max(2000, settings.default.max_examples)
TOLERANCE_MM = 0.1
BLOCK, BLOCKS, ROWS = 7, 3, 16
SCALE = 150.0  # stored steps a millimetre


@dataclass(frozen=True)
class Case:
    """One series and the way it is sent."""

    rotation: tuple[float, ...]
    marks: tuple[float, ...]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    order: tuple[int, ...]
    reversed_numbers: bool
    tilt_rows: float
    tilt_policy: str
    hounsfield: bool
    zoom: tuple[float, float, float]
    flips: tuple[bool, bool, bool]
    axes: tuple[int, int, int]
    suffix: str

    @cached_property
    def affine(self) -> np.ndarray:
        """Truth: (slice, row, column) to LPS mm. The stack leans along the columns by ``tilt_rows`` in all."""
        row, column, normal = Rotation.from_quat(self.rotation).as_matrix().T
        gap, between_rows, between_columns = self.spacing_mm
        step = gap * normal + self.tilt_rows * between_rows / (len(self.order) - 1) * column
        affine = np.eye(4)
        affine[:3] = np.column_stack([step, column * between_rows, row * between_columns, self.origin_mm])
        return affine

    @cached_property
    def directions(self) -> np.ndarray:
        """(3, 3): row b is the direction along which block b rises."""
        return Rotation.from_quat(self.marks).as_matrix()

    def values(self, places_mm: np.ndarray, block: int) -> np.ndarray:
        """Return the value of ``block``'s ramp at LPS places (..., 3)."""
        middle = np.asarray([len(self.order) - 1, ROWS - 1, BLOCK * BLOCKS - 1]) / 2
        return SCALE * ((places_mm - geometry.apply(self.affine, middle)) @ self.directions[block])


QUATERNIONS = st.tuples(*[st.floats(-1, 1, width=32)] * 4).filter(lambda q: np.linalg.norm(q) > 0.2)
# Half of all series lie along the patient's axes.
STRAIGHT = st.sampled_from([tuple(turn.as_quat()) for turn in Rotation.create_group("O")])


# The antialiasing filter keeps ramps where the sampling ratio is whole; elsewhere it moves places by up to 0.09 voxels
# to and fro, which is within the tolerance for fine axes alone.
FINE, COARSE = st.floats(0.3, 0.4), st.floats(0.4, 2.0)
FREE, WHOLE = st.floats(0.6, 1.4), st.sampled_from([1 / 3, 0.5, 1.0])
IN_PLANE = st.one_of(st.tuples(FINE, FREE), st.tuples(COARSE, WHOLE))


@st.composite
def cases(draw: Any) -> Case:
    n = draw(st.integers(5, 6))
    spacing, zoom = zip(draw(st.tuples(st.floats(0.6, 5.0), WHOLE)), draw(IN_PLANE), draw(IN_PLANE))
    policy = draw(st.sampled_from(["error", "shear", "resample"]))
    lean = 0.0
    if policy != "error":
        # Gantries tilt by up to 30 degrees; the straightened stack must still hold rows of every slice.
        rows = (n - 1) * spacing[0] * np.tan(np.radians(draw(st.floats(0.3, 30.0)))) / spacing[1]
        lean = min(float(rows), 2.5 if policy == "resample" else 8.0) * draw(st.sampled_from([-1, 1]))
    permuted = policy != "shear" and draw(st.booleans())
    return Case(
        rotation=draw(st.one_of(STRAIGHT, QUATERNIONS)),
        marks=draw(QUATERNIONS),
        spacing_mm=spacing,
        origin_mm=draw(st.tuples(*[st.floats(-300, 300)] * 3)),
        order=tuple(draw(st.permutations(range(n)))),
        reversed_numbers=draw(st.booleans()),
        tilt_rows=lean,
        tilt_policy=policy,
        hounsfield=draw(st.booleans()),
        zoom=zoom,
        flips=draw(st.tuples(*[st.booleans()] * 3)),
        axes=draw(st.permutations(range(3)).map(tuple)) if permuted else (0, 1, 2),
        suffix=draw(st.sampled_from([".nii", ".nii.gz"])),
    )


def stored(case: Case) -> np.ndarray:
    """(Z, Y, X) int16: what the scanner stores."""
    shape = (len(case.order), ROWS, BLOCK * BLOCKS)
    places = geometry.apply(case.affine, np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1))
    blocks = [slice(BLOCK * b, BLOCK * (b + 1)) for b in range(BLOCKS)]
    parts = [case.values(places[:, :, block], b) for b, block in enumerate(blocks)]
    return np.rint(np.concatenate(parts, axis=2)).astype("<i2")


def element(tag: int, vr: bytes, value: Any) -> bytes:
    """Return one explicit little-endian element."""
    if vr == b"US":
        value = struct.pack("<H", value)
    elif isinstance(value, str):
        value = value.encode()
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    return head + (struct.pack("<HL", 0, len(value)) if vr == b"OW" else struct.pack("<H", len(value))) + value


def write_series(case: Case, folder: Path) -> None:
    """Write one file a slice; far quicker than through pydicom, and independent of medimg's own writer."""
    affine, pixels = case.affine, stored(case)
    row, column = affine[:3, 2] / case.spacing_mm[2], affine[:3, 1] / case.spacing_mm[1]
    sop_class = "1.2.840.10008.5.1.4.1.1." + ("2" if case.hounsfield else "4")
    syntax = element(0x00020010, b"UI", "1.2.840.10008.1.2.1")
    meta = b"\0" * 128 + b"DICM" + element(0x00020000, b"UL", struct.pack("<L", len(syntax))) + syntax
    rescale = ("0", "1") if case.hounsfield else ("0", "0.25")
    for z, name in enumerate(case.order):
        number = len(case.order) - z if case.reversed_numbers else z + 1
        position = affine[:3, 3] + z * affine[:3, 0]
        elements = (
            (0x00080016, b"UI", sop_class),
            (0x00080018, b"UI", f"1.2.3.{z + 1}"),
            (0x00080060, b"CS", "CT" if case.hounsfield else "MR"),
            (0x0020000D, b"UI", "1.2.4"),
            (0x0020000E, b"UI", "1.2.5"),
            (0x00200013, b"IS", str(number)),
            (0x00200032, b"DS", "\\".join(f"{v:.8g}" for v in position)),
            (0x00200037, b"DS", "\\".join(f"{v:.9g}" for v in (*row, *column))),
            (0x00200052, b"UI", "1.2.6"),
            (0x00280002, b"US", 1),
            (0x00280004, b"CS", "MONOCHROME2"),
            (0x00280010, b"US", ROWS),
            (0x00280011, b"US", BLOCK * BLOCKS),
            (0x00280030, b"DS", f"{case.spacing_mm[1]:.9g}\\{case.spacing_mm[2]:.9g}"),
            *((tag, b"US", value) for tag, value in zip(range(0x00280100, 0x00280104), (16, 16, 15, 1))),
            *((tag, b"DS", value) for tag, value in zip((0x00281052, 0x00281053), rescale)),
            (0x7FE00010, b"OW", pixels[z].tobytes()),
        )
        (folder / f"{name:03d}.dcm").write_bytes(meta + b"".join(element(*one) for one in elements))


def check(case: Case, array: np.ndarray, affine: np.ndarray, stage: str, margin: np.ndarray) -> None:
    """Compare the place that each voxel's value states with the place that the affine states.

    ``margin``: a voxel is judged where it lies that many source voxels (Z, Y, X) inside its block.
    """
    margin = margin - 1e-3
    to_source = geometry.inverse(case.affine) @ affine
    source = geometry.apply(to_source, indices(array.shape))
    inside = ((source >= margin) & (source <= np.asarray([len(case.order), ROWS, np.inf]) - 1 - margin)).all(axis=-1)
    unit = 1.0 if case.hounsfield else 0.25
    off = []
    for block in range(BLOCKS):
        first, last = BLOCK * block + margin[2], BLOCK * (block + 1) - 1 - margin[2]
        judged = inside & (source[:, 2] >= first) & (source[:, 2] <= last)
        assert judged.any(), f"{stage}: block {block} is nowhere where it should be"
        places = geometry.apply(case.affine, source[judged])
        gap = array.ravel()[judged] / (SCALE * unit) - case.values(places, block) / SCALE
        off.append(float(np.abs(gap).max()))
    assert np.linalg.norm(off) < TOLERANCE_MM, f"{stage}: misplaced by {off} mm"


@lru_cache(maxsize=256)
def indices(shape: tuple[int, ...]) -> np.ndarray:
    """(N, 3): the indices of every voxel."""
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)


def turned(case: Case, array: np.ndarray, affine: np.ndarray) -> Volume:
    """Flip and permute the axes of an array, and its affine with it: left-handed in half of all cases."""
    for axis, flip in enumerate(case.flips):
        if flip:
            affine = affine.copy()
            affine[:3, 3] += (array.shape[axis] - 1) * affine[:3, axis]
            affine[:3, axis] *= -1
            array = np.flip(array, axis)
    return Volume(array.transpose(case.axes), affine[:, [*case.axes, 3]])


def thinned(case: Case, volume: Volume) -> Volume:
    """Keep a few slices that are judged in every block: writing files is what takes time."""
    to_source = geometry.inverse(case.affine) @ volume.affine
    axis = case.axes[0]
    first, step, kept = {
        0: ((len(case.order) - 3) // 2, 1, 3),
        1: (ROWS // 2 - 3, 1, 6),
        2: (BLOCK // 2, BLOCK, BLOCKS),
    }[axis]
    ends = (np.asarray([first, first + step * (kept - 1)]) - to_source[axis, 3]) / to_source[axis, 0]
    start = round(float(ends.min()))
    affine = volume.affine.copy()
    affine[:3, 3] += start * affine[:3, 0]
    affine[:3, 0] *= step
    return Volume(volume.array[start : start + step * kept : step], affine)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all cases; each case clears it."""
    base = tmp_path_factory.mktemp("cases")
    for name in ("series", "again"):
        (base / name).mkdir()
    return base


@settings(
    max_examples=CASES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(case=cases())
def test_a_place_survives_the_whole_way(folder: Path, case: Case) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()
    whole_way(case, folder)


def whole_way(case: Case, folder: Path) -> None:
    write_series(case, folder / "series")
    policy = ReadPolicy(tilt=case.tilt_policy)
    volume = read(folder / "series", policy=policy)
    # Where a straightened stack is empty shifts from slice to slice: every filter reaches that much further.
    straightened = case.tilt_policy == "resample"
    leaning = np.asarray([0.0, straightened * (1 + abs(case.tilt_rows) / (len(case.order) - 1)), 0.0])
    check(case, volume.array, volume.affine, "read", leaning)
    _, affine, record = geometry.to_lps(volume.array, volume.affine)
    zoom = np.asarray(case.zoom)
    preparation = Preparation(
        kind="volume",
        channels=("scan",),
        spacing_mm=tuple(np.multiply(geometry.spacing_mm(affine), zoom[list(record.permutation)])),
        intensity=Intensity(rule="window"),
    )
    prepared = prepare({"scan": volume}, preparation)
    # Reach of the filter in source voxels; where samples get denser, only ramps' ends mix, on the way back.
    check(case, prepared.array[0], prepared.grid.affine, "prepared", leaning + np.where(zoom > 1, zoom, 0))
    back = restore_probabilities(prepared.array, prepared.grid)[0]
    margin = 2 * leaning + np.where(zoom > 1, 2 * zoom, 1)
    check(case, back, volume.affine, "back", margin)
    write_nifti(turned(case, back, volume.affine), folder / f"a{case.suffix}")
    nifti = read(folder / f"a{case.suffix}")
    check(case, nifti.array, nifti.affine, "NIfTI", margin)
    other = nib.load(folder / f"a{case.suffix}")
    # Spelt out: a sign that is wrong in the reader and the writer alike shows here.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ other.affine[:, [2, 1, 0, 3]]
    check(case, np.asarray(other.dataobj).T, affine, "NIfTI by nibabel", margin)
    tilt = "write" if policy.tilt == "shear" else "error"
    modality = "CT" if case.hounsfield else "MR"
    write_dicom_series(thinned(case, nifti), folder / "again", modality=modality, tilt=tilt)
    again = read(folder / "again", policy=policy)
    check(case, again.array, again.affine, "DICOM again", margin)
