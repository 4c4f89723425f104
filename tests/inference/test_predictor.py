"""Legend: Z Y X of a volume, H W of a picture."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medimg.errors import InputError
from medimg.inference.output import write_prediction
from medimg.inference.predictor import load
from medimg.io.image import Picture, Source, Volume
from medimg.io.policy import ReadPolicy
from medimg.io.write import write_nifti


def affine(order=(2, 1, 0), signs=(1, 1, 1), spacing=(2.0, 0.9, 0.8), origin=(-50.0, 20.0, 300.0)):
    matrix = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(zip(order, signs)):
        matrix[world, axis] = sign * spacing[axis]
    matrix[:3, 3], matrix[3, 3] = origin, 1
    return matrix


def ball(shape=(24, 50, 56), spacing=(2.0, 0.9, 0.8), radius_mm=12.0):
    grid = np.meshgrid(*((np.arange(n) - n * 0.45) * s for n, s in zip(shape, spacing)), indexing="ij")
    return sum(axis**2 for axis in grid) < radius_mm**2


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_volume_comes_back_on_its_own_grid(ct_bright, order):
    truth = ball()
    scan = Volume(np.where(truth, 900, -900).astype(np.int16), affine(order, (1, -1, 1)), "HU")
    found = load(ct_bright, backend="onnxruntime").predict(scan, probabilities=True)
    assert found.labels.shape == truth.shape
    assert found.labels.dtype == np.uint8
    assert dice(found.mask("bone"), truth) > 0.93
    assert found.probabilities.shape == (1, *truth.shape)
    assert dice(found.probabilities[0] >= 0.5, truth) > 0.93
    np.testing.assert_array_equal(found.affine, scan.affine)
    assert "NOT_VALIDATED" in {finding.code for finding in found.findings}
    assert len(found.package_digest) == 64


def two_squares():
    array = np.zeros((70, 90, 3), np.uint8)
    array[10:40, 10:50, 0] = 250
    array[30:60, 30:70, 1] = 250
    array[2:6, 80:84, 0] = 250
    array[64:68, 2:6, 1] = 250
    return array


def test_overlapping_labels_of_a_picture_are_cleaned(picture_two):
    array = two_squares()
    found = load(picture_two, backend="onnxruntime").predict(Picture(array), probabilities=True)
    red, green = array[..., 0] > 125, array[..., 1] > 125
    red[:8, 78:], green[62:, :8] = False, False
    np.testing.assert_array_equal(found.mask("red"), red)
    np.testing.assert_array_equal(found.mask("green"), green)
    assert found.labels[35, 35] == 3
    assert found.probabilities.shape == (2, 70, 90)
    alone = load(picture_two, backend="onnxruntime").predict(Picture(array))
    np.testing.assert_array_equal(alone.labels, found.labels)
    assert alone.probabilities is None


def test_tiles_equal_the_whole_pass(ct_unet):
    scan = Volume(np.random.default_rng(0).integers(-1000, 1000, (27, 67, 30)).astype(np.int16), affine(), "HU")
    whole = load(ct_unet, backend="onnxruntime").predict(scan, probabilities=True)
    tiled = load(ct_unet, backend="onnxruntime", memory_bytes=1).predict(scan, probabilities=True)
    assert np.abs(whole.probabilities - tiled.probabilities).max() < 1e-5
    assert (whole.labels != tiled.labels).mean() < 1e-4
    assert set(np.unique(whole.labels)) <= {0, 1, 2}
    assert len(np.unique(whole.labels)) > 1


def test_too_large_for_a_whole_pass_is_refused(ct_bright):
    scan = Volume(np.zeros((8, 8, 8), np.int16), affine(), "HU")
    with pytest.raises(InputError, match="too large"):
        load(ct_bright, backend="onnxruntime", memory_bytes=10).predict(scan)


@pytest.mark.parametrize(("red", "grade", "positive"), [(10, 0, False), (90, 1, False), (150, 2, True), (240, 3, True)])
def test_ordinal_grades(grader, red, grade, positive):
    array = np.zeros((40, 60, 3), np.uint8)
    array[..., 0] = red
    found = load(grader, backend="onnxruntime").predict(Picture(array))
    assert found.grade == grade
    assert found.decisions == {"retinopathy": positive}
    shares = [found.scores[f"g{k}"] for k in range(4)]
    assert sum(shares) == pytest.approx(1)
    assert found.scores["retinopathy"] == pytest.approx(shares[2] + shares[3])


def test_volume_of_interest_is_centred_where_asked(nodule_class):
    array = np.full((30, 40, 40), -900, np.int16)
    array[20:28, 5:13, 25:33] = 900
    scan = Volume(array, affine(), "HU")
    predictor = load(nodule_class, backend="onnxruntime")
    centre = tuple((affine() @ [23.5, 8.5, 28.5, 1])[:3])
    assert predictor.predict(scan, centre_mm=centre).scores["malignant"] > 0.99
    assert predictor.predict(scan).scores["malignant"] < 0.01


@pytest.mark.parametrize("memory_bytes", [1 << 30, 1])
def test_boxes_in_source_indices_and_millimetres(spot_finder, memory_bytes):
    array = np.full((30, 80, 90), -1000, np.int16)
    matrix = affine((1, 2, 0), (-1, 1, 1), (2.0, 1.0, 0.5))
    places = [(12, 22, 24), (6, 58, 60)]
    for z, y, x in places:
        array[z - 2 : z + 2, y - 4 : y + 4, x - 8 : x + 8] = 1000
    found = load(spot_finder, backend="onnxruntime", memory_bytes=memory_bytes).predict(Volume(array, matrix, "HU"))
    best = [box for box in found.boxes if box.positive]
    assert len(best) == 2
    centres = sorted(tuple((np.array(box.box[:3]) + box.box[3:]) / 2) for box in best)
    for centre, place in zip(centres, sorted(places)):
        assert np.abs((np.array(centre) - place) * (2.0, 1.0, 0.5)).max() <= 2.5
    box = best[0]
    middle = (np.array(box.box[:3]) + box.box[3:]) / 2 - 0.5
    middle_mm = (np.array(box.box_mm[:3]) + box.box_mm[3:]) / 2
    np.testing.assert_allclose(matrix[:3, :3] @ middle + matrix[:3, 3], middle_mm, atol=1e-4)
    assert found.scores["spot"] == max(b.score for b in found.boxes)
    assert found.decisions == {"spot": True}


def test_another_modality_is_refused(ct_bright):
    scan = Volume(np.zeros((8, 8, 8), np.int16), affine(), "arbitrary", source=Source(modality="MR"))
    with pytest.raises(InputError, match="another modality"):
        load(ct_bright, backend="onnxruntime").predict(scan)
    with pytest.raises(InputError, match="reads a volume"):
        load(ct_bright, backend="onnxruntime").predict(Picture(np.zeros((8, 8, 3), np.uint8)))


def test_files_in_files_out(ct_bright, picture_two, spot_finder, tmp_path):
    truth = ball()
    path = write_nifti(np.where(truth, 900, -900).astype(np.int16), tmp_path / "scan.nii.gz", affine=affine())
    found = load(ct_bright, backend="onnxruntime").predict(path, probabilities=True)
    names = [p.name for p in write_prediction(found, tmp_path / "out")]
    assert names == ["labels.nii.gz", "probabilities.nii.gz", "prediction.json"]
    document = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert document["package_digest"] == found.package_digest
    assert document["voxels"]["bone"] == int(found.mask("bone").sum())
    assert not list((tmp_path / "out").glob(".part*"))
    two = load(picture_two, backend="onnxruntime").predict(Picture(two_squares()), probabilities=True)
    names = [p.name for p in write_prediction(two, tmp_path / "two")]
    assert names == ["red.png", "green.png", "probabilities.npz", "prediction.json"]
    boxes = load(spot_finder, backend="onnxruntime").predict(path)
    assert [p.name for p in write_prediction(boxes, tmp_path / "boxes")] == ["prediction.json"]


def test_no_torch_at_inference(ct_bright, tmp_path):
    np.save(tmp_path / "scan.npy", np.where(ball(), 900, -900).astype(np.int16))
    code = (
        "import sys, numpy as np\n"
        "from medimg.inference.predictor import load\n"
        "from medimg.inference.output import write_prediction\n"
        "from medimg.io.image import Volume\n"
        "array = np.load(sys.argv[2])\n"
        "affine = np.array([[0, 0, 1.0, 0], [0, 1.0, 0, 0], [2.0, 0, 0, 0], [0, 0, 0, 1]])\n"
        "found = load(sys.argv[1], backend='onnxruntime').predict(Volume(array, affine, 'HU'))\n"
        "write_prediction(found, sys.argv[3])\n"
        "heavy = {'torch', 'monai', 'pandas', 'hydra', 'skimage'} & set(sys.modules)\n"
        "print(sorted(heavy), int(found.labels.sum()) > 0)\n"
    )
    args = [sys.executable, "-c", code, str(ct_bright), str(tmp_path / "scan.npy"), str(tmp_path / "out")]
    done = subprocess.run(args, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "[] True", done.stderr


def test_a_picture_may_have_any_name(picture_two):
    picture = Picture(two_squares())
    model = load(picture_two, backend="onnxruntime")
    expected = model.predict(picture).labels
    np.testing.assert_array_equal(model.predict({"image": picture}).labels, expected)
    np.testing.assert_array_equal(model.predict({"frame": picture}).labels, expected)


def test_scans_are_read_as_in_training_unless_told(ct_bright, tmp_path):
    scan = tmp_path / "scan"
    scan.mkdir()
    for n in range(6):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = CTImageStorage, f"1.2.3.{n + 1}", "1.2.4"
        ds.Modality, ds.InstanceNumber = "CT", n + 1
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0.5 * n, 2 * n], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.Rows, ds.Columns, ds.SamplesPerPixel = [1, 1], 20, 20, 1
        ds.PhotometricInterpretation, ds.BitsAllocated, ds.BitsStored, ds.HighBit = "MONOCHROME2", 16, 16, 15
        ds.PixelRepresentation, ds.RescaleSlope, ds.RescaleIntercept = 1, 1, 0
        ds.PixelData = np.full((20, 20), 100 * n, "<i2").tobytes()
        ds["PixelData"].VR = "OW"
        ds.save_as(scan / f"{n}.dcm", enforce_file_format=True)
    predictor = load(ct_bright)
    with pytest.raises(InputError, match="tilted gantry"):
        predictor.predict(scan)
    found = predictor.predict(scan, reading=ReadPolicy(tilt="resample"))
    (told,) = [finding for finding in found.findings if finding.code == "READING_POLICY"]
    assert told.value == "tilt=resample"
    assert found.labels is not None
    assert found.labels.shape == (6, 23, 20)
