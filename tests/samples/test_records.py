from __future__ import annotations

import numpy as np

from medimg.samples.people import draw_person, stream
from medimg.samples.records import OUTCOME_CODE, SCORE_CODE, TREATMENT_CODE, person_events


def cohort(count: int) -> list:
    result = []
    for index in range(count):
        person = draw_person(7, "fundus", index)
        rows, truth = person_events(person, "fundus", stream(7, "fundus", index, 1))
        result.append((person, {row["code"]: row for row in rows}, rows, truth))
    return result


def test_crude_comparison_is_confounded_and_the_truth_is_kept() -> None:
    people = cohort(1500)
    treated = np.array([bool(codes[TREATMENT_CODE]["numeric_value"]) for _, codes, _, _ in people])
    outcome = np.array([codes[OUTCOME_CODE]["numeric_value"] for _, codes, _, _ in people], dtype=float)
    effect = np.array([truth["treatment_effect"] for *_, truth in people])
    crude = outcome[treated].mean() - outcome[~treated].mean()
    assert crude < effect.mean() - 2
    weights = np.array([truth["propensity"] for *_, truth in people])
    weighted = np.average(outcome[treated], weights=1 / weights[treated]) - np.average(
        outcome[~treated], weights=1 / (1 - weights[~treated])
    )
    assert abs(weighted - effect.mean()) < 1.0


def test_units_differ_between_sites_and_one_is_mislabelled() -> None:
    people = cohort(300)
    medians = {}
    for site in ("site-1", "site-2", "site-3"):
        values = [
            row["numeric_value"]
            for person, _, rows, _ in people
            if person.site_id == site
            for row in rows
            if row["code"] in ("LOINC/2160-0", "LOINC/14682-9")
        ]
        medians[site] = float(np.median(np.array(values, dtype=float)))
    assert 70 < medians["site-2"] / medians["site-1"] < 110
    assert 70 < medians["site-3"] / medians["site-1"] < 110
    units = {
        row["unit"]
        for person, _, rows, _ in people
        if person.site_id == "site-3"
        for row in rows
        if row["code"] == "LOINC/2160-0"
    }
    assert units == {"mg/dL"}


def test_score_is_shifted_and_weaker_outside_its_training_population() -> None:
    people = cohort(1500)

    def gather(name: str) -> tuple[np.ndarray, np.ndarray]:
        chosen = [
            (codes[SCORE_CODE]["numeric_value"], person.severity)
            for person, codes, _, _ in people
            if person.population == name
        ]
        return tuple(np.array(chosen, dtype=float).T)

    a, c = gather("A"), gather("C")
    assert c[0].mean() - a[0].mean() > 0.5
    assert np.corrcoef(*a)[0, 1] > np.corrcoef(*c)[0, 1] + 0.15
