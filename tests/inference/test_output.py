"""Legend: Z Y X axes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medimg.inference.output import as_json, write_prediction
from medimg.inference.prediction import Prediction
from medimg.io.image import Source
from medimg.io.mask import read_mask
from medimg.packaging.manifest import Label, TaskSpec


def task(names, mode="multilabel"):
    first = 1 if mode == "multiclass" else 0
    labels = tuple(Label(name=name, index=first + i) for i, name in enumerate(names))
    return TaskSpec(kind="segmentation", mode=mode, spatial_dims=3, labels=labels)


def test_labels_that_overlap_get_a_file_each(tmp_path):
    bits = np.random.default_rng(0).integers(0, 8, (4, 5, 6)).astype(np.uint8)
    affine = np.array([[0, 0, 0.7, 3], [0, -0.8, 0, 2], [2.0, 0, 0, 1], [0, 0, 0, 1]])
    found = Prediction(task(["left lung", "left/lung", "labels"]), labels=bits, affine=affine)
    paths = write_prediction(found, tmp_path)
    names = ["left_lung.nii.gz", "left_lung_1.nii.gz", "labels_2.nii.gz", "prediction.json"]
    assert [path.name for path in paths] == names
    for bit, path in enumerate(paths[:3]):
        mask = read_mask(path)
        np.testing.assert_array_equal(mask.array, bits >> bit & 1)
        np.testing.assert_allclose(mask.affine, affine, atol=1e-6)


def test_classes_share_a_file(tmp_path):
    labels = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    found = Prediction(task(["a", "b"], "multiclass"), labels=labels, affine=np.eye(4))
    paths = write_prediction(found, tmp_path)
    np.testing.assert_array_equal(read_mask(paths[0]).array, labels)
    document = json.loads(paths[-1].read_text())
    assert document["voxels"] == {"a": int((labels == 1).sum()), "b": int((labels == 2).sum())}
    with pytest.raises(KeyError):
        found.mask("c")


def test_json_holds_no_path_of_the_source():
    source = Source(paths=("/hospital/DOE^JANE/1.dcm",), series_uid="1.2.3", modality="CT")
    text = json.dumps(as_json(Prediction(task(["a"]), source=source, scores={"a": 0.5})))
    assert "DOE" not in text
    assert "1.2.3" in text
