"""Where a planted lesion lands: within half a voxel of where it was put, for every reader."""

from __future__ import annotations

import subprocess
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from scenes import GEOMETRIES, MANIFEST, REGULAR, Scene, dciodvfy_errors, scene, tool

import medimg
from medimg.io.mask import read_mask
from medimg.io.policy import ReadPolicy
from medimg.pacs.results.write import write_results

HALF = 0.5


@pytest.fixture(scope="module", params=GEOMETRIES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Scene, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    one = scene(folder / "source", request.param)
    write_results(one.prediction, one.image, one.files, MANIFEST, folder / "out")
    return request.param, one, folder / "out"


def centre_in_frames(seg: hd.seg.Segmentation) -> np.ndarray:
    """Centre of mass in LPS mm by what the frames say of themselves."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    rows_mm, columns_mm = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    cosines = np.asarray(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    points = []
    for frame, group in zip(np.atleast_3d(seg.pixel_array), seg.PerFrameFunctionalGroupsSequence, strict=True):
        origin = np.asarray(group.PlanePositionSequence[0].ImagePositionPatient, float)
        at = np.argwhere(frame)
        points.append(origin + at[:, :1] * rows_mm * cosines[1] + at[:, 1:] * columns_mm * cosines[0])
    return np.concatenate(points).mean(axis=0)


def test_the_lesion_lies_where_it_was_put(made: tuple[str, Scene, Path]) -> None:
    _, one, out = made
    seg = hd.seg.segread(out / "seg.dcm")
    gap = np.abs(centre_in_frames(seg) - one.centre_mm)
    assert gap.max() < HALF * min(one.spacing_mm)


def test_frames_lie_on_the_planes_of_the_files_that_they_name(made: tuple[str, Scene, Path]) -> None:
    _, one, out = made
    positions = {
        str(ds.SOPInstanceUID): np.asarray(ds.ImagePositionPatient, float)
        for ds in (pydicom.dcmread(path, stop_before_pixels=True) for path in one.files)
    }
    frames = hd.seg.segread(out / "seg.dcm").PerFrameFunctionalGroupsSequence
    assert len(frames) >= 5
    for frame in frames:
        (named,) = frame.DerivationImageSequence[0].SourceImageSequence
        found = np.asarray(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.abs(found - positions[named.ReferencedSOPInstanceUID]).max() < 1e-3


def test_highdicom_reads_the_same_voxels(made: tuple[str, Scene, Path]) -> None:
    geometry, one, out = made
    if geometry not in (*REGULAR, "tilted"):
        pytest.skip("the volume is not on the files' own planes")
    seg = hd.seg.segread(out / "seg.dcm")
    uids = list(one.image.source.instance_uids)
    pixels = seg.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True, ignore_spatial_locations=True
    )
    assert np.array_equal(pixels, one.prediction.labels)


def test_medimg_reads_the_same_voxels(made: tuple[str, Scene, Path]) -> None:
    geometry, one, out = made
    if geometry not in (*REGULAR, "tilted"):
        pytest.skip("the volume is not on the files' own planes")
    back = read_mask(out / "seg.dcm", like=one.image)
    assert np.array_equal(back.array, one.prediction.labels)


def test_a_straightened_scan_is_segmented_on_its_tilted_planes(tmp_path: Path) -> None:
    one = scene(tmp_path / "source", "straightened")
    write_results(one.prediction, one.image, one.files, MANIFEST, tmp_path / "out", ["seg"])
    sheared = medimg.read(tmp_path / "source", policy=ReadPolicy(tilt="shear"))
    back = read_mask(tmp_path / "out" / "seg.dcm", like=sheared).array > 0
    truth = sheared.array > 500
    assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.95


def test_a_filled_gap_has_no_frame(tmp_path: Path) -> None:
    one = scene(tmp_path / "source", "missing", series=3)
    write_results(one.prediction, one.image, one.files, MANIFEST, tmp_path / "out", ["seg"])
    assert len(one.files) == one.image.shape_zyx[0] - 1
    back = read_mask(tmp_path / "out" / "seg.dcm", like=one.image).array
    assert not back[4].any()
    others = np.delete(np.arange(len(back)), 4)
    assert np.array_equal(back[others], one.prediction.labels[others])


def test_dcmqi_reads_the_same_voxels(made: tuple[str, Scene, Path], tmp_path: Path) -> None:
    geometry, one, out = made
    if geometry not in REGULAR:
        pytest.skip("ITK knows upright stacks only")
    call = [tool("segimage2itkimage"), "-t", "nifti", "-p", "x", "--outputDirectory", str(tmp_path)]
    subprocess.run([*call, "--inputDICOM", str(out / "seg.dcm")], check=True, capture_output=True)
    (path,) = tmp_path.glob("x-*.nii.gz")
    found = nibabel.load(path)
    mask = np.asarray(found.dataobj) > 0
    assert mask.sum() == (one.prediction.labels > 0).sum()
    ijk = np.argwhere(mask).mean(axis=0)
    lps = (found.affine @ [*ijk, 1])[:3] * [-1, -1, 1]
    assert np.abs(lps - one.centre_mm).max() < HALF * min(one.spacing_mm)


def test_dciodvfy_finds_no_error(made: tuple[str, Scene, Path]) -> None:
    _, _, out = made
    for path in sorted(out.glob("*.dcm")):
        assert dciodvfy_errors(path) == [], path.name
