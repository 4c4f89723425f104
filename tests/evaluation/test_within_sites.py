"""Gaps within sites, pooled."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medimg.evaluation.comparison.within_sites import within_sites
from medimg.evaluation.protocol import declare
from medimg.evaluation.row_evidence import RowEvidence

from .conftest import make_subjects

RULE = {"metric": "sensitivity", "target": "dr", "primary": True, "floor": 0.5, "gap_margin": 0.1}


def _evidence(ancestry, site, rate, protocol=None):
    rng = np.random.default_rng(8)
    n = len(ancestry)
    called = (rng.random(n) < rate).astype(int)
    cases = pd.DataFrame(
        {
            "case_id": [f"c{i:05d}" for i in range(n)],
            "subject_id": [f"s{i:05d}" for i in range(n)],
            "site_id": site,
            "target": "dr",
            "task": "classification",
            "truth": 1,
            "score": called * 0.8 + 0.1,
            "predicted": called,
        }
    )
    return RowEvidence(cases, make_subjects(rng, n, ancestry), declare({"endpoints": [RULE], **(protocol or {})}))


def _mixed(shares, rates, n=600):
    """One site a share of ancestry A; the rate hangs on the site alone."""
    ancestry, site, rate = [], [], []
    for j, (share, at) in enumerate(zip(shares, rates)):
        ancestry += ["A"] * int(n * share) + ["B"] * (n - int(n * share))
        site += [f"s{j}"] * n
        rate += [at] * n
    return np.array(ancestry), np.array(site), np.array(rate)


def test_a_gap_between_sites_is_no_gap_within_them():
    evidence = _evidence(*_mixed((0.9, 0.5, 0.1), (0.6, 0.75, 0.9), 3000))
    table = evidence.table
    raw = [table.loc[table["axis_ancestry"] == a, "predicted"].mean() for a in "AB"]
    assert raw[0] - raw[1] < -0.1
    found = {w.value: w for w in within_sites(evidence, evidence.declared.endpoints)}
    assert set(found) == {"A", "B"}
    assert found["A"].n_sites == 3
    assert found["A"].low < 0 < found["A"].high
    assert abs(found["A"].gap) < 0.06
    assert found["A"].gap == pytest.approx(-found["B"].gap)


def test_a_gap_within_every_site_is_found():
    ancestry, site, rate = _mixed((0.5, 0.5, 0.5, 0.5), (0.9, 0.9, 0.9, 0.9))
    evidence = _evidence(ancestry, site, np.where(ancestry == "A", rate - 0.25, rate))
    found = {w.value: w for w in within_sites(evidence, evidence.declared.endpoints)}
    assert found["A"].high < -0.1
    assert found["A"].gap == pytest.approx(-0.25, abs=0.05)


def test_no_shared_site_is_said_so():
    evidence = _evidence(*_mixed((1.0, 0.0), (0.8, 0.8), 100))
    for found in within_sites(evidence, evidence.declared.endpoints):
        assert found.gap is None
        assert found.n_sites == 0
        assert found.reason == "no site holds enough patients of this ancestry and of the ones it is compared with"


def test_a_declared_reference_is_the_comparison_within_sites_too():
    ancestry, site, rate = _mixed((0.5, 0.5), (0.9, 0.9), 300)
    evidence = _evidence(ancestry, site, rate, {"reference": "ancestry=B"})
    assert [w.value for w in within_sites(evidence, evidence.declared.endpoints)] == ["A"]


def test_without_the_axis_of_sites_there_is_none():
    evidence = _evidence(*_mixed((0.5, 0.5), (0.9, 0.9), 100), {"axes": ["ancestry"]})
    assert within_sites(evidence, evidence.declared.endpoints) == []
