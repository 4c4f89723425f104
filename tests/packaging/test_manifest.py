from __future__ import annotations

import pytest

from medimg.packaging.manifest import Label, PackageManifest, TaskSpec


def labels(names, first=0):
    return tuple(Label(name=name, index=first + i) for i, name in enumerate(names))


@pytest.mark.parametrize(
    ("kind", "mode", "names", "first", "outputs", "more"),
    [
        ("segmentation", "multiclass", "ab", 1, 3, {}),
        ("segmentation", "multilabel", "ab", 0, 2, {}),
        ("classification", "binary", "a", 0, 1, {}),
        ("classification", "multiclass", "abc", 0, 3, {}),
        ("classification", "ordinal", "abcd", 0, 3, {"positive_from": 2}),
        ("detection", "boxes", "ab", 0, 2, {}),
    ],
)
def test_outputs(kind, mode, names, first, outputs, more):
    task = TaskSpec(kind=kind, mode=mode, spatial_dims=2, labels=labels(names, first), **more)
    assert task.outputs == outputs


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "ordinal"},
        {"labels": labels("aa")},
        {"labels": labels("ab", 1)},
        {"kind": "classification", "mode": "ordinal", "labels": labels("abc")},
        {"kind": "classification", "mode": "ordinal", "labels": labels("abc"), "positive_from": 3},
    ],
)
def test_impossible_tasks_are_refused(wrong):
    good = {"kind": "segmentation", "mode": "multilabel", "spatial_dims": 2, "labels": labels("ab")}
    with pytest.raises(ValueError):
        TaskSpec(**(good | wrong))


@pytest.mark.parametrize(
    "wrong",
    [
        {"tiling": {"divisor": (1, 1, 1)}},
        {"anchors": {"strides": []}},
        {"postprocessing": {"thresholds": {"nobody": 0.5}}},
        {"name": "../up"},
        {"status": "sealed", "validation": "validated"},
        {"modality": "XR"},
    ],
)
def test_impossible_manifests_are_refused(manifest, wrong):
    with pytest.raises(ValueError):
        PackageManifest.model_validate(manifest.model_dump(by_alias=True) | wrong)


def test_json_keeps_the_digest(manifest):
    again = PackageManifest.model_validate_json(manifest.model_dump_json(by_alias=True))
    assert again.digest == manifest.digest
    other = manifest.model_copy(update={"intended_use": "something else"})
    assert other.digest != manifest.digest
