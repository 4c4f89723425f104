from __future__ import annotations

import numpy as np
import pytest

from medimg.errors import InputError
from medimg.inference.study import read_study
from medimg.io.image import Picture, Volume
from medimg.io.write import write_nifti, write_picture


def scan(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_nifti(np.full((3, 4, 5), value, np.int16), path, affine=np.diag([1.0, 1, 1, 1]))


def values(images):
    return {name: int(image.array.flat[0]) for name, image in images.items()}


def test_one_channel(tmp_path):
    path = scan(tmp_path / "any.nii.gz", 7)
    assert values(read_study(path, ["ct"])) == {"ct": 7}
    assert values(read_study(str(tmp_path), ["ct"])) == {"ct": 7}
    volume = Volume(np.ones((2, 2, 2), np.int16), np.eye(4))
    assert read_study(volume, ["ct"]) == {"ct": volume}
    write_picture(np.zeros((4, 5, 3), np.uint8), tmp_path / "frames" / "a.png")
    assert isinstance(read_study(tmp_path / "frames", ["image"])["image"], Picture)


def test_channels_are_found_by_name(tmp_path):
    scan(tmp_path / "sub-01_T1w.nii.gz", 1)
    scan(tmp_path / "sub-01_T1w_post.nii.gz", 2)
    scan(tmp_path / "flair" / "sub-01.nii.gz", 3)
    scan(tmp_path / "sub-01_dwi.nii.gz", 4)
    found = read_study(tmp_path, ["t1w", "FLAIR", "post T1w"])
    assert values(found) == {"t1w": 1, "FLAIR": 3, "post T1w": 2}
    assert list(found) == ["t1w", "FLAIR", "post T1w"]


def test_channels_may_be_counted(tmp_path):
    for index in (1, 0):
        scan(tmp_path / f"case_{index:04d}.nii.gz", index)
    assert values(read_study(tmp_path, ["t1", "t2"])) == {"t1": 0, "t2": 1}


def test_a_mapping_names_them(tmp_path):
    study = {"t1": scan(tmp_path / "x.nii.gz", 5), "t2": Volume(np.full((3, 4, 5), 6, np.int16), np.eye(4))}
    assert values(read_study(study, ["t2", "t1"])) == {"t1": 5, "t2": 6}
    with pytest.raises(InputError, match="did you mean 't2'"):
        read_study({"t2w": study["t2"]}, ["t1", "t2"])


def test_one_file_may_hold_all_channels(tmp_path):
    path = write_nifti(np.zeros((2, 3, 4, 5), np.int16), tmp_path / "both.nii", affine=np.eye(4))
    assert read_study(tmp_path, ["t1", "t2"])["t1"].array.shape == (2, 3, 4, 5)
    assert read_study(path, ["t1", "t2"])["t1"].array.shape == (2, 3, 4, 5)


def test_what_is_unclear_is_listed(tmp_path):
    for name in ("a_t1.nii.gz", "b_t1.nii.gz", "a_t2.nii.gz"):
        scan(tmp_path / name, 1)
    with pytest.raises(InputError, match="Several images could be the channel t1") as several:
        read_study(tmp_path, ["t1", "t2"])
    assert "a_t1.nii.gz" in str(several.value)
    assert "b_t1.nii.gz" in str(several.value)
    with pytest.raises(InputError, match="No image is named as the channel flair"):
        read_study(tmp_path, ["t2", "flair"])
    with pytest.raises(InputError):
        read_study(tmp_path, ["ct"])
