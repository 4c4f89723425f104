"""The report of sites' summaries is the report of their rows."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest

from medimg.errors import InputError
from medimg.evaluation.build import build_report
from medimg.evaluation.document import ModelInfo, TaskInfo, dump_report
from medimg.evaluation.metrics.auc import placements
from medimg.evaluation.protocol import declare, freeze
from medimg.evaluation.sites.histograms import build_from_summaries
from medimg.evaluation.sites.score_grid import grid_of
from medimg.evaluation.sites.summary import merge, summarise_site
from medimg.evaluation.tables import WITHHELD

from .conftest import AUC, DIGEST, WHEN, make_cases, make_subjects
from .test_build import MANY, _detected, _segmented

SITES = ("north", "south", "west")
COUNTS = ("n_cases", "n_patients", "n_positives", "n_negatives", "n_failed")


def _settings(protocol, kind):
    frozen = freeze(
        declare(
            {
                "replicates": 200,
                "panel": "declared",
                "score_bins": 16384,
                "suppress": False,
                "crossed": [["ancestry", "scanner"]],
                **protocol,
            }
        ),
        {"dr": 0.5, "nodule": 0.5},
        package_digest=DIGEST,
        at=WHEN,
    )
    return {
        "protocol": frozen,
        "model": ModelInfo(name="made-up", package_digest=DIGEST, weights_sha256="w" * 64),
        "task": TaskInfo(kind=kind, mode="binary", labels=["x"]),
        "created": WHEN,
    }


def _spread_over_sites(cases):
    return cases.assign(site_id=np.array(SITES)[cases["subject_id"].str[1:].astype(int) % 3])


def _sent(cases, subjects, protocol, lesions=None, **more):
    found = []
    for site in SITES:
        mine = cases[cases["site_id"] == site]
        known = subjects[subjects["subject_id"].isin(mine["subject_id"])]
        marks = None if lesions is None else lesions[lesions["case_id"].isin(mine["case_id"])]
        found.append(summarise_site(mine, known, protocol, sender=site, lesions=marks, **more))
    return found


def _both(cases, subjects, protocol, lesions=None):
    kind = cases["task"].iloc[0]
    settings = _settings(protocol, kind)
    cases = _spread_over_sites(cases)
    exact = build_report(cases, subjects, lesions=lesions, **settings)
    sent = _sent(cases, subjects, settings["protocol"], lesions, protected=False)
    return exact, build_from_summaries(sent, **settings)


def _pairs(first, second):
    assert [(row.axis, row.value) for row in first.groups] == [(row.axis, row.value) for row in second.groups]
    for one, other in zip(first.groups, second.groups):
        assert [getattr(one, name) for name in COUNTS] == [getattr(other, name) for name in COUNTS]
        for mine, theirs in zip(one.results, other.results):
            assert mine.endpoint == theirs.endpoint
            yield (one.axis, one.value, mine.endpoint), mine, theirs


def _same(mine, theirs, close):
    if mine.estimate is None or mine.low is None:
        assert (theirs.estimate is None, theirs.low) == (mine.estimate is None, None)
        return
    assert mine.estimate == close(theirs.estimate)
    assert (mine.low, mine.high) == (close(theirs.low), close(theirs.high))
    if mine.gap is not None and mine.gap.estimate is not None:
        assert mine.gap.estimate == close(theirs.gap.estimate)
        assert (mine.gap.low, mine.gap.high) == (close(theirs.gap.low), close(theirs.gap.high))


@pytest.mark.parametrize("images", [1, 2])
def test_three_sites_give_the_report_of_their_rows(images):
    rng = np.random.default_rng(8)
    n = 900
    cases = make_cases(rng, np.repeat(np.arange(n), images))
    failed = cases.index % 50 == 0
    cases.loc[failed, ["score", "predicted", "grade_pred"]] = np.nan
    cases["status"] = np.where(failed, "failed", "ok")
    ancestry = rng.choice(["AFR", "EAS", "EUR", "UNK", "ASKU"], n, p=[0.25, 0.25, 0.4, 0.06, 0.04])
    # Scanners and age bands divide patients: gaps of patients who are on both sides.
    exact, counted = _both(cases, make_subjects(rng, n, ancestry), {"endpoints": MANY})
    for key, mine, theirs in _pairs(exact, counted):
        assert mine.floor_verdict == theirs.floor_verdict, key
        assert (mine.gap is None) == (theirs.gap is None)
        if mine.gap is not None:
            assert (mine.gap.verdict, mine.gap.reference) == (theirs.gap.verdict, theirs.gap.reference)
        assert (mine.n_cases, mine.n_patients, mine.n_failed) == (theirs.n_cases, theirs.n_patients, theirs.n_failed)
        assert mine.interval_method == theirs.interval_method
        if key[2] == "auc:dr":
            # Ties in a bin: the fewer cases, the more one of them weighs; see the test of the area for 1e-5.
            assert mine.estimate == pytest.approx(theirs.estimate, abs=0.05 / mine.n_cases)
            # The interval knows which cases belong to one patient, by strata of the score.
            assert mine.high - mine.low == pytest.approx(theirs.high - theirs.low, rel=0.04)
        elif key[2] == "quadratic_kappa:dr":
            assert mine.estimate == pytest.approx(theirs.estimate, abs=1e-12)
            assert mine.high - mine.low == pytest.approx(theirs.high - theirs.low, rel=0.35)
        else:
            _same(mine, theirs, partial(pytest.approx, abs=1e-9))
    assert (exact.status, exact.ancestry_by_site) == (counted.status, counted.ancestry_by_site)
    assert exact.test_set == counted.test_set
    assert counted.source == "histograms"
    assert "3 sites sent" in "".join(counted.limitations)
    for curve, other in zip(exact.curves, counted.curves):
        assert curve.operating_point == other.operating_point


def test_clusters_are_not_lost():
    # The same images as one patient each give a far narrower interval.
    rng = np.random.default_rng(9)
    cases = make_cases(rng, np.repeat(np.arange(800), 4), shared=2.0)
    subjects = make_subjects(rng, 800, "EUR")
    exact, counted = _both(cases, subjects, {"endpoints": [AUC], "axes": ["ancestry"]})
    apart = cases.assign(subject_id=[f"s{i:05d}" for i in range(3200)])
    alone, _ = _both(apart, make_subjects(rng, 3200, "EUR"), {"endpoints": [AUC], "axes": ["ancestry"]})
    widths = [r.groups[0].results[0].high - r.groups[0].results[0].low for r in (exact, counted, alone)]
    assert widths[1] == pytest.approx(widths[0], rel=0.03)
    assert widths[2] < 0.9 * widths[0]


def test_order_of_sites_changes_no_byte():
    rng = np.random.default_rng(10)
    cases = _spread_over_sites(make_cases(rng, np.repeat(np.arange(300), 2)))
    subjects = make_subjects(rng, 300, rng.choice(["AFR", "EUR"], 300))
    settings = _settings({"endpoints": MANY, "axes": ["ancestry"]}, "classification")
    sent = _sent(cases, subjects, settings["protocol"], protected=False)
    first = dump_report(build_from_summaries(sent, **settings))
    assert dump_report(build_from_summaries(sent[::-1], **settings)) == first
    assert dump_report(build_from_summaries([merge(sent)], **settings)) == first


def test_withheld_groups_have_a_row_and_totals_stay():
    rng = np.random.default_rng(12)
    cases = _spread_over_sites(make_cases(rng, np.repeat(np.arange(900), 2)))
    ancestry = np.where(np.arange(900) < 24, "OCE", rng.choice(["AFR", "EUR"], 900))
    subjects = make_subjects(rng, 900, ancestry)
    settings = _settings({"endpoints": MANY, "axes": ["ancestry", "sex"], "suppress": True}, "classification")
    report = build_from_summaries(_sent(cases, subjects, settings["protocol"]), **settings)
    rows = {row.value: row for row in report.groups if row.axis == "ancestry"}
    assert "OCE" not in rows
    assert list(rows)[-1] == WITHHELD
    assert rows[WITHHELD].n_patients >= 24
    assert sum(row.n_cases or 0 for row in rows.values()) == 1800
    assert "too small at their site" in "".join(report.limitations)
    exact = build_report(cases, subjects, **settings)
    for mine, theirs in zip(exact.groups[0].results, report.groups[0].results):
        assert mine.floor_verdict == theirs.floor_verdict
    assert WITHHELD not in {spread.worst for spread in report.spreads}


def test_segmentation_from_counts():
    cases, _ = _segmented(60)
    names = ("dice_median", "nsd_mean", "hd95_mean", "hd95_median", "missed", "volume_bias")
    endpoints = [{"metric": "dice_mean", "target": "node", "primary": True, "floor": 0.5, "gap_margin": 0.1}]
    endpoints += [{"metric": name, "target": "node"} for name in names]
    endpoints += [{"metric": "dice_below", "target": "core", "level": 0.7}]
    subjects = make_subjects(np.random.default_rng(0), 60, ["EUR"] * 30 + ["AFR"] * 30)
    exact, counted = _both(cases, subjects, {"endpoints": endpoints})
    assert {e.unit for e in counted.endpoints} == {"fraction", "mm", "ml"}
    for key, mine, theirs in _pairs(exact, counted):
        assert mine.floor_verdict == theirs.floor_verdict, key
        exactly = key[2].startswith(("missed", "dice_below"))
        _same(mine, theirs, partial(pytest.approx, abs=1e-9 if exactly else 2e-4, rel=1e-9 if exactly else 2e-3))


def test_detection_from_counts():
    cases, lesions = _detected(240)
    names = ("lesion_sensitivity", "false_positives_per_image", "auc", "sensitivity", "average_precision")
    endpoints = [{"metric": "cpm", "target": "nodule", "primary": True, "floor": 0.3, "gap_margin": 0.2}]
    endpoints += [{"metric": name, "target": "nodule"} for name in names]
    endpoints += [{"metric": "lesion_sensitivity_of_size", "target": "nodule", "level": 10.0}]
    subjects = make_subjects(np.random.default_rng(0), 120, ["EUR"] * 60 + ["AFR"] * 60)
    exact, counted = _both(cases, subjects, {"endpoints": endpoints}, lesions)
    exactly = ("lesion_sensitivity:nodule", "false_positives_per_image:nodule", "sensitivity:nodule")
    for key, mine, theirs in _pairs(exact, counted):
        if mine.estimate is None:
            assert theirs.estimate is None
        elif key[2] in exactly:
            _same(mine, theirs, partial(pytest.approx, abs=1e-9))
        else:
            # Few marks decide a point of the curve, and marks of one bin are ties.
            assert mine.estimate == pytest.approx(theirs.estimate, abs=5e-3), key


def test_thresholds_and_levels_are_edges():
    protocol = freeze(declare({"endpoints": [AUC], "score_bins": 256}), {"dr": 0.37}, package_digest=DIGEST)
    grid = grid_of("score", "dr", protocol)
    values = np.array([0.0, 1e-300, 0.37, np.nextafter(0.37, 0), 0.5, 1 - 1e-16, 1.0, np.inf, -np.inf, np.nan])
    middles = grid.values(grid.bins(values))
    assert ((middles >= 0.37) == (values >= 0.37)).all()
    assert middles[[0, 6, 7, 8]].tolist() == [0.0, 1.0, np.inf, -np.inf]
    assert middles[1] > 0
    assert middles[5] < 1
    assert np.isnan(middles[9])
    assert set(grid.strata) <= set(grid.edges)
    assert (np.diff(grid.edges) > 0).all()


@pytest.mark.parametrize(
    ("name", "logit"),
    [
        ("spread", lambda rng, y: rng.normal(2 * y - 1, 1.5)),
        ("near 0", lambda rng, y: rng.normal(2.5 * y - 7, 1.5)),
        ("narrow", lambda rng, y: rng.normal(0.4 * y - 0.2, 0.4)),
        ("saturated", lambda rng, y: rng.normal(30 * y - 15, 12)),
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_area_within_1e5_of_the_exact_one(name, logit, share):
    protocol = freeze(declare({"endpoints": [AUC]}), {"dr": 0.5}, package_digest=DIGEST)
    grid = grid_of("score", "dr", protocol)
    for n in (10_000, 100_000):
        rng = np.random.default_rng(n)
        truth = rng.random(n) < share
        with np.errstate(over="ignore"):
            score = (1 / (1 + np.exp(-logit(rng, truth.astype(np.float32))))).astype(np.float64)
        binned = placements(truth, grid.values(grid.bins(score)))[0]
        assert binned == pytest.approx(placements(truth, score)[0], abs=1e-5), name


def test_a_summary_of_another_protocol_gives_no_report():
    rng = np.random.default_rng(3)
    cases = _spread_over_sites(make_cases(rng, np.arange(90)))
    settings = _settings({"endpoints": [AUC]}, "classification")
    other = _settings({"endpoints": [{**AUC, "floor": 0.7}]}, "classification")["protocol"]
    sent = _sent(cases, make_subjects(rng, 90, "EUR"), other, protected=False)
    with pytest.raises(InputError, match="protocol_sha256"):
        build_from_summaries(sent, **settings)
    assert isinstance(cases, pd.DataFrame)
