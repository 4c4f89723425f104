"""Whether ancestry can be told apart from site."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from medimg.evaluation.comparison.separability import cramers_v, separability
from medimg.evaluation.document import CrossCount
from medimg.evaluation.protocol import declare

from .conftest import AUC

PROTOCOL = declare({"endpoints": [AUC]})


def _judge(counts, ancestries=("A", "B", "unknown")):
    sites = [f"s{j}" for j in range(len(counts[0]))]
    return separability(CrossCount(ancestries=list(ancestries), sites=sites, counts=counts), PROTOCOL)


def test_no_site_with_two_ancestries():
    found = _judge([[40, 0], [0, 50], [5, 20]])
    assert (found.separable, found.n_sites, found.n_sites_with_two, found.association) == (False, 2, 0, 1.0)
    assert "not separable from site" in found.text


def test_a_few_strays_do_not_make_a_comparison():
    assert not _judge([[400, 3], [10, 500], [0, 0]]).separable


def test_one_shared_site_among_separate_ones_is_not_enough():
    found = _judge([[4000, 0, 20], [0, 4000, 20], [0, 0, 0]])
    assert found.n_sites_with_two == 1
    assert found.association >= 0.9
    assert not found.separable
    assert "not separable from site" in found.text


def test_mixed_sites_are_separable():
    found = _judge([[40, 60], [50, 50], [5, 20]])
    assert found.separable
    assert found.n_sites_with_two == 2


def test_one_ancestry_and_one_site():
    assert not _judge([[40, 60], [0, 0], [5, 20]]).separable
    one = _judge([[40], [60], [5]])
    assert (one.separable, one.association) == (True, None)
    assert _judge([[0, 0], [0, 0], [10, 10]]).association is None


def test_suppressed_counts_give_nothing_away():
    assert _judge([[40, None], [50, 50], [5, 20]]) == _judge([[40, None], [50, 50], [0, 0]])


def test_bias_corrected_cramers_v():
    table = np.array([[30.0, 10.0, 5.0], [10.0, 20.0, 25.0]])
    n, r, k = 100, 2, 3
    phi = chi2_contingency(table, correction=False).statistic / n - (r - 1) * (k - 1) / (n - 1)
    smaller = min(r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)) - 1
    assert cramers_v(table) == pytest.approx(np.sqrt(phi / smaller), abs=1e-12)


def test_no_association_in_large_random_tables_is_near_nought():
    rng = np.random.default_rng(0)
    assert (
        np.mean([cramers_v(rng.multinomial(500, [1 / 20] * 20).reshape(5, 4).astype(float)) for _ in range(50)]) < 0.04
    )
