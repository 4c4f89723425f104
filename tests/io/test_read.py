"""The door: what is not an image is named, what lies about itself is read by its content."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medimg.errors import InputError
from medimg.io.atomic import replacing
from medimg.io.read import read, read_all, scan
from medimg.io.write import write_nifti, write_picture


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.dcm", b"<!DOCTYPE html><html>login</html>", "HTML page"),
        ("a.nii.gz", b"\n <html><body>404</body></html>", "HTML page"),
        ("a.dcm", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("a.dcm", b"PK\x03\x04rest", "zip archive"),
        ("a.nii", bytes(4000), "zero bytes"),
        ("a.png", b"hello world, this is text", "text"),
        ("a.dcm", bytes(range(256)), "unknown format"),
        ("a.hdr", b"\x5c\x01\x00\x00" + bytes(344), "Analyze"),
        ("a.mp4", b"\x00\x00\x00\x18ftypmp42", "MP4"),
        ("a.nrrd", b"NRRD0004\n", "NRRD"),
    ],
)
def test_what_is_not_an_image_is_named(tmp_path: Path, name: str, content: bytes, found: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=found) as caught:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert caught.value.exit_code == 3


def test_empty_missing_and_damaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read(tmp_path / "nothing")
    with pytest.raises(InputError, match="folder is empty"):
        read(tmp_path)
    (tmp_path / "zero.dcm").touch()
    with pytest.raises(InputError, match="file is empty"):
        read(tmp_path / "zero.dcm")
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(bytes(1000))[:12])
    with pytest.raises(InputError, match="cut short"):
        read(tmp_path / "cut.nii.gz")
    with pytest.raises(InputError, match="holds no image") as caught:
        read(tmp_path)
    assert "zero.dcm" in str(caught.value)
    with pytest.raises(InputError, match="holds no image"):
        read_all(tmp_path)


def test_folder_with_one_nifti_or_one_picture(tmp_path: Path) -> None:
    write_nifti(np.zeros((2, 3, 4), np.uint8), tmp_path / "n" / "a.nii.gz", affine=np.eye(4))
    (tmp_path / "n" / "notes.txt").write_text("nothing to see")
    volume = read(tmp_path / "n")
    assert volume.array.shape == (2, 3, 4)
    assert [finding.code for finding in volume.findings] == ["SKIPPED"]
    write_picture(np.zeros((3, 4, 3), np.uint8), tmp_path / "p" / "a.png")
    assert read(tmp_path / "p").array.shape == (3, 4, 3)
    assert len(read_all(tmp_path)) == 2
    with pytest.raises(InputError, match="which one"):
        read(tmp_path)


def test_other_files_beside_dicom_are_skipped_with_a_finding(tmp_path: Path, factory: ModuleType) -> None:
    factory.series(tmp_path, factory.planes(3))
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / ".hidden").write_text("x")
    write_picture(np.zeros((3, 4, 3), np.uint8), tmp_path / "preview.png")
    volume = read(tmp_path)
    assert volume.array.shape == (3, 6, 5)
    assert sorted(finding.code for finding in volume.findings) == ["SKIPPED", "SKIPPED", "UNREADABLE"]
    assert len(scan(tmp_path).entries) == 1


def test_dicom_without_preamble_and_with_another_extension(tmp_path: Path, factory: ModuleType) -> None:
    (path,) = factory.series(tmp_path / "a", factory.planes(1))
    bare = tmp_path / "IM0001"
    bare.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(read(bare).array, read(path).array)
    tiff_preamble = tmp_path / "b.tif"
    tiff_preamble.write_bytes(b"II*\x00" + path.read_bytes()[4:])
    np.testing.assert_array_equal(read(tiff_preamble).array, read(path).array)


def test_compressed_dicom_is_refused_by_name(tmp_path: Path, factory: ModuleType) -> None:
    (path,) = factory.series(tmp_path, factory.planes(1))
    packed = tmp_path / "a.dcm.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match="compressed as a whole"):
        read(packed)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(TypeError), replacing(target) as part:
        part.write_bytes("half")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    with replacing(target) as part:
        part.write_text("new")
    assert target.read_text() == "new"
