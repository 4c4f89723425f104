"""Groups at the case mix of everyone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from medimg.evaluation.comparison.case_mix import MixedCases, everyone, patients_held, shares, weighted
from medimg.evaluation.comparison.cells import adjust
from medimg.evaluation.comparison.standardise import standardised
from medimg.evaluation.estimation.measurements import Measurements
from medimg.evaluation.metrics.auc import auc_estimate
from medimg.evaluation.metrics.intervals import clustered_mean, clustered_rate
from medimg.evaluation.protocol import declare
from medimg.evaluation.row_evidence import RowEvidence

from .conftest import AUC, make_cases, make_subjects

SENSITIVITY = {"metric": "sensitivity", "target": "dr", "primary": True, "floor": 0.5, "gap_margin": 0.1}


def _mixed(kind, value, stratum, patient=None, n_strata=None, code=None, mass=None):
    n = len(stratum)
    rows = np.arange(n)
    return MixedCases(
        row=rows,
        patient=rows if patient is None else np.asarray(patient),
        stratum=np.asarray(stratum),
        mass=np.ones(n) if mass is None else mass,
        value=np.asarray(value, float),
        n_strata=n_strata or int(np.max(stratum)) + 1,
        kind=kind,
        code=code,
    )


def _at_everyones(cases, mask, confidence=0.95):
    share, _ = shares(cases, everyone(cases))
    return weighted(cases, mask, share, patients_held(cases, mask), confidence)


def test_a_rate_by_hand():
    """Everyone: 60 young, 40 old. The group: 10 young (9 right), 30 old (15 right)."""
    stratum = np.repeat([0, 1, 0, 1], [10, 30, 50, 10])
    value = np.concatenate([np.repeat([1, 0], [9, 1]), np.repeat([1, 0], [15, 15]), np.ones(60)])
    mask = np.arange(100) < 40
    found, n_effective = _at_everyones(_mixed("rate", value, stratum), mask)
    assert found.value == pytest.approx(0.6 * 0.9 + 0.4 * 0.5)
    assert n_effective == pytest.approx(1 / (0.6**2 / 10 + 0.4**2 / 30))
    by_hand = 0.6**2 * 0.9 * 0.1 / 9 + 0.4**2 * 0.25 / 29
    assert np.sum(found.influence**2) == pytest.approx(by_hand)
    assert found.low < found.value < found.high


def test_one_stratum_is_the_raw_estimate():
    rng = np.random.default_rng(1)
    patient = np.repeat(np.arange(60), 2)
    truth, score = rng.random(120) < 0.4, rng.normal(size=120).round(1)
    hits, dice = (rng.random(120) < 0.7).astype(float), rng.random(120)
    everybody = np.ones(120, bool)
    one = np.zeros(120, int)
    mean, _ = _at_everyones(_mixed("mean", dice, one, patient), everybody)
    raw = clustered_mean(np.bincount(patient, dice), np.full(60, 2.0), np.arange(60), bounded=True)
    assert (mean.value, mean.low, mean.high) == pytest.approx((raw.value, raw.low, raw.high), abs=1e-12)
    rate, _ = _at_everyones(_mixed("rate", hits, one, patient), everybody)
    raw = clustered_rate(np.bincount(patient, hits), np.full(60, 2.0), np.arange(60))
    assert (rate.value, rate.low, rate.high) == pytest.approx((raw.value, raw.low, raw.high), abs=0.005)
    code = np.unique(score, return_inverse=True)[1]
    singles = np.arange(120)
    area, _ = _at_everyones(_mixed("area", hits, truth.astype(int), singles, 2, code), everybody)
    raw = auc_estimate(truth, score, singles)
    assert (area.value, area.low, area.high) == pytest.approx((raw.value, raw.low, raw.high), abs=1e-12)


def test_a_weighted_area_is_scikit_learns():
    rng = np.random.default_rng(2)
    truth, kind = rng.random(300) < 0.4, rng.integers(0, 3, 300)
    score = (rng.normal(size=300) + truth + kind).round(1)
    mask = rng.random(300) < 0.3 + 0.2 * kind
    code = np.unique(score, return_inverse=True)[1]
    cases = _mixed("area", score, kind + 3 * truth, n_strata=6, code=code)
    found, _ = _at_everyones(cases, mask)
    weight = (everyone(cases) / np.bincount(cases.stratum[mask], minlength=6))[cases.stratum[mask]]
    assert found.value == pytest.approx(roc_auc_score(truth[mask], score[mask], sample_weight=weight), abs=1e-12)


def test_every_case_twice_changes_no_interval():
    rng = np.random.default_rng(3)
    truth, kind = rng.random(200) < 0.4, rng.integers(0, 2, 200)
    code = np.unique(rng.normal(size=200) + truth, return_inverse=True)[1]
    twice = np.tile(np.arange(200), 2)
    mask = rng.random(200) < 0.5
    for shape, stratum in (("area", kind + 2 * truth), ("mean", kind)):
        size = 4 if shape == "area" else 2
        value = rng.random(200)
        one, _ = _at_everyones(_mixed(shape, value, stratum, None, size, code), mask)
        two, _ = _at_everyones(_mixed(shape, value[twice], stratum[twice], twice, size, code[twice]), mask[twice])
        assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high), abs=1e-12)


@pytest.mark.parametrize("kind", ["rate", "area"])
def test_standardised_intervals_cover(kind):
    rng = np.random.default_rng(4)
    inside = runs = 0
    n, strata = 240, 3
    mix = np.array([0.5, 0.3, 0.2])
    rates = np.array([0.9, 0.75, 0.6])
    for _ in range(300):
        stratum = np.concatenate([rng.choice(strata, n, p=mix[::-1]), rng.choice(strata, 4 * n, p=mix)])
        truth = np.arange(5 * n) % 2 == 0
        mask = np.arange(5 * n) < n
        if kind == "rate":
            cases = _mixed("rate", rng.random(5 * n) < rates[stratum], stratum)
            share, _ = shares(cases, everyone(cases))
            true = share @ rates
        else:
            score = rng.normal(size=5 * n) + 1.5 * truth
            cases = _mixed("area", score, stratum + 3 * truth, n_strata=6, code=np.argsort(np.argsort(score)))
            true = 0.855578
        found, _ = _at_everyones(cases, mask)
        inside += found.low <= true <= found.high
        runs += 1
    assert 0.925 <= inside / runs <= 0.985


def _evidence(cases, subjects, endpoints, **settings):
    evidence = RowEvidence(cases, subjects, declare({"endpoints": endpoints, "replicates": 200, **settings}))
    rules = evidence.declared.endpoints
    cells = adjust(Measurements(evidence, rules).cells(evidence.keys), 0.95)
    return {(s.axis, s.value, s.endpoint): s for s in standardised(evidence, cells)}


def _older(rng, n=1600):
    """Group A is older, and the model does worse in the old, whoever they are."""
    ancestry = np.repeat(["A", "B"], n // 2)
    old = rng.random(n) < np.where(ancestry == "A", 0.8, 0.2)
    subjects = make_subjects(rng, n, ancestry)
    subjects["age"] = np.where(old, 72, 50)
    cases = make_cases(rng, np.arange(n), effect=np.where(old, 1.0, 3.5))
    return cases.assign(age=np.where(old, 72.0, 50.0)), subjects


def test_a_gap_of_age_goes_and_the_raw_one_stays():
    found = _evidence(*_older(np.random.default_rng(5)), [AUC, SENSITIVITY])
    for endpoint in ("auc:dr", "sensitivity:dr"):
        a, b = found["ancestry", "A", endpoint], found["ancestry", "B", endpoint]
        assert a.raw - b.raw < -0.08
        assert a.gap_low < 0 < a.gap_high
        assert abs(a.gap) < 0.06
        assert a.gap == pytest.approx(-b.gap, abs=1e-9)
        assert a.estimate - b.estimate == pytest.approx(a.gap, abs=1e-12)
        assert a.share_supported == 1
        assert a.covariates == ["sex", "age_band", "scanner"]
    assert found["sex", "female", "auc:dr"].covariates == ["age_band", "scanner"]


def test_strata_without_support_are_counted_and_too_little_support_gives_no_number():
    rng = np.random.default_rng(6)
    cases, subjects = _older(rng)
    ancestry = subjects.set_index("subject_id")["ancestry_group"].loc[cases["subject_id"]].to_numpy()
    own = cases.assign(scanner=np.where(ancestry == "A", "mine", cases["scanner"]))
    some = own.assign(scanner=np.where(np.arange(1600) % 4 == 0, "three", own["scanner"]))
    for result in _evidence(own, subjects, [SENSITIVITY]).values():
        if result.axis == "ancestry":
            assert result.estimate is None
            assert result.share_supported == 0
            assert result.n_strata_unsupported == result.n_strata > 0
            assert "0% of everyone's cases" in result.reason
    partly = _evidence(some, subjects, [SENSITIVITY])["ancestry", "B", "sensitivity:dr"]
    assert 0 < partly.share_supported < 0.5
    loose = _evidence(some, subjects, [SENSITIVITY], standardise_by=["sex", "age_band"])
    assert loose["ancestry", "B", "sensitivity:dr"].share_supported == 1


def test_what_cannot_be_standardised_has_a_reason(graded):
    endpoints = [AUC, {"metric": "quadratic_kappa", "target": "dr"}]
    found = _evidence(graded.cases, graded.subjects, endpoints, reference="ancestry=EUR")
    assert "no standardised form" in found["ancestry", "AFR", "quadratic_kappa:dr"].reason
    assert "reference" in found["ancestry", "EUR", "auc:dr"].reason
    assert ("ancestry", "unknown", "auc:dr") not in found
    assert ("sex", "female", "quadratic_kappa:dr") not in found


def test_segmentation_and_detection_have_standardised_forms():
    rng = np.random.default_rng(7)
    n = 400
    lesions = rng.integers(0, 4, n)
    common = {
        "case_id": [f"c{i:05d}" for i in range(n)],
        "subject_id": [f"s{i:05d}" for i in range(n)],
        "site_id": "one",
    }
    node = pd.DataFrame(
        {**common, "target": "node", "task": "segmentation", "truth_empty": 0, "pred_empty": rng.random(n) < 0.1}
    ).assign(dice=rng.random(n), nsd=rng.random(n), hd95_mm=rng.random(n) * 9)
    spot = pd.DataFrame({**common, "target": "spot", "task": "detection", "n_lesions": lesions}).assign(
        n_hit=rng.binomial(lesions, 0.8), n_false_positives=rng.poisson(1.0, n)
    )
    names = {"dice_mean": "node", "nsd_mean": "node", "hd95_mean": "node", "missed": "node"}
    names |= {"lesion_sensitivity": "spot", "false_positives_per_image": "spot"}
    endpoints = [{"metric": metric, "target": target} for metric, target in names.items()]
    endpoints[0] |= {"primary": True, "floor": 0.1}
    endpoints.append({"metric": "dice_median", "target": "node"})
    subjects = make_subjects(rng, n, rng.choice(["A", "B"], n))
    both = pd.concat([node.assign(pred_empty=node["pred_empty"].astype(float)), spot])
    found = _evidence(both, subjects, endpoints, standardise_by=["sex"])
    for metric, target in names.items():
        result = found["ancestry", "A", f"{metric}:{target}"]
        assert result.low < result.estimate < result.high
        assert result.estimate == pytest.approx(result.raw, rel=0.05)
    assert "no standardised form" in found["ancestry", "A", "dice_median:node"].reason
