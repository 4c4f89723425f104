"""The tabular layer: laboratory values, a polygenic score, a treatment and an outcome with a known effect.

Columns follow MEDS (one row an event), with ``time`` in days from the scan. Planted on purpose, so that checks and
twins have something to find: units differ between sites, one site labels creatinine with the wrong unit, values are
missing at random given age, and treatment depends on severity (confounding).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medimg.samples.people import Person

CREATININE_UMOL_PER_MG_DL = 88.42
GLUCOSE_MMOL_PER_MG_DL = 1 / 18.016
OUTCOME_DAY = 365
TREATMENT_CODE, OUTCOME_CODE, SCORE_CODE = "SIM/treatment-1", "SIM/outcome-1", "PRS/SIM000001"
DIAGNOSES = {"ct": "ICD10/C34.9", "mri": "ICD10/C71.9", "endoscopy": "ICD10/K63.5", "fundus": "ICD10/E11.3"}

# The score was "trained" in population A: elsewhere its mean is shifted and it explains less.
_SCORE_SHIFT = {"A": 0.0, "B": 0.35, "C": 0.8}
_SCORE_WEIGHT = {"A": 0.55, "B": 0.35, "C": 0.2}


@dataclass(frozen=True)
class _Lab:
    code: str
    unit: str
    mean: float
    sd: float
    per_severity: float
    missing: float
    digits: int
    other_unit: tuple[str, str, float, float] | None = None  # code, unit, factor, offset of the sites that use it


LABS = {
    "creatinine": _Lab(
        "LOINC/2160-0", "mg/dL", 0.95, 0.18, 0.10, 0.05, 2, ("LOINC/14682-9", "umol/L", CREATININE_UMOL_PER_MG_DL, 0.0)
    ),
    "glucose": _Lab(
        "LOINC/2345-7", "mg/dL", 112.0, 18.0, 14.0, 0.15, 0, ("LOINC/14749-6", "mmol/L", GLUCOSE_MMOL_PER_MG_DL, 0.0)
    ),
    "hba1c": _Lab("LOINC/4548-4", "%", 6.3, 0.6, 0.55, 0.20, 1, ("LOINC/59261-8", "mmol/mol", 10.93, -23.5)),
    "haemoglobin": _Lab("LOINC/718-7", "g/dL", 13.8, 1.2, -0.4, 0.05, 1, ("LOINC/718-7", "g/L", 10.0, 0.0)),
    "crp": _Lab("LOINC/1988-5", "mg/L", 4.0, 2.5, 1.8, 0.25, 1),
}
# Which sites report in the other unit; creatinine at site-3 is in umol/L but says mg/dL: the planted mistake.
OTHER_UNIT_SITES = {
    "creatinine": ("site-2", "site-3"),
    "glucose": ("site-2",),
    "hba1c": ("site-2", "site-3"),
    "haemoglobin": ("site-3",),
}
MISLABELLED = {("creatinine", "site-3")}


def lab_events(person: Person, rng: np.random.Generator) -> list[dict[str, object]]:
    """Return the person's laboratory values, two visits; values go missing more often in the young."""
    rows = []
    for day in (-180, 0):
        for name, lab in LABS.items():
            value = rng.normal(lab.mean + lab.per_severity * person.severity, lab.sd)
            value = max(value, lab.mean - 2.5 * lab.sd, 0.1 * lab.mean)
            missing = lab.missing * (2.0 if person.age < 50 else 0.7)
            if rng.random() < missing:
                continue
            code, unit, digits = lab.code, lab.unit, lab.digits
            if lab.other_unit and person.site_id in OTHER_UNIT_SITES.get(name, ()):
                code, unit, factor, offset = lab.other_unit
                value, digits = value * factor + offset, 1
                if (name, person.site_id) in MISLABELLED:
                    code, unit = lab.code, lab.unit
            rows.append(_event(person, day, code, round(value, digits), unit, "laboratory"))
    return rows


def person_events(
    person: Person, modality: str, rng: np.random.Generator
) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Return the person's rows of ``events.csv`` and the truth behind them.

    The outcome at one year is ``60 - 6 z - 0.15 (age - 58) + noise``; the treatment adds
    ``tau = 5 + 3 z - 2 [female]``; it is given with probability ``logistic(1.1 z + 0.03 (age - 58) - 0.1)``, so the
    treated are sicker and a crude comparison underestimates the effect.
    """
    z, older = person.severity, person.age - 58
    rows = [_event(person, -365, DIAGNOSES[modality], None, "", "diagnosis")] if z > -0.3 else []
    rows += lab_events(person, rng)
    group = person.population
    score = _SCORE_SHIFT[group] + _SCORE_WEIGHT[group] * z + rng.normal() * np.sqrt(1 - _SCORE_WEIGHT[group] ** 2)
    rows.append(_event(person, 0, SCORE_CODE, round(score, 3), "1", "omics"))
    rows.append(
        _event(
            person, 0, "WEARABLE/steps_per_day", float(round(rng.normal(6200 - 900 * z, 1800), -1)), "1/d", "wearable"
        )
    )
    propensity = 1 / (1 + np.exp(-(1.1 * z + 0.03 * older - 0.1)))
    treated = bool(rng.random() < propensity)
    effect = 5 + 3 * z - 2 * (person.sex_at_birth == "F")
    untreated = 60 - 6 * z - 0.15 * older + rng.normal(0, 4)
    outcome = untreated + effect * treated
    rows.append(_event(person, 1, TREATMENT_CODE, float(treated), "1", "treatment"))
    rows.append(_event(person, OUTCOME_DAY, OUTCOME_CODE, round(outcome, 2), "1", "outcome"))
    truth = {
        "propensity": propensity,
        "treated": treated,
        "treatment_effect": effect,
        "outcome_untreated": untreated,
        "outcome_treated": untreated + effect,
    }
    return rows, truth


def _event(person: Person, day: int, code: str, value: float | None, unit: str, source: str) -> dict[str, object]:
    return {
        "subject_id": person.subject_id,
        "time": day,
        "code": code,
        "numeric_value": "" if value is None else value,
        "text_value": "",
        "unit": unit,
        "site_id": person.site_id,
        "source": source,
    }
