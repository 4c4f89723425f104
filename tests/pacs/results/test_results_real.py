"""Results of real oblique MR series: written, checked, read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scenes import MANIFEST, dciodvfy_errors, predicted

from medimg.io.image import Volume
from medimg.io.mask import read_mask
from medimg.io.read import scan
from medimg.pacs.results.write import write_results


@pytest.mark.real
def test_real_oblique_series_take_their_results(real_data: Path, tmp_path: Path) -> None:
    entries = scan(real_data / "mri-glioma-dicom").choices
    assert entries
    for n, entry in enumerate(entries):
        image = entry.load()
        assert isinstance(image, Volume)
        labels = np.zeros(image.shape_zyx, np.uint8)
        labels[5:9, 60:90, 40:110], labels[15:18, 100:130, 90:120] = 1, 2
        files = write_results(predicted(image, labels), image, entry.paths, MANIFEST, tmp_path / str(n))
        assert np.array_equal(read_mask(files[0], like=image).array, labels)
        for path in files:
            assert dciodvfy_errors(path) == [], path.name
