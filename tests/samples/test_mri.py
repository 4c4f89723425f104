from __future__ import annotations

import numpy as np
import pytest

from medimg.samples.mri import CORE, OEDEMA, render_mri
from medimg.samples.mri_signal import CONTRASTS, SCANNERS, TISSUES, Sequence, sample_k_space, tissue_signal


@pytest.fixture(scope="module")
def studies() -> list:
    return [render_mri(1.0, 60, SCANNERS[f"site-{1 + seed % 3}"], np.random.default_rng(seed)) for seed in range(4)]


def test_signal_equation_orders_the_tissues() -> None:
    index = {name: position for position, name in enumerate(TISSUES)}
    protocol = SCANNERS["site-1"].sequences
    t1, t2, flair = (tissue_signal(protocol[name], 3.0) for name in ("T1w", "T2w", "FLAIR"))
    assert t1[index["wm"]] > t1[index["gm"]] > t1[index["csf"]]
    assert t2[index["csf"]] > t2[index["gm"]] > t2[index["wm"]]
    assert flair[index["oedema"]] > flair[index["gm"]] > flair[index["csf"]]
    contrast = tissue_signal(protocol["T1ce"], 3.0, contrast_medium=True)
    assert contrast[index["core"]] > 1.3 * t1[index["core"]]
    assert contrast[index["wm"]] == t1[index["wm"]]


def test_signal_of_one_tissue_by_hand() -> None:
    signal = tissue_signal(Sequence(600, 10), 3.0)[TISSUES.index("wm")]
    assert signal == pytest.approx(0.70 * (1 - np.exp(-600 / 850)) * np.exp(-10 / 75))


def test_k_space_sampling_keeps_mean_and_place() -> None:
    fine = np.zeros((1, 64, 64))
    fine[0, 30:34, 20:24] = 1.0
    coarse = np.abs(sample_k_space(fine, 2))[0]
    assert sample_k_space(fine, 2).real.mean() == pytest.approx(fine.mean())
    rows, columns = np.indices(coarse.shape)
    weight = np.where(coarse > 0.3, coarse, 0)
    assert np.average(rows, weights=weight) == pytest.approx(15.5, abs=0.05)
    assert np.average(columns, weights=weight) == pytest.approx(10.5, abs=0.05)


def test_contrasts_share_a_grid_and_lesions_are_bright_on_flair(studies: list) -> None:
    for study in studies:
        assert set(study.contrasts) == set(CONTRASTS)
        assert all(array.shape == study.labels.shape for array in study.contrasts.values())
        flair, head = study.contrasts["FLAIR"].astype(float), study.contrasts["T1w"] > 0
        if (study.labels == OEDEMA).any():
            assert flair[study.labels == OEDEMA].mean() > 1.2 * flair[head].mean()
    assert any((study.labels == CORE).any() for study in studies)


def test_no_threshold_of_one_contrast_finds_the_lesions(studies: list) -> None:
    sick = [study for study in studies if study.labels.any()]
    for contrast in CONTRASTS:
        truth = np.concatenate([(study.labels > 0).ravel() for study in sick])
        values = []
        for study in sick:
            array = study.contrasts[contrast].astype(float)
            values.append(((array - array[array > 0].mean()) / array[array > 0].std()).ravel())
        score = np.concatenate(values)
        best = max(_dice(truth, score > cut) for cut in np.quantile(score, np.linspace(0.9, 0.999, 60)))
        assert best < 0.8, contrast


def _dice(truth: np.ndarray, found: np.ndarray) -> float:
    return float(2 * (truth & found).sum() / (truth.sum() + found.sum()))


def test_thick_slices_at_one_site() -> None:
    thick = render_mri(0.0, 50, SCANNERS["site-2"], np.random.default_rng(1))
    assert thick.labels.shape == (24, 48, 40)
    np.testing.assert_allclose(np.linalg.norm(thick.affine[:3, :3], axis=0), [6, 4, 4])
