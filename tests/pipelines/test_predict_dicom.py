"""``medimg predict … dicom=[…]``: DICOM objects beside the masks."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pydicom
import pytest

from medimg.errors import ConfigError, InputError
from medimg.io.mask import read_mask
from medimg.io.read import read
from medimg.io.write import write_nifti
from medimg.pipelines.predict import main


def load_module(*parts: str) -> ModuleType:
    path = Path(__file__).parents[1].joinpath(*parts)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return load_module("pacs", "serve", "tiny.py").tiny_package(tmp_path_factory.mktemp("package"))


@pytest.fixture
def series(tmp_path: Path) -> Path:
    voxels = np.full((5, 16, 12), 1024, np.uint16)
    voxels[1:3, 4:9, 3:8] = 2024
    load_module("io", "dicom_factory.py").series(tmp_path / "ct", voxels)
    return tmp_path / "ct"


def test_objects_are_written_beside_the_masks(package: Path, series: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    arguments = [f"package={package}", f"input={series}", f"output={out}", "json=true"]
    assert main([*arguments, "dicom=[seg_fractional,sr,sc,gsps,pm]"]) == 0
    listed = {Path(name).name for name in json.loads(capsys.readouterr().out)["files"]}
    dicom = {"seg.dcm", "sr.dcm", "sc-1.dcm", "gsps.dcm", "pm-1.dcm"}
    assert listed == {"labels.nii.gz", "prediction.json", *dicom}
    assert {path.name for path in (out / "dicom").iterdir()} == dicom
    image = read(series)
    assert np.array_equal(read_mask(out / "dicom" / "seg.dcm", like=image).array > 0, image.array > 500)
    assert pydicom.dcmread(out / "dicom" / "sr.dcm").Modality == "SR"


def test_without_being_asked_nothing_changes(package: Path, series: Path, tmp_path: Path) -> None:
    assert main([f"package={package}", f"input={series}", f"output={tmp_path / 'out'}"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"labels.nii.gz", "prediction.json"}


def test_what_cannot_be_is_said(package: Path, series: Path, tmp_path: Path) -> None:
    arguments = [f"package={package}", f"output={tmp_path / 'out'}"]
    with pytest.raises(ConfigError, match="did you mean 'seg'"):
        main([*arguments, f"input={series}", "dicom=[segm]"])
    image = read(series)
    nifti = write_nifti(image.array, tmp_path / "ct.nii.gz", affine=image.affine)
    with pytest.raises(InputError, match="DICOM results need a DICOM source"):
        main([*arguments, f"input={nifti}", "dicom=[seg]"])
